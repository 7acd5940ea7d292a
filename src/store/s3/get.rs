//! Bodies: ranged, bound to the object that was listed, resumed where they break.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>.

use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream as SdkBody;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{Shared, errors::Doing};
use crate::{
    drill::{Code, Error, FailureClass},
    store::{ByteStream, GetRange, retry::Failure},
};

/// Bytes that count as progress: a body that breaks again with less has not moved.
const PROGRESS: u64 = 64 * 1024;

/// No byte of the object is in the range that was asked for (RFC 9110, 15.5.17).
const NOT_SATISFIABLE: u16 = 416;

/// Opens an object. The answer's head is here when this returns.
pub(super) async fn open(shared: Arc<Shared>, range: GetRange<'_>) -> Result<ByteStream, Error> {
    let mut reader = Reader {
        shared,
        key: range.key.to_owned(),
        etag: range.if_match.map(quoted),
        position: range.offset,
        end: range.length.map(|length| range.offset.saturating_add(length)),
        size: None,
        body: None,
        left: 0,
        breaks: 0,
        resumed_at: range.offset,
    };
    if range.length == Some(0) {
        return Ok(stream::empty().boxed());
    }
    reader.request().await?;
    Ok(stream::try_unfold(reader, |mut reader| async move {
        let bytes = reader.next().await?;
        Ok(bytes.map(|bytes| (bytes, reader)))
    })
    .boxed())
}

/// An object being read.
struct Reader {
    shared: Arc<Shared>,
    key: String,
    /// The object's entity tag: the caller's, else that of the first answer.
    etag: Option<String>,
    /// Offset of the next byte.
    position: u64,
    /// Offset behind the last byte; `None` until the first answer where the caller wants all.
    end: Option<u64>,
    /// The object's size, once an answer has told it.
    size: Option<u64>,
    /// The body of the current answer, and how much of it is still to come.
    body: Option<SdkBody>,
    left: u64,
    /// Breaks since the last progress, and where that was counted from.
    breaks: u32,
    resumed_at: u64,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.end.is_some_and(|end| self.position >= end) {
                return Ok(None);
            }
            let Some(body) = &mut self.body else {
                self.request().await?;
                continue;
            };
            let stall = self.shared.options.timeouts.stall;
            let why = match tokio::time::timeout(stall, body.next()).await {
                Ok(Some(Ok(bytes))) if bytes.len() as u64 > self.left => {
                    return Err(self.nonsense("more bytes than it said"));
                }
                Ok(Some(Ok(bytes))) => {
                    self.position += bytes.len() as u64;
                    self.left -= bytes.len() as u64;
                    if self.left == 0 {
                        // The whole answer is here; where a server gave less than was asked for, the
                        // next turn asks for the rest.
                        self.body = None;
                    }
                    if bytes.is_empty() {
                        continue;
                    }
                    return Ok(Some(bytes));
                }
                Ok(Some(Err(error))) => error.to_string(),
                Ok(None) => "it ended early".to_owned(),
                Err(_) => format!("nothing came for {} seconds", stall.as_secs()),
            };
            self.broke(&why).await?;
        }
    }

    /// Gets ready to resume after a break, or gives up.
    async fn broke(&mut self, why: &str) -> Result<(), Error> {
        self.body = None;
        if self.position - self.resumed_at >= PROGRESS {
            self.breaks = 0;
        }
        self.breaks += 1;
        self.resumed_at = self.position;
        let retry = self.shared.options.retry;
        if self.breaks >= retry.max_attempts {
            return Err(Error::new(
                Code::BodyIncomplete,
                format!(
                    "cannot read the object `{}` beyond byte {}: {why} (after {} attempts)",
                    self.key, self.position, self.breaks
                ),
            )
            .class(FailureClass::ObjectReadIncomplete)
            .hint("Try again later; if it ends at the same byte again, the object is damaged in the store."));
        }
        tracing::debug!(key = self.key, position = self.position, why, "resuming a body");
        tokio::time::sleep(retry.delay(self.breaks, rand::random())).await;
        Ok(())
    }

    /// Asks for the bytes from the position on and checks the head of the answer.
    async fn request(&mut self) -> Result<(), Error> {
        let retry = self.shared.options.retry;
        let this = &*self;
        let Some(opened) = retry.run(|| this.fetch()).await? else {
            self.end = Some(self.position);
            return Ok(());
        };
        self.etag = opened.etag.or(self.etag.take());
        self.size = Some(opened.size);
        self.end = Some(self.end.map_or(opened.size, |end| end.min(opened.size)));
        self.left = opened.length;
        self.body = Some(opened.body);
        Ok(())
    }

    /// `None` where the object has no byte at the position.
    async fn fetch(&self) -> Result<Option<Opened>, Failure> {
        let doing = Doing::Get { key: &self.key };
        // Without a range where all is wanted: an empty object has no byte to ask for.
        let range = match self.end {
            None if self.position == 0 => None,
            None => Some(format!("bytes={}-", self.position)),
            Some(end) => Some(format!("bytes={}-{}", self.position, end.saturating_sub(1))),
        };
        let ranged = range.is_some();
        let answer = self
            .shared
            .client
            .get_object()
            .bucket(&self.shared.place.bucket)
            .key(&self.key)
            .set_range(range)
            .set_if_match(self.etag.clone())
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let failure = self.shared.failure(&error, doing);
                let status = error.raw_response().map(|answer| answer.status().as_u16());
                // Of an object whose size is known nothing is asked for beyond it.
                let is_behind = status == Some(NOT_SATISFIABLE) && self.size.is_none();
                return if is_behind { Ok(None) } else { Err(failure) };
            }
        };
        self.shared.answered();

        let etag = answer.e_tag.as_deref().filter(|etag| !etag.is_empty()).map(quoted);
        if let (Some(expected), Some(found)) = (&self.etag, &etag)
            && !same(expected, found)
        {
            return Err(Failure::permanent(self.changed()));
        }
        let nonsense = |what| Failure::permanent(self.nonsense(what));
        let length = answer
            .content_length
            .and_then(|length| u64::try_from(length).ok())
            .ok_or_else(|| nonsense("no length of its body"))?;
        let size = if ranged {
            let range = answer
                .content_range
                .as_deref()
                .and_then(ContentRange::parse)
                .ok_or_else(|| nonsense("no range, although one was asked for"))?;
            if range.first != self.position || range.length() != Some(length) || length == 0 {
                return Err(nonsense("another range than was asked for"));
            }
            range.size
        } else {
            length
        };
        if self.size.is_some_and(|before| before != size) {
            return Err(Failure::permanent(self.changed()));
        }
        Ok(Some(Opened { body: answer.body, length, size, etag }))
    }

    fn changed(&self) -> Error {
        Error::new(
            Code::ObjectChanged,
            format!("cannot read the object `{}`: it is not the object that was listed", self.key),
        )
        .class(FailureClass::ObjectStoreError)
    }

    fn nonsense(&self, what: &str) -> Error {
        Error::new(
            Code::StoreProtocol,
            format!("cannot read the object `{}`: the store answers with {what}", self.key),
        )
        .class(FailureClass::ObjectStoreError)
    }
}

