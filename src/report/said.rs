//! What a report says of a drill, in words: the same on a terminal, on a page and in a summary.

use super::terminal::{layout::Tone, time};
use crate::drill::{
    DrillReport, FailureClass,
    format::{bytes, counted, duration},
    measure::RpoEvidence,
    reached::compare,
    report::SandboxReport,
};

/// A name and what there is to say below it, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub name: &'static str,
    pub lines: Vec<(String, Tone)>,
}

/// Facts in the making.
#[derive(Debug, Default)]
struct Facts(Vec<Fact>);

impl Facts {
    /// An empty name goes on with the fact above.
    fn field(&mut self, name: &'static str, text: &str) {
        self.toned_field(name, text, Tone::Plain);
    }

    fn toned_field(&mut self, name: &'static str, text: &str, tone: Tone) {
        let line = (text.to_owned(), tone);
        match self.0.last_mut() {
            Some(fact) if name.is_empty() => fact.lines.push(line),
            _ => self.0.push(Fact { name, lines: vec![line] }),
        }
    }
}

/// What was restored, how far, how fast, and how much would be lost.
#[must_use]
pub fn result(report: &DrillReport) -> Vec<Fact> {
    let mut facts = Facts::default();
    backup(&mut facts, report);
    reached(&mut facts, report);
    rto(&mut facts, report);
    rpo(&mut facts, report);
    facts.0
}

/// Where it was done, and which drill it was.
#[must_use]
pub fn circumstances(report: &DrillReport) -> Vec<Fact> {
    let mut facts = Facts::default();
    sandbox(&mut facts, report.sandbox.as_ref());
    drill(&mut facts, report);
    facts.0
}

fn backup(page: &mut Facts, report: &DrillReport) {
    let Some(backup) = &report.backup else {
        page.field(
            "Backup",
            &format!("none chosen, from `{}` in {}", report.server, report.archive_url),
        );
        return;
    };
    let name = backup.name.as_ref().map_or_else(String::new, |name| format!(" (`{name}`)"));
    page.field(
        "Backup",
        &format!("{}{name} of `{}` in {}", backup.id, report.server, report.archive_url),
    );
    page.field(
        "",
        &format!(
            "PostgreSQL {}, timeline {}, {} and {} in {}",
            backup.major,
            backup.timeline,
            bytes(backup.compressed_bytes),
            bytes(backup.wal_bytes),
            counted(backup.wal_segments, "WAL segment"),
        ),
    );
    if let Some(end) = backup.end_at {
        let age = report.started_at.duration_since(end).as_secs_f64();
        let when = if age >= 0.0 {
            format!("{} before the drill", duration(age))
        } else {
            format!("{} after the drill began, by its own clock", duration(-age))
        };
        page.field("", &format!("ended {}, {when}", time(end)));
    }
    page.field("", &format!("chosen: {}", backup.why));
}

fn reached(page: &mut Facts, report: &DrillReport) {
    page.field("Target", &report.target);
    let Some(reached) = &report.reached else {
        page.field("Reached", "nothing: recovery did not end");
        if let Some(promise) = &report.promise {
            page.field(
                "",
                &format!("promised: timeline {} up to {}", promise.timeline, promise.end),
            );
        }
        return;
    };
    let last = reached.last_transaction_at;
    let last = last.map_or_else(
        || "no transaction replayed".to_owned(),
        |at| format!("last transaction {}", time(at)),
    );
    page.field("Reached", &format!("timeline {} up to {}, {last}", reached.timeline, reached.end));
    let Some(promise) = &report.promise else {
        page.toned_field("", "what the archive promises is not known", Tone::Doubt);
        return;
    };
    let differences = compare(promise, reached);
    if differences.is_empty() {
        page.toned_field("", "as the archive promises", Tone::Good);
        return;
    }
    let beyond = differences.iter().all(|f| f.class == FailureClass::RecoveredBeyond);
    let last = promise
        .last_transaction
        .map_or_else(String::new, |last| format!(", last transaction {}", time(last.at)));
    let text = format!(
        "{}: the archive promises timeline {} up to {}{last}",
        if beyond { "BEYOND" } else { "SHORT" },
        promise.timeline,
        promise.end
    );
    page.toned_field("", &text, Tone::Bad);
}

