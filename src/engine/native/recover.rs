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
    outcome, processes,
    sandbox::Cluster,
    server::{Launch, Server},
    wal_server::{Menu, WalServer, WalServerSetup},
};
use crate::{
    drill::{
        Code, Error, FailureClass,
        job::Target,
        reached::Reached,
        stage::{Stage, Volume},
    },
    engine::{ClusterAccess, RestoreEnd},
    pg::{ControlFile, SegmentNumber, wal::scan::ParameterFloor},
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
    /// From the records of the range.
    pub floor: ParameterFloor,
    pub custom_resource_managers: Vec<u8>,
    /// The last segment that replay may be given; `None`: not one.
    pub last: Option<SegmentNumber>,
    /// `None` replays to the end of what is served.
    pub target: Option<Target>,
}

impl Run {
    /// Recovers and promotes; begins inside the stage `Start`. The inner error is why the server stopped
    /// by itself.
    pub async fn recover(
        &mut self,
        machine: &Machine,
        material: &Material,
    ) -> Result<Result<Reached, Cause>, Error> {
        self.configure(machine, material)?;
        let wal = WalServer::start(self.wal_setup(machine, material))?;
        let program = self.program.clone();
        let launch = launch(machine, &program);
        let server = Server::start(launch).await?;
        let cluster = self.cluster()?;
        cluster.wal = Some(wal);
        cluster.server = Some(server);
        if let Some(cause) = self.replay().await? {
            return Ok(Err(cause));
        }
        let cluster = self.cluster()?;
        cluster.report.network_isolated =
            cluster.server.as_ref().is_some_and(Server::has_own_network);
        let followed = self.context.plan.history.timeline;
        self.with_server(|server| {
            server.log.with(|facts| outcome::read(&machine.place.data, followed, facts))
        })?
        .map(Ok)
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
    /// from when we looked. `Some` where the server stopped by itself.
    async fn replay(&mut self) -> Result<Option<Cause>, Error> {
        let mut moved = 0;
        let mut looked = Instant::now();
        loop {
            let cluster = self.cluster()?;
            let (Some(server), Some(wal)) = (&cluster.server, &cluster.wal) else {
                return Err(Error::new(Code::Bug, "the sandbox has no server"));
            };
            let heard = Arc::clone(&server.log.heard);
            tokio::select! {
                _ = server.exited() => {}
                () = heard.notified() => {}
                () = wal.asked() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            let failure = wal.take_failure();
            let asked = wal.first_asked();
            let (redo_done, lines) = server.log.with(|facts| (facts.redo_done, facts.lines));
            let (ended, status) = (server.exit_status(), server.status());
            if let Some(failure) = failure {
                return Err(failure);
            }
            if looked.elapsed() > Duration::from_secs(1) {
                looked = Instant::now();
                // A long checkpoint says nothing, but its bytes move.
                let now = processes::bytes_moved(&cluster.place.data) + lines;
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
                self.stages.done(at, Volume::default());
                self.stages.begin(Stage::Promote, at, None);
            }
            if let Some(status) = ended {
                return self.with_server(|server| {
                    let exit = status.to_string();
                    Some(server.log.with(|facts| classify::judge(facts, "recovery", &exit)))
                });
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
                return Ok(None);
            }
        }
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

    fn configure(&mut self, machine: &Machine, material: &Material) -> Result<(), Error> {
        let (job, plan) = (Arc::clone(&self.context.job), Arc::clone(&self.context.plan));
        let custom = &material.custom_resource_managers;
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
            floor: material.floor,
            segment_size: plan.segment_size,
            memory: job.sandbox.memory,
            fsync: job.sandbox.fsync,
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
        Ok(())
    }

    fn wal_setup(&self, machine: &Machine, material: &Material) -> WalServerSetup {
        let plan = &self.context.plan;
        let place = &machine.place;
        let histories: BTreeMap<String, String> = plan
            .history_files
            .iter()
            .map(|file| (file.timeline.history_file_name(), file.text.clone()))
            .collect();
        let first = plan.wal.first().map(|segment| segment.number);
        WalServerSetup {
            menu: Menu {
                history: plan.history.clone(),
                histories,
                size: plan.segment_size,
                first: first.unwrap_or(SegmentNumber(0)),
                last: material.last,
            },
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