/// An answer whose head is right.
struct Opened {
    body: SdkBody,
    /// Bytes of this body.
    length: u64,
    /// Bytes of the whole object.
    size: u64,
    etag: Option<String>,
}

/// `bytes 0-499/1234` (RFC 9110, 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ContentRange {
    first: u64,
    last: u64,
    size: u64,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, size) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = Self {
            first: first.trim().parse().ok()?,
            last: last.trim().parse().ok()?,
            size: size.trim().parse().ok()?,
        };
        (range.first <= range.last && range.last < range.size).then_some(range)
    }

    fn length(self) -> Option<u64> {
        self.last.checked_sub(self.first)?.checked_add(1)
    }
}

/// An entity tag as a header wants it; some stores list it bare.
fn quoted(etag: &str) -> String {
    if etag.starts_with('"') || etag.starts_with("W/") {
        etag.to_owned()
    } else {
        format!("\"{etag}\"")
    }
}

/// Whether two tags name the same bytes, whatever their dress.
fn same(one: &str, other: &str) -> bool {
    let bare = |etag: &str| etag.trim_start_matches("W/").trim_matches('"').to_owned();
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_content_ranges() {
        let range = ContentRange::parse("bytes 5-9/20").unwrap();
        assert_eq!(
            (range, range.length()),
            (ContentRange { first: 5, last: 9, size: 20 }, Some(5))
        );
        for wrong in ["", "bytes */20", "bytes 5-9/*", "bytes 9-5/20", "bytes 5-20/20", "5-9/20"] {
            assert_eq!(ContentRange::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_content_range_is_read_or_refused(text in ".{0,40}") {
            let _ = ContentRange::parse(&text);
        }

        #[test]
        fn a_range_comes_back(first in any::<u64>(), more in any::<u64>(), rest in 1..1000_u64) {
            let last = first.saturating_add(more) / 2;
            let (first, size) = (first.min(last), last.saturating_add(rest));
            let text = format!("bytes {first}-{last}/{size}");
            prop_assert_eq!(ContentRange::parse(&text), Some(ContentRange { first, last, size }));
        }
    }

    #[test]
    fn tags_compare_by_content() {
        assert_eq!(quoted("abc"), "\"abc\"");
        assert_eq!(quoted("\"abc\""), "\"abc\"");
        assert!(same("\"abc\"", "W/\"abc\"") && same("abc", "\"abc\""));
        assert!(!same("\"abc\"", "\"abd\""));
    }
}
