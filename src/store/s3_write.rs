//! The one place that writes to a bucket: a store of its own for kept reports, with credentials of
//! its own. Archives are never reached through it.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::StreamExt;

use super::{
    GetRange, ObjectStore, S3Store,
    retry::Failure,
    s3::{S3Options, errors::Doing},
};
use crate::drill::{Code, Error, job::StoreLocation};

/// What became of a new object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there now.
    New,
    /// It was there before with the same bytes, maybe by an attempt whose answer got lost.
    Same,
    /// Another one has the key. It was left alone.
    Taken,
}

/// A bucket that objects can be added to.
#[derive(Clone, Debug)]
pub struct S3Writer {
    store: S3Store,
}

impl S3Writer {
    /// As [`S3Store::connect`], for writing.
    pub async fn connect(location: &StoreLocation) -> Result<Self, Error> {
        Ok(Self { store: S3Store::connect(location).await? })
    }

    /// As [`Self::connect`], with other retries and timeouts.
    pub async fn connect_with(location: &StoreLocation, options: S3Options) -> Result<Self, Error> {
        Ok(Self { store: S3Store::connect_with(location, options).await? })
    }

    /// The same bucket for reading.
    #[must_use]
    pub fn reader(&self) -> &S3Store {
        &self.store
    }

    /// Adds an object. An object is seen whole or not at all, and never replaced: the condition
    /// `If-None-Match: *` sees to it, and for stores that do not know it a look before.
    ///
    /// # Errors
    /// `WriteRefused` for 403 and what else a store answers.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, Error> {
        match self.compare(key, &bytes).await {
            Ok(None) => {}
            Ok(Some(there)) => return Ok(there),
            // Credentials that may write but not read: the condition alone decides.
            Err(error) if error.code == Code::AccessDenied => {}
            Err(error) => return Err(error),
        }
        match self.put(key, &bytes, true).await {
            Ok(()) => Ok(Created::New),
            Err(error) if error.code == Code::ObjectChanged => {
                match self.compare(key, &bytes).await {
                    Ok(there) => Ok(there.unwrap_or(Created::Taken)),
                    Err(error) if error.code == Code::AccessDenied => Ok(Created::Taken),
                    Err(error) => Err(error),
                }
            }
            // The store does not know the condition.
            Err(error) if error.code == Code::StoreProtocol => {
                self.put(key, &bytes, false).await.map(|()| Created::New)
            }
            Err(error) => Err(error),
        }
    }

    /// What is there already; `None`: nothing.
    async fn compare(&self, key: &str, bytes: &Bytes) -> Result<Option<Created>, Error> {
        let mut body = match self.store.get(GetRange::whole(key)).await {
            Ok(body) => body,
            Err(error) if error.code == Code::ObjectMissing => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut rest = &bytes[..];
        while let Some(piece) = body.next().await.transpose()? {
            match rest.strip_prefix(&piece[..]) {
                Some(more) => rest = more,
                None => return Ok(Some(Created::Taken)),
            }
        }
        Ok(Some(if rest.is_empty() { Created::Same } else { Created::Taken }))
    }

    async fn put(&self, key: &str, bytes: &Bytes, only_new: bool) -> Result<(), Error> {
        let shared = &self.store.shared;
        let attempt = || async {
            let answer = shared
                .client
                .put_object()
                .bucket(&shared.place.bucket)
                .key(key)
                .content_type("application/json")
                .set_if_none_match(only_new.then(|| "*".to_owned()))
                .body(ByteStream::from(bytes.clone()))
                .send()
                .await;
            match answer {
                Ok(_) => Ok(()),
                Err(error) => Err::<(), Failure>(shared.failure(&error, Doing::Put { key })),
            }
        };
        shared.options.retry.run(attempt).await
    }

    /// Removes a kept report. None with the key is as good.
    ///
    /// # Errors
    /// `WriteRefused` for 403 and what else a store answers. `Bug` for a key that is no report's, and
    /// nothing is removed then: an archive's objects cannot be reached through here.
    pub async fn remove_report(&self, key: &str) -> Result<(), Error> {
        if !is_report(key) {
            let message = format!("`{key}` is not the key of a report, and is not removed");
            return Err(Error::new(Code::Bug, message));
        }
        let shared = &self.store.shared;
        let attempt = || async {
            let bucket = &shared.place.bucket;
            match shared.client.delete_object().bucket(bucket).key(key).send().await {
                Ok(_) => Ok(()),
                Err(error) => Err::<(), Failure>(shared.failure(&error, Doing::Remove { key })),
            }
        };
        match shared.options.retry.run(attempt).await {
            Err(error) if error.code == Code::ObjectMissing => Ok(()),
            removed => removed,
        }
    }

    /// What messages call this store.
    #[must_use]
    pub fn describe(&self) -> String {
        self.store.describe()
    }
}

/// Whether a key is that of a report, `…reports/v1/<job>/<YYYY>/<MM>/<YYYYMMDD>T<HHMMSS.mmm>Z-….json`, or of
/// the evidence beside it, which ends in `.dsse`.
fn is_report(key: &str) -> bool {
    let mut levels = key.rsplit('/');
    let mut next = || levels.next().unwrap_or_default();
    let (file, month, year, job) = (next(), next(), next(), next());
    let digits = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|sign| sign.is_ascii_digit())
    };
    let time = file.split_once("Z-").map(|(time, _)| time.replace(['T', '.'], ""));
    next() == "v1"
        && next() == "reports"
        && !job.is_empty()
        && digits(year, 4)
        && digits(month, 2)
        && [".json", ".dsse"].iter().any(|end| file.strip_suffix(end).is_some())
        && time.is_some_and(|time| digits(&time, 17))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reports_can_be_removed() {
        let file = "20261102T040506.789Z-01933d2e.json";
        assert!(is_report(&format!("reports/v1/orders/2026/11/{file}")));
        assert!(is_report(&format!("team/reports/v1/orders/2026/11/{file}")));
        for key in [
            String::new(),
            "orders/base/20261122T020000/data.tar".to_owned(),
            "orders/wals/0000000100000000/000000010000000000000001".to_owned(),
            format!("reports/v2/orders/2026/11/{file}"),
            format!("reports/v1//2026/11/{file}"),
            format!("reports/v1/orders/2026/11/{file}.gz"),
            "reports/v1/orders/2026/11/20261102T040506Z-x.json".to_owned(),
            "reports/v1/orders/2026/11/notes.json".to_owned(),
        ] {
            assert!(!is_report(&key), "{key}");
        }
    }
}
