//! Answers the sandbox's `restore_command`. PostgreSQL takes 1 for the end of the archive and
//! promotes, whatever is missing; so 1 is only ever said of what is proven to be the end, and
//! everything unexpected ends recovery (`access/transam/xlogarchive.c`).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::fchown, net::UnixListener as StdListener},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Notify,
    task::JoinHandle,
};

use super::{activity::Activity, exec::WAL_FAILED};
use crate::{
    drill::{Code, Error, FailureClass},
    pg::{Lsn, SegmentNumber, SegmentSize, TimelineHistory, WalFileName},
    telemetry::{Progress, progress::ProgressEvent},
};

/// Segments that stay in the spool behind the newest one asked for: the last are asked for again.
const KEPT: u64 = 3;

/// Everything that may be served.
#[derive(Clone, Debug)]
pub struct Menu {
    /// The timeline that recovery follows.
    pub history: TimelineHistory,
    /// Every history file of the listing, by name.
    pub histories: BTreeMap<String, String>,
    pub size: SegmentSize,
    pub first: SegmentNumber,
    /// The proven end; `None` where not one segment may be served.
    pub last: Option<SegmentNumber>,
}

/// What a question deserves.
#[derive(Debug, PartialEq, Eq)]
enum Answer<'a> {
    Segment(SegmentNumber),
    History(&'a str),
    /// A proven end: status 1.
    End,
    /// Nothing that should be asked for.
    Refuse(&'static str),
}

impl Menu {
    fn answer(&self, file: &str) -> Answer<'_> {
        let Ok(name) = file.parse::<WalFileName>() else {
            return Answer::Refuse("it is not the name of a WAL file");
        };
        let (timeline, log, seg) = match name {
            WalFileName::Segment { timeline, log, seg } => (timeline, log, seg),
            WalFileName::History { .. } => {
                return self.histories.get(file).map_or(Answer::End, |text| Answer::History(text));
            }
            WalFileName::Partial { .. } | WalFileName::BackupLabel { .. } => {
                return Answer::Refuse("PostgreSQL never asks for such a file");
            }
        };
        let Some(number) = WalFileName::number(log, seg, self.size) else {
            return Answer::Refuse("its number does not fit the segment size");
        };
        if self.last.is_none_or(|last| number > last) {
            Answer::End
        } else if self.history.timeline_of_segment(number, self.size) != timeline {
            // Replay must take this number from another timeline, and gets it there.
            Answer::End
        } else if number < self.first {
            Answer::Refuse("it lies before the backup's start")
        } else {
            Answer::Segment(number)
        }
    }
}

/// What happened so far.
#[derive(Debug, Default)]
struct State {
    first_asked: Option<Instant>,
    failure: Option<Error>,
    spooled_behind: Vec<SegmentNumber>,
}

/// The server of the WAL helper's questions.
#[derive(Debug)]
pub struct WalServer {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    menu: Menu,
    spool: PathBuf,
    data: PathBuf,
    owner: Option<(u32, u32)>,
    progress: Progress,
    activity: Arc<Activity>,
    keeps: bool,
    state: Mutex<State>,
    asked: Notify,
}

/// Where things lie and who hears of them.
#[derive(Clone, Debug)]
pub struct WalServerSetup {
    pub menu: Menu,
    /// Folder of the socket.
    pub run: PathBuf,
    pub spool: PathBuf,
    pub data: PathBuf,
    pub owner: Option<(u32, u32)>,
    pub progress: Progress,
    pub activity: Arc<Activity>,
    /// Whether segments that were served stay in the spool: a replay that is broken off asks for them
    /// again.
    pub keeps: bool,
}

impl WalServer {
    /// Listens on `wal.sock` in `run`.
    ///
    /// # Errors
    /// `Sandbox` where the socket cannot be made.
    pub fn start(setup: WalServerSetup) -> Result<Self, Error> {
        let WalServerSetup { menu, run, spool, data, owner, progress, activity, keeps } = setup;
        let listener = listen(&run, owner).map_err(|error| {
            Error::new(
                Code::Sandbox,
                format!("cannot listen on `{}`: {error}", run.join("wal.sock").display()),
            )
            .class(FailureClass::InfraError)
        })?;
        let state = Mutex::new(State::default());
        let asked = Notify::new();
        let shared =
            Arc::new(Shared { menu, spool, data, owner, progress, activity, keeps, state, asked });
        let task = tokio::spawn(Arc::clone(&shared).serve(listener));
        Ok(Self { shared, task })
    }

    /// When the first segment was asked for.
    #[must_use]
    pub fn first_asked(&self) -> Option<Instant> {
        self.shared.state().first_asked
    }

    /// What kept a question from being answered. Taken once.
    pub fn take_failure(&self) -> Option<Error> {
        self.shared.state().failure.take()
    }

    /// Waits for the next question.
    pub async fn asked(&self) {
        self.shared.asked.notified().await;
    }
}

