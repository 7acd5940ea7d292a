//! Start, replay and promotion, and the second start of the mended cluster of a drill.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Run,
    classify::{self, Cause},
    config::{self, Inputs, RecoverySettings},
    exec,
    flow::Machine,
    mend::{self, Mended, Role},
    outcome, room,
    sandbox::Cluster,
    server::{Launch, Server},
    spool::{coming::ComingWal, reach::Needs},
    wal_server::{Menu, WalServer, WalServerSetup},
};
use crate::{
    drill::{
        Code, Error, FailureClass,
        job::Target,
        plan::PlannedSegment,
        reached::Reached,
        stage::{Stage, Volume},
    },
    engine::{ClusterAccess, RestoreEnd, postgres_install},
    pg::{ControlFile, SegmentNumber},
};

/// How often the server's status file is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What recovery works with, beside the data directory and the spool.
#[derive(Clone, Debug)]
pub struct Material {
    /// `pg_control` as the backup has it.
    pub control: ControlFile,
    /// The backup's configuration files.
    pub config_texts: BTreeMap<String, String>,
    /// Of the base backup, where it has just been restored; else more than any memory holds.
    pub bytes: u64,
    /// `None` replays to the end of what is served.
    pub target: Option<Target>,
}

/// How a recovery ended.
#[derive(Debug)]
pub enum Recovered {
    /// The server is open.
    Open(Reached),
    /// It stopped by itself.
    Stopped(Cause),
    /// What the WAL turned out to say while it was replayed ends the drill.
    Ended(RestoreEnd),
}

/// How a replay ended.
enum Replayed {
    Open,
    Stopped(Cause),
    Ended(RestoreEnd),
    /// The WAL turned out to need a server that has more.
    Lacking,
}

impl Run {
    /// Recovers and promotes; begins inside the stage `Start`. Where the WAL that is still on its way turns
    /// out to need more of the server, another one goes on from where that was.
    pub async fn recover(
        &mut self,
        machine: &Machine,
        material: &Material,
        wal: &mut ComingWal,
    ) -> Result<Recovered, Error> {
        let program = self.program.clone();
        let mut servers = 1;
        loop {
            let given = self.configure(machine, material, &wal.reach().needs)?;
            let answers = WalServer::start(self.wal_setup(machine, wal, &given))?;
            let server = Server::start(launch(machine, &program)).await?;
            let cluster = self.cluster()?;
            cluster.wal = Some(answers);
            cluster.server = Some(server);
            match self.replay(wal, &given).await? {
                Replayed::Open => break,
                Replayed::Stopped(cause) => return Ok(Recovered::Stopped(cause)),
                Replayed::Ended(end) => return Ok(Recovered::Ended(end)),
                Replayed::Lacking => {
                    servers += 1;
                    self.end_of_one_server(machine).await?;
                }
            }
        }
        let cluster = self.cluster()?;
        cluster.report.network_isolated =
            cluster.server.as_ref().is_some_and(Server::has_own_network);
        let followed = self.context.plan.history.timeline;
        let reached = self.with_server(|server| {
            server.log.with(|facts| outcome::read(&machine.place.data, followed, facts))
        })??;
        let reached = if servers > 1 { self.as_resumed(reached) } else { reached };
        Ok(Recovered::Open(reached))
    }

    /// A replay that went on tells of no transaction where it had replayed the last one before.
    pub fn as_resumed(&mut self, mut reached: Reached) -> Reached {
        if reached.last_transaction_at.is_none() {
            self.notes.push(
                "recovery was broken off and went on: the last transaction's time is the one that the \
                 WAL up to the end shows"
                    .to_owned(),
            );
            let promised = self.promise.as_ref().filter(|promise| promise.end == reached.end);
            reached.last_transaction_at =
                promised.and_then(|promise| promise.last_transaction).map(|last| last.at);
        }
        reached
    }

