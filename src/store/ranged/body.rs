//! One object in pieces: the one at the head is given out, those behind it are fetched meanwhile.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Shared,
    traffic::{Seat, Slot},
};
use crate::{
    drill::{Code, Error},
    store::{ByteStream, GetRange, ObjectStore},
};

/// An object that is being read. Dropping it ends all of its requests.
pub(super) struct Body<S> {
    shared: Arc<Shared<S>>,
    key: String,
    etag: String,
    listed: u64,
    /// Where the first piece begins that nobody has asked for yet; `listed` when all have been.
    next: u64,
    head: Option<Piece>,
    ahead: VecDeque<Piece>,
    _seat: Seat,
}

/// A piece that was asked for.
struct Piece {
    source: Source,
    /// Bytes until the next piece begins.
    left: u64,
    /// Nothing bounds the last one: an object that is longer than it was listed shows.
    last: bool,
    _slot: Slot,
}

enum Source {
    Here(ByteStream),
    /// Fetched by a task, so that it comes on also while nobody asks for it.
    Ahead {
        items: mpsc::UnboundedReceiver<Item>,
        _task: AbortOnDropHandle<()>,
    },
}

/// What the task of a piece says. Nothing more is fetched than the piece's length (and what came with
/// its last byte), so that what waits is bounded.
enum Item {
    Bytes(Bytes),
    /// All is there; the stream may have more.
    Rest(ByteStream),
    /// The object ended before the piece did.
    End,
    Failed(Error),
}

/// The bytes of a piece.
#[derive(Clone, Copy)]
struct Span {
    offset: u64,
    bytes: u64,
    last: bool,
}

impl<S: ObjectStore + 'static> Body<S> {
    /// Asks for the first piece.
    pub(super) async fn open(
        shared: &Arc<Shared<S>>,
        range: &GetRange<'_>,
        etag: &str,
        listed: u64,
    ) -> Result<Self, Error> {
        let mut body = Self {
            shared: Arc::clone(shared),
            key: range.key.to_owned(),
            etag: etag.to_owned(),
            listed,
            next: range.offset,
            head: None,
            ahead: VecDeque::new(),
            _seat: shared.traffic.seat(),
        };
        body.open_head().await?;
        Ok(body)
    }

    /// The next bytes; `None` at the end of the object, wherever that is.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            self.fetch_ahead();
            if self.head.is_none() {
                self.head = self.ahead.pop_front();
            }
            let Some(head) = &mut self.head else {
                if self.next >= self.listed {
                    return Ok(None);
                }
                self.open_head().await?;
                continue;
            };
            let since = Instant::now();
            let got = head.next(&self.shared).await?;
            self.shared.traffic.waited(since.elapsed());
            let Some(bytes) = got else {
                // Short or at its end: there is nothing behind it.
                self.next = self.listed;
                self.head = None;
                self.ahead.clear();
                return Ok(None);
            };
            head.left = head.left.saturating_sub(bytes.len() as u64);
            if head.left == 0 && !head.last {
                self.head = None;
            }
            return Ok(Some(bytes));
        }
    }

    fn span(&self) -> Span {
        let (offset, piece) = (self.next, self.shared.cut.piece);
        let bytes = piece.min(self.listed - offset);
        Span { offset, bytes, last: offset + bytes == self.listed }
    }

    async fn open_head(&mut self) -> Result<(), Error> {
        let span = self.span();
        let since = Instant::now();
        let slot = self.shared.traffic.slot(since);
        let body = self.shared.inner.get(range(&self.key, &self.etag, span)).await?;
        self.shared.traffic.waited(since.elapsed());
        self.next += span.bytes;
        self.head = Some(Piece::new(Source::Here(body), span, slot));
        Ok(())
    }

    /// Asks for as many pieces as there may be.
    fn fetch_ahead(&mut self) {
        while self.next < self.listed {
            let own = usize::from(self.head.is_some()) + self.ahead.len();
            let Some(slot) = self.shared.traffic.slot_ahead(own, Instant::now()) else { return };
            let span = self.span();
            let (sender, items) = mpsc::unbounded_channel();
            let (shared, key, etag) =
                (Arc::clone(&self.shared), self.key.clone(), self.etag.clone());
            let task = tokio::spawn(async move {
                let fetched = fetch(&shared, range(&key, &etag, span), span, &sender).await;
                // Nobody hears it where the body was dropped meanwhile.
                let _ = sender.send(fetched.unwrap_or_else(Item::Failed));
            });
            self.next += span.bytes;
            let source = Source::Ahead { items, _task: AbortOnDropHandle::new(task) };
            self.ahead.push_back(Piece::new(source, span, slot));
        }
    }
}

fn range<'a>(key: &'a str, etag: &'a str, span: Span) -> GetRange<'a> {
    let length = (!span.last).then_some(span.bytes);
    GetRange { offset: span.offset, length, if_match: Some(etag), ..GetRange::whole(key) }
}

async fn fetch<S: ObjectStore>(
    shared: &Shared<S>,
    range: GetRange<'_>,
    span: Span,
    sender: &mpsc::UnboundedSender<Item>,
) -> Result<Item, Error> {
    let mut body = shared.inner.get(range).await?;
    let mut left = span.bytes;
    while left > 0 {
        let Some(bytes) = body.next().await.transpose()? else { return Ok(Item::End) };
        shared.arrived(&bytes, left == span.bytes);
        left = left.saturating_sub(bytes.len() as u64);
        let _ = sender.send(Item::Bytes(bytes));
    }
    Ok(Item::Rest(body))
}

impl<S: ObjectStore> Shared<S> {
    fn arrived(&self, bytes: &Bytes, first: bool) {
        self.traffic.arrived(Instant::now(), bytes.len(), first, self.inner.slowdowns());
    }
}

impl Piece {
    fn new(source: Source, span: Span, slot: Slot) -> Self {
        Self { source, left: span.bytes, last: span.last, _slot: slot }
    }

    async fn next<S: ObjectStore>(&mut self, shared: &Shared<S>) -> Result<Option<Bytes>, Error> {
        loop {
            let item = match &mut self.source {
                Source::Here(body) => {
                    let bytes = body.next().await.transpose()?;
                    if let Some(bytes) = &bytes {
                        shared.arrived(bytes, false);
                    }
                    return Ok(bytes);
                }
                Source::Ahead { items, .. } => items.recv().await,
            };
            match item {
                Some(Item::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Item::Rest(body)) => self.source = Source::Here(body),
                Some(Item::End) => return Ok(None),
                Some(Item::Failed(error)) => return Err(error),
                None => {
                    let what = "the task that fetches a piece of an object died";
                    return Err(Error::new(Code::Bug, what));
                }
            }
        }
    }
}
