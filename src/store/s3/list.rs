//! Listings, page by page: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>.
//!
//! A listing that ends too early reads as lost WAL, so each page is held against what it says of
//! itself before it is believed.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents},
    error::BoxError,
    operation::list_objects_v2::ListObjectsV2Output,
    types::Object,
};
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use jiff::Timestamp;

use super::{Shared, errors::Doing};
use crate::{
    drill::{Code, Error, FailureClass},
    store::{ListedObject, retry::Failure},
};

/// Entries of a page: the most that S3 gives.
const PAGE: i32 = 1000;

/// Every object below a prefix.
pub(super) fn objects(
    shared: Arc<Shared>,
    prefix: String,
) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
    let pages = Pages::new(shared, prefix, None);
    stream::try_unfold(pages, |mut pages| async move {
        let Some(page) = pages.next().await? else { return Ok(None) };
        let objects = page
            .contents
            .unwrap_or_default()
            .into_iter()
            .map(|object| listed(object, &pages.prefix))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Some((objects, pages)))
    })
    .boxed()
}

/// The names one level below a prefix.
pub(super) async fn folders(shared: &Arc<Shared>, prefix: &str) -> Result<Vec<String>, Error> {
    let mut pages = Pages::new(shared.clone(), prefix.to_owned(), Some("/"));
    let mut names = Vec::new();
    while let Some(page) = pages.next().await? {
        for folder in page.common_prefixes.unwrap_or_default() {
            let name = folder
                .prefix
                .as_deref()
                .and_then(|folder| folder.strip_prefix(prefix))
                .and_then(|name| name.strip_suffix('/'))
                .ok_or_else(|| nonsense(prefix, "a folder outside the prefix"))?;
            // Keys with two slashes in a row have a nameless level, which is nobody's folder.
            if !name.is_empty() {
                names.push(name.to_owned());
            }
        }
    }
    Ok(names)
}

/// The pages of one listing.
struct Pages {
    shared: Arc<Shared>,
    prefix: String,
    delimiter: Option<&'static str>,
    token: Option<String>,
    /// Hashes of the tokens so far: a server that gives one twice would be listed for ever.
    seen: HashSet<u64>,
    hasher: RandomState,
    finished: bool,
}

impl Pages {
    fn new(shared: Arc<Shared>, prefix: String, delimiter: Option<&'static str>) -> Self {
        Self {
            shared,
            prefix,
            delimiter,
            token: None,
            seen: HashSet::new(),
            hasher: RandomState::new(),
            finished: false,
        }
    }

    async fn next(&mut self) -> Result<Option<ListObjectsV2Output>, Error> {
        if self.finished {
            return Ok(None);
        }
        let this = &*self;
        let page = this.shared.options.retry.run(|| this.fetch()).await?;
        match (&page.next_continuation_token, page.is_truncated) {
            (Some(token), Some(true)) if !token.is_empty() => {
                if !self.seen.insert(self.hasher.hash_one(token)) {
                    return Err(nonsense(&self.prefix, "the same continuation token again"));
                }
                self.token = Some(token.clone());
            }
            (_, Some(true)) => {
                return Err(nonsense(&self.prefix, "a page that goes on without a token"));
            }
            _ => self.finished = true,
        }
        Ok(Some(page))
    }

    async fn fetch(&self) -> Result<ListObjectsV2Output, Failure> {
        let doing = Doing::List { prefix: &self.prefix };
        let page = self
            .shared
            .client
            .list_objects_v2()
            .bucket(&self.shared.place.bucket)
            .prefix(&self.prefix)
            .max_keys(PAGE)
            .set_delimiter(self.delimiter.map(str::to_owned))
            .set_continuation_token(self.token.clone())
            .customize()
            .interceptor(WholeListing)
            .send()
            .await
            .map_err(|error| self.shared.failure(&error, doing))?;
        self.shared.answered();
        check(&page).map_err(|what| Failure::transient(nonsense(&self.prefix, what)))?;
        Ok(page)
    }
}

