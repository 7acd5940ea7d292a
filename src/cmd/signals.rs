//! SIGINT and SIGTERM: the first ends the work in order (a drill removes its sandbox, a rescue keeps what
//! it has), the second ends at once.

use std::{io, sync::Arc, sync::OnceLock};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

use super::console::Console;

/// Which signals have come.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals(Arc<State>);

#[derive(Debug, Default)]
struct State {
    first: OnceLock<SignalKind>,
    second: OnceLock<SignalKind>,
    again: Notify,
}

/// What becomes of the work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parting {
    /// Nothing is left.
    CleansUp,
    /// Another run goes on from there.
    GoesOn,
    /// Drills have time to end by themselves.
    Waits,
}

impl Parting {
    const fn first(self) -> &'static str {
        match self {
            Self::CleansUp => {
                "stopping: the sandbox is removed first (a second signal stops at once)"
            }
            Self::GoesOn => {
                "stopping: the next run goes on from here (a second signal stops at once)"
            }
            Self::Waits => {
                "stopping: drills that run have the grace period to end (a second signal stops at once)"
            }
        }
    }

    const fn second(self) -> &'static str {
        match self {
            Self::CleansUp => "stopped at once; `pgassay sweep` removes what is left behind",
            Self::GoesOn => "stopped at once; the same command goes on from here",
            Self::Waits => {
                "stopped at once; the next start reports what was running, and removes it"
            }
        }
    }
}

/// Watches from now on; the first signal cancels `cancel`.
pub(super) fn watch(
    cancel: CancellationToken,
    console: Console,
    parting: Parting,
) -> io::Result<Signals> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let signals = Signals::default();
    let state = signals.0.clone();
    tokio::spawn(async move {
        let first = next(&mut interrupt, &mut terminate).await;
        let _ = state.first.set(first);
        console.talk(parting.first());
        cancel.cancel();
        let second = next(&mut interrupt, &mut terminate).await;
        let _ = state.second.set(second);
        console.talk(parting.second());
        state.again.notify_one();
    });
    Ok(signals)
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    }
}

impl Signals {
    /// The first signal, if one has come.
    pub(super) fn received(&self) -> Option<SignalKind> {
        self.0.first.get().copied()
    }

    /// Waits for the second signal.
    pub(super) async fn second(&self) -> SignalKind {
        self.0.again.notified().await;
        self.0.second.get().copied().unwrap_or(SignalKind::interrupt())
    }
}

/// 128 and the signal's number, as shells say it.
pub(super) fn exit_status(signal: SignalKind) -> u8 {
    u8::try_from(128 + signal.as_raw_value()).unwrap_or(u8::MAX)
}
