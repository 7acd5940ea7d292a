//! The loop: what the agenda says is done, and what happens is told to it.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    LOOK, Settings, TEARDOWN,
    backups::{self, Appeared},
    board::{Board, Declined, NextSlot, Order, Ordered, Shown, ShownJob},
    folder::JobFolder,
    running::{Over, Running},
    state::{KnownSince, RunningDrill, Settled, State},
    warn,
};
use crate::{
    drill::{Error, Job, report::DrillCause},
    runner::{self, Beginning, DrillRequest, Obituary},
    schedule::agenda::{Agenda, Cause, Entry, MissedRun, Start, Turn},
    telemetry::{Progress, live::Live},
};

/// A service that runs.
#[derive(Debug)]
pub struct Work {
    settings: Settings,
    state: State,
    folder: JobFolder,
    agenda: Agenda,
    jobs: BTreeMap<String, Arc<Job>>,
    /// As it is on disk.
    settled: Settled,
    /// As it is on disk; it has every job.
    known_since: KnownSince,
    started_at: Timestamp,
    running: Running,
    /// Jobs that drill after a new backup, for whoever looks for one.
    watched: watch::Sender<Vec<Arc<Job>>>,
    appeared: mpsc::Receiver<Appeared>,
    board: Board,
}

impl Work {
    /// Takes the state and reads the jobs.
    ///
    /// # Errors
    /// `ServiceState`, and `JobUnreadable` where the folder of jobs is not there.
    pub fn start(settings: Settings, board: Board) -> Result<Self, Error> {
        let state = State::open(&settings.state)?;
        let agenda = Agenda::new(settings.budgets, settings.seed);
        let (watched, jobs) = watch::channel(Vec::new());
        let (sender, appeared) = mpsc::channel(16);
        tokio::spawn(backups::ask(jobs, sender));
        let mut work = Self {
            folder: JobFolder::new(settings.jobs.clone()),
            settled: state.settled(),
            known_since: state.known_since(),
            started_at: Timestamp::now(),
            agenda,
            jobs: BTreeMap::new(),
            running: Running::default(),
            watched,
            appeared,
            board,
            state,
            settings,
        };
        work.look_at_jobs()?;
        work.show(false);
        tracing::info!("{} jobs in `{}`", work.jobs.len(), work.settings.jobs.display());
        Ok(work)
    }