/// Holds a page against its own counts.
fn check(page: &ListObjectsV2Output) -> Result<(), &'static str> {
    if page.is_truncated.is_none() {
        return Err("a page that does not say whether it is the last");
    }
    let entries = page.contents().len() + page.common_prefixes().len();
    let said = page.key_count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    if entries < said {
        return Err("fewer entries than it counts");
    }
    Ok(())
}

fn listed(object: Object, prefix: &str) -> Result<ListedObject, Error> {
    let key = object.key.ok_or_else(|| nonsense(prefix, "an object without a key"))?;
    if !key.starts_with(prefix) {
        return Err(nonsense(prefix, "an object outside the prefix"));
    }
    let size = object
        .size
        .and_then(|size| u64::try_from(size).ok())
        .ok_or_else(|| nonsense(prefix, "an object without a size"))?;
    let modified = object.last_modified.and_then(|at| {
        Timestamp::new(at.secs(), i32::try_from(at.subsec_nanos()).unwrap_or(0)).ok()
    });
    Ok(ListedObject { key, size, etag: object.e_tag.filter(|etag| !etag.is_empty()), modified })
}

fn nonsense(prefix: &str, what: &str) -> Error {
    Error::new(
        Code::StoreProtocol,
        format!("cannot list `{prefix}`: the store answers with {what}"),
    )
    .class(FailureClass::ObjectStoreError)
    .hint("Check that `s3.endpoint` is an S3 service, and that no proxy answers in its place.")
}

/// Refuses a listing whose document breaks off: the SDK takes what is there for all of it.
#[derive(Debug)]
struct WholeListing;

impl Intercept for WholeListing {
    fn name(&self) -> &'static str {
        "WholeListing"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        // What has failed already says why itself.
        if context.output_or_error().is_err() {
            return Ok(());
        }
        let whole = response.body().bytes().is_some_and(is_whole);
        if whole { Ok(()) } else { Err("the listing breaks off".into()) }
    }
}

fn is_whole(body: &[u8]) -> bool {
    let body = body.trim_ascii_end();
    // With a namespace's prefix before the name or without.
    body.ends_with(b"ListBucketResult>") && body.windows(2).any(|pair| pair == b"</")
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::CommonPrefix;

    use super::*;

    #[test]
    fn a_page_must_hold_what_it_counts() {
        let page = |count: Option<i32>, truncated: Option<bool>| {
            ListObjectsV2Output::builder()
                .contents(Object::builder().key("a").build())
                .common_prefixes(CommonPrefix::builder().prefix("b/").build())
                .set_key_count(count)
                .set_is_truncated(truncated)
                .build()
        };
        for count in [None, Some(0), Some(1), Some(2)] {
            assert_eq!(check(&page(count, Some(false))), Ok(()), "{count:?}");
        }
        assert!(check(&page(Some(3), Some(false))).is_err());
        assert!(check(&page(Some(2), None)).is_err());
    }

    #[test]
    fn a_document_must_end() {
        assert!(is_whole(
            b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>\n"
        ));
        assert!(is_whole(b"<s:ListBucketResult></s:ListBucketResult>"));
        assert!(!is_whole(b"<ListBucketResult>"));
        assert!(!is_whole(b"<ListBucketResult><Contents></Contents>"));
        assert!(!is_whole(b""));
    }

    #[test]
    fn objects_need_a_key_and_a_size() {
        let object = || Object::builder().key("p/a").size(3).e_tag("\"x\"");
        let seen = listed(object().build(), "p/").unwrap();
        assert_eq!((seen.key.as_str(), seen.size, seen.etag.as_deref()), ("p/a", 3, Some("\"x\"")));
        assert_eq!(listed(object().e_tag("").build(), "p/").unwrap().etag, None);
        for wrong in [object().set_key(None), object().set_size(None), object().size(-1)] {
            assert_eq!(listed(wrong.build(), "p/").unwrap_err().code, Code::StoreProtocol);
        }
        assert!(listed(object().build(), "q/").is_err());
    }
}
