//! Where real recovery ends, against where the scan says that it will.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pgassay::{
    demo::source::run,
    pg::{
        Lsn, Major, TimelineHistory, TimelineId,
        wal::{
            scan::{ScanStart, ScanTarget, WalSummary},
            tablespace::neutralise_tablespaces,
        },
    },
};

use super::Server;
use crate::support::tools;

/// A base backup of a server that lives on, and the moments after it.
struct Story {
    server: Server,
    base: PathBuf,
    start: Lsn,
    location: PathBuf,
    before_consistency: u32,
    xid: u32,
    aborted: u32,
    point: Lsn,
}

fn chown(path: &Path) {
    if let Some((user, group)) = tools::postgres_owner() {
        run(Command::new("chown").arg("-R").arg(format!("{user}:{group}")).arg(path)).unwrap();
    }
}

impl Story {
    fn new(major: Major) -> Self {
        let server = Server::new(major, 1, &["wal_keep_size = '1GB'"]);
        server.work(1);
        let (start, stop) = match major {
            Major::V14 => ("pg_start_backup('x', true, false)", "pg_stop_backup(false)"),
            _ => ("pg_backup_start('x', true)", "pg_backup_stop()"),
        };
        let base = server.work.join("base");
        let copy = format!("\\! cp -a {} {}", server.source.data_dir().display(), base.display());
        let text = server.sql(&[
            &format!("select {start}"),
            &copy,
            "create table early (i int)",
            "insert into early values (1) returning pg_current_xact_id()",
            &format!("select labelfile from {stop}"),
        ]);
        let mut lines = text.lines();
        let start = lines.next().unwrap().parse().unwrap();
        let before_consistency = lines.next().unwrap().parse().unwrap();
        let label: String = lines.flat_map(|line| [line, "\n"]).collect();
        fs::write(base.join("backup_label"), label).unwrap();
        fs::remove_file(base.join("postmaster.pid")).unwrap();
        server.work(2);
        let location = server.source.make_dir("elsewhere").unwrap();
        server.sql(&[&format!("create tablespace elsewhere location '{}'", location.display())]);
        server.sql(&[
            "create table placed (i int) tablespace elsewhere",
            "insert into placed values (1)",
        ]);
        let xid = server.prepared("commit");
        let point = server.lsn("select pg_create_restore_point('here')");
        let aborted = server.prepared("rollback");
        server.work(3);
        server.close_segment();
        Self { server, base, start, location, before_consistency, xid, aborted, point }
    }

    fn scan(&self, target: ScanTarget, exclusive: bool) -> WalSummary {
        let start = ScanStart { start: self.start, target, exclusive, ..self.server.whole() };
        let summary = self.server.scan_with(start, |_| ());
        assert_eq!(summary.damage, None);
        summary
    }

    /// The archive as a restore would serve it, with the tablespace's location emptied.
    fn serve(&self) -> PathBuf {
        let served = self.server.work.join("served");
        fs::create_dir_all(&served).unwrap();
        let patches = self.scan(ScanTarget::Latest, false).patches;
        assert_eq!(patches.len(), 5);
        let mut number = self.server.size.segment_of(self.start);
        while let Some((timeline, mut bytes)) = self.server.segment(number) {
            neutralise_tablespaces(&mut bytes, number, self.server.size, &patches);
            let name = number.file_name(timeline, self.server.size);
            fs::write(served.join(name), bytes).unwrap();
            number = number.next();
        }
        chown(&served);
        served
    }

