//! `pg_controldata` and `ControlFile` on the same `pg_control`: as servers wrote it in every state, with
//! every field made up, and damaged.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use jiff::Timestamp;
use pgassay::{
    demo::source::{Source, SourceSpec},
    pg::{
        ControlFile, Lsn, Major,
        control::{CONTROL_FILE_SIZE, DbState},
    },
};

use super::Random;
use crate::support::{tools, workdir::WorkDir};

type Fields = BTreeMap<String, String>;

/// What `pg_controldata` prints, and whether it warned.
fn printed(client: u32, work: &WorkDir, bytes: &[u8]) -> Result<Fields, String> {
    let data = work.join("printed");
    fs::create_dir_all(data.join("global")).unwrap();
    fs::write(data.join("global/pg_control"), bytes).unwrap();
    let mut command = Command::new(tools::client_bin(client).join("pg_controldata"));
    let output = command.arg("-D").arg(&data).envs([("LC_ALL", "C"), ("TZ", "UTC")]).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() || text.contains("WARNING") || !said.is_empty() {
        return Err(text + &said);
    }
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    Ok(pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
}

/// `%c` in the C locale.
fn time(seconds: i64) -> String {
    let at = Timestamp::from_second(seconds).unwrap();
    at.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// All that is parsed, under the names and in the words of `pg_controldata`.
fn parsed(control: &ControlFile) -> Fields {
    let checkpoint = &control.checkpoint_copy;
    let on = |flag: bool| if flag { "on" } else { "off" }.to_owned();
    let xid = checkpoint.next_xid;
    let pairs = [
        ("pg_control version number", control.pg_control_version.to_string()),
        ("Catalog version number", control.catalog_version.to_string()),
        ("Database system identifier", control.system_identifier.to_string()),
        ("Database cluster state", control.state.to_string()),
        ("pg_control last modified", time(control.time)),
        ("Latest checkpoint location", control.checkpoint.to_string()),
        ("Latest checkpoint's REDO location", checkpoint.redo.to_string()),
        (
            "Latest checkpoint's REDO WAL file",
            control
                .wal_segment_size
                .segment_of(checkpoint.redo)
                .file_name(checkpoint.timeline, control.wal_segment_size),
        ),
        ("Latest checkpoint's TimeLineID", checkpoint.timeline.to_string()),
        ("Latest checkpoint's PrevTimeLineID", checkpoint.previous_timeline.to_string()),
        ("Latest checkpoint's full_page_writes", on(checkpoint.full_page_writes)),
        ("Latest checkpoint's NextXID", format!("{}:{}", xid >> 32, xid as u32)),
        ("Latest checkpoint's NextOID", checkpoint.next_oid.to_string()),
        ("Latest checkpoint's NextMultiXactId", checkpoint.next_multi.to_string()),
        ("Latest checkpoint's NextMultiOffset", checkpoint.next_multi_offset.to_string()),
        ("Latest checkpoint's oldestXID", checkpoint.oldest_xid.to_string()),
        ("Latest checkpoint's oldestXID's DB", checkpoint.oldest_xid_database.to_string()),
        ("Latest checkpoint's oldestActiveXID", checkpoint.oldest_active_xid.to_string()),
        ("Time of latest checkpoint", time(checkpoint.time)),
        ("Minimum recovery ending location", control.min_recovery_point.to_string()),
        ("Min recovery ending loc's timeline", control.min_recovery_timeline.to_string()),
        ("Backup start location", control.backup_start_point.to_string()),
        ("Backup end location", control.backup_end_point.to_string()),
        (
            "End-of-backup record required",
            if control.backup_end_required { "yes" } else { "no" }.to_owned(),
        ),
        ("wal_level setting", control.wal_level.to_string()),
        ("wal_log_hints setting", on(control.wal_log_hints)),
        ("max_connections setting", control.max_connections.to_string()),
        ("max_worker_processes setting", control.max_worker_processes.to_string()),
        ("max_wal_senders setting", control.max_wal_senders.to_string()),
        ("max_prepared_xacts setting", control.max_prepared_transactions.to_string()),
        ("max_locks_per_xact setting", control.max_locks_per_transaction.to_string()),
        ("track_commit_timestamp setting", on(control.track_commit_timestamp)),
        ("Maximum data alignment", control.max_align.to_string()),
        ("Database block size", control.block_size.to_string()),
        ("Blocks per segment of large relation", control.relation_segment_blocks.to_string()),
        ("WAL block size", control.wal_block_size.to_string()),
        ("Bytes per WAL segment", control.wal_segment_size.bytes().to_string()),
        ("Data page checksum version", control.data_checksum_version.to_string()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn same(client: u32, work: &WorkDir, bytes: &[u8]) -> ControlFile {
    let control = ControlFile::parse(bytes).unwrap();
    let theirs = printed(client, work, bytes).unwrap();
    for (key, ours) in parsed(&control) {
        assert_eq!(theirs.get(&key), Some(&ours), "{key}");
    }
    control
}

/// `pg_control` of a server in the states that it goes through.
fn written(major: Major, work: &WorkDir) -> Vec<(DbState, Vec<u8>)> {
    let mut source = Source::create(SourceSpec {
        bin_dir: tools::postgres_bin(major.number()),
        root: work.join("source"),
        owner: tools::postgres_owner(),
        superuser: "postgres".into(),
        initdb: vec!["--data-checksums".into(), "--wal-segsize=4".into()],
        settings: ["track_commit_timestamp = on", "max_prepared_transactions = 3"]
            .map(str::to_owned)
            .to_vec(),
        environment: Vec::new(),
    })
    .unwrap();
    let path = source.data_dir().join("global/pg_control");
    let read = |path: &Path| fs::read(path).unwrap();
    let mut files = vec![(DbState::Production, read(&path))];
    source.stop(true).unwrap();
    files.push((DbState::ShutDown, read(&path)));
    fs::write(source.data_dir().join("standby.signal"), "").unwrap();
    source.start().unwrap();
    files.push((DbState::ArchiveRecovery, read(&path)));
    source.stop(true).unwrap();
    files.push((DbState::ShutDownInRecovery, read(&path)));
    files
}

/// Where the CRC stands.
const fn crc_at(major: Major) -> usize {
    if matches!(major, Major::V18) { 292 } else { 288 }
}

/// A file with other values in nearly every field, and a right CRC.
fn made_up(major: Major, real: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = real.to_vec();
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &random.next().to_le_bytes());
    put(16, &(random.below(7) as u32).to_le_bytes());
    // Times from 1970 to 2106; `%c` says nothing of more.
    put(24, &i64::from(random.next() as u32).to_le_bytes());
    for at in [32, 40, 64, 136, 152, 160] {
        put(at, &random.next().to_le_bytes());
    }
    for at in [48, 52, 72, 76, 80, 84, 88, 120, 144, 252] {
        put(at, &(random.next() as u32).to_le_bytes());
    }
    // Settings are signed there.
    for at in [180, 184, 188, 192, 196] {
        put(at, &random.below(1 << 31).to_le_bytes()[..4]);
    }
    put(104, &i64::from(random.next() as u32).to_le_bytes());
    for at in [56, 168, 176, 200] {
        put(at, &[random.below(2) as u8]);
    }
    put(172, &(random.below(3) as u32).to_le_bytes());
    put(216, &(1024_u32 << random.below(6)).to_le_bytes());
    put(220, &(1 + random.below(1 << 20) as u32).to_le_bytes());
    put(224, &(1024_u32 << random.below(7)).to_le_bytes());
    put(228, &((1_u32 << 20) << random.below(11)).to_le_bytes());
    seal(major, &mut bytes);
    bytes
}

fn seal(major: Major, bytes: &mut [u8]) {
    let at = crc_at(major);
    let crc = crc32c::crc32c(&bytes[..at]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// `client` is the major of the program: nobody packages that of 14, but its file has 15's format.
fn agree(major: Major, client: u32) {
    let work = WorkDir::new();
    let files = written(major, &work);
    for (state, bytes) in &files {
        let control = same(client, &work, bytes);
        assert_eq!((control.state, control.major()), (*state, Some(major)));
        assert_eq!(control.data_checksum_version, 1);
        let recovers = matches!(state, DbState::ArchiveRecovery | DbState::ShutDownInRecovery);
        assert_eq!(control.min_recovery_point != Lsn::INVALID, recovers);
    }
    let real = &files[0].1;
    assert_eq!(real.len(), CONTROL_FILE_SIZE);
    for seed in 0..40 {
        same(client, &work, &made_up(major, real, &mut Random(seed)));
    }
    let verdicts = |bytes: &[u8], what: String| {
        let theirs = printed(client, &work, bytes);
        let ours = ControlFile::parse(bytes);
        assert_eq!(ours.is_err(), theirs.is_err(), "{what}: {ours:?}, {theirs:?}");
        ours.is_err()
    };
    // Behind the CRC nothing counts, within it everything does.
    let bits = (0..crc_at(major) + 4).step_by(5).chain([296, 300, 511, 4096, 8191]);
    for (index, at) in bits.enumerate() {
        let mut bytes = real.clone();
        bytes[at] ^= 1 << (index % 8);
        assert_eq!(verdicts(&bytes, format!("byte {at}")), at < crc_at(major) + 4);
    }
    for length in [0, 4, 100, 287, 291, 292, 295, 296, 300, 512, 8191, 8192] {
        assert_eq!(verdicts(&real[..length], format!("{length} bytes")), length < 296);
    }
}

#[test]
fn of_14_and_the_packaged_one() {
    let packaged = tools::packaged_major();
    agree(Major::from_number(packaged).unwrap(), packaged);
    // Where 15 or 16 is packaged, it reads the file of 14, too.
    agree(Major::V14, if packaged > 16 { 16 } else { packaged });
}

#[test]
fn of_16() {
    agree(Major::V16, 16);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn of_17() {
    agree(Major::V17, 17);
}

#[test]
fn of_18() {
    agree(Major::V18, 18);
}
