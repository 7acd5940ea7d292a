//! The sandbox of one drill: its folder, its lease, its server, and their end.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    lease::{JobLock, Lease},
    place::Place,
    processes,
    server::Server,
    tree,
    wal_server::WalServer,
};
use crate::{
    drill::{Error, report::SandboxReport},
    engine::Sandbox,
};

/// How often the removal is tried: what writes there may still be ending.
const ATTEMPTS: u32 = 5;

/// A cluster in the making, and what runs there.
#[derive(Debug)]
pub struct Cluster {
    pub place: Place,
    pub server: Option<Server>,
    pub wal: Option<WalServer>,
    pub report: SandboxReport,
}

/// Who owns a sandbox, and what becomes of it.
#[derive(Debug)]
pub struct Hold {
    pub lease: Lease,
    /// Held until the sandbox is gone.
    pub _job_lock: JobLock,
    pub keep_on_failure: Option<Duration>,
}

/// Everything that a drill owns on this machine.
#[derive(Debug)]
pub struct NativeSandbox {
    pub cluster: Cluster,
    pub hold: Hold,
}

#[async_trait]
impl Sandbox for NativeSandbox {
    async fn stop_server(&mut self) -> Result<(), Error> {
        match &mut self.cluster.server {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    async fn teardown(mut self: Box<Self>, failed: bool) -> SandboxReport {
        let cluster = &mut self.cluster;
        if let Some(server) = &mut cluster.server {
            server.kill().await;
        }
        processes::end_all(&cluster.place.data).await;
        cluster.wal = None;
        let mut report = std::mem::take(&mut cluster.report);
        let root = cluster.place.root.clone();
        if failed && let Some(kept) = self.hold.keep(&mut report) {
            return kept;
        }
        for attempt in 0..ATTEMPTS {
            let path = root.clone();
            let removed = tokio::task::spawn_blocking(move || tree::remove(&path)).await;
            match removed {
                Ok(Ok(())) => {
                    report.removed = true;
                    break;
                }
                Ok(Err(error)) if attempt + 1 == ATTEMPTS => {
                    tracing::warn!(path = %root.display(), %error, "the sandbox was left behind");
                }
                _ => tokio::time::sleep(Duration::from_millis(100 << attempt)).await,
            }
        }
        report
    }
}

impl Hold {
    /// Keeps the files where the job says so; the lease tells `sweep` until when.
    fn keep(&mut self, report: &mut SandboxReport) -> Option<SandboxReport> {
        let until = Timestamp::now().checked_add(self.keep_on_failure?).ok()?;
        self.lease.keep_until(until).ok()?;
        report.kept_until = Some(until);
        Some(std::mem::take(report))
    }
}
