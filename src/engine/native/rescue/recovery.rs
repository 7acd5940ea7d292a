//! PostgreSQL's part of a rescue: begun, gone on with where it was broken off, and stopped for good.

use std::{
    fs, io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    AUTO_CONF, CONTROL, inspect,
    state::{ANEW, Claim, Phase, Prepared, State},
};
use crate::{
    drill::{Code, Error, FailureClass, expectation::Promise, reached::Reached, stage::Stage},
    engine::native::{
        Run,
        classify::Cause,
        flow::{Machine, make_ready},
        processes,
        recover::{Material, Recovered},
        spool::{coming::ComingWal, reach::Needs},
    },
    pg::{ControlFile, control::DbState},
};

/// How often a long stop is said to move.
const TICK: Duration = Duration::from_secs(5);

impl Run {
    /// The first start of PostgreSQL.
    pub(super) async fn begin_recovery(
        &mut self,
        machine: &Machine,
        state: &State,
        claim: &mut Claim,
        prepared: Prepared,
    ) -> Result<(Prepared, Result<Reached, Cause>), Error> {
        make_ready(machine)?;
        let phase = Phase::Recovering(prepared.clone());
        claim.record(State { phase, ..state.clone() })?;
        let reached = self.replay_to_end(machine, &prepared).await?;
        Ok((prepared, reached))
    }

    pub(super) async fn replay_to_end(
        &mut self,
        machine: &Machine,
        prepared: &Prepared,
    ) -> Result<Result<Reached, Cause>, Error> {
        let path = machine.place.root.join(CONTROL);
        let control = fs::read(&path)
            .map_err(|error| Error::io(format!("read `{}`", path.display()), &error))?;
        let control = ControlFile::parse(&control).map_err(|error| {
            let what = format!("`{}` cannot be read: {error}", path.display());
            Error::new(Code::RescueOther, what).hint(ANEW)
        })?;
        let auto_conf = fs::read_to_string(machine.place.root.join(AUTO_CONF)).unwrap_or_default();
        let config_texts = inspect::config_texts(&machine.place.data, auto_conf);
        let target = prepared.to_target.then(|| self.context.plan.target.clone());
        let material = Material { control, config_texts, bytes: u64::MAX, target };
        let needs = Needs {
            parameters: prepared.floor,
            custom_resource_managers: prepared.custom_resource_managers.clone(),
            tablespaces: !prepared.made_tablespaces.is_empty(),
        };
        let mut wal = ComingWal::there(needs, prepared.last, self.context.plan.segment_size);
        self.stages.begin(Stage::Start, Instant::now(), None);
        match self.recover(machine, &material, &mut wal).await? {
            Recovered::Open(reached) => Ok(Ok(reached)),
            Recovered::Stopped(cause) => Ok(Err(cause)),
            Recovered::Ended(_) => Err(Error::new(Code::Bug, "a rescue began before its time")),
        }
    }

    /// Ends what a run that was killed may have left running, which is in our own folder.
    pub(super) async fn forget_servers(&self, machine: &Machine) -> Result<(), Error> {
        let data = &machine.place.data;
        processes::end_all(data).await;
        if !processes::of(data).is_empty() {
            return Err(Error::new(
                Code::Sandbox,
                format!("processes of an earlier run still work in `{}`", data.display()),
            )
            .class(FailureClass::InfraError)
            .hint("End them and run the rescue again."));
        }
        // Its number may be of another process by now.
        match fs::remove_file(data.join("postmaster.pid")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove what an earlier server left", &error))
            }
            _ => Ok(()),
        }
    }

    /// The promise; without one what was reached, which then says nothing.
    pub(super) fn promised(&self, reached: &Reached) -> Promise {
        self.promise.clone().unwrap_or(Promise {
            timeline: reached.timeline,
            end: reached.end,
            last_transaction: None,
        })
    }

    pub(super) async fn stop_cleanly(&mut self) -> Result<(), Error> {
        let activity = Arc::clone(&self.activity);
        let cluster = self.cluster()?;
        let Some(server) = &mut cluster.server else {
            return Err(Error::new(Code::Bug, "the cluster has no server"));
        };
        let moving = async {
            loop {
                tokio::time::sleep(TICK).await;
                // The stop itself sees to it that something moves.
                activity.touch();
            }
        };
        tokio::select! {
            stopped = server.stop() => stopped?,
            () = moving => {}
        }
        (cluster.server, cluster.wal) = (None, None);
        let path = cluster.place.data.join("global/pg_control");
        let bytes = fs::read(&path)
            .map_err(|error| Error::io(format!("read `{}`", path.display()), &error))?;
        match ControlFile::parse(&bytes).map(|control| control.state) {
            Ok(DbState::ShutDown) => Ok(()),
            Ok(other) => Err(Error::new(
                Code::PostgresFailed,
                format!("PostgreSQL has stopped, and says that it is {other}"),
            )
            .class(FailureClass::InfraError)),
            Err(error) => {
                Err(Error::new(Code::PostgresFailed, error.to_string())
                    .class(FailureClass::InfraError))
            }
        }
    }

    /// Stops a server that still runs, in a way that leaves the next run as little as can be to replay.
    pub(super) async fn end_server(&mut self) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.wal = None;
        if let Some(server) = &mut cluster.server
            && server.exit_status().is_none()
            && server.stop().await.is_err()
        {
            server.kill().await;
        }
        processes::end_all(&cluster.place.data).await;
    }
}