    /// Ends a server that another one follows. The shutdown makes a restart point of the last checkpoint that
    /// was replayed (`ShutdownXLOG`): a copy of a database's files must not be replayed once more when its source
    /// has gone or changed, and the source made a checkpoint behind each.
    async fn end_of_one_server(&mut self, machine: &Machine) -> Result<(), Error> {
        let cluster = self.cluster()?;
        if let Some(server) = &mut cluster.server {
            server.stop().await?;
        }
        // Not before: the question that waits would end recovery in its own way.
        cluster.wal = None;
        cluster.server = None;
        match std::fs::remove_file(machine.place.run.join("wal.sock")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove the socket of an earlier server", &error))
            }
            _ => Ok(()),
        }
    }

    /// Makes the recovered cluster fit to be looked at.
    pub async fn open(&mut self, machine: &Machine, reached: Reached) -> Result<RestoreEnd, Error> {
        let program = self.program.clone();
        self.stages.begin(Stage::Mend, Instant::now(), None);
        match self.mend(machine, &launch(machine, &program)).await? {
            Ok(cluster) => {
                self.stages.done(Instant::now(), Volume::default());
                Ok(RestoreEnd::Ready { reached, cluster })
            }
            Err(cause) => self.stopped(cause),
        }
    }

    /// Waits through start, replay and promotion; the times come from the moments themselves, not
    /// from when we looked.
    async fn replay(&mut self, wal: &mut ComingWal, given: &Needs) -> Result<Replayed, Error> {
        let mut moved = 0;
        let mut looked = Instant::now();
        loop {
            let is_over = wal.is_over();
            let cluster = self.cluster()?;
            let (Some(server), Some(answers)) = (&cluster.server, &cluster.wal) else {
                return Err(Error::new(Code::Bug, "the sandbox has no server"));
            };
            let heard = Arc::clone(&server.log.heard);
            tokio::select! {
                _ = server.exited() => {}
                () = heard.notified() => {}
                () = answers.asked() => {}
                landed = wal.landed(), if !is_over => landed?,
                () = tokio::time::sleep(LOOK) => {}
            }
            let failure = answers.take_failure();
            let asked = answers.first_asked();
            let (redo_done, lines) = server.log.with(|facts| (facts.redo_done, facts.lines));
            let (ended, status) = (server.exit_status(), server.status());
            if let Some(failure) = failure {
                return Err(failure);
            }
            if looked.elapsed() > Duration::from_secs(1) {
                looked = Instant::now();
                // A long checkpoint says nothing, but its bytes move.
                let now = server.bytes_moved() + lines;
                if now != moved {
                    moved = now;
                    self.activity.touch();
                }
            }
            if let (Some(Stage::Start), Some(at)) = (self.stages.current(), asked) {
                self.stages.done(at, Volume::default());
                self.stages.begin(Stage::Replay, at, None);
            }
            if let (Some(Stage::Replay), Some(at)) = (self.stages.current(), redo_done) {
                self.stages.done(at, wal.moved());
                self.stages.begin(Stage::Promote, at, None);
            }
            if let Some(end) = self.learned(wal) {
                return Ok(Replayed::Ended(end));
            }
            if !wal.reach().needs.are_met_by(given) {
                return Ok(Replayed::Lacking);
            }
            if let Some(status) = ended {
                let exit = status.to_string();
                let cause = self.with_server(|server| {
                    server.log.with(|facts| classify::judge(facts, "recovery", &exit))
                })?;
                if let Cause::Backup(finding) = &cause
                    && !wal.is_over()
                {
                    // It stands, however the rest of the WAL ends.
                    self.prove([finding.clone()]);
                }
                // What the WAL itself says of it comes first.
                wal.rest().await?;
                if let Some(end) = self.learned(wal) {
                    return Ok(Replayed::Ended(end));
                }
                return Ok(Replayed::Stopped(cause));
            }
            if status.as_deref() == Some("ready") {
                // A rescue may have been broken off behind its promotion.
                if self.stages.current() != Some(Stage::Promote) && self.keeping.is_none() {
                    return Err(Error::new(
                        Code::PostgresFailed,
                        "PostgreSQL opened without a recovery",
                    )
                    .class(FailureClass::InfraError));
                }
                self.stages.done(Instant::now(), Volume::default());
                wal.rest().await?;
                return Ok(self.learned(wal).map_or(Replayed::Open, Replayed::Ended));
            }
        }
    }

    /// Learns what all of the WAL says as soon as it is there, once; the end of the drill where recovery
    /// need not go on.
    fn learned(&mut self, wal: &ComingWal) -> Option<RestoreEnd> {
        let spooled = wal.spooled().filter(|_| self.promise.is_none())?;
        self.learn(&Arc::clone(spooled))
    }

    /// Stops the promoted server, makes a role, starts it again.
    async fn mend(
        &mut self,
        machine: &Machine,
        first: &Launch<'_>,
    ) -> Result<Result<ClusterAccess, Cause>, Error> {
        let role = Role::random()?;
        let activity = Arc::clone(&self.activity);
        let cluster = self.cluster()?;
        if let Some(server) = &mut cluster.server
            && let Err(error) = server.stop().await
        {
            // What it said of its last checkpoint tells whose fault it is.
            let judged = server.log.with(|facts| {
                let said = !facts.fatal.is_empty();
                said.then(|| classify::judge(facts, "its shutdown", &error.message))
            });
            return judged.map_or(Err(error), |cause| Ok(Err(cause)));
        }
        cluster.wal = None;
        activity.touch();
        if let Mended::Damaged(finding) = mend::mend(first, &role).await? {
            return Ok(Err(Cause::Backup(finding)));
        }
        let job = Arc::clone(&self.context.job);
        let logins = job.login_roles().filter(|login| login.password.is_some());
        let hba = config::hba(Some(&role.name), logins.map(|login| login.name.as_str()));
        config::write(&machine.place, "pg_hba.conf", &hba)?;
        let server = Server::start(first.clone()).await?;
        self.cluster()?.server = Some(server);
        loop {
            let (ended, status) = self.with_server(|s| (s.exit_status(), s.status()))?;
            if let Some(exit) = ended {
                let exit = exit.to_string();
                return self.with_server(|server| {
                    Err(server.log.with(|facts| classify::judge(facts, "the restart", &exit)))
                });
            }
            if status.as_deref() == Some("ready") {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(Ok(ClusterAccess {
            major: machine.server.major,
            socket_dir: machine.place.run.clone(),
            port: config::PORT,
            user: role.name,
            password: role.password,
            data_dir: machine.place.data.clone(),
            version_num: machine.server.version_num,
        }))
    }

    /// Writes the configuration of a server for `needs`; says what it has.
    fn configure(
        &mut self,
        machine: &Machine,
        material: &Material,
        needs: &Needs,
    ) -> Result<Needs, Error> {
        postgres_install::check_tablespaces(&machine.server, needs.tablespaces)?;
        let (job, plan) = (Arc::clone(&self.context.job), Arc::clone(&self.context.plan));
        let custom = &needs.custom_resource_managers;
        let preload = config::preload(custom, &material.config_texts, &machine.server);
        if !custom.is_empty() && preload.is_empty() {
            let ids = custom.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::new(
                Code::PostgresFailed,
                format!(
                    "the WAL holds records of resource managers ({ids}) whose library is missing"
                ),
            )
            .class(FailureClass::LibraryMissing)
            .hint("Install the libraries of production's `shared_preload_libraries` here."));
        }
        let followed = plan.history.timeline;
        let settings = config::settings(&Inputs {
            major: plan.major,
            version_num: machine.server.version_num,
            control: &material.control,
            floor: needs.parameters,
            segment_size: plan.segment_size,
            memory: job.sandbox.memory,
            fsync: job.sandbox.fsync,
            is_cached: room::for_page_cache().is_some_and(|room| material.bytes < room / 2),
            preload: &preload,
            recovery: &RecoverySettings {
                timeline: (followed.0 == 1 || !plan.history.ancestors.is_empty())
                    .then_some(followed),
                target: material.target.clone(),
                exclusive: plan.exclusive,
                restore_command: exec::restore_command(&machine.place.helper),
            },
        });
        let place = &machine.place;
        config::write(place, "postgresql.conf", &config::render(&settings, place))?;
        config::write(place, "pg_hba.conf", &config::hba(None, std::iter::empty()))?;
        config::write(place, "pg_ident.conf", "")?;
        let shown = settings.into_iter().map(|(name, value)| format!("{name}={value}"));
        self.cluster()?.report.settings = shown.collect();
        let parameters = config::granted(&material.control, needs.parameters);
        Ok(Needs {
            parameters,
            tablespaces: machine.server.version_num >= postgres_install::IN_PLACE_TABLESPACES,
            ..needs.clone()
        })
    }

    fn wal_setup(&self, machine: &Machine, wal: &ComingWal, given: &Needs) -> WalServerSetup {
        let plan = &self.context.plan;
        let place = &machine.place;
        let histories: BTreeMap<String, String> = plan
            .history_files
            .iter()
            .map(|file| (file.timeline.history_file_name(), file.text.clone()))
            .collect();
        let number = |segment: Option<PlannedSegment>| segment.map(|segment| segment.number);
        WalServerSetup {
            menu: Menu {
                history: plan.history.clone(),
                histories,
                size: plan.segment_size,
                first: number(plan.wal.first()).unwrap_or(SegmentNumber(0)),
                given: given.clone(),
            },
            watched: wal.watched(),
            planned: number(plan.wal.last()).unwrap_or(SegmentNumber(0)),
            run: place.run.clone(),
            spool: place.wal.clone(),
            data: place.data.clone(),
            owner: machine.identity.owner(),
            progress: self.context.progress.clone(),
            activity: Arc::clone(&self.activity),
            keeps: self.keeping.is_some(),
        }
    }

    /// The server stopped by itself: the backup's fault or the machine's.
    pub fn stopped(&mut self, cause: Cause) -> Result<RestoreEnd, Error> {
        match cause {
            Cause::Backup(finding) => {
                self.findings.push(finding);
                Ok(RestoreEnd::Damaged)
            }
            Cause::Environment(error) => Err(error),
        }
    }

    pub fn cluster(&mut self) -> Result<&mut Cluster, Error> {
        self.cluster.as_mut().ok_or_else(|| Error::new(Code::Bug, "there is no cluster"))
    }

    fn with_server<T>(&mut self, look: impl FnOnce(&Server) -> T) -> Result<T, Error> {
        let server = self.cluster()?.server.as_ref();
        server.map(look).ok_or_else(|| Error::new(Code::Bug, "the sandbox has no server"))
    }
}

/// How the server of this sandbox is started.
fn launch<'a>(machine: &'a Machine, program: &'a std::path::Path) -> Launch<'a> {
    let mut config = OsString::from("config_file=");
    config.push(machine.place.conf.join("postgresql.conf"));
    Launch {
        shim: program,
        identity: &machine.identity,
        place: &machine.place,
        program: machine.server.postgres(),
        args: vec!["-D".into(), machine.place.data.clone().into(), "-c".into(), config],
        input: None,
    }
}
