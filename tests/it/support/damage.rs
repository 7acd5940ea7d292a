//! Ways to damage a copy of the main fixture (`fixture::rich`).

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use pgassay::store::memory::MemoryStore;

use super::memory;

/// A segment in the middle of timeline 1.
pub const MIDDLE: &str = "000000010000000000000020";

/// The file of an object below the server's folder.
pub fn object(root: &Path, name: &str) -> PathBuf {
    root.join("bucket/archive/rich").join(name)
}

/// The file of a segment.
pub fn segment(root: &Path, name: &str) -> PathBuf {
    object(root, &format!("wals/{}/{name}.gz", &name[..16]))
}

/// The files of the segments of a folder of `wals/`, in order.
pub fn segments(root: &Path, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(object(root, &format!("wals/{folder}"))).unwrap();
    let mut segments: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    // A label of a backup stands beside the backup's first segment.
    segments.retain(|path| !path.to_string_lossy().contains(".backup"));
    segments.sort();
    segments
}

/// The folder of the only base backup.
pub fn backup_folder(root: &Path) -> PathBuf {
    fs::read_dir(object(root, "base")).unwrap().next().unwrap().unwrap().path()
}

/// What is in a file that was compressed with gzip.
pub fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Decompresses, changes and compresses again with the tools that anyone has.
pub fn rewrite_gz(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = unpacked(path);
    change(&mut bytes);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&bytes).unwrap();
    fs::write(path, gz.finish().unwrap()).unwrap();
}

/// Flips a bit inside a row's text, where nothing but the record's CRC can tell.
pub fn flip_row(bytes: &mut [u8], from: usize) {
    let hex = |window: &[u8]| window.iter().all(u8::is_ascii_hexdigit);
    let row = bytes[from..].windows(64).position(hex).unwrap();
    bytes[from + row + 32] ^= 0x01;
}

/// Flips a bit of the file, a third of the way into it.
pub fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let place = bytes.len() / 3;
    bytes[place] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Lets the WAL of a server, whose segments are plain, end inside a record. Gives the key of what is its
/// last segment then, and where in it the headers of that record's blocks begin.
pub fn end_inside_a_record(objects: &MemoryStore, server: &str) -> (String, u64) {
    let mut keys = memory::keys(objects, &format!("archive/{server}/wals/"));
    keys.retain(|key| key.rsplit('/').next().is_some_and(|name| name.len() == 24));
    let word =
        |bytes: &[u8], at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
    for last in (0..keys.len() - 1).rev() {
        let bytes = objects.bytes(&keys[last]).unwrap();
        // `xlp_rem_len` of the next segment, and `xl_tot_len` where it fits that in the last page.
        let left = word(&objects.bytes(&keys[last + 1]).unwrap(), 16);
        let mut starts = (bytes.len() - 8192 + 24..bytes.len() - 64).step_by(8);
        let start = starts.find(|at| left > 0 && word(&bytes, *at) == bytes.len() - at + left);
        if let Some(start) = start {
            for later in &keys[last + 1..] {
                assert!(objects.remove(later));
            }
            return (keys[last].clone(), start as u64 + 24);
        }
    }
    panic!("no segment of {server} ends inside a record")
}
