//! The Barman Cloud layout: what the keys below a server's prefix mean, and what `backup.info` says.
//! Pure: a listing and file contents in, values out.

pub mod backup_info;
pub mod catalog;
pub mod codec;
pub mod key;
pub mod literal;
pub mod object;
pub mod wal_index;

pub use backup_info::BackupInfo;
pub use catalog::{Backup, Catalog, TarSet, builder::CatalogBuilder};
pub use codec::Codec;
pub use object::ObjectRef;
pub use wal_index::WalIndex;
