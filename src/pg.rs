//! What PostgreSQL writes to disk, majors 14 to 18: names, numbers, pages, WAL records. Pure: bytes
//! in, values out.

pub mod lsn;
pub mod segment;
pub mod timeline;
pub mod version;
pub mod wal;

pub use lsn::Lsn;
pub use segment::{SegmentNumber, SegmentSize, WalFileName};
pub use timeline::{TimelineHistory, TimelineId};
pub use version::Major;
