use std::{
    fs,
    io::{BufReader, Read},
    path::Path,
    process::Command,
};

use proptest::prelude::*;

use super::*;

/// A small tar writer, so that tests can also write what no tool would.
#[derive(Default)]
pub(crate) struct Builder(pub(crate) Vec<u8>);

impl Builder {
    pub(crate) fn header(mut self, name: &str, kind: u8, size: u64, link: &str) -> Self {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000600");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(b"14700000000");
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        self.0.extend_from_slice(&sealed(block));
        self
    }

    pub(crate) fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.header(name, b'0', data.len() as u64, "").data(data)
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.header(name, b'5', 0, "")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.header(name, b'2', 0, target)
    }

    fn pax(self, kind: u8, body: &[u8]) -> Self {
        self.header("././@PaxHeader", kind, body.len() as u64, "").data(body)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0.resize(self.0.len().next_multiple_of(10_240), 0);
        self.0
    }
}

fn sealed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

type Member = (Entry, Vec<u8>);

fn read_all(bytes: &[u8]) -> Result<Vec<Member>> {
    let mut reader = TarReader::new(bytes);
    let mut members = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        let mut buf = [0; 700];
        loop {
            match reader.read_data(&mut buf)? {
                0 => break,
                count => data.extend_from_slice(&buf[..count]),
            }
        }
        assert_eq!(data.len() as u64, entry.size);
        members.push((entry, data));
    }
    assert!(reader.next_entry()?.is_none());
    assert_eq!(reader.offset(), bytes.len() as u64);
    Ok(members)
}

fn damage(bytes: &[u8]) -> String {
    match read_all(bytes) {
        Err(TarError::Damage { what, .. }) => what,
        other => panic!("taken for sound: {other:?}"),
    }
}

fn sample() -> Vec<u8> {
    Builder::default()
        .file("PG_VERSION", b"15\n")
        .folder("base/")
        .file("base/1", &[7; 1024])
        .link("pg_tblspc/16384", "/elsewhere")
        .pax(b'x', b"30 mtime=1700000000.123456789\n")
        .file("global/pg_control", &[9; 8192])
        .end()
}

#[test]
fn members_come_back() {
    let members = read_all(&sample()).unwrap();
    let names: Vec<_> = members
        .iter()
        .map(|(entry, _)| String::from_utf8_lossy(&entry.path).into_owned())
        .collect();
    assert_eq!(names, ["PG_VERSION", "base/", "base/1", "pg_tblspc/16384", "global/pg_control"]);
    assert_eq!(members[2].1, [7; 1024]);
    assert_eq!(members[3].0.link, b"/elsewhere");
    assert_eq!(members[4].0.size, 8192);
    assert_eq!(read_all(&Builder::default().end()).unwrap(), []);
}

#[test]
fn data_at_hand_is_the_data() {
    let sample = sample();
    let expected: Vec<Vec<u8>> =
        read_all(&sample).unwrap().into_iter().map(|(_, data)| data).collect();
    for capacity in [1, 300, 512, 5000, 100_000] {
        let mut reader = TarReader::new(BufReader::with_capacity(capacity, &sample[..]));
        let mut found = Vec::new();
        while reader.next_entry().unwrap().is_some() {
            let mut data = Vec::new();
            loop {
                let piece = reader.data().unwrap();
                // Half of what is at hand: the rest must come again.
                let count = piece.len().div_ceil(2);
                data.extend_from_slice(&piece[..count]);
                reader.consume(count);
                if count == 0 {
                    break;
                }
            }
            found.push(data);
        }
        assert!(found == expected, "capacity {capacity}");
        assert_eq!(reader.offset(), sample.len() as u64);
    }
}

