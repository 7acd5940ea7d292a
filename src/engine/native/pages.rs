//! Bad pages of the base backup, judged before PostgreSQL starts: by the WAL in the spool and, where
//! that leaves something open, by the catalogs that were just unpacked.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_util::sync::CancellationToken;

use super::{activity::Activity, spool::interrupted};
use crate::{
    drill::{Code, DrillPlan, Error, plan::PlannedSegment},
    pg::{
        Lsn, SegmentNumber,
        wal::scan::{ScanStart, ScanStep, ScanTarget, WalScan},
    },
    restore::pages::{BackupWindow, CatalogLook, PageJudge, PageVerdict, Prints, Suspects},
};

/// Bytes of a catalog read at once.
const PIECE: usize = 256 * 1024;

/// Everything that the judgement reads.
#[derive(Debug)]
pub struct PageCase {
    pub plan: Arc<DrillPlan>,
    /// Where the backup's WAL begins.
    pub begin: Lsn,
    /// Where the backup ends, if it was taken from a standby.
    pub min_recovery_point: Option<Lsn>,
    /// The data directory, as it was unpacked.
    pub data: PathBuf,
    /// Folder of the spooled segments.
    pub wal: PathBuf,
    pub activity: Arc<Activity>,
    pub cancel: CancellationToken,
    /// Segments of the spool before this one may be read.
    pub end: SegmentNumber,
}

/// What the pages are.
#[derive(Debug)]
pub struct JudgedPages {
    pub verdict: PageVerdict,
    /// Which ones are bad.
    pub prints: Prints,
    /// More WAL would not change it.
    pub is_final: bool,
}

impl PageCase {
    /// Judges the pages that the unpacking threads suspect; reads WAL only where there are any.
    ///
    /// # Errors
    /// Where files of the sandbox cannot be read.
    pub async fn judged(self, suspects: Suspects) -> Result<JudgedPages, Error> {
        tokio::task::spawn_blocking(move || self.judge(suspects))
            .await
            .map_err(|error| Error::new(Code::Bug, format!("judging pages ended: {error}")))?
    }

    fn judge(&self, suspects: Suspects) -> Result<JudgedPages, Error> {
        if suspects.is_empty() {
            let verdict = PageVerdict::clean(suspects.checked, suspects.checksums);
            return Ok(JudgedPages { verdict, prints: Prints::default(), is_final: true });
        }
        let prints = suspects.prints();
        let min_recovery_point = self.min_recovery_point;
        let window = BackupWindow { major: self.plan.major, start: self.begin, min_recovery_point };
        let mut judge = PageJudge::new(suspects, window);
        self.replay(&mut judge, min_recovery_point)?;
        let is_final = judge.is_done();
        let mut judged = judge.finish();
        let mut look = judged.questions();
        if let Some(look) = &mut look {
            self.look(look)?;
        }
        Ok(JudgedPages { verdict: judged.verdict(look), prints, is_final })
    }

    /// Shows the judge every record of the spool.
    fn replay(&self, judge: &mut PageJudge, min_recovery_point: Option<Lsn>) -> Result<(), Error> {
        let plan = &self.plan;
        let mut scan = WalScan::new(ScanStart {
            major: plan.major,
            system_id: plan.system_id,
            segment_size: plan.segment_size,
            start: self.begin,
            history: plan.history.clone(),
            target: ScanTarget::Latest,
            exclusive: false,
            min_recovery_point,
        });
        let given = |segment: &PlannedSegment| segment.number < self.end;
        for segment in plan.wal.iter().filter(given) {
            if self.cancel.is_cancelled() {
                return Err(interrupted());
            }
            let name = segment.number.file_name(segment.timeline, plan.segment_size);
            let path = self.wal.join(name);
            let bytes = fs::read(&path)
                .map_err(|error| Error::io(format!("read `{}`", path.display()), &error))?;
            let step =
                scan.segment_with(segment.timeline, segment.number, bytes.as_slice(), |record| {
                    judge.record(record);
                });
            self.activity.touch();
            if step == ScanStep::Stop || judge.is_done() {
                break;
            }
        }
        Ok(())
    }

    /// Reads the catalogs that the second look wants.
    fn look(&self, look: &mut CatalogLook) -> Result<(), Error> {
        let mut buffer = vec![0; PIECE];
        loop {
            let wanted: Vec<String> = look.wanted().into_iter().map(str::to_owned).collect();
            if wanted.is_empty() {
                return Ok(());
            }
            for path in wanted {
                for segment in 0.. {
                    if self.cancel.is_cancelled() {
                        return Err(interrupted());
                    }
                    let part =
                        if segment == 0 { path.clone() } else { format!("{path}.{segment}") };
                    let whole = self.data.join(&part);
                    let failed =
                        |error: io::Error| Error::io(format!("read `{}`", whole.display()), &error);
                    let mut file = match open(&whole) {
                        Ok(file) => file,
                        Err(error) if error.kind() == ErrorKind::NotFound => break,
                        Err(error) => return Err(failed(error)),
                    };
                    let Some(mut taker) = look.file(&part) else { break };
                    loop {
                        match file.read(&mut buffer) {
                            Ok(0) => break,
                            Ok(count) => taker.data(&buffer[..count]),
                            Err(error) if error.kind() == ErrorKind::Interrupted => {}
                            Err(error) => return Err(failed(error)),
                        }
                    }
                    self.activity.touch();
                }
            }
            look.next_pass();
        }
    }
}

/// Never through a link.
fn open(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}
