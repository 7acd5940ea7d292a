//! The WAL of an archive: which segments there are, by timeline, flat in memory.

/// Every WAL object of a listing.
#[derive(Clone, Debug, Default)]
pub struct WalIndex {}