#[test]
fn data_at_hand_of_a_cut_member_is_damage() {
    let sample = sample();
    // Inside of the last member.
    let cut = sample.iter().rposition(|byte| *byte == 9).unwrap() - 100;
    let mut reader = TarReader::new(&sample[..cut]);
    let mut told = 0;
    while told == 0 {
        assert!(reader.next_entry().unwrap().is_some());
        loop {
            match reader.data().map(<[u8]>::len) {
                Ok(0) => break,
                Ok(count) => reader.consume(count),
                Err(TarError::Damage { what, .. }) => {
                    assert!(what.contains("ends 101 bytes early"), "{what}");
                    told += 1;
                    break;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    reader.next_entry().unwrap_err();
}

#[test]
fn data_that_is_not_read_is_read_over() {
    let sample = sample();
    let mut reader = TarReader::new(&sample[..]);
    let mut count = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut part = [0; 10];
        reader.read_data(&mut part[..entry.size.min(10) as usize]).unwrap();
        count += 1;
    }
    assert_eq!(count, 5);
}

#[test]
fn every_cut_is_damage() {
    let sample = sample();
    let end = sample.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(BLOCK);
    // Behind the two end blocks there is only padding.
    for cut in (0..end + 2 * BLOCK).step_by(7).chain([end, end + BLOCK, end + 2 * BLOCK - 1]) {
        damage(&sample[..cut]);
    }
    assert_eq!(read_all(&sample[..end + 2 * BLOCK]).unwrap().len(), 5);
    damage(&sample[..end + 2 * BLOCK + 100]);
}

#[test]
fn a_bad_header_in_the_middle_is_not_the_end() {
    let mut bytes = sample();
    // Zeroed: looks like an end block.
    bytes[1024..1536].fill(0);
    assert_eq!(damage(&bytes), "something follows the end of the archive");
    bytes[1536..2560].fill(0);
    assert_eq!(damage(&bytes), "something follows the end of the archive");
    // Overwritten with data.
    let mut bytes = sample();
    bytes[1024..1536].fill(0x55);
    assert!(damage(&bytes).contains("checksum"));
}

#[test]
fn every_bit_of_a_header_counts() {
    let sample = sample();
    let headers = [0, 1024, 1536, 3072, 3584, 4608];
    for header in headers {
        for bit in 0..BLOCK * 8 {
            let mut bytes = sample.clone();
            bytes[header + bit / 8] ^= 1 << (bit % 8);
            damage(&bytes);
        }
    }
    for bit in 0..512 * 8 {
        let mut bytes = sample.clone();
        bytes[512 + 3 + bit / 8 % 500] ^= 1 << (bit % 8);
        assert_eq!(damage(&bytes), "the padding behind a member is not zero");
    }
}

#[test]
fn claims_cost_no_memory() {
    for kind in [b'x', b'g', b'L', b'K'] {
        let bytes = Builder::default().header("x", kind, 0o77_777_777_777, "").end();
        assert!(damage(&bytes).contains("of 8589934591 bytes"));
    }
    let size = |field: &[u8; 12]| {
        let mut bytes = Builder::default().file("x", b"").end();
        let mut block: [u8; BLOCK] = bytes[..BLOCK].try_into().unwrap();
        block[124..136].copy_from_slice(field);
        bytes[..BLOCK].copy_from_slice(&sealed(block));
        damage(&bytes)
    };
    let largest = size(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    assert!(largest.ends_with("bytes early"), "{largest}");
    assert_eq!(
        size(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        format!("a size of {} bytes", u64::MAX)
    );
    assert!(size(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").contains("size field"));
    assert!(size(b"00000000018\0").contains("size field"));
    let long = format!("{} path={}\n", 70_000 + 12, "a".repeat(70_000));
    assert_eq!(
        damage(&Builder::default().pax(b'x', long.as_bytes()).end()),
        "a name of 70000 bytes"
    );
}

#[test]
fn pax_records_are_read_strictly() {
    let with = |body: &[u8]| Builder::default().pax(b'x', body).file("name", b"data").end();
    let path = |body: &[u8]| read_all(&with(body)).unwrap()[0].0.path.clone();
    assert_eq!(path(b"11 path=ab\n"), b"ab");
    assert_eq!(path(b"11 path=ab\n11 path=cd\n"), b"cd");
    assert_eq!(path(b"8 path=\n"), b"name");
    assert_eq!(path(b"12 path=a\nb\n"), b"a\nb");
    for bad in [
        &b"10 path=ab\n"[..],
        b"12 path=ab\n",
        b"11 path=abc",
        b"x path=ab\n",
        b"99999999 path=ab\n",
        b"0 path=ab\n",
        b"7 path\n",
        b"5 =a\n",
        b"11 size=-1\n",
    ] {
        damage(&with(bad));
    }
    let size = read_all(
        &Builder::default().pax(b'x', b"10 size=4\n").header("n", b'0', 0, "").data(b"data").end(),
    );
    assert_eq!(size.unwrap()[0].1, b"data");
    let global = Builder::default()
        .pax(b'g', b"15 linkpath=far\n")
        .link("a", "near")
        .link("b", "near")
        .end();
    assert!(read_all(&global).is_err(), "the length is wrong");
    let global = Builder::default()
        .pax(b'g', b"16 linkpath=far\n")
        .link("a", "near")
        .link("b", "near")
        .end();
    assert!(read_all(&global).unwrap().iter().all(|(entry, _)| entry.link == b"far"));
    let alone = Builder::default().pax(b'x', b"11 path=ab\n").end();
    assert_eq!(damage(&alone), "an extended header has no member behind it");
    assert!(damage(&with(b"22 GNU.sparse.major=1\n")).contains("sparse"));
}

#[test]
fn odd_members() {
    assert!(
        damage(&Builder::default().header("x", b'S', 0, "").end()).contains("unknown type `S`")
    );
    assert!(
        damage(&Builder::default().header("x", b'2', 5, "y").data(b"12345").end())
            .contains("Symlink")
    );
    let old =
        read_all(&Builder::default().header("folder/", 0, 0, "").header("file", 0, 0, "").end());
    let kinds: Vec<_> = old.unwrap().iter().map(|(entry, _)| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Directory, EntryKind::File]);
}

#[test]
fn an_error_of_the_input_is_not_damage() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(ErrorKind::BrokenPipe, "gone"))
        }
    }
    let sample = sample();
    for at in [0, 100, 512, 700, 3000, 9000] {
        let mut reader = TarReader::new(sample[..at].chain(BufReader::new(Broken)));
        let error = loop {
            match reader.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("an end"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, TarError::Input(_)), "{error:?}");
        reader.next_entry().unwrap_err();
        reader.read_data(&mut [0; 10]).unwrap_err();
    }
}

/// A folder with everything that a name can be.
fn tree(root: &Path) {
    let long = "long-folder-name/".repeat(12);
    for folder in ["base/5", "empty", &long, "pg_tblspc", "ä"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let deep = format!("{long}{}", "x".repeat(180));
    for (name, size) in [
        ("PG_VERSION", 3),
        ("base/5/1259", 16_384),
        ("base/5/1260", 513),
        ("base/5/1261", 512),
        ("empty-file", 0),
        ("ä/ö with space", 17),
        (deep.as_str(), 2000),
    ] {
        let data: Vec<u8> = (0..size).map(|i: u32| (i * 31 + size) as u8).collect();
        fs::write(root.join(name), data).unwrap();
    }
    std::os::unix::fs::symlink("/elsewhere", root.join("pg_tblspc/16384")).unwrap();
    std::os::unix::fs::symlink(format!("/{deep}"), root.join("long-link")).unwrap();
    fs::hard_link(root.join("PG_VERSION"), root.join("same")).unwrap();
}

fn compare(archive: &Path, root: &Path) {
    let members = read_all(&fs::read(archive).unwrap()).unwrap();
    let mut files = 0;
    for (entry, data) in &members {
        let name = String::from_utf8(entry.path.clone()).unwrap();
        let path = root.join(name.trim_start_matches("./"));
        match entry.kind {
            EntryKind::File => {
                assert!(fs::read(&path).unwrap() == *data, "{name}");
                files += 1;
            }
            EntryKind::Directory => assert!(path.is_dir(), "{name}"),
            EntryKind::Symlink => {
                let link = String::from_utf8(entry.link.clone()).unwrap();
                assert_eq!(fs::read_link(&path).unwrap().to_str().unwrap(), link);
            }
            EntryKind::Hardlink => files += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(files, 8);
    let links = members.iter().filter(|(entry, _)| entry.kind == EntryKind::Symlink);
    assert_eq!(links.count(), 2);
}

#[test]
fn archives_of_gnu_tar_and_python_read_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    tree(&root);
    let archive = folder.path().join("x.tar");
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).arg(&archive).current_dir(&root);
        let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        compare(&archive, &root);
        fs::remove_file(&archive).unwrap();
    };
    for format in ["gnu", "pax", "oldgnu"] {
        run("tar", &[&format!("--format={format}"), "-c", ".", "-f"]);
    }
    for format in ["GNU_FORMAT", "PAX_FORMAT"] {
        let script = format!(
            "import sys, tarfile\n\
             with tarfile.open(sys.argv[1], 'w|', format=tarfile.{format}) as out: out.add('.')"
        );
        run("python3", &["-c", &script]);
    }
}

proptest! {
    #[test]
    fn any_bytes_end(bytes: Vec<u8>) {
        let _ = read_all(&bytes);
    }

    #[test]
    fn mangled_archives_end(
        at in 0..14_000_usize, with: Vec<u8>, drop in 0..3000_usize, reseal: bool,
    ) {
        let mut bytes = sample();
        let at = at % bytes.len();
        let end = (at + drop).min(bytes.len());
        bytes.splice(at..end, with);
        if reseal {
            // A wrong header with a right checksum.
            for block in bytes.chunks_exact_mut(BLOCK) {
                let array: [u8; BLOCK] = (&*block).try_into().unwrap();
                if array[257..262] == *b"ustar" {
                    block.copy_from_slice(&sealed(array));
                }
            }
        }
        let _ = read_all(&bytes);
    }

    #[test]
    fn what_is_written_comes_back(
        files in prop::collection::vec(("[a-z/]{1,90}", prop::collection::vec(any::<u8>(), 0..2000)), 0..6)
    ) {
        let archive = files.iter().fold(Builder::default(), |tar, (name, data)| tar.file(name, data));
        let members = read_all(&archive.end()).unwrap();
        prop_assert_eq!(members.len(), files.len());
        for ((entry, data), (name, written)) in members.iter().zip(&files) {
            prop_assert_eq!(&entry.path, name.as_bytes());
            prop_assert_eq!(data, written);
        }
    }
}
