//! A store that shows an archive otherwise than it is: objects hidden, replaced, edited on their way or
//! refused. Nothing is ever written anywhere, and whoever reads it sees an ordinary store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use jiff::Timestamp;

use crate::{
    drill::{Code, Error, FailureClass},
    store::{ByteStream, GetRange, ListedObject, ObjectStore, SharedStore},
};

/// How an object looks.
#[derive(Clone, Debug)]
pub struct Shown {
    /// As listed; a body of another length is a lie that some damages tell.
    pub size: u64,
    pub modified: Option<Timestamp>,
    pub body: Body,
}

/// Where an object's bytes come from.
#[derive(Clone, Debug)]
pub enum Body {
    /// From here.
    Bytes(Bytes),
    /// From the archive, edited on their way: for objects of any size.
    Stored { key: String, edit: Edit },
}

/// A change to bytes that pass by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    None,
    /// The bits of `mask` in the byte at `at` are inverted.
    Flip {
        at: u64,
        mask: u8,
    },
    /// The object ends here.
    Cut(u64),
    /// These bytes follow the object's own.
    Append(Bytes),
}

/// What the store refuses.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub call: Call,
    /// The whole key, or the prefix of a listing; empty for any.
    pub key: String,
    pub kind: TroubleKind,
    /// Calls that still work, so that something may break on the way.
    pub after: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    List,
    Get,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// 403.
    Denied,
    /// 404, although the object was listed.
    Missing,
    /// 412: the object is not the one that was listed.
    Changed,
    /// 500 or 503, time after time.
    Unavailable,
    /// The body breaks in the middle, time after time.
    Incomplete,
}

/// What differs from the archive.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// By key; `None` hides.
    pub objects: BTreeMap<String, Option<Shown>>,
    /// Prefixes below which nothing that is stored is shown.
    pub hidden_folders: Vec<String>,
    pub troubles: Vec<Trouble>,
}

/// The archive through a [`View`].
#[derive(Clone, Debug)]
pub struct Overlay {
    inner: SharedStore,
    view: Arc<View>,
    /// Calls that each trouble has let through.
    passed: Arc<Vec<AtomicU64>>,
}

impl View {
    /// Shows these bytes under `key`.
    pub fn show(&mut self, key: impl Into<String>, bytes: impl Into<Bytes>, at: Option<Timestamp>) {
        let bytes = bytes.into();
        let shown = Shown { size: bytes.len() as u64, modified: at, body: Body::Bytes(bytes) };
        self.objects.insert(key.into(), Some(shown));
    }

    fn is_in_hidden_folder(&self, key: &str) -> bool {
        self.hidden_folders.iter().any(|folder| key.starts_with(folder.as_str()))
    }

    /// Hides what lies under `key`.
    pub fn hide(&mut self, key: impl Into<String>) {
        self.objects.insert(key.into(), None);
    }
}

impl Shown {
    /// The entity tag: another one for every other content, in the shape of an MD5.
    fn etag(&self, key: &str) -> String {
        let mut sum = crc32c::crc32c(key.as_bytes());
        let second = match &self.body {
            Body::Bytes(bytes) => crc32c::crc32c(bytes),
            Body::Stored { key, edit } => crc32c::crc32c(format!("{key} {edit:?}").as_bytes()),
        };
        sum ^= second.rotate_left(7);
        format!("\"{sum:08x}{second:08x}{:016x}\"", self.size)
    }

    fn listed(&self, key: &str) -> ListedObject {
        ListedObject {
            key: key.to_owned(),
            size: self.size,
            etag: Some(self.etag(key)),
            modified: self.modified,
        }
    }
}

impl Overlay {
    #[must_use]
    pub fn new(inner: SharedStore, view: View) -> Self {
        let passed = view.troubles.iter().map(|_| AtomicU64::new(0)).collect();
        Self { inner, view: Arc::new(view), passed: Arc::new(passed) }
    }

    fn trouble(&self, call: Call, key: &str) -> Option<TroubleKind> {
        self.view.troubles.iter().zip(self.passed.iter()).find_map(|(trouble, passed)| {
            let fits = trouble.call == call && (trouble.key.is_empty() || trouble.key == key);
            (fits && passed.fetch_add(1, Ordering::SeqCst) >= trouble.after).then_some(trouble.kind)
        })
    }
}

/// The error that the store of S3 gives in this case.
fn refusal(kind: TroubleKind, doing: &str) -> Error {
    let (code, class, what) = match kind {
        TroubleKind::Denied => {
            (Code::AccessDenied, Some(FailureClass::AccessDenied), "access denied (403)")
        }
        TroubleKind::Missing => (Code::ObjectMissing, None, "it does not exist (404)"),
        TroubleKind::Changed => {
            (Code::ObjectChanged, None, "it was replaced after it was listed (412)")
        }
        TroubleKind::Unavailable => (
            Code::StoreUnavailable,
            Some(FailureClass::ObjectStoreError),
            "the store keeps answering 500",
        ),
        TroubleKind::Incomplete => {
            (Code::BodyIncomplete, Some(FailureClass::ObjectReadIncomplete), "the body breaks off")
        }
    };
    let error = Error::new(code, format!("{doing}: {what}"));
    match class {
        Some(class) => error.class(class),
        None => error,
    }
}