    /// Until somebody stops it.
    pub async fn go_on(&mut self, cancel: &CancellationToken) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        {
            let killed = self.report_killed();
            tokio::pin!(killed);
            loop {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    told = &mut killed => {
                        if let Err(error) = told {
                            warn(&error);
                        }
                        break;
                    }
                    // A store may take its time; whoever looks sees that it goes on.
                    _ = look.tick() => self.show(false),
                }
            }
        }
        loop {
            self.take_turn();
            self.show(false);
            let until_wake = self.agenda.wake().map(|at| {
                let left = at.duration_since(Timestamp::now());
                std::time::Duration::try_from(left).unwrap_or_default()
            });
            let wake = async {
                match until_wake {
                    // Clocks may be set: never longer than one look.
                    Some(left) => tokio::time::sleep(left.min(LOOK)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                over = self.running.over() => self.over(over),
                _ = look.tick() => {
                    if let Err(error) = self.look_at_jobs() {
                        warn(&error);
                    }
                }
                Some(new) = self.appeared.recv() => {
                    tracing::info!("job `{}`: a backup ended at {}", new.job, new.ended_at);
                    self.agenda.backup_appeared(&new.job, new.ended_at, Timestamp::now());
                }
                Some(order) = self.board.orders.recv() => self.take_order(order),
                () = wake => {}
            }
        }
    }

    /// Somebody asks for a drill.
    fn take_order(&mut self, Order { job, answer }: Order) {
        let asked = self.agenda.ask(&job, Timestamp::now());
        let told = asked.map_err(Declined::NotAsked).map(|()| {
            tracing::info!("somebody asked for a drill of job `{job}`");
            self.take_turn();
            self.running.of(&job).map_or(Ordered::Waits, |id| Ordered::Begun(id.to_owned()))
        });
        // Before the answer, so that whoever asked sees it.
        self.show(false);
        // Whoever asked may be gone.
        let _ = answer.send(told);
    }

    /// Since when it could be known how a job stands: where no report is kept, nothing outlives the service.
    fn since(&self, name: &str, job: &Job) -> Timestamp {
        let known = self.known_since.get(name).copied().unwrap_or(self.started_at);
        if job.report_store.is_some() { known } else { known.max(self.started_at) }
    }

    /// A picture of it all, for whoever looks.
    fn show(&self, stopping: bool) {
        let mut waiting: BTreeMap<_, _> =
            self.agenda.waiting().into_iter().map(|wait| (Arc::clone(&wait.job), wait)).collect();
        let now = Timestamp::now();
        let jobs = self.jobs.iter().map(|(name, job)| ShownJob {
            job: Arc::clone(job),
            since: self.since(name, job),
            next: self.agenda.next_slot(name).map(|(slot, start)| NextSlot { slot, start }),
            waiting: waiting.remove(name.as_str()),
        });
        self.board.show(Shown {
            at: now,
            jobs: jobs.collect(),
            broken: self.folder.broken(),
            running: self.running.shown(),
            stopping,
        });
    }

    /// Lets what runs end by itself for a while, then tears it down.
    pub async fn stop(&mut self) {
        let count = self.running.len();
        if count > 0 {
            let grace = self.settings.grace.as_secs();
            tracing::info!("stopping: {count} drills have {grace} s to end by themselves");
        }
        self.board.orders.close();
        while let Ok(order) = self.board.orders.try_recv() {
            // Whoever asked may be gone.
            let _ = order.answer.send(Err(Declined::Stopping));
        }
        let grace = Instant::now() + self.settings.grace;
        self.wait_for_all(grace).await;
        self.running.cancel_all();
        self.wait_for_all(Instant::now() + TEARDOWN).await;
    }

    async fn wait_for_all(&mut self, until: Instant) {
        self.show(true);
        while self.running.len() > 0 {
            // Whoever looks sees that it goes on.
            let look = until.min(Instant::now() + LOOK);
            match timeout_at(look, self.running.over()).await {
                Ok(over) => self.over(over),
                Err(_) if Instant::now() >= until => return,
                Err(_) => {}
            }
            self.show(true);
        }
    }

    fn take_turn(&mut self) {
        let Turn { starts, cancels, missed } = self.agenda.advance(Timestamp::now());
        for cancel in cancels {
            tracing::info!("the drill of job `{}` gives way to a newer slot", cancel.job);
            self.running.cancel(cancel.ticket);
        }
        let changed = !starts.is_empty() || !missed.is_empty();
        for missed in &missed {
            tell_missed(missed);
        }
        let begun: Vec<_> = starts.into_iter().filter_map(|start| self.prepare(start)).collect();
        // Only now, with what begins on disk: a slot is rather drilled twice than not at all.
        if changed {
            self.settle();
        }
        for (start, drill, live, request) in begun {
            self.running.begin(start.ticket, drill, live, request);
        }
    }

    /// Everything that a drill takes, noted on disk.
    fn prepare(&mut self, start: Start) -> Option<(Start, RunningDrill, Arc<Live>, DrillRequest)> {
        let Some(job) = self.jobs.get(&*start.job) else {
            self.agenda.finished(start.ticket);
            return None;
        };
        let cause = match start.cause {
            Cause::Slot(at) => Some(DrillCause::Slot { at }),
            Cause::Backup(at) => Some(DrillCause::Backup { ended_at: at }),
            Cause::Hand(_) => None,
        };
        let drill = RunningDrill {
            drill_id: uuid::Uuid::now_v7().to_string(),
            job: job.name.clone(),
            started_at: Timestamp::now(),
            cause,
        };
        if let Err(error) = self.state.begin(&drill) {
            // Without the note a kill would go unreported; the drill matters more.
            warn(&error);
        }
        tracing::info!("drill {} of job `{}` begins", drill.drill_id, job.name);
        let live = Arc::new(Live::default());
        let request = DrillRequest {
            job: (**job).clone(),
            seed: None,
            beginning: Some(beginning(&drill)),
            progress: Progress::new(live.clone()),
            cancel: CancellationToken::new(),
            helper: self.settings.helper.clone(),
        };
        Some((start, drill, live, request))
    }

    fn over(&mut self, over: Over) {
        let drill = &over.begun.drill;
        if let Some(report) = over.report {
            let (verdict, reason) = (report.verdict.name(), &report.reason);
            tracing::info!("drill {} of job `{}`: {verdict}: {reason}", drill.drill_id, drill.job);
            if let Err(error) = self.state.end(&drill.drill_id) {
                warn(&error);
            }
            self.board.ended(report);
        } else {
            tracing::error!("drill {} of job `{}` panicked", drill.drill_id, drill.job);
            // It stays on disk: where it cannot be reported now, the next start tries again.
            if let Some(job) = self.jobs.get(&drill.job).cloned() {
                let beginning = beginning(drill);
                tokio::spawn(async move { runner::killed(&job, beginning).await });
            }
        }
        self.agenda.finished(over.begun.ticket);
    }

    fn look_at_jobs(&mut self) -> Result<(), Error> {
        let changes = self.folder.look()?;
        let before = self.known_since.clone();
        let now = Timestamp::now();
        for broken in &changes.broken {
            let then = if broken.goes_on { "its job goes on as it was" } else { "it is left out" };
            tracing::error!("`{}` is broken, {then}: {}", broken.file.display(), broken.problem);
        }
        for name in &changes.removed {
            tracing::info!("the job `{name}` was removed");
            self.agenda.remove(name);
            self.jobs.remove(name);
        }
        for job in changes.put {
            match Entry::of(&job) {
                Ok(entry) => {
                    let known = self.jobs.contains_key(&job.name);
                    let last = self.settled.get(&job.name).filter(|_| !known);
                    self.agenda.put(entry, last.copied(), now);
                    self.known_since.entry(job.name.clone()).or_insert(now);
                    self.jobs.insert(job.name.clone(), job);
                }
                Err(refusal) => tracing::error!("job `{}`: {}", job.name, refusal.message),
            }
        }
        let jobs = &self.jobs;
        self.known_since.retain(|name, _| jobs.contains_key(name));
        if self.known_since != before
            && let Err(error) = self.state.know(&self.known_since)
        {
            warn(&error);
        }
        let watched = self.jobs.values().filter(|job| job.timing.after_backup);
        self.watched.send_replace(watched.cloned().collect());
        Ok(())
    }

    fn settle(&mut self) {
        let settled = self.jobs.keys().filter_map(|name| {
            let at = self.agenda.settled(name)?;
            Some((name.clone(), at))
        });
        let settled: Settled = settled.collect();
        if settled == self.settled {
            return;
        }
        match self.state.settle(&settled) {
            Ok(()) => self.settled = settled,
            Err(error) => warn(&error),
        }
    }

    /// Drills that a service before this one had begun and not ended.
    async fn report_killed(&self) -> Result<(), Error> {
        for drill in self.state.interrupted()? {
            let RunningDrill { drill_id, job: name, .. } = &drill;
            let Some(job) = self.jobs.get(name) else {
                tracing::warn!(
                    "drill {drill_id} was killed with the service; job `{name}` is gone"
                );
                self.state.end(drill_id)?;
                continue;
            };
            let obituary = runner::killed(job, beginning(&drill)).await;
            let what = match obituary {
                Obituary::Known => "had ended before the service was killed",
                Obituary::Kept => "was killed with the service: inconclusive",
                // It is tried again at the next start.
                Obituary::NotKept => "was killed with the service, and cannot be reported now",
            };
            tracing::warn!("drill {drill_id} of job `{name}` {what}");
            if obituary != Obituary::NotKept {
                self.state.end(drill_id)?;
            }
        }
        Ok(())
    }
}

fn beginning(drill: &RunningDrill) -> Beginning {
    Beginning { drill_id: drill.drill_id.clone(), started_at: drill.started_at, cause: drill.cause }
}

fn tell_missed(missed: &MissedRun) {
    let MissedRun { job, why, cause, count } = missed;
    let (Cause::Slot(at) | Cause::Backup(at) | Cause::Hand(at)) = cause;
    let more = if *count > 1 { format!(" ({count} of them)") } else { String::new() };
    tracing::warn!("job `{job}`: the drill of {at}{more} was not begun: {}", why.words());
}
