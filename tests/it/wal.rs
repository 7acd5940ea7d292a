//! The WAL reader against what real servers wrote: they tell where their records ended and when their
//! transactions did. `differential::waldump` has the majors that `pg_waldump` can be had of.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use pgassay::{
    demo::source::{Source, SourceSpec, run},
    pg::{
        Lsn, Major, SegmentNumber, SegmentSize, TimelineHistory, TimelineId,
        wal::{
            record::Record,
            scan::{ScanStart, ScanTarget, WalScan, WalSummary},
            tablespace::neutralise_tablespaces,
        },
    },
};

use super::support::{tools, workdir::WorkDir};

mod recovery;

/// A server that archives its WAL into a folder.
pub struct Server {
    pub work: WorkDir,
    source: Source,
    pub major: Major,
    pub size: SegmentSize,
    pub history: TimelineHistory,
    /// Where its last checkpoint before the first start begins: `initdb` archives nothing.
    first: Lsn,
}

impl Server {
    fn new(major: Major, megabytes: u32, settings: &[&str]) -> Self {
        let work = WorkDir::new();
        let archive = work.join("source/archive");
        let mut lines = vec![
            "archive_mode = on".to_owned(),
            format!("archive_command = 'cp %p {}/%f'", archive.display()),
            format!("restore_command = 'cp {}/%f %p'", archive.display()),
            "track_commit_timestamp = on".to_owned(),
            "max_prepared_transactions = 5".to_owned(),
            "autovacuum = off".to_owned(),
        ];
        lines.extend(settings.iter().map(|&line| line.to_owned()));
        fs::create_dir_all(&archive).unwrap();
        if let Some((user, group)) = tools::postgres_owner() {
            std::os::unix::fs::chown(&archive, Some(user), Some(group)).unwrap();
        }
        let source = Source::create(SourceSpec {
            bin_dir: tools::postgres_bin(major.number()),
            root: work.join("source"),
            owner: tools::postgres_owner(),
            superuser: "postgres".into(),
            initdb: vec![format!("--wal-segsize={megabytes}")],
            settings: lines,
            environment: Vec::new(),
        })
        .unwrap();
        let size = SegmentSize::new(megabytes << 20).unwrap();
        let history = TimelineHistory::root(TimelineId(1));
        let mut server = Self { work, source, major, size, history, first: Lsn::INVALID };
        server.first = server.lsn("select redo_lsn from pg_control_checkpoint()");
        server
    }

    /// Runs statements, each in a transaction of its own, in one session.
    fn sql(&self, statements: &[&str]) -> String {
        let psql = tools::postgres_bin(tools::packaged_major()).join("psql");
        let mut command = Command::new(psql);
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres"]);
        command.arg("-h").arg(self.source.socket_dir()).args(["-p", "5432"]);
        for statement in statements {
            command.args(["-c", statement]);
        }
        run(&mut command).unwrap_or_else(|e| panic!("{statements:?}: {e}")).trim().to_owned()
    }

    fn lsn(&self, statement: &str) -> Lsn {
        self.sql(&[statement]).parse().unwrap()
    }

    pub fn archive(&self) -> PathBuf {
        self.work.join("source/archive")
    }