impl Drop for WalServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A socket's path may be longer than an address takes, so it is made through the open folder.
fn listen(run: &Path, owner: Option<(u32, u32)>) -> io::Result<UnixListener> {
    let folder = File::open(run)?;
    let path = format!("/proc/self/fd/{}/wal.sock", folder.as_raw_fd());
    let listener = StdListener::bind(path)?;
    if let Some((uid, gid)) = owner {
        rustix::fs::chownat(
            &folder,
            "wal.sock",
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>, listener: UnixListener) {
        // PostgreSQL asks one question at a time.
        while let Ok((stream, _)) = listener.accept().await {
            if let Err(error) = self.reply(stream).await {
                self.fail(format!("the WAL helper's connection broke: {error}"));
            }
        }
    }

    async fn reply(&self, mut stream: UnixStream) -> io::Result<()> {
        let mut question = Vec::new();
        let mut buffer = [0; 256];
        while question.split(|byte| *byte == b'\n').count() < 3 {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => question.extend_from_slice(&buffer[..count]),
            }
            if question.len() > 4096 {
                break;
            }
        }
        let question = String::from_utf8_lossy(&question);
        let mut lines = question.lines();
        let (file, path) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let status = self.decide(file, path);
        stream.write_all(status.to_string().as_bytes()).await?;
        stream.shutdown().await
    }

    /// Serves what is asked for and gives the helper's exit status.
    fn decide(&self, file: &str, path: &str) -> u8 {
        self.activity.touch();
        let placed = match self.menu.answer(file) {
            Answer::End => {
                self.asked.notify_one();
                return 1;
            }
            Answer::Refuse(why) => {
                self.fail(format!("PostgreSQL asked for `{file}`, and {why}"));
                return WAL_FAILED;
            }
            Answer::History(text) => self.place_text(path, text),
            Answer::Segment(number) => {
                self.note(number);
                self.place_segment(file, path).map(|()| self.forget_behind(number))
            }
        };
        match placed {
            Ok(()) => 0,
            Err(error) => {
                self.fail(format!("cannot give PostgreSQL `{file}`: {error}"));
                WAL_FAILED
            }
        }
    }

    fn fail(&self, message: String) {
        let error = Error::new(Code::Sandbox, message).class(FailureClass::InfraError);
        self.state().failure.get_or_insert(error);
        self.asked.notify_one();
    }

    fn note(&self, number: SegmentNumber) {
        let size = self.menu.size;
        let mut state = self.state();
        let first = state.first_asked.is_none();
        state.first_asked.get_or_insert_with(Instant::now);
        drop(state);
        self.asked.notify_one();
        if first {
            // The stage of replay begins with it.
            return;
        }
        let end = self.menu.last.unwrap_or(self.menu.first).end(size);
        let (at, start): (Lsn, Lsn) = (number.start(size), self.menu.first.start(size));
        self.progress.emit(ProgressEvent::Replayed { at, start, end });
    }

    /// The open `pg_wal` and the name in it. The folder belongs to the unprivileged user, so nothing
    /// on the way may be a link.
    fn slot<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let refused = || io::Error::other(format!("`{path}` is not a file in pg_wal"));
        let name = path.strip_prefix("pg_wal/").ok_or_else(refused)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(refused());
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let data = rustix::fs::open(&self.data, flags, Mode::empty())?;
        let folder = rustix::fs::openat(&data, "pg_wal", flags, Mode::empty())?;
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok((folder, name)),
            Err(error) => Err(error.into()),
        }
    }

    fn place_segment(&self, file: &str, path: &str) -> io::Result<()> {
        let (folder, name) = self.slot(path)?;
        let spool = File::open(&self.spool)?;
        match rustix::fs::linkat(&spool, file, &folder, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::NOENT) => Err(io::ErrorKind::NotFound.into()),
            // Another file system, or one without links.
            Err(_) => {
                let mut from = File::open(self.spool.join(file))?;
                io::copy(&mut from, &mut self.create(&folder, name)?).map(|_| ())
            }
        }
    }

    fn place_text(&self, path: &str, text: &str) -> io::Result<()> {
        let (folder, name) = self.slot(path)?;
        self.create(&folder, name)?.write_all(text.as_bytes())
    }

    fn create(&self, folder: &OwnedFd, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(rustix::fs::openat(folder, name, flags | OFlags::CLOEXEC, mode)?);
        if let Some((uid, gid)) = self.owner {
            fchown(&file, Some(uid), Some(gid))?;
        }
        Ok(file)
    }

    /// Frees the spool of segments that are well behind and have been served. The checkpoint's own
    /// segment is asked for before those that lead to it, so a larger number says nothing.
    fn forget_behind(&self, number: SegmentNumber) {
        if self.keeps {
            return;
        }
        let mut state = self.state();
        if !state.spooled_behind.contains(&number) {
            state.spooled_behind.push(number);
        }
        let old: Vec<SegmentNumber> =
            state.spooled_behind.extract_if(.., |n| n.0 + KEPT <= number.0).collect();
        drop(state);
        for number in old {
            let timeline = self.menu.history.timeline_of_segment(number, self.menu.size);
            let name = number.file_name(timeline, self.menu.size);
            let _ = std::fs::remove_file(self.spool.join(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::TimelineId;

    fn menu() -> Menu {
        let text = "1\t0/5000100\tno reason\n";
        Menu {
            history: TimelineHistory::parse(TimelineId(2), text).unwrap(),
            histories: BTreeMap::from([("00000002.history".to_owned(), text.to_owned())]),
            size: SegmentSize::DEFAULT,
            first: SegmentNumber(3),
            last: Some(SegmentNumber(7)),
        }
    }

    #[test]
    fn one_is_said_only_of_a_proven_end() {
        let menu = menu();
        for (file, status) in [
            ("000000010000000000000003", "serve"),
            ("000000010000000000000004", "serve"),
            // The first segment of a timeline begins with its parent's bytes.
            ("000000020000000000000005", "serve"),
            ("000000010000000000000005", "end"),
            ("000000020000000000000004", "end"),
            ("000000020000000000000007", "serve"),
            ("000000020000000000000008", "end"),
            ("000000010000000000000008", "end"),
            ("000000010000000000000002", "refuse"),
            ("00000002.history", "serve"),
            ("00000003.history", "end"),
            ("00000001.history", "end"),
            ("000000010000000000000004.partial", "refuse"),
            ("0000000100000000000001FF", "refuse"),
            ("../../etc/passwd", "refuse"),
            ("", "refuse"),
        ] {
            let word = match menu.answer(file) {
                Answer::Segment(_) | Answer::History(_) => "serve",
                Answer::End => "end",
                Answer::Refuse(_) => "refuse",
            };
            assert_eq!(word, status, "{file}");
        }
    }

    fn served(top: &Path) -> Shared {
        let (spool, data) = (top.join("wal"), top.join("data"));
        std::fs::create_dir_all(data.join("pg_wal")).unwrap();
        std::fs::create_dir(&spool).unwrap();
        for number in 3..=7 {
            let timeline = TimelineId(if number < 5 { 1 } else { 2 });
            let name = SegmentNumber(number).file_name(timeline, SegmentSize::DEFAULT);
            std::fs::write(spool.join(name), number.to_string()).unwrap();
        }
        Shared {
            menu: menu(),
            spool,
            data,
            owner: None,
            progress: Progress::silent(),
            activity: Arc::new(Activity::new()),
            keeps: false,
            state: Mutex::default(),
            asked: Notify::new(),
        }
    }

    #[test]
    fn segments_are_placed_kept_for_a_second_question_and_freed_behind() {
        let top = tempfile::tempdir().unwrap();
        let server = served(top.path());
        let target = server.data.join("pg_wal/RECOVERYXLOG");
        // The checkpoint's segment comes first, then the redo point's.
        for (file, content) in [
            ("000000020000000000000006", "6"),
            ("000000010000000000000003", "3"),
            ("000000010000000000000004", "4"),
            ("000000020000000000000005", "5"),
            ("000000020000000000000006", "6"),
            ("000000020000000000000007", "7"),
            ("000000020000000000000007", "7"),
        ] {
            assert_eq!(server.decide(file, "pg_wal/RECOVERYXLOG"), 0, "{file}");
            assert_eq!(std::fs::read_to_string(&target).unwrap(), content);
        }
        assert!(!server.spool.join("000000010000000000000003").exists());
        assert!(server.spool.join("000000020000000000000006").exists());
        assert_eq!(server.decide("000000020000000000000008", "pg_wal/RECOVERYXLOG"), 1);
        assert_eq!(server.decide("00000002.history", "pg_wal/RECOVERYHISTORY"), 0);
        assert!(server.state().failure.is_none());
    }

    #[test]
    fn only_files_in_pg_wal_are_written() {
        let top = tempfile::tempdir().unwrap();
        let server = served(top.path());
        for path in ["pg_wal/../x", "/tmp/x", "base/1", "pg_wal/", "pg_wal/a/b", "pg_wal/..", ""] {
            let status = server.decide("000000010000000000000003", path);
            assert_eq!(status, WAL_FAILED, "{path}");
            assert!(server.state().failure.take().is_some());
        }
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::remove_dir(server.data.join("pg_wal")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), server.data.join("pg_wal")).unwrap();
        assert_eq!(server.decide("000000010000000000000003", "pg_wal/X"), WAL_FAILED);
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_segment_that_vanished_ends_recovery() {
        let top = tempfile::tempdir().unwrap();
        let server = served(top.path());
        std::fs::remove_file(server.spool.join("000000010000000000000004")).unwrap();
        assert_eq!(server.decide("000000010000000000000004", "pg_wal/X"), WAL_FAILED);
        assert!(server.state().failure.is_some());
    }
}
