//! Retries by class of failure: exponential backoff with full jitter, bounded in attempts and time.
//!
//! Full jitter, a wait drawn evenly between zero and the exponential bound, spreads clients best:
//! <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.

use std::time::Duration;

use tokio::time::Instant;

use crate::drill::Error;

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// 5xx, throttling, timeouts, broken connections. `after`: the least wait that the server asks
    /// for (`Retry-After`).
    Transient { after: Option<Duration> },
    /// The endpoint cannot be reached at all: worth a few attempts, but at first contact it is
    /// mostly a wrong address, and the user is waiting.
    Unreachable,
    /// The same request will fail again.
    Permanent,
}

/// An attempt that failed.
#[derive(Debug)]
pub struct Failure {
    pub error: Error,
    pub retry: Retry,
}

impl Failure {
    /// One that trying again may mend.
    pub fn transient(error: Error) -> Self {
        Self { error, retry: Retry::Transient { after: None } }
    }

    /// One that will stay.
    pub fn permanent(error: Error) -> Self {
        Self { error, retry: Retry::Permanent }
    }
}

/// How often and how long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// Attempts in all where the endpoint has not answered once yet.
    pub max_attempts_unreachable: u32,
    /// Upper bound of the first wait; doubles with each.
    pub base: Duration,
    /// Upper bound of any wait.
    pub cap: Duration,
    /// No attempt starts later than this after the first.
    pub total: Duration,
}

impl Default for RetryPolicy {
    /// Sits out a store that is away for about half a minute, which a restart takes.
    fn default() -> Self {
        Self {
            max_attempts: 10,
            max_attempts_unreachable: 4,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(20),
            total: Duration::from_mins(5),
        }
    }
}

impl RetryPolicy {
    /// One attempt only.
    #[must_use]
    pub fn never() -> Self {
        Self { max_attempts: 1, max_attempts_unreachable: 1, ..Self::default() }
    }

    /// The wait before the attempt after `attempt` (counted from 1). `random` lies in `0.0..1.0`.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let factor = 2_u32.saturating_pow(attempt.saturating_sub(1));
        self.base.saturating_mul(factor).min(self.cap).mul_f64(random.clamp(0.0, 1.0))
    }

    /// The wait before another attempt, or `None` to give up.
    fn again(
        &self,
        retry: Retry,
        attempt: u32,
        elapsed: Duration,
        random: f64,
    ) -> Option<Duration> {
        let (attempts, least) = match retry {
            Retry::Permanent => return None,
            Retry::Unreachable => (self.max_attempts_unreachable, Duration::ZERO),
            Retry::Transient { after } => (self.max_attempts, after.unwrap_or_default()),
        };
        let wait = self.delay(attempt, random).max(least);
        (attempt < attempts && elapsed.saturating_add(wait) <= self.total).then_some(wait)
    }

    /// Runs `attempt` until it succeeds, fails for good or the bounds are reached.
    ///
    /// # Errors
    /// The last attempt's; its message says how often it was tried.
    pub async fn run<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let started = Instant::now();
        let mut count = 1;
        loop {
            let failure = match attempt().await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            match self.again(failure.retry, count, started.elapsed(), rand::random()) {
                Some(wait) => {
                    tracing::debug!(error = %failure.error, attempt = count, ?wait, "trying again");
                    tokio::time::sleep(wait).await;
                    count += 1;
                }
                None if count > 1 => {
                    let mut error = failure.error;
                    error.message = format!("{} (after {count} attempts)", error.message);
                    return Err(error);
                }
                None => return Err(failure.error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::drill::Code;

    const TRANSIENT: Retry = Retry::Transient { after: None };

    fn quick() -> RetryPolicy {
        RetryPolicy { base: Duration::ZERO, ..RetryPolicy::default() }
    }

    async fn attempts(policy: RetryPolicy, retry: Retry, fail: u32) -> (u32, Result<u32, Error>) {
        let mut count = 0;
        let result = policy
            .run(|| {
                count += 1;
                let error = Error::new(Code::StoreUnavailable, "no");
                let failed = Failure { error, retry };
                std::future::ready(if count > fail { Ok(count) } else { Err(failed) })
            })
            .await;
        (count, result)
    }

    #[tokio::test]
    async fn transient_failures_are_tried_again() {
        assert!(matches!(attempts(quick(), TRANSIENT, 3).await, (4, Ok(4))));
    }

    #[tokio::test]
    async fn permanent_failures_are_not() {
        let (count, result) = attempts(quick(), Retry::Permanent, 3).await;
        assert_eq!((count, result.unwrap_err().message), (1, "no".to_owned()));
    }

    #[tokio::test]
    async fn attempts_are_bounded_and_told() {
        let (count, result) = attempts(quick(), TRANSIENT, 99).await;
        assert_eq!((count, result.unwrap_err().message), (10, "no (after 10 attempts)".to_owned()));
        assert_eq!(attempts(quick(), Retry::Unreachable, 99).await.0, 4);
        assert_eq!(attempts(RetryPolicy::never(), TRANSIENT, 99).await.0, 1);
    }

    #[test]
    fn time_is_bounded() {
        let policy = RetryPolicy { total: Duration::from_secs(10), ..RetryPolicy::default() };
        let waits = |retry, elapsed| policy.again(retry, 1, Duration::from_secs(elapsed), 0.0);
        assert_eq!(waits(TRANSIENT, 10), Some(Duration::ZERO));
        assert_eq!(waits(TRANSIENT, 11), None);
        let asked = Retry::Transient { after: Some(Duration::from_secs(5)) };
        assert_eq!(waits(asked, 5), Some(Duration::from_secs(5)));
        assert_eq!(waits(asked, 6), None, "the server asks for more than is left");
    }

    #[test]
    fn bounds_double_up_to_the_cap() {
        let policy = RetryPolicy::default();
        let bounds: Vec<_> = (1..=9).map(|n| policy.delay(n, 1.0).as_millis()).collect();
        assert_eq!(bounds, [200, 400, 800, 1600, 3200, 6400, 12800, 20000, 20000]);
    }

    proptest! {
        #[test]
        fn a_wait_lies_within_its_bound(attempt in any::<u32>(), random in 0.0..1.0_f64) {
            let policy = RetryPolicy::default();
            prop_assert!(policy.delay(attempt, random) <= policy.delay(attempt, 1.0));
            prop_assert!(policy.delay(attempt, random) <= policy.cap);
        }
    }
}