/// `kept`, `EXCEEDED` or that there is none, with the objective.
fn against(objective: Option<f64>, exceeded: bool, counts: bool) -> (String, Tone) {
    match objective {
        None => ("no objective stated".to_owned(), Tone::Plain),
        Some(seconds) if !counts => {
            (format!("objective {}: does not count", duration(seconds)), Tone::Doubt)
        }
        Some(seconds) if exceeded => {
            (format!("objective {}: EXCEEDED", duration(seconds)), Tone::Bad)
        }
        Some(seconds) => (format!("objective {}: kept", duration(seconds)), Tone::Good),
    }
}

fn rto(page: &mut Facts, report: &DrillReport) {
    let Some(rto) = &report.rto else {
        page.field("RTO", "not measured: the cluster never opened");
        return;
    };
    let (judgement, tone) = against(rto.objective_seconds, rto.exceeded, rto.fsync);
    let fsync = if rto.fsync { "fsync on" } else { "fsync OFF" };
    let text = format!("{}, {judgement} ({} engine, {fsync})", duration(rto.seconds), rto.engine);
    page.toned_field("RTO", &text, tone);
}

fn rpo(page: &mut Facts, report: &DrillReport) {
    let Some(rpo) = &report.rpo else {
        page.field("RPO", "not measured");
        return;
    };
    let say = |evidence: RpoEvidence| {
        let name = evidence.name().replace('_', " ");
        let age = rpo.seconds(evidence).map_or_else(|| "not known".to_owned(), duration);
        format!("{name} {age}")
    };
    let judged = rpo.judged.and_then(|evidence| Some((evidence, rpo.seconds(evidence)?)));
    match judged {
        Some((evidence, seconds)) => {
            let (judgement, tone) = against(rpo.objective_seconds, rpo.exceeded, true);
            let by = evidence.name().replace('_', " ");
            page.toned_field("RPO", &format!("{}, {judgement} (by {by})", duration(seconds)), tone);
        }
        None => page.field("RPO", "not known"),
    }
    page.field("", &format!("because {}", rpo.why));
    page.field("", &format!("ages: {}", RpoEvidence::ALL.map(say).join("; ")));
}

fn sandbox(page: &mut Facts, sandbox: Option<&SandboxReport>) {
    let Some(sandbox) = sandbox else {
        page.field("Sandbox", "none was made");
        return;
    };
    let postgres = if sandbox.postgres.is_empty() {
        "no PostgreSQL started".to_owned()
    } else {
        format!("PostgreSQL {}", sandbox.postgres)
    };
    let network = if sandbox.network_isolated {
        "in a network namespace of its own"
    } else {
        "NOT cut off from the network"
    };
    page.field("Sandbox", &format!("{postgres}, {network}"));
    let speed: Vec<String> =
        sandbox.speed().map(|(name, value)| format!("{name} {value}")).collect();
    if !speed.is_empty() {
        page.field("", &format!("replayed with {}", speed.join(", ")));
    }
    let (text, tone) = match (sandbox.removed, sandbox.kept_until) {
        (true, _) => ("removed".to_owned(), Tone::Plain),
        (false, Some(until)) => {
            (format!("kept until {} in {}", time(until), sandbox.path), Tone::Plain)
        }
        (false, None) => (format!("LEFT BEHIND in {}", sandbox.path), Tone::Bad),
    };
    page.toned_field("", &text, tone);
}

fn drill(page: &mut Facts, report: &DrillReport) {
    let took = report.finished_at.duration_since(report.started_at).as_secs_f64();
    page.field(
        "Drill",
        &format!("{} at {}, {}", report.drill_id, time(report.started_at), duration(took)),
    );
    let depth = match report.depth {
        crate::drill::job::Depth::Catalog => "catalog",
        crate::drill::job::Depth::Read => "read",
        crate::drill::job::Depth::Restore => "restore",
        crate::drill::job::Depth::Deep => "deep",
    };
    page.field(
        "",
        &format!("depth {depth}, seed {}, pgassay {}", report.seed, report.pgassay_version),
    );
}