    /// Closes the segment, waits for its arrival in the archive and gives the log's end.
    fn close_segment(&self) -> Lsn {
        let lsn = self.lsn("select pg_switch_wal()");
        let number = self.size.segment_before(lsn);
        let file = self.archive().join(number.file_name(self.history.timeline, self.size));
        let since = Instant::now();
        while fs::metadata(&file).map_or(0, |data| data.len()) < self.size.bytes() {
            assert!(since.elapsed() < Duration::from_mins(1), "{} never came", file.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        number.end(self.size)
    }

    /// What a life leaves in the log: each kind of transaction, large rows, indexes, files dropped.
    fn work(&self, round: u32) {
        self.sql(&[
            &format!("create table t{round} (id int primary key, body text, tags int[])"),
            &format!("create index on t{round} using gin (tags)"),
            &format!(
                "insert into t{round} select i, repeat(md5(i::text), i % 60), array[i % 7, i % 3]
                 from generate_series(1, 6000) i"
            ),
            "create table if not exists large (body text)",
            "alter table large alter body set storage external",
            "insert into large select string_agg(md5(i::text), '') from generate_series(1, 40000) i",
            &format!("update t{round} set body = 'short' where id % 3 = 0"),
            &format!(
                "begin; insert into t{round} values (-1); savepoint a; insert into t{round} values (-2);
                 rollback to a; insert into t{round} values (-3); savepoint b; insert into t{round} values (-4);
                 commit"
            ),
            &format!("begin; delete from t{round} where id < 0; rollback"),
            &format!("vacuum t{round}"),
            "checkpoint",
        ]);
    }

    /// A transaction that creates and drops a table, prepared and ended by another session.
    fn prepared(&self, end: &str) -> u32 {
        self.sql(&["create table if not exists doomed (i int primary key)"]);
        let xid = self.sql(&[
            "begin",
            "drop table doomed",
            "create table born (i int)",
            "savepoint a",
            "insert into born values (1)",
            "select pg_current_xact_id()",
            "prepare transaction 'p'",
        ]);
        self.sql(&[&format!("{end} prepared 'p'"), "drop table if exists born"]);
        xid.parse().unwrap()
    }

    /// Ends this timeline: recovers from the archive and is promoted to the next.
    fn promote(&mut self) {
        self.source.stop(true).unwrap();
        fs::write(self.source.data_dir().join("recovery.signal"), "").unwrap();
        self.source.start().unwrap();
        let since = Instant::now();
        let timeline = TimelineId(self.history.timeline.0 + 1);
        let file = self.archive().join(timeline.history_file_name());
        // The file is there before what is in it: PostgreSQL knows when it has been archived.
        let archived = format!("pg_wal/archive_status/{}.done", timeline.history_file_name());
        let archived = self.source.data_dir().join(archived);
        while self.sql(&["select pg_is_in_recovery()"]) == "t" || !archived.exists() {
            assert!(since.elapsed() < Duration::from_mins(1), "no promotion");
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = fs::read_to_string(file).unwrap();
        self.history = TimelineHistory::parse(timeline, &text).unwrap();
    }

    fn system_id(&self) -> u64 {
        self.sql(&["select system_identifier from pg_control_system()"]).parse().unwrap()
    }

    /// A scan from the server's first record.
    pub fn whole(&self) -> ScanStart {
        ScanStart {
            major: self.major,
            system_id: self.system_id(),
            segment_size: self.size,
            start: self.first,
            history: self.history.clone(),
            target: ScanTarget::Latest,
            exclusive: false,
            min_recovery_point: None,
        }
    }

    pub fn segment(&self, number: SegmentNumber) -> Option<(TimelineId, Vec<u8>)> {
        let timeline = self.history.timeline_of_segment(number, self.size);
        let file = self.archive().join(number.file_name(timeline, self.size));
        fs::read(file).ok().map(|bytes| (timeline, bytes))
    }

    pub fn scan_with(&self, start: ScanStart, mut visit: impl FnMut(&Record<'_>)) -> WalSummary {
        let mut number = self.size.segment_of(start.start);
        let mut scan = WalScan::new(start);
        while let Some((timeline, bytes)) = self.segment(number) {
            scan.segment_with(timeline, number, bytes.as_slice(), &mut visit);
            number = number.next();
        }
        scan.finish()
    }

    fn scan_to(&self, target: ScanTarget) -> WalSummary {
        let summary = self.scan_with(ScanStart { target, ..self.whole() }, |_| ());
        assert_eq!(summary.damage, None);
        assert!(summary.target_reached);
        summary
    }

    fn commit_time(&self, xid: u32) -> Timestamp {
        let query = format!(
            "select to_char(pg_xact_commit_timestamp('{xid}') at time zone 'UTC',
               'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        );
        self.sql(&[&query]).parse().unwrap()
    }
}

/// What every major must agree with its own server about.
pub fn agree(major: Major, megabytes: u32, settings: &[&str]) -> Server {
    let mut server = Server::new(major, megabytes, settings);
    server.work(1);
    let point = server.lsn("select pg_create_restore_point('half-way')");
    let (start_backup, stop_backup) = match major {
        Major::V14 => ("pg_start_backup('x', true, false)", "pg_stop_backup(false, false)"),
        _ => ("pg_backup_start('x', true)", "pg_backup_stop(false)"),
    };
    let backup = server.sql(&[
        &format!("select {start_backup}"),
        "create table during_backup (i int)",
        &format!("select lsn from {stop_backup}"),
    ]);
    let (backup_start, backup_end) = backup.split_once('\n').unwrap();
    let (backup_start, backup_end): (Lsn, Lsn) =
        (backup_start.parse().unwrap(), backup_end.parse().unwrap());
    let committed = server.prepared("commit");
    let aborted = server.prepared("rollback");
    let location = server.source.make_dir("elsewhere").unwrap();
    server.sql(&[
        &format!("create tablespace elsewhere location '{}'", location.display()),
        "alter system set max_connections = 150",
        "alter system set max_locks_per_transaction = 99",
    ]);
    server.source.stop(true).unwrap();
    server.source.start().unwrap();
    server.work(2);
    // A crash, and a segment closed by hand in the middle of the life.
    server.source.stop(false).unwrap();
    server.source.start().unwrap();
    server.close_segment();
    server.work(3);
    let last =
        server.sql(&["create table last (i int)", "select xid from pg_last_committed_xact()"]);
    let end = server.close_segment();

    let summary = server.scan_to(ScanTarget::Latest);
    assert_eq!((summary.end, summary.open_end), (end, None));
    assert_eq!(summary.end_timeline, Some(TimelineId(1)));
    let last: u32 = last.parse().unwrap();
    let commit = summary.last_commit.unwrap();
    assert_eq!((commit.xid, commit.at), (last, server.commit_time(last)));
    assert_eq!(summary.parameters.max_connections, 150);
    assert_eq!(summary.parameters.max_locks_per_transaction, 99);
    assert_eq!(summary.parameters.max_prepared_transactions, 5);
    assert_eq!((summary.minimal_wal_at, summary.tablespaces.len()), (None, 1));
    assert_eq!(summary.tablespaces[0].location, location.display().to_string());

    assert_eq!(server.scan_to(ScanTarget::Name("half-way".into())).end, point);
    let prepared = server.scan_to(ScanTarget::Xid(committed)).last_transaction.unwrap();
    assert_eq!((prepared.xid, prepared.committed), (committed, true));
    assert_eq!(prepared.at, server.commit_time(committed));
    let prepared = server.scan_to(ScanTarget::Xid(aborted)).last_transaction.unwrap();
    assert_eq!((prepared.xid, prepared.committed), (aborted, false));

    let immediate =
        ScanStart { start: backup_start, target: ScanTarget::Immediate, ..server.whole() };
    let summary = server.scan_with(immediate, |_| ());
    assert_eq!((summary.damage, summary.target_reached), (None, true));
    assert_eq!((summary.consistent_at, summary.end), (Some(backup_end), backup_end));

    neutralised(&server);
    server.promote();
    server.work(4);
    let end = server.close_segment();
    let summary = server.scan_to(ScanTarget::Latest);
    assert_eq!((summary.end, summary.end_timeline), (end, Some(TimelineId(2))));
    server
}

/// Serves the log as a restore would: the tablespace's location is gone, all else is as before.
fn neutralised(server: &Server) {
    let before = server.scan_to(ScanTarget::Latest);
    let mut number = server.size.segment_of(server.whole().start);
    let mut scan = WalScan::new(server.whole());
    while let Some((timeline, mut bytes)) = server.segment(number) {
        neutralise_tablespaces(&mut bytes, number, server.size, &before.patches);
        scan.segment(timeline, number, bytes.as_slice());
        number = number.next();
    }
    let after = scan.finish();
    assert_eq!((after.damage, after.records, after.end), (None, before.records, before.end));
    assert_eq!(after.tablespaces[0].location, "");
}

/// Damages small records of the real log, one after another.
fn every_damage_is_found(server: &Server) {
    let mut small = Vec::new();
    server.scan_with(server.whole(), |record| {
        if record.end.0 - record.start.0 == (record.length() as u64).next_multiple_of(8) {
            small.push((record.start, record.length() as u64));
        }
    });
    for (step, &(start, length)) in small.iter().step_by(small.len() / 50).enumerate() {
        let at = start.0 + (step as u64 * 7) % length;
        let number = server.size.segment_of(start);
        let from = ScanStart { start, ..server.whole() };
        let mut scan = WalScan::new(from);
        let (timeline, mut bytes) = server.segment(number).unwrap();
        bytes[(at - number.start(server.size).0) as usize] ^= 1 << (step % 8);
        scan.segment(timeline, number, bytes.as_slice());
        if let Some((timeline, bytes)) = server.segment(number.next()) {
            scan.segment(timeline, number.next(), bytes.as_slice());
        }
        let summary = scan.finish();
        // The first record's link to the one before cannot be checked but by its CRC.
        assert_eq!(summary.records, 0, "{start} {at:X}");
        assert_eq!(summary.damage.map(|damage| damage.segment), Some(number));
    }
}

#[test]
fn wal_of_14_agrees_with_its_server() {
    let server = agree(Major::V14, 1, &["wal_compression = on"]);
    every_damage_is_found(&server);
}

#[test]
fn wal_of_17_agrees_with_its_server() {
    agree(Major::V17, 1, &["wal_level = logical"]);
}
