//! Decoders: the first byte of an input names the codec.

use std::io::{Cursor, Read, Write};

use pgassay::{
    archive::Codec,
    restore::codec::{decode_exact, decode_small, decoder},
};

use crate::engine::{Target, any_bytes, nothing, run};

/// Most bytes that are decoded.
const MOST: u64 = 1 << 20;

fn compressed(codec: Codec, data: &[u8]) -> Vec<u8> {
    match codec {
        Codec::Plain => data.to_vec(),
        Codec::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(data).unwrap();
            out.finish().unwrap()
        }
        Codec::Bzip2 => {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            out.write_all(data).unwrap();
            out.finish().unwrap()
        }
        Codec::Xz => {
            let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
            out.write_all(data).unwrap();
            out.finish().unwrap()
        }
        Codec::Snappy => {
            let mut out = snap::write::FrameEncoder::new(Vec::new());
            out.write_all(data).unwrap();
            out.into_inner().unwrap()
        }
        Codec::Zstd => zstd::encode_all(data, 1).unwrap(),
        Codec::Lz4 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(data).unwrap();
            out.finish().unwrap()
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let text = include_bytes!("seeds/backup_label").repeat(9);
    let noise: Vec<u8> = (0..70_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let mut seeds = Vec::new();
    for (index, codec) in (0..).zip(Codec::ALL) {
        for data in [&text[..], &noise[..], b""] {
            let one = compressed(codec, data);
            seeds.push([&[index], &one[..]].concat());
            // Two streams, one behind the other.
            seeds.push([&[index], &one[..], &compressed(codec, b"more")].concat());
        }
    }
    seeds
}

#[test]
fn codec() {
    run(&Target {
        name: "codec",
        seeds: seeds(),
        mutate: |input, other, random| {
            let mut body = input.split_off(input.len().min(1));
            any_bytes(&mut body, other.get(1..).unwrap_or_default(), random);
            input.append(&mut body);
        },
        repair: nothing,
        check: |input| {
            let Some((first, body)) = input.split_first() else { return "empty".into() };
            let codec = Codec::ALL[usize::from(*first) % Codec::ALL.len()];
            let whole = decode_small(codec, body, MOST);
            // Piece by piece it must come to the same.
            let mut pieces = Vec::new();
            let mut stream = decoder(codec, Cursor::new(body.to_vec())).take(MOST + 1);
            let mut buffer = [0; 777];
            let streamed = loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break Ok(()),
                    Ok(count) => pieces.extend_from_slice(&buffer[..count]),
                    Err(error) => break Err(error),
                }
            };
            // Zstandard sees an offset out of its window only where its buffers are small, and a frame
            // need not carry a checksum of its content.
            let lenient = codec == Codec::Zstd;
            match whole {
                Ok(bytes) => {
                    assert!(streamed.is_ok() || lenient, "{codec:?}: {streamed:?}");
                    assert!(streamed.is_err() || pieces == bytes, "{codec:?}");
                    let length = bytes.len() as u64;
                    let exact = decode_exact(codec, body, length);
                    assert!(exact.is_ok() || lenient, "{codec:?}: {exact:?}");
                    assert!(exact.is_err() || exact.is_ok_and(|exact| exact == bytes), "{codec:?}");
                    assert!(decode_exact(codec, body, length + 1).is_err(), "{codec:?}");
                    format!("{codec:?}: {} bytes", if length == 0 { "no" } else { "some" })
                }
                Err(error) => {
                    let failed = streamed.is_err() || pieces.len() as u64 > MOST;
                    assert!(failed || lenient, "{codec:?}: {error}");
                    format!("{codec:?}: {error}")
                }
            }
        },
        most_memory: 64 << 20,
        most_bytes: 256 << 10,
    });
}
