//! What a run need not read since an earlier one has, and what does not fit into it.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    base::BaseRead,
    beginning::Judged,
    ledger::{
        Budget, Candidate, Day, Identity, KnownBackup, Ledger, PERIOD, SegmentId, Standing, choose,
        standing,
    },
    wal::{NotRead, Origin},
    wal_plan::WalPlan,
};
use crate::{
    archive::{Backup, Catalog, WalIndex},
    drill::{
        Code, Error,
        format::{bytes, counted, duration},
        holdings::BackupLine,
        verify_report::LedgerUse,
    },
    pg::{SegmentNumber, TimelineHistory, TimelineId},
};

/// The ledger that a run trusts and adds to, and what the run may take.
#[derive(Debug)]
pub struct Sparing<'a> {
    pub ledger: &'a mut Ledger,
    pub budget: Budget,
}

/// A backup that a restore would take, and the path of its recovery.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub backup: &'a Backup,
    pub line: Option<&'a BackupLine>,
    /// `None` where its description cannot be read.
    pub path: Option<TimelineHistory>,
}

/// How a backup comes into a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Read,
    /// Read before, and unchanged.
    Trust(KnownBackup),
    /// Nothing is known of it, and it does not fit.
    Left,
}

/// What is read in a run.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Of the subjects, in their order.
    pub turns: Vec<Turn>,
    pub wal: Arc<WalPlan>,
    pub used: LedgerUse,
    left: Left,
}

/// What the budget kept from being read.
#[derive(Debug, Default)]
struct Left {
    unread: u64,
    unread_bytes: u64,
    /// Read longer ago than the rotation allows.
    stale: u64,
    stale_bytes: u64,
    /// Ids and sizes of backups that alone are larger than the budget.
    too_large: Vec<(String, u64)>,
    /// Segments of which each alone is.
    too_large_wal: u64,
}

impl Subject<'_> {
    /// Of everything that its judgement rests on: its description, its tars, and its WAL to `until`.
    /// `None` where that cannot be told.
    fn identity(&self, wal: &WalIndex, until: SegmentNumber) -> Option<Identity> {
        let (info, path) = (self.backup.info.as_ref().ok()?, self.path.as_ref()?);
        let size = info.segment_size?;
        let first = size.segment_of(info.replay_start()?);
        let own = std::iter::once(self.backup.info_object.as_ref()?).chain(self.backup.objects());
        let window = (first.0..=until.0)
            .map(SegmentNumber)
            .map(|number| wal.segment(path.timeline_of_segment(number, size), number, size));
        Identity::of(own.cloned().map(Some).chain(window))
    }

    fn known(&self, wal: &WalIndex, ledger: &Ledger, now: Timestamp) -> Option<KnownBackup> {
        let known = ledger.backup(&self.backup.id)?;
        let same = self.identity(wal, SegmentNumber(known.until)) == Some(known.identity);
        (same && self.backup.obstacles(now).is_empty()).then(|| known.clone())
    }

    fn requests(&self) -> u64 {
        self.backup.objects().count() as u64
    }
}