#[async_trait]
impl ObjectStore for Overlay {
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Vec<ListedObject>, Error>> {
        if let Some(kind) = self.trouble(Call::List, prefix) {
            let error = refusal(kind, &format!("cannot list `{prefix}`"));
            return stream::iter([Err(error)]).boxed();
        }
        let view = Arc::clone(&self.view);
        let shown = view.objects.range(prefix.to_owned()..);
        let mut own: Vec<ListedObject> = shown
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, shown)| Some(shown.as_ref()?.listed(key)))
            .collect();
        own.reverse();
        // A last, empty page takes what of ours comes after all that is stored.
        let pages = self.inner.list(prefix).map_ok(Some).chain(stream::iter([Ok(None)]));
        pages
            .map(move |page| {
                let page = page?;
                let last = page.is_none();
                let mut page = page.unwrap_or_default();
                let end = page.last().map(|object| object.key.clone());
                page.retain(|object| !view.objects.contains_key(&object.key));
                page.retain(|object| !view.is_in_hidden_folder(&object.key));
                while let Some(object) = own.pop_if(|object| {
                    last || end.as_ref().is_some_and(|end| object.key.as_str() <= end.as_str())
                }) {
                    page.push(object);
                }
                page.sort_by(|a, b| a.key.cmp(&b.key));
                Ok(page)
            })
            .boxed()
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let mut names = BTreeSet::new();
        let mut pages = self.list(prefix);
        while let Some(page) = pages.try_next().await? {
            let below = page.iter().filter_map(|o| o.key.get(prefix.len()..)?.split_once('/'));
            names.extend(below.map(|(name, _)| name.to_owned()));
        }
        Ok(names.into_iter().collect())
    }

    async fn get(&self, range: GetRange<'_>) -> Result<ByteStream, Error> {
        let key = range.key;
        let doing = || format!("cannot read the object `{key}`");
        let trouble = self.trouble(Call::Get, key);
        if let Some(kind) = trouble.filter(|kind| *kind != TroubleKind::Incomplete) {
            return Err(refusal(kind, &doing()));
        }
        let body = match self.view.objects.get(key) {
            None if self.view.is_in_hidden_folder(key) => {
                return Err(refusal(TroubleKind::Missing, &doing()));
            }
            None => self.inner.get(range.clone()).await?,
            Some(None) => return Err(refusal(TroubleKind::Missing, &doing())),
            Some(Some(shown)) => {
                if range.if_match.is_some_and(|etag| etag != shown.etag(key)) {
                    return Err(refusal(TroubleKind::Changed, &doing()));
                }
                self.shown(shown, &range).await?
            }
        };
        if trouble == Some(TroubleKind::Incomplete) {
            let error = refusal(TroubleKind::Incomplete, &doing());
            return Ok(window(body, 0, Some(100)).chain(stream::iter([Err(error)])).boxed());
        }
        Ok(body)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

impl Overlay {
    async fn shown(&self, shown: &Shown, range: &GetRange<'_>) -> Result<ByteStream, Error> {
        let whole = match &shown.body {
            Body::Bytes(bytes) => stream::iter([Ok(bytes.clone())]).boxed(),
            Body::Stored { key, edit } => {
                let body = self.inner.get(GetRange::whole(key)).await?;
                match edit.clone() {
                    Edit::None => body,
                    Edit::Flip { at, mask } => flip(body, at, mask),
                    Edit::Cut(end) => window(body, 0, Some(end)),
                    Edit::Append(more) => body.chain(stream::iter([Ok(more)])).boxed(),
                }
            }
        };
        Ok(window(whole, range.offset, range.length))
    }
}

/// The bytes from `offset` on, at most `length`.
fn window(body: ByteStream, offset: u64, length: Option<u64>) -> ByteStream {
    body.scan((offset, length), |(skip, left), item| {
        let item = item.map(|mut bytes: Bytes| {
            let skipped = (*skip).min(bytes.len() as u64);
            *skip -= skipped;
            let _ = bytes.split_to(skipped as usize);
            if let Some(left) = left {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
            }
            bytes
        });
        std::future::ready(Some(item))
    })
    .filter(|item| std::future::ready(!matches!(item, Ok(bytes) if bytes.is_empty())))
    .boxed()
}

fn flip(body: ByteStream, at: u64, mask: u8) -> ByteStream {
    let mut position = 0;
    body.map(move |item| {
        let bytes: Bytes = item?;
        let start = position;
        position += bytes.len() as u64;
        if !(start..position).contains(&at) {
            return Ok(bytes);
        }
        let mut bytes = BytesMut::from(&bytes[..]);
        bytes[(at - start) as usize] ^= mask;
        Ok(bytes.freeze())
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, read_all};

    fn archive() -> MemoryStore {
        MemoryStore::new((0..2500).map(|i| (format!("a/{i:04}"), format!("content {i}"))))
    }

    async fn listed(store: &Overlay, prefix: &str) -> Vec<ListedObject> {
        store.list(prefix).try_concat().await.unwrap()
    }

    async fn read(store: &Overlay, key: &str) -> Result<Bytes, Error> {
        read_all(store, GetRange::whole(key), 1 << 20).await
    }

    #[tokio::test]
    async fn an_empty_view_shows_the_archive() {
        let store = archive();
        let overlay = Overlay::new(Arc::new(store.clone()), View::default());
        let plain: Vec<ListedObject> = store.list("a/").try_concat().await.unwrap();
        assert_eq!(listed(&overlay, "a/").await, plain);
        assert_eq!(overlay.list_folders("").await.unwrap(), ["a"]);
        assert_eq!(read(&overlay, "a/0007").await.unwrap(), "content 7");
    }

    #[tokio::test]
    async fn listings_stay_in_order_and_agree_with_what_is_read() {
        let mut view = View::default();
        view.hide("a/0000");
        view.show("a/0999x", "more", None);
        view.show("a/1000", "other", None);
        view.show("b", "elsewhere", None);
        view.show("a/9", "last", None);
        let overlay = Overlay::new(Arc::new(archive()), view);
        let objects = listed(&overlay, "a/").await;
        assert_eq!(objects.len(), 2501);
        assert!(objects.is_sorted_by(|a, b| a.key < b.key));
        for object in objects.iter().filter(|o| o.key.len() != 6 || o.key == "a/1000") {
            let range =
                GetRange { if_match: object.etag.as_deref(), ..GetRange::whole(&object.key) };
            let bytes = read_all(&overlay, range, 100).await.unwrap();
            assert_eq!(bytes.len() as u64, object.size);
        }
        assert_eq!(read(&overlay, "a/0000").await.unwrap_err().code, Code::ObjectMissing);
        let stale = GetRange { if_match: Some("\"x\""), ..GetRange::whole("a/1000") };
        assert_eq!(overlay.get(stale).await.err().unwrap().code, Code::ObjectChanged);
        assert_eq!(listed(&overlay, "").await.last().unwrap().key, "b");
    }

    #[tokio::test]
    async fn a_hidden_folder_is_empty_but_for_what_is_shown_in_it() {
        let mut view = View { hidden_folders: vec!["a/".into()], ..View::default() };
        view.show("a/new", "x", None);
        let overlay = Overlay::new(Arc::new(archive()), view);
        let keys: Vec<String> = listed(&overlay, "").await.into_iter().map(|o| o.key).collect();
        assert_eq!(keys, ["a/new"]);
        assert_eq!(read(&overlay, "a/0001").await.unwrap_err().code, Code::ObjectMissing);
        assert_eq!(read(&overlay, "a/new").await.unwrap(), "x");
    }

    #[tokio::test]
    async fn edits_pass_by_and_honour_ranges() {
        let mut view = View::default();
        let mut edit = |key: &str, size, edit| {
            let body = Body::Stored { key: "a/0042".into(), edit };
            view.objects.insert(key.into(), Some(Shown { size, modified: None, body }));
        };
        edit("flip", 10, Edit::Flip { at: 8, mask: 1 });
        edit("cut", 4, Edit::Cut(4));
        edit("long", 12, Edit::Append("!!".into()));
        let overlay = Overlay::new(Arc::new(archive()), view);
        assert_eq!(read(&overlay, "flip").await.unwrap(), "content 52");
        assert_eq!(read(&overlay, "cut").await.unwrap(), "cont");
        assert_eq!(read(&overlay, "long").await.unwrap(), "content 42!!");
        let range = GetRange { offset: 8, length: Some(1), ..GetRange::whole("flip") };
        assert_eq!(read_all(&overlay, range, 9).await.unwrap(), "5");
    }

    #[tokio::test]
    async fn troubles_begin_when_they_are_told_to() {
        let trouble = |call, key: &str, kind, after| Trouble { call, key: key.into(), kind, after };
        let view = View {
            troubles: vec![
                trouble(Call::Get, "a/0001", TroubleKind::Denied, 1),
                trouble(Call::Get, "a/0002", TroubleKind::Incomplete, 0),
                trouble(Call::List, "a/", TroubleKind::Unavailable, 0),
            ],
            ..View::default()
        };
        let overlay = Overlay::new(Arc::new(archive()), view);
        assert!(read(&overlay, "a/0001").await.is_ok());
        let error = read(&overlay, "a/0001").await.unwrap_err();
        assert_eq!(
            (error.code, error.class),
            (Code::AccessDenied, Some(FailureClass::AccessDenied))
        );
        assert_eq!(read(&overlay, "a/0002").await.unwrap_err().code, Code::BodyIncomplete);
        let listing = overlay.list("a/").try_next().await;
        assert_eq!(listing.unwrap_err().code, Code::StoreUnavailable);
    }
}
