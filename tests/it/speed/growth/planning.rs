//! The plan of a drill of a large archive, beside listing it, which is the least that a plan needs.

use std::process::Command;

use futures_util::TryStreamExt as _;
use pgassay::{
    config,
    runner::{DrillRequest, PlanOutcome, plan_only},
    store,
    survey::server_root,
    telemetry::Progress,
};
use tokio_util::sync::CancellationToken;

use super::listing::{BASE, Listing, SEGMENTS, SERVER};
use crate::{
    speed::{
        measure::{Measured, measured},
        middle,
    },
    support::{
        drill::environment,
        object_server::ObjectServer,
        timed::{Took, timed},
        tools::RUNTIME,
    },
};

const ROUNDS: usize = 5;

/// What listing and planning took, medians of rounds in turn.
#[derive(Debug)]
pub struct Planned {
    pub objects: u64,
    pub base: u64,
    pub rounds: usize,
    /// Of the listing alone, by this program's own client.
    pub listing: Measured,
    /// Of all that `drill --plan` does but printing, in the same process.
    pub plan: Measured,
    /// Of the program.
    pub program: Took,
}

impl Planned {
    /// How many times as long as the listing the plan takes.
    pub fn ratio(&self) -> f64 {
        self.plan.seconds / self.listing.seconds
    }
}

/// Lists and plans in turn.
#[expect(clippy::print_stdout, reason = "a run takes long")]
pub fn measure() -> Planned {
    let listing = Listing::new();
    let objects = listing.objects();
    let server = RUNTIME.block_on(ObjectServer::start(listing));
    let job = format!(
        "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: test}}\nspec:\n  archive:\n    \
         url: s3://bucket/archive\n    server: {SERVER}\n    s3: {{endpoint: \"http://{}\", region: \
         us-east-1, pathStyle: true, credentials: {{anonymous: {{}}}}}}\n",
        server.address()
    );
    let job = config::parse(&job, "job.yaml").unwrap();
    let list = || {
        measured(|| {
            RUNTIME.block_on(async {
                let store = store::open(&job).await.unwrap();
                let pages = store.list(&server_root(&job.archive));
                let sum = |sum, page: Vec<_>| async move { Ok(sum + page.len() as u64) };
                let listed = pages.try_fold(0, sum).await.unwrap();
                assert_eq!(listed, objects);
                listed
            })
        })
    };
    let plan = || {
        let request = DrillRequest {
            job: job.clone(),
            seed: None,
            beginning: None,
            progress: Progress::silent(),
            cancel: CancellationToken::new(),
            helper: None,
        };
        measured(|| {
            let outcome = RUNTIME.block_on(plan_only(&request)).unwrap();
            let PlanOutcome::Planned(plan) = outcome else { panic!("{outcome:?}") };
            assert!(plan.findings.is_empty(), "{:?}", plan.findings);
            assert_eq!((plan.wal.len() as u64, plan.base_bytes), (SEGMENTS, BASE));
            plan.wal_bytes
        })
    };
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        command.args(["drill", "--plan", "--s3-url", "s3://bucket/archive", "--server", SERVER]);
        command.args(["--s3-region", "us-east-1", "--s3-endpoint"]);
        command.arg(format!("http://{}", server.address())).args(["-q", "--output", "json"]);
        let (answer, took) = timed(command.env_clear().envs(environment()));
        assert_eq!(answer.exit, 0, "{}", answer.stderr);
        assert_eq!(answer.report["plan"]["wal"]["segments"], SEGMENTS, "{}", answer.stdout);
        took
    };
    let (mut listed, mut planned, mut programs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        listed.push(list());
        planned.push(plan());
        programs.push(run());
        let told = |runs: &[Measured]| runs.last().map_or(0.0, |run| run.seconds);
        println!("listed in {:.2} s, planned in {:.2} s", told(&listed), told(&planned));
    }
    programs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let peak = programs.iter().map(|run| run.peak).max().unwrap();
    let program = Took { peak, ..programs[ROUNDS / 2] };
    let (listing, plan) = (middle(listed), middle(planned));
    Planned { objects, base: BASE, rounds: ROUNDS, listing, plan, program }
}
