//! Answers the sandbox's `restore_command`. PostgreSQL takes 1 for the end of the archive and
//! promotes, whatever is missing; so 1 is only ever said of what is proven to be the end, and
//! everything unexpected ends recovery (`access/transam/xlogarchive.c`).

mod menu;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{MetadataExt, fchown},
            net::UnixListener as StdListener,
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Notify, watch},
    task::JoinHandle,
};

use self::menu::Answer;
use super::{
    activity::Activity,
    exec::WAL_FAILED,
    spool::{coming::Pace, reach::Reach},
};
use crate::{
    drill::{Code, Error, FailureClass},
    pg::{Lsn, SegmentNumber},
    telemetry::{Progress, progress::ProgressEvent},
};

/// Segments that stay in the spool behind the newest one asked for: the last are asked for again.
const KEPT: u64 = 3;

/// What happened so far.
#[derive(Debug, Default)]
struct State {
    first_asked: Option<Instant>,
    failure: Option<Error>,
}

pub use self::menu::Menu;

/// The server of the WAL helper's questions.
#[derive(Debug)]
pub struct WalServer {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    menu: Menu,
    reach: watch::Receiver<Reach>,
    pace: Pace,
    /// The last segment that was planned.
    planned: SegmentNumber,
    spool: PathBuf,
    data: PathBuf,
    owner: Option<(u32, u32)>,
    progress: Progress,
    activity: Arc<Activity>,
    keeps: bool,
    state: Mutex<State>,
    asked: Notify,
    /// Segments that were served and are in the spool.
    served: Mutex<BTreeSet<SegmentNumber>>,
}

