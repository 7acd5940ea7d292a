//! The listing of a cluster of 2 TB and of a million WAL segments behind its backup, made page by page.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use bytes::Bytes;
use pgassay::{
    archive::BackupInfo,
    pg::{SegmentNumber, SegmentSize, TimelineId},
};

use crate::support::{
    fixture, memory,
    object_server::{Bucket, Content},
};

pub const SEGMENTS: u64 = 1_000_000;
/// One tar of half a terabyte; barman-cloud splits others by its `--max-archive-size` of 100 GB.
const DATA: u64 = 500_000_000_000;
const SPACE: u64 = 100_000_000_000;
const SPACE_PARTS: u64 = 15;
/// Of all tars.
pub const BASE: u64 = DATA + SPACE_PARTS * SPACE;
pub const SERVER: &str = "grown";
const TIMELINE: TimelineId = TimelineId(1);

/// The bucket. Of all objects only the description of the backup has a content, which a real
/// barman-cloud wrote of a real cluster.
pub struct Listing {
    /// Keys and sizes of what is not WAL.
    base: BTreeMap<String, u64>,
    info: (String, Bytes),
    /// `archive/<server>/wals/`
    folder: String,
    first: SegmentNumber,
    size: SegmentSize,
}

impl Listing {
    /// Around the backup of a fixture that has a tablespace.
    pub fn new() -> Self {
        let real = memory::objects(&fixture::codecs().root);
        let keys = memory::keys(&real, "archive/plain/base/");
        let key = keys.into_iter().find(|key| key.ends_with("/backup.info")).unwrap();
        let info = real.bytes(&key).unwrap();
        let folder = key.strip_suffix("backup.info").unwrap().replace("/plain/", "/grown/");
        let said = BackupInfo::parse(std::str::from_utf8(&info).unwrap()).unwrap();
        let size = said.segment_size.unwrap();
        let first = size.segment_of(said.begin_xlog.unwrap());
        let space = said.tablespaces[0].oid;
        let mut base = BTreeMap::from([
            (format!("{folder}backup.info"), info.len() as u64),
            (format!("{folder}data.tar"), DATA),
            (format!("{folder}{space}.tar"), SPACE),
        ]);
        base.extend((1..SPACE_PARTS).map(|n| (format!("{folder}{space}_{n:04}.tar"), SPACE)));
        let info = (format!("{folder}backup.info"), info);
        Self { base, info, folder: format!("archive/{SERVER}/wals/"), first, size }
    }

    /// Objects of all kinds.
    pub fn objects(&self) -> u64 {
        self.base.len() as u64 + SEGMENTS
    }

    fn segment(&self, number: u64) -> (String, u64) {
        let name = SegmentNumber(number).file_name(TIMELINE, self.size);
        // As well as gzip does it, and not always the same.
        let size = self.size.bytes() / 3 + number * 7919 % 100_000;
        (format!("{}{}/{name}.gz", self.folder, &name[..16]), size)
    }

    /// The first segment behind a key.
    fn next(&self, after: &str) -> u64 {
        let Some(name) = after.strip_prefix(&self.folder).and_then(|below| below.get(17..41))
        else {
            return self.first.0;
        };
        let number = |hex| u64::from_str_radix(hex, 16).unwrap();
        number(&name[8..16]) * self.size.per_log() + number(&name[16..]) + 1
    }
}

impl Bucket for Listing {
    fn object(&self, key: &str) -> Option<Arc<dyn Content>> {
        assert_eq!(key, self.info.0, "only the description is read");
        Some(Arc::new(self.info.1.clone()))
    }

    fn behind(&self, after: &str) -> Box<dyn Iterator<Item = (String, u64)> + '_> {
        let range = (Bound::Excluded(after.to_owned()), Bound::Unbounded);
        let base = self.base.range(range).map(|(key, size)| (key.clone(), *size));
        let segments = self.next(after)..self.first.0 + SEGMENTS;
        Box::new(base.chain(segments.map(|number| self.segment(number))))
    }
}
