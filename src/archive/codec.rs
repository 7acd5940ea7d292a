//! Compressions, told by a key's extension alone: archives mix them when a setting changes.

/// How an object is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    Plain,
    Gzip,
    Bzip2,
    Xz,
    /// The framing format of snappy.
    Snappy,
    Zstd,
    /// The frame format of LZ4.
    Lz4,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 7] =
        [Self::Plain, Self::Gzip, Self::Bzip2, Self::Xz, Self::Snappy, Self::Zstd, Self::Lz4];

    /// The extension with its dot, empty for plain (`barman/clients/cloud_compression.py`).
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::Xz => ".xz",
            Self::Snappy => ".snappy",
            Self::Zstd => ".zst",
            Self::Lz4 => ".lz4",
        }
    }

    /// Splits a file name into what is before a known extension, and the codec.
    #[must_use]
    pub fn split(name: &str) -> (&str, Self) {
        let mut compressed = Self::ALL.into_iter().filter(|c| *c != Self::Plain);
        compressed
            .find_map(|codec| name.strip_suffix(codec.extension()).map(|stem| (stem, codec)))
            .unwrap_or((name, Self::Plain))
    }
}