    /// Recovers with these settings and gives the switch point of the new timeline, or the log.
    fn recover(&self, served: &Path, settings: &str) -> Result<(Lsn, PathBuf), String> {
        let data = self.server.work.join("recovered");
        let _ = fs::remove_dir_all(&data);
        run(Command::new("cp").arg("-a").arg(&self.base).arg(&data)).unwrap();
        let _ = fs::remove_dir_all(data.join("pg_wal"));
        fs::create_dir_all(data.join("pg_wal/archive_status")).unwrap();
        fs::write(data.join("recovery.signal"), "").unwrap();
        let conf = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\narchive_mode = off\nfsync = off\n\
             restore_command = 'cp {}/%f %p'\nhot_standby = off\nrecovery_target_action = promote\n\
             allow_in_place_tablespaces = on\nmax_prepared_transactions = 5\n\
             track_commit_timestamp = on\nlogging_collector = off\n{settings}\n",
            data.display(),
            served.display(),
        );
        fs::write(data.join("postgresql.conf"), conf).unwrap();
        fs::write(data.join("postgresql.auto.conf"), "").unwrap();
        chown(&data);
        let log = self.server.work.join("recovery.log");
        let mut postgres =
            Command::new(tools::postgres_bin(self.server.major.number()).join("postgres"));
        postgres.arg("-D").arg(&data).env("LC_ALL", "C").stdin(Stdio::null());
        postgres.stderr(fs::File::create(&log).unwrap()).stdout(Stdio::null());
        if let Some((user, group)) = tools::postgres_owner() {
            postgres.uid(user).gid(group);
        }
        let mut child = Stopped(postgres.spawn().unwrap());
        let text = || fs::read_to_string(&log).unwrap();
        let since = Instant::now();
        while !text().contains("database system is ready to accept connections") {
            if child.0.try_wait().unwrap().is_some() {
                return Err(text());
            }
            assert!(since.elapsed() < Duration::from_mins(1), "no end: {}", text());
            std::thread::sleep(Duration::from_millis(20));
        }
        let history = fs::read_to_string(data.join("pg_wal/00000002.history")).unwrap();
        let history = TimelineHistory::parse(TimelineId(2), &history).unwrap();
        Ok((history.ancestors[0].switch, data))
    }

    fn agrees(&self, served: &Path, target: ScanTarget, exclusive: bool, setting: &str) {
        let summary = self.scan(target, exclusive);
        assert!(summary.target_reached && summary.consistent_at.is_some(), "{setting}");
        let settings = format!("{setting}\nrecovery_target_inclusive = {}", !exclusive);
        let (switch, _) = self.recover(served, &settings).unwrap_or_else(|log| panic!("{log}"));
        assert_eq!(summary.end, switch, "{settings}");
    }
}

/// A server that is stopped when dropped.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        let _ = self.0.wait();
    }
}

fn ends_where_the_scan_says(major: Major) {
    let story = Story::new(major);
    let served = story.serve();
    let location = format!("{:?}", fs::metadata(&story.location).unwrap());
    let latest = story.scan(ScanTarget::Latest, false);
    let (switch, data) = story.recover(&served, "").unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(latest.end, switch);
    // Replay made the tablespace inside the data directory and left its location alone.
    let inside = data.join("pg_tblspc").join(latest.tablespaces[0].oid.to_string());
    assert!(inside.symlink_metadata().unwrap().is_dir());
    assert_eq!(location, format!("{:?}", fs::metadata(&story.location).unwrap()));

    let agrees =
        |target, exclusive, setting: &str| story.agrees(&served, target, exclusive, setting);
    agrees(ScanTarget::Immediate, false, "recovery_target = immediate");
    agrees(ScanTarget::Name("here".into()), false, "recovery_target_name = here");
    for exclusive in [false, true] {
        let Story { xid, aborted, point, .. } = story;
        agrees(ScanTarget::Xid(xid), exclusive, &format!("recovery_target_xid = {xid}"));
        agrees(ScanTarget::Xid(aborted), exclusive, &format!("recovery_target_xid = {aborted}"));
        agrees(ScanTarget::Lsn(point), exclusive, &format!("recovery_target_lsn = '{point}'"));
        let time = story.server.commit_time(xid);
        let setting = format!("recovery_target_time = '{}'", time.to_string().replace('Z', "+00"));
        agrees(ScanTarget::Time(time), exclusive, &setting);
    }

    // What the scan calls unreachable or too early, PostgreSQL refuses.
    let refused = |setting: String| story.recover(&served, &setting).unwrap_err();
    let early = story.scan(ScanTarget::Xid(story.before_consistency), false);
    assert_eq!((early.target_reached, early.consistent_at), (true, None));
    let log = refused(format!("recovery_target_xid = {}", story.before_consistency));
    assert!(log.contains("before consistent recovery point"), "{log}");
    let last = latest.last_transaction.unwrap().at;
    assert!(!story.scan(ScanTarget::Time(last), false).target_reached);
    let setting = format!("recovery_target_time = '{}'", last.to_string().replace('Z', "+00"));
    let log = refused(setting);
    assert!(log.contains("before configured recovery target was reached"), "{log}");
}

#[test]
fn recovery_of_14_ends_where_the_scan_says() {
    ends_where_the_scan_says(Major::V14);
}

#[test]
fn recovery_of_15_ends_where_the_scan_says() {
    ends_where_the_scan_says(Major::V15);
}

#[test]
fn recovery_of_18_ends_where_the_scan_says() {
    ends_where_the_scan_says(Major::V18);
}
