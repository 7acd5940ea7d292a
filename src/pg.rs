//! What PostgreSQL writes to disk, majors 14 to 18: names, numbers, pages, WAL records. Pure: bytes
//! in, values out.

pub mod backup_label;
pub mod btree_page;
pub mod conf;
pub mod control;
mod field;
pub mod filenode_map;
pub mod heap;
pub mod index_page;
pub mod lsn;
pub mod page;
pub mod relation_file;
pub mod segment;
pub mod timeline;
pub mod version;
pub mod wal;

pub use backup_label::BackupLabel;
pub use control::ControlFile;
pub use lsn::Lsn;
pub use segment::{SegmentNumber, SegmentSize, WalFileName};
pub use timeline::{TimelineHistory, TimelineId};
pub use version::Major;
