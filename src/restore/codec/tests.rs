use std::io::{ErrorKind, Read, Write};

use proptest::prelude::*;

use super::*;

/// A little of everything: pages of text, zeros and noise, 400 KB.
fn sample() -> Vec<u8> {
    let mut out = Vec::new();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for page in 0..50_u32 {
        for word in 0..1024_u32 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match page % 3 {
                0 => out.extend_from_slice(&state.to_le_bytes()),
                1 => out.extend_from_slice(format!("{:08}", word * page).as_bytes()),
                _ => out.extend_from_slice(&[0; 8]),
            }
        }
    }
    out
}

pub(in crate::restore) fn encode(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    match codec {
        Codec::Plain => bytes.to_vec(),
        Codec::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Codec::Bzip2 => {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Codec::Xz => {
            let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Codec::Snappy => {
            let mut out = snap::write::FrameEncoder::new(Vec::new());
            out.write_all(bytes).unwrap();
            out.into_inner().unwrap()
        }
        Codec::Zstd => {
            let mut out = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            out.include_checksum(true).unwrap();
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Codec::Lz4 => lz4(bytes, true, lz4_flex::frame::BlockMode::Linked),
    }
}

fn lz4(bytes: &[u8], checksum: bool, mode: lz4_flex::frame::BlockMode) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new()
        .content_checksum(checksum)
        .block_mode(mode)
        .block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut out = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn decode(codec: Codec, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    decoder(codec, io::Cursor::new(bytes.to_vec())).read_to_end(&mut out)?;
    Ok(out)
}

fn assert_damage(codec: Codec, bytes: &[u8], what: &str) {
    let decoded = decode(codec, bytes).map(|decoded| decoded.len());
    let error = decoded.expect_err(&format!("{codec:?}, {what}: taken for sound"));
    assert!(
        matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        "{codec:?}, {what}: {error:?}"
    );
}

fn compressed() -> impl Iterator<Item = Codec> {
    Codec::ALL.into_iter().filter(|codec| *codec != Codec::Plain)
}

/// Positions spread over `len`, the same in every run.
fn positions(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |i| (i * 2_654_435_761 + 97) % len)
}

#[test]
fn every_codec_gives_back_what_was_written() {
    let sample = sample();
    for codec in Codec::ALL {
        assert!(decode(codec, &encode(codec, &sample)).unwrap() == sample, "{codec:?}");
    }
}

#[test]
fn concatenated_members_are_one_stream() {
    let sample = sample();
    let (front, back) = sample.split_at(123_457);
    for codec in Codec::ALL {
        let joined = [encode(codec, front), encode(codec, &[]), encode(codec, back)].concat();
        assert!(decode(codec, &joined).unwrap() == sample, "{codec:?}");
    }
}

#[test]
fn lz4_frames_of_different_shapes_can_follow_each_other() {
    use lz4_flex::frame::BlockMode;
    let sample = sample();
    let skippable = [&0x184D_2A53_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"abc"].concat();
    let big = {
        let info = lz4_flex::frame::FrameInfo::new()
            .block_checksums(true)
            .content_size(Some(sample.len() as u64))
            .block_size(lz4_flex::frame::BlockSize::Max1MB);
        let mut out = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        out.write_all(&sample).unwrap();
        out.finish().unwrap()
    };
    let joined =
        [big, skippable.clone(), lz4(&sample, false, BlockMode::Independent), skippable].concat();
    assert!(decode(Codec::Lz4, &joined).unwrap() == [&sample[..], &sample[..]].concat());
}

#[test]
fn an_empty_object_is_damage() {
    for codec in compressed() {
        assert_damage(codec, &[], "empty");
    }
    assert_eq!(decode(Codec::Plain, &[]).unwrap(), b"");
}

#[test]
fn a_cut_is_damage() {
    let sample = sample();
    for codec in compressed() {
        let whole = encode(codec, &sample);
        let ends = (1..=24).map(|n| whole.len() - n);
        for cut in positions(whole.len(), 20).chain(ends).chain(1..24) {
            if codec == Codec::Snappy && at_chunk_border(&whole, cut) {
                // The format cannot tell; what comes out is short and sound.
                assert!(decode(codec, &whole[..cut]).unwrap().len() < sample.len());
                continue;
            }
            assert_damage(codec, &whole[..cut], &format!("cut at {cut} of {}", whole.len()));
        }
    }
}

#[test]
fn an_lz4_frame_cut_between_blocks_is_damage() {
    use lz4_flex::frame::BlockMode;
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        let whole = lz4(&sample(), false, mode);
        let mut at = 7;
        let mut borders = 0;
        while at + 4 <= whole.len() {
            assert_damage(Codec::Lz4, &whole[..at], &format!("cut at block border {at}"));
            let size = u32::from_le_bytes(whole[at..at + 4].try_into().unwrap());
            at += 4 + (size & 0x7FFF_FFFF) as usize;
            borders += 1;
        }
        assert!(borders > 5);
        let flipped_end_mark = [&whole[..whole.len() - 1], &[0x80]].concat();
        assert_damage(Codec::Lz4, &flipped_end_mark, "end mark flipped into an empty block");
    }
}

fn at_chunk_border(stream: &[u8], cut: usize) -> bool {
    let mut at = 0;
    while at < cut && at + 4 <= stream.len() {
        let length = u32::from_le_bytes([stream[at + 1], stream[at + 2], stream[at + 3], 0]);
        at += 4 + length as usize;
    }
    at == cut
}

#[test]
fn trailing_garbage_is_damage() {
    let sample = sample();
    for codec in compressed() {
        for garbage in [&b"\x01"[..], b"ab", b"garbage!", &[0xA5; 5000], &[0x50; 64]] {
            let mut bytes = encode(codec, &sample);
            bytes.extend_from_slice(garbage);
            assert_damage(codec, &bytes, &format!("{} bytes of garbage", garbage.len()));
        }
        // The magic number of a next member and nothing behind it.
        let mut bytes = encode(codec, &sample);
        bytes.extend_from_within(..4);
        assert_damage(codec, &bytes, "a magic number at the end");
    }
}

#[test]
fn a_flipped_bit_never_passes_for_other_content() {
    let sample = sample();
    for codec in compressed() {
        let whole = encode(codec, &sample);
        let ends = (1..=12).map(|n| whole.len() - n);
        for at in positions(whole.len(), 60).chain(ends) {
            for bit in [0, 3, 7] {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                // Bits that carry nothing exist (padding bits, gzip's time); other content never.
                if let Ok(decoded) = decode(codec, &bytes) {
                    assert!(decoded == sample, "{codec:?}: bit {bit} of byte {at} passed");
                }
            }
        }
        // And nearly every flip is seen; a copy from elsewhere in a run of zeros changes nothing.
        let seen = positions(whole.len(), 60).filter(|at| {
            let mut bytes = whole.clone();
            bytes[*at] ^= 0x10;
            decode(codec, &bytes).is_err()
        });
        assert!(seen.count() >= 57, "{codec:?}");
    }
}

#[test]
fn gzip_trailers_are_verified_in_every_member() {
    let member = encode(Codec::Gzip, b"hello");
    for at in member.len() - 8..member.len() {
        let mut bytes = [member.clone(), member.clone()].concat();
        bytes[at] ^= 1;
        assert_damage(Codec::Gzip, &bytes, "first trailer");
        let mut bytes = [member.clone(), member.clone()].concat();
        bytes[member.len() + at] ^= 1;
        assert_damage(Codec::Gzip, &bytes, "second trailer");
    }
}

#[test]
fn snappy_needs_its_stream_identifier_and_no_skippable_chunks() {
    let whole = encode(Codec::Snappy, &sample());
    assert_damage(Codec::Snappy, &whole[10..], "no stream identifier");
    let mut bytes = whole;
    assert!(bytes[10] < 2);
    bytes[10] |= 0x80;
    assert_damage(Codec::Snappy, &bytes, "a data chunk turned into one that may be skipped");
}

#[test]
fn an_error_repeats() {
    for codec in compressed() {
        let whole = encode(codec, &sample());
        let mut reader = decoder(codec, io::Cursor::new(whole[..whole.len() - 3].to_vec()));
        let mut out = Vec::new();
        reader.read_to_end(&mut out).unwrap_err();
        reader.read(&mut [0; 16]).unwrap_err();
        reader.read(&mut [0; 16]).unwrap_err();
    }
}

#[test]
fn an_error_of_the_input_is_not_damage() {
    struct Broken(io::Cursor<Vec<u8>>);
    impl Read for Broken {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buf)? {
                0 => Err(io::Error::new(ErrorKind::ConnectionReset, "gone")),
                count => Ok(count),
            }
        }
    }
    for codec in Codec::ALL {
        for half in [0, 2] {
            let mut bytes = encode(codec, &sample());
            bytes.truncate(bytes.len() * half / 4);
            let mut out = Vec::new();
            let error =
                decoder(codec, Broken(io::Cursor::new(bytes))).read_to_end(&mut out).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{codec:?}");
        }
    }
}