/// Where things lie and who hears of them.
#[derive(Clone, Debug)]
pub struct WalServerSetup {
    pub menu: Menu,
    /// How far the spool has got, and may go.
    pub watched: (watch::Receiver<Reach>, Pace),
    /// The last segment that was planned.
    pub planned: SegmentNumber,
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
        let WalServerSetup { menu, watched, planned, run, spool, data, owner, .. } = setup;
        let (progress, activity, keeps) = (setup.progress, setup.activity, setup.keeps);
        let (reach, pace) = watched;
        let listener = listen(&run, owner).map_err(|error| {
            Error::new(
                Code::Sandbox,
                format!("cannot listen on `{}`: {error}", run.join("wal.sock").display()),
            )
            .class(FailureClass::InfraError)
        })?;
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared {
            menu,
            reach,
            pace,
            planned,
            spool,
            data,
            owner,
            progress,
            activity,
            keeps,
            state,
            asked: Notify::new(),
            served: Mutex::default(),
        });
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
            match self.reply(stream).await {
                Ok(Some(number)) => {
                    let own = Arc::clone(&self);
                    tokio::task::spawn_blocking(move || own.forget_behind(number));
                }
                Ok(None) => {}
                Err(error) => self.fail(format!("the WAL helper's connection broke: {error}")),
            }
        }
    }

    /// Gives the segment that was served.
    async fn reply(&self, mut stream: UnixStream) -> io::Result<Option<SegmentNumber>> {
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
        let (status, served) = self.decide(file, path).await;
        stream.write_all(status.to_string().as_bytes()).await?;
        stream.shutdown().await?;
        Ok(served)
    }

    /// Serves what is asked for and gives the helper's exit status, and the segment where it is one. Waits
    /// for what is on its way, for ever where it does not come: whoever learns why ends the server.
    async fn decide(&self, file: &str, path: &str) -> (u8, Option<SegmentNumber>) {
        self.activity.touch();
        let mut reach = self.reach.clone();
        let answer = loop {
            let answer = self.menu.answer(file, &reach.borrow_and_update());
            let Answer::Later(number) = answer else { break answer };
            self.note(number);
            if reach.changed().await.is_err() {
                return std::future::pending().await;
            }
        };
        let (placed, number) = match answer {
            Answer::End => {
                self.asked.notify_one();
                return (1, None);
            }
            Answer::Later(_) => return (WAL_FAILED, None),
            Answer::Refuse(why) => {
                self.fail(format!("PostgreSQL asked for `{file}`, and {why}"));
                return (WAL_FAILED, None);
            }
            Answer::History(text) => (self.place_text(path, text), None),
            Answer::Segment(number) => {
                self.note(number);
                (self.place_segment(file, path), Some(number))
            }
        };
        match placed {
            Ok(()) => (0, number),
            Err(error) => {
                self.fail(format!("cannot give PostgreSQL `{file}`: {error}"));
                (WAL_FAILED, None)
            }
        }
    }

    fn fail(&self, message: String) {
        let error = Error::new(Code::Sandbox, message).class(FailureClass::InfraError);
        self.state().failure.get_or_insert(error);
        self.asked.notify_one();
    }

    fn note(&self, number: SegmentNumber) {
        self.pace.at(number);
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
        let last = self.reach.borrow().end.map_or(self.planned, |end| end.last.unwrap_or(number));
        let end = last.end(size);
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

    /// Frees the spool of segments that are well behind `number` and have been served. The checkpoint's own
    /// segment is asked for before those that lead to it, so a larger number says nothing.
    ///
    /// What PostgreSQL still has in `pg_wal`, where it keeps everything from its restart point on, stays:
    /// another server may begin there. And whoever removes the last name of a file waits until its blocks
    /// are free, which shall not be PostgreSQL at the end of recovery.
    fn forget_behind(&self, number: SegmentNumber) {
        if self.keeps {
            return;
        }
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.insert(number);
        while let Some(oldest) = served.first().copied().filter(|n| n.0 + KEPT <= number.0) {
            let timeline = self.menu.history.timeline_of_segment(oldest, self.menu.size);
            let name = oldest.file_name(timeline, self.menu.size);
            let path = self.spool.join(&name);
            // A copy where the file system has no hard links.
            let is_kept = self.data.join("pg_wal").join(name).exists();
            if is_kept || std::fs::metadata(&path).is_ok_and(|file| file.nlink() > 1) {
                return;
            }
            let _ = std::fs::remove_file(path);
            served.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use super::{
        super::spool::coming::course,
        menu::tests::{all, menu},
    };
    use crate::pg::{SegmentSize, TimelineId};

    fn served(top: &Path) -> Shared {
        let (spool, data) = (top.join("wal"), top.join("data"));
        std::fs::create_dir_all(data.join("pg_wal")).unwrap();
        std::fs::create_dir(&spool).unwrap();
        for number in 3..=7 {
            let timeline = TimelineId(if number < 5 { 1 } else { 2 });
            let name = SegmentNumber(number).file_name(timeline, SegmentSize::DEFAULT);
            std::fs::write(spool.join(name), number.to_string()).unwrap();
        }
        let size = SegmentSize::DEFAULT;
        let (course, reach, pace) = course(SegmentNumber(3), size);
        course.tell(|reach| *reach = all());
        Shared {
            menu: menu(),
            reach,
            pace,
            planned: SegmentNumber(7),
            spool,
            data,
            owner: None,
            progress: Progress::silent(),
            activity: Arc::new(Activity::new()),
            keeps: false,
            state: Mutex::default(),
            asked: Notify::new(),
            served: Mutex::default(),
        }
    }

    #[tokio::test]
    async fn segments_are_placed_kept_for_a_second_question_and_freed_behind() {
        let top = tempfile::tempdir().unwrap();
        let server = served(top.path());
        let target = server.data.join("pg_wal/RECOVERYXLOG");
        let serve = async |file: &str| {
            let (status, number) = server.decide(file, "pg_wal/RECOVERYXLOG").await;
            if let Some(number) = number {
                server.forget_behind(number);
            }
            status
        };
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
            assert_eq!(serve(file).await, 0, "{file}");
            assert_eq!(std::fs::read_to_string(&target).unwrap(), content);
            if content == "4" {
                // PostgreSQL keeps this one.
                std::fs::rename(&target, server.data.join("pg_wal").join(file)).unwrap();
            }
        }
        let is_spooled = |file: &str| server.spool.join(file).exists();
        assert!(!is_spooled("000000010000000000000003"));
        assert!(is_spooled("000000010000000000000004"));
        std::fs::remove_file(server.data.join("pg_wal/000000010000000000000004")).unwrap();
        assert_eq!(serve("000000020000000000000007").await, 0);
        assert!(!is_spooled("000000010000000000000004"));
        assert!(is_spooled("000000020000000000000006"));
        assert_eq!(serve("000000020000000000000008").await, 1);
        assert_eq!(server.decide("00000002.history", "pg_wal/RECOVERYHISTORY").await.0, 0);
        assert!(server.state().failure.is_none());
    }

    #[tokio::test]
    async fn what_postgresql_keeps_as_a_copy_stays_in_the_spool() {
        let top = tempfile::tempdir().unwrap();
        let server = served(top.path());
        let first = "000000010000000000000003";
        let copy = server.data.join("pg_wal").join(first);
        std::fs::copy(server.spool.join(first), &copy).unwrap();
        for number in 3..=7 {
            server.forget_behind(SegmentNumber(number));
        }
        assert!(server.spool.join(first).exists());
        std::fs::remove_file(copy).unwrap();
        server.forget_behind(SegmentNumber(7));
        assert!(!server.spool.join(first).exists());
    }

    #[tokio::test]
    async fn only_files_in_pg_wal_are_written() {
        let top = tempfile::tempdir().unwrap();
        let server = served(top.path());
        for path in ["pg_wal/../x", "/tmp/x", "base/1", "pg_wal/", "pg_wal/a/b", "pg_wal/..", ""] {
            let (status, _) = server.decide("000000010000000000000003", path).await;
            assert_eq!(status, WAL_FAILED, "{path}");
            assert!(server.state().failure.take().is_some());
        }
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::remove_dir(server.data.join("pg_wal")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), server.data.join("pg_wal")).unwrap();
        assert_eq!(server.decide("000000010000000000000003", "pg_wal/X").await.0, WAL_FAILED);
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_segment_that_vanished_ends_recovery() {
        let top = tempfile::tempdir().unwrap();
        let server = served(top.path());
        std::fs::remove_file(server.spool.join("000000010000000000000004")).unwrap();
        assert_eq!(server.decide("000000010000000000000004", "pg_wal/X").await.0, WAL_FAILED);
        assert!(server.state().failure.is_some());
    }

    #[tokio::test]
    async fn a_question_waits_for_what_is_on_its_way() {
        let top = tempfile::tempdir().unwrap();
        let mut server = served(top.path());
        let (course, reach, pace) = course(SegmentNumber(3), SegmentSize::DEFAULT);
        (server.reach, server.pace) = (reach, pace);
        let mut question = std::pin::pin!(server.decide("000000010000000000000004", "pg_wal/X"));
        assert!(futures_util::poll!(&mut question).is_pending());
        assert!(server.state().first_asked.is_some());
        course.tell(|reach| reach.settled = SegmentNumber(4));
        assert!(futures_util::poll!(&mut question).is_pending());
        course.tell(|reach| reach.settled = SegmentNumber(5));
        assert_eq!(question.await, (0, Some(SegmentNumber(4))));
        // The end of the plan proves nothing before all is read.
        let mut question = std::pin::pin!(server.decide("000000020000000000000008", "pg_wal/X"));
        assert!(futures_util::poll!(&mut question).is_pending());
        course.tell(|reach| *reach = all());
        assert_eq!(question.await, (1, None));
        // Nobody says that it will not come but whoever knows why.
        course.tell(|reach| reach.end = None);
        let mut question = std::pin::pin!(server.decide("000000020000000000000008", "pg_wal/X"));
        assert!(futures_util::poll!(&mut question).is_pending());
        drop(course);
        assert!(futures_util::poll!(&mut question).is_pending());
    }
}
