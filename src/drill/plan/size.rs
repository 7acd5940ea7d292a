//! How much room a sandbox takes, at most.

use super::source::Source;
use crate::archive::Codec;

/// So many times larger than stored: the high end of what data directories compress to.
const fn factor(codec: Codec) -> u64 {
    match codec {
        Codec::Plain => 1,
        Codec::Lz4 | Codec::Snappy => 4,
        Codec::Gzip => 6,
        Codec::Zstd => 7,
        Codec::Bzip2 | Codec::Xz => 8,
    }
}

/// Bytes of the data directory with its tablespaces, of the decoded WAL, and a tenth more.
pub(super) fn disk_bytes(source: &Source<'_>, segments: u64) -> u64 {
    let parts = || source.backup.objects();
    let data = match source.info.cluster_size {
        // The sum of pg_database_size, so tablespaces are in it; never less than what is stored.
        Some(bytes) => bytes.max(parts().map(|part| part.size).sum()),
        None => parts().map(|part| part.size.saturating_mul(factor(part.codec))).sum(),
    };
    let wal = segments.saturating_mul(source.segment_size.bytes());
    let all = data.saturating_add(wal);
    all.saturating_add(all / 10)
}
