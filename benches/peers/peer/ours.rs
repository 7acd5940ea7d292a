//! pgassay: the program as a user runs it.

use std::fs;

use pgassay::{config, store};
use serde_json::Value;

use crate::{
    Outcome,
    bench::Bench,
    measure::{Measured, Timed, last_lines},
    server::{self, Endpoint, Server},
    tools,
};

/// A job that reads a server of the archive.
pub fn job(server: &Server, endpoint: &Endpoint, name: &str) -> String {
    let ca = endpoint.ca.as_ref().map(|ca| format!(", caBundle: \"{}\"", ca.display()));
    let keys = server.keys.display();
    format!(
        "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: bench}}\nspec:\n  archive:\n    \
         url: s3://{}/archive\n    server: {name}\n    s3: {{endpoint: \"{}\", region: {}, pathStyle: true, \
         credentials: {{accessKeyId: {{file: \"{keys}/id\"}}, secretAccessKey: {{file: \"{keys}/secret\"}}}}{}}}\n",
        server::BUCKET,
        endpoint.url,
        server::REGION,
        ca.unwrap_or_default()
    )
}

/// An object of the archive, all of it.
pub fn read(server: &Server, name: &str, key: &str) -> Vec<u8> {
    let job = config::parse(&job(server, &server.plain, name), "job.yaml").unwrap();
    tools::RUNTIME.block_on(async {
        let store = store::open(&job).await.unwrap();
        store::read_all(&*store, store::GetRange::whole(key), 1 << 30).await.unwrap().to_vec()
    })
}

/// A drill that has passed.
#[derive(Clone, Debug)]
pub struct Drilled {
    report: Value,
    /// The peak is that of our own process, not of PostgreSQL.
    pub whole: Measured,
}

/// Drills a server of the archive.
///
/// # Errors
/// Any verdict but `pass`.
pub fn drill(
    bench: &Bench,
    endpoint: &Endpoint,
    name: &str,
    arguments: &[&str],
) -> Outcome<Drilled> {
    let file = bench.work.join("job.yaml");
    fs::write(&file, job(&bench.server, endpoint, name)).unwrap();
    let sandboxes = bench.work.join("sandboxes");
    fs::create_dir_all(&sandboxes).unwrap();
    let program = Timed::ours(env!("CARGO_BIN_EXE_pgassay")).arg("drill").arg(file);
    let program = program.args(["-q", "--output", "json", "--work-dir"]).arg(sandboxes);
    rustix::fs::sync();
    let ended = program.args(arguments).watched()?;
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    if report["verdict"] != "pass" {
        let reason = report["reason"].as_str().map(str::to_owned);
        return Err(reason.unwrap_or_else(|| last_lines(&ended.stderr)));
    }
    Ok(Drilled { report, whole: ended.measured })
}

impl Drilled {
    /// Seconds of these stages.
    pub fn stages(&self, names: &[&str]) -> f64 {
        let stages = self.report["stages"].as_array().into_iter().flatten();
        let named =
            stages.filter(|stage| names.iter().any(|name| stage["stage"].as_str() == Some(name)));
        named.filter_map(|stage| stage["seconds"].as_f64()).sum()
    }

    /// Seconds of a check.
    pub fn check(&self, name: &str) -> Outcome<f64> {
        let mut checks = self.report["checks"].as_array().into_iter().flatten();
        let check = checks.find(|check| check["name"].as_str() == Some(name));
        check
            .and_then(|check| check["seconds"].as_f64())
            .ok_or_else(|| format!("no check `{name}` in the report"))
    }

    /// Seconds from nothing to the first query that could write.
    pub fn rto(&self) -> Outcome<f64> {
        self.report["rto"]["seconds"].as_f64().ok_or_else(|| "no RTO in the report".to_owned())
    }
}
