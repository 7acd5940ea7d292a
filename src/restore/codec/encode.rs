//! Encodes bytes as the tools that write archives do: what a self-test shows of an archive in another
//! compression than its own.

use std::io::{self, Write};

use crate::archive::Codec;

/// `bytes` in one stream of this codec. LZ4 frames and zstd streams carry no checksum of their content,
/// as `barman-cloud` writes them: what a flipped bit does there, nothing but the content can tell.
pub fn encode(codec: Codec, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match codec {
        Codec::Plain => Ok(bytes.to_vec()),
        Codec::Gzip => {
            finish(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()), bytes)?
                .finish()
        }
        Codec::Bzip2 => {
            finish(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast()), bytes)?
                .finish()
        }
        Codec::Xz => finish(liblzma::write::XzEncoder::new(Vec::new(), 0), bytes)?.finish(),
        Codec::Snappy => finish(snap::write::FrameEncoder::new(Vec::new()), bytes)?
            .into_inner()
            .map_err(|error| io::Error::other(error.to_string())),
        Codec::Zstd => finish(zstd::stream::write::Encoder::new(Vec::new(), 1)?, bytes)?.finish(),
        Codec::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .block_mode(lz4_flex::frame::BlockMode::Linked)
                .block_size(lz4_flex::frame::BlockSize::Max64KB);
            let frame = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            finish(frame, bytes)?.finish().map_err(io::Error::other)
        }
    }
}

fn finish<W: Write>(mut writer: W, bytes: &[u8]) -> io::Result<W> {
    writer.write_all(bytes)?;
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::codec::decode_exact;

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        for codec in Codec::ALL {
            let encoded = encode(codec, &bytes).unwrap();
            assert_eq!(encoded.len() < bytes.len(), codec != Codec::Plain, "{codec:?}");
            let decoded = decode_exact(codec, encoded.as_slice(), bytes.len() as u64).unwrap();
            assert!(decoded == bytes, "{codec:?}");
        }
    }
}
