//! The sound archive, as it is and in every other compression: no tier may find anything.

use super::{damage::NotMade, materials::Materials, overlay::View};
use crate::{archive::Codec, restore::codec::encode};

/// A sound archive to show.
#[derive(Debug)]
pub struct Control {
    pub name: &'static str,
    pub what: String,
    /// Compression of the WAL and of the base backup's tars; `None`: as they are.
    codecs: Option<(Codec, Codec)>,
}

/// As it is, then in every compression that `barman-cloud` writes: it has none but these for tars.
#[must_use]
pub fn all() -> Vec<Control> {
    let as_is = Control { name: "sound", what: "the archive as it is".to_owned(), codecs: None };
    let recoded = [
        ("sound_plain", Codec::Plain, Codec::Plain),
        ("sound_gzip", Codec::Gzip, Codec::Gzip),
        ("sound_bzip2", Codec::Bzip2, Codec::Bzip2),
        ("sound_snappy", Codec::Snappy, Codec::Snappy),
        ("sound_lz4", Codec::Lz4, Codec::Lz4),
        ("sound_xz", Codec::Xz, Codec::Plain),
        ("sound_zstd", Codec::Zstd, Codec::Plain),
    ];
    let recoded = recoded.map(|(name, wal, base)| Control {
        name,
        what: format!("the same with WAL {} and tars {}", word(wal), word(base)),
        codecs: Some((wal, base)),
    });
    std::iter::once(as_is).chain(recoded).collect()
}

const fn word(codec: Codec) -> &'static str {
    match codec {
        Codec::Plain => "uncompressed",
        Codec::Gzip => "in gzip",
        Codec::Bzip2 => "in bzip2",
        Codec::Xz => "in xz",
        Codec::Snappy => "in snappy",
        Codec::Zstd => "in zstd",
        Codec::Lz4 => "in LZ4",
    }
}

impl Control {
    /// How the archive looks.
    ///
    /// # Errors
    /// Where it does not fit into memory.
    pub fn make(&self, m: &Materials) -> Result<View, NotMade> {
        let mut view = View::default();
        let Some((wal, base)) = self.codecs else { return Ok(view) };
        if m.wal.len() < m.plan.wal.len() {
            return Err(NotMade::TooLarge("the WAL is too large to be compressed anew".to_owned()));
        }
        for segment in m.wal.values() {
            let stored = encode(wal, &segment.bytes).map_err(|error| error.to_string())?;
            segment.store_as(&mut view, wal, stored);
        }
        for part in &m.parts {
            let Some(content) = &part.content else {
                let why = "the tars are too large to be compressed anew".to_owned();
                return Err(NotMade::TooLarge(why));
            };
            part.show_in(&mut view, base, &content.bytes)?;
        }
        Ok(view)
    }
}