impl Plan {
    /// Everything is read.
    pub(super) fn all(subjects: &[Subject<'_>]) -> Self {
        Self { turns: subjects.iter().map(|_| Turn::Read).collect(), ..Self::default() }
    }

    fn trust(&mut self, known: &KnownBackup, subject: &Subject<'_>) {
        self.used.trusted_backups += 1;
        let (objects, bytes) = (subject.requests(), subject.backup.total_bytes());
        trust(&mut self.used, Some(known.read), objects, bytes);
    }

    /// What of the WAL was not read.
    pub(super) fn passed(&mut self, wal: &NotRead) {
        let NotRead { trusted, trusted_bytes, oldest, left, left_bytes } = *wal;
        self.used.trusted_wal_segments = trusted;
        trust(&mut self.used, oldest, trusted, trusted_bytes);
        self.leave(left, left_bytes);
    }

    /// Nothing is known any more of these segments: the run reads them where it had passed over them.
    pub(super) fn doubt(
        &self,
        ledger: &mut Ledger,
        catalog: &Catalog,
        systems: &[Origin],
        segments: &[(TimelineId, SegmentNumber)],
    ) {
        let Some(system) = systems.first() else { return };
        for &(timeline, number) in segments {
            let object = catalog.wal.segment(timeline, number, system.segment_size);
            let rules = self.wal.rules(timeline);
            if let Some(id) = object.zip(rules).and_then(|(o, rules)| SegmentId::of(&o, rules)) {
                ledger.forget_segment(id);
            }
        }
    }

    /// What was to be read was not: the time is over.
    pub(super) fn leave(&mut self, objects: u64, bytes: u64) {
        self.left.unread += objects;
        self.left.unread_bytes += bytes;
    }

    /// One line on what is about to happen.
    pub(super) fn outlook(&self) -> String {
        let mut planned = self.used.clone();
        let (objects, bytes_known, oldest) = self.wal.trusted();
        trust(&mut planned, oldest, objects, bytes_known);
        let LedgerUse { estimate, trusted_objects, trusted_bytes, oldest_reading, .. } = &planned;
        let mut line =
            format!("{} ({}) to read", counted(estimate.objects, "object"), bytes(estimate.bytes));
        if let Some(seconds) = estimate.seconds {
            let _ = write!(line, ", about {}", duration(seconds));
        }
        if let Some(oldest) = oldest_reading {
            let _ = write!(
                line,
                "; {} ({}) known to be good, read on {oldest} or later",
                counted(*trusted_objects, "object"),
                bytes(*trusted_bytes)
            );
        }
        let left = self.left.unread + self.left.stale + self.wal.left().0;
        if left > 0 {
            let _ = write!(line, "; {} left out by the budget", counted(left, "object"));
        }
        line
    }

    /// What the budget left out, as errors: of these objects nothing is known, or nothing recent.
    pub(super) fn finish(mut self) -> (LedgerUse, Vec<Error>) {
        let left = &self.left;
        self.used.left_objects = left.unread + left.stale;
        self.used.left_bytes = left.unread_bytes + left.stale_bytes;
        let over = |what: String, hint: &str| Error::new(Code::OverBudget, what).hint(hint);
        let mut errors = Vec::new();
        let (nameless, nameless_bytes) = self.wal.left_nameless();
        if nameless > 0 {
            let (count, size) = (counted(nameless, "segment"), bytes(nameless_bytes));
            errors.push(over(
                format!(
                    "the budget left {count} ({size}) unread that no ledger can remember: entity tags, a \
                     timeline's history or a single database system are missing"
                ),
                "Raise the budget until it holds all of them: they are read in turns, and anew in \
                 each run.",
            ));
        }
        let unread = left.unread.saturating_sub(nameless);
        if unread > 0 {
            let rest = left.unread_bytes.saturating_sub(nameless_bytes);
            let (count, size) = (counted(unread, "object"), bytes(rest));
            errors.push(over(
                format!("the budget left {count} ({size}) unread, of which nothing is known yet"),
                "Run it again with the same `--ledger`: what was never read comes first.",
            ));
        }
        if left.stale > 0 {
            let (count, size) = (counted(left.stale, "object"), bytes(left.stale_bytes));
            errors.push(over(
                format!(
                    "{count} ({size}) were last read more than {PERIOD} days ago and did not fit \
                     into the budget"
                ),
                "Raise the budget: each day a seventh of the archive is to be read anew.",
            ));
        }
        if left.too_large_wal > 0 {
            let count = counted(left.too_large_wal, "segment");
            errors.push(over(
                format!("{count} of WAL: each alone is more than the budget has left beside what every run reads"),
                "Raise `--max-bytes`, `--max-requests` or `--max-minutes`: with this budget no run \
                 ever reads them.",
            ));
        }
        for (id, size) in &left.too_large {
            errors.push(over(
                format!("backup `{id}` ({}) alone is larger than the budget", bytes(*size)),
                "Raise `--max-bytes`, `--max-requests` or `--max-minutes`: with this budget no run \
                 ever reads it.",
            ));
        }
        (self.used, errors)
    }
}

fn trust(used: &mut LedgerUse, read: Option<Day>, objects: u64, bytes: u64) {
    used.trusted_objects += objects;
    used.trusted_bytes += bytes;
    // Dates in this form sort as texts.
    let dates = used.oldest_reading.take().into_iter().chain(read.map(Day::date));
    used.oldest_reading = dates.min();
}

impl Sparing<'_> {
    /// Decides what is read now. `spent` is the time since the run began.
    pub(super) fn plan(
        &mut self,
        subjects: &[Subject<'_>],
        catalog: &Catalog,
        systems: &[Origin],
        now: Timestamp,
        spent: Duration,
    ) -> Plan {
        let today = Day::of(now);
        let round = self.ledger.begin();
        self.ledger.keep_backups(|id| catalog.backup(id).is_some());
        let known: Vec<Option<KnownBackup>> =
            subjects.iter().map(|subject| subject.known(&catalog.wal, self.ledger, now)).collect();
        // The newest backup is what a restore would take: it comes first.
        let candidates = (0..subjects.len()).rev().zip(0_u32..).map(|(at, index)| {
            let (subject, known) = (&subjects[at], &known[at]);
            let id = &subject.backup.id;
            let standing = standing(group(id), known.as_ref().map(|k| k.read), today);
            let turn = self.ledger.turn(id).filter(|_| standing == Standing::Unread);
            let (standing, order) = match turn {
                None => (standing, index),
                Some(turn) => (round.standing(), round.of_backup(turn)),
            };
            let (bytes, requests) = (subject.backup.total_bytes(), subject.requests());
            Candidate { index, order, standing, bytes, requests }
        });
        let candidates: Vec<Candidate> = candidates.collect();
        let mut wal = WalPlan::new(self.ledger, systems, catalog, today);
        let first = subjects.len() as u32;
        let time = self.budget.time.map(|time| time.saturating_sub(spent));
        let budget = Budget { time, ..self.budget };
        let rate = self.ledger.rate();
        let (objects, bytes) = wal.volume();
        wal.divide(|more, asked| budget.holds(bytes + more, objects + asked, rate));
        let next = self.ledger.next();
        let all = candidates.iter().copied().chain(wal.candidates(first, round, next));
        let choice = choose(all, (bytes, objects), budget, rate);
        let of_wal = |indexes: &[u32]| -> Vec<u32> {
            indexes.iter().filter_map(|index| index.checked_sub(first)).collect()
        };
        let left = choice.left.iter().map(|left| left.index);
        let left: Vec<u32> = left.filter(|index| !choice.too_large.contains(index)).collect();
        self.ledger.goes_on(wal.first_of_round(of_wal(&left).into_iter(), next));
        wal.choose(of_wal(&choice.chosen).into_iter());

        let mut plan = Plan::default();
        plan.left.too_large_wal = wal.held(of_wal(&choice.too_large).into_iter());
        (plan.left.stale, plan.left.stale_bytes) = wal.stale();
        for (at, (subject, known)) in subjects.iter().zip(known).enumerate() {
            let candidate = candidates[subjects.len() - 1 - at];
            let too_large = choice.too_large.contains(&candidate.index);
            let turn = match known {
                _ if choice.chosen.contains(&candidate.index) => Turn::Read,
                Some(known)
                    if matches!(candidate.standing, Standing::Due(_) | Standing::Good(_)) =>
                {
                    if today.0 - known.read.0 > PERIOD {
                        plan.left.stale += candidate.requests;
                        plan.left.stale_bytes += candidate.bytes;
                    }
                    Turn::Trust(known)
                }
                _ => {
                    plan.leave(candidate.requests, candidate.bytes);
                    Turn::Left
                }
            };
            if let Turn::Trust(known) = &turn {
                plan.trust(known, subject);
            }
            if too_large {
                plan.left.too_large.push((subject.backup.id.clone(), candidate.bytes));
            }
            let estimate = &mut plan.used.estimate;
            if turn == Turn::Read {
                estimate.objects += candidate.requests;
                estimate.bytes += candidate.bytes;
            }
            plan.turns.push(turn);
        }
        let (objects, bytes) = wal.volume();
        let estimate = &mut plan.used.estimate;
        estimate.objects += objects;
        estimate.bytes += bytes;
        estimate.seconds = rate.map(|rate| rate.seconds(estimate.bytes, estimate.objects));
        plan.wal = Arc::new(wal);
        plan
    }

    /// Remembers a backup that was read, where it is good; else forgets it.
    pub(super) fn learn(
        &mut self,
        subject: &Subject<'_>,
        base: &BaseRead,
        catalog: &Catalog,
        now: Timestamp,
    ) {
        let id = &subject.backup.id;
        if let Some(known) = known(subject, base, &catalog.wal, now) {
            self.ledger.good_backup(id, known);
            return;
        }
        self.ledger.forget_backup(id);
        // What is damaged is to be said each time, and not only when its turn comes.
        if base.is_damaged() {
            self.ledger.comes_first(id);
        } else {
            self.ledger.had_turn(id);
        }
    }

    /// Remembers what the WAL shows of where a backup's label begins.
    pub(super) fn begins(&mut self, id: &str, judged: &Judged) {
        match judged {
            Judged::Sound => self.ledger.begins_well(id),
            // The next run asks again.
            Judged::Open => {}
            Judged::Damaged(_) | Judged::Doubtful => self.unlearn(id),
        }
    }

    /// Forgets a backup of which something else than its tars has shown that it is not good.
    pub(super) fn unlearn(&mut self, id: &str) {
        self.ledger.forget_backup(id);
        self.ledger.comes_first(id);
    }

    /// The time was over before a backup was read to its end.
    pub(super) fn broke_off(&mut self, subject: &Subject<'_>, base: &BaseRead) {
        let id = &subject.backup.id;
        if base.is_doubtful() {
            // An earlier run's word does not stand against what this one has seen, and what it has seen
            // has to be looked at once more.
            self.ledger.forget_backup(id);
            self.ledger.comes_first(id);
        } else {
            self.ledger.had_turn(id);
        }
    }
}

/// What is to be known of a backup from now on; `None` where it has to be read each time.
fn known(
    subject: &Subject<'_>,
    base: &BaseRead,
    wal: &WalIndex,
    now: Timestamp,
) -> Option<KnownBackup> {
    let info = subject.backup.info.as_ref().ok()?;
    let good = base.findings.is_empty() && base.errors.is_empty() && base.own_files.is_some();
    if !good || !subject.backup.obstacles(now).is_empty() {
        return None;
    }
    let end = info.segment_size?.segment_of(info.end_xlog?);
    let until = base.judged_to.map_or(end, |judged| judged.max(end));
    Some(KnownBackup {
        identity: subject.identity(wal, until)?,
        until: until.0,
        read: Day::of(now),
        files: base.files,
        pages: base.pages,
        torn_pages: base.torn_pages,
        own_end: base.own_end?,
        databases: base.databases.iter().copied().collect(),
        checkpoint: base.checkpoint,
        notes: base.notes.clone(),
    })
}

/// Spreads names over the days of the rotation.
fn group(name: &str) -> u64 {
    Identity::of_text(name).low()
}