#[test]
fn exact_sizes_and_bombs() {
    let bomb = vec![0; 8 << 20];
    for codec in Codec::ALL {
        let bytes = encode(codec, &bomb);
        assert_eq!(decode_exact(codec, bytes.as_slice(), 8 << 20).unwrap().len(), 8 << 20);
        let error = decode_exact(codec, bytes.as_slice(), 1 << 20).unwrap_err();
        assert!(matches!(error, ExactError::WrongSize { got: 0x0010_0001, .. }), "{error}");
        let error = decode_exact(codec, bytes.as_slice(), 9 << 20).unwrap_err();
        assert!(matches!(error, ExactError::WrongSize { got: 0x0080_0000, .. }), "{error}");
        decode_small(codec, &bytes, 1000).unwrap_err();
        assert_eq!(decode_small(codec, &encode(codec, b"abc"), 3).unwrap(), b"abc");
    }
    // The size is right but the trailer behind it is not.
    let mut bytes = encode(Codec::Gzip, &bomb);
    let last = bytes.len() - 6;
    bytes[last] ^= 1;
    let error = decode_exact(Codec::Gzip, bytes.as_slice(), 8 << 20).unwrap_err();
    assert!(matches!(error, ExactError::Stream(_)), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_end(codec in 0..7_usize, bytes: Vec<u8>) {
        let _ = decode(Codec::ALL[codec], &bytes);
    }

    #[test]
    fn mangled_streams_never_panic_or_lie(
        codec in 1..7_usize, at in 0..2000_usize, with: Vec<u8>, drop in 0..5_usize,
    ) {
        let content = sample()[150_000..190_000].to_vec();
        let codec = Codec::ALL[codec];
        let mut bytes = encode(codec, &content);
        let at = at % bytes.len();
        let end = (at + drop).min(bytes.len());
        bytes.splice(at..end, with);
        if let Ok(decoded) = decode(codec, &bytes) {
            // Whole members may be put in or cut off; what is inside them is sound.
            prop_assert!(decoded == content || decoded.is_empty() || codec == Codec::Snappy);
        }
    }
}

proptest! {
    /// However the input is cut, and wherever a part lies across a cut.
    #[test]
    fn parts_are_what_filling_gives(
        codec in 0..7_usize,
        length in 0..5000_usize,
        cut in 1..3000_usize,
        part in 1..2000_usize,
        expected in 0..6000_u64,
    ) {
        let codec = Codec::ALL[codec];
        let plain = &sample()[1000..1000 + length];
        let bytes = encode(codec, plain);
        let input = || io::BufReader::with_capacity(cut, bytes.as_slice());
        let filled = decode_exact(codec, input(), expected);
        let (mut exact, mut buffer) = (Exact::new(codec, input(), expected), vec![0; part]);
        let mut joined = Vec::new();
        loop {
            let next = exact.part(&mut buffer).unwrap();
            if next.is_empty() {
                break;
            }
            joined.extend_from_slice(next);
        }
        let end = exact.end().map(|()| joined);
        prop_assert_eq!(format!("{end:?}"), format!("{filled:?}"));
        prop_assert_eq!(end.is_ok(), expected == length as u64);
    }
}
