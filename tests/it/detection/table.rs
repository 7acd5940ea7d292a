//! The part of `docs/detection.md` that a run writes.

use std::fmt::Write as _;

use super::said::{Said, Word};

/// The tools of the columns, in order.
pub const TOOLS: [&str; 5] =
    ["restore and start", "pg_checksums", "pg_amcheck", "pgbackrest verify", "pg_verifybackup"];

/// The longest quote that a cell takes.
const QUOTE: usize = 110;

/// One damage and what everyone says of it.
#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub what: String,
    pub pgassay: Pgassay,
    /// What a restore to the newest point gave back.
    pub rows: String,
    /// In the order of [`TOOLS`].
    pub peers: [Said; 5],
}

/// What this program's own self-test says.
#[derive(Clone, Debug, Default)]
pub struct Pgassay {
    pub caught: bool,
    /// Class and tier, or why it was not caught.
    pub text: String,
}

/// When, of what and by whom.
#[derive(Debug)]
pub struct Run {
    pub date: String,
    pub minutes: u64,
    pub versions: Vec<String>,
    pub archive: String,
    /// Damages that this archive cannot show, each with the reason.
    pub left_out: Vec<(String, String)>,
}

/// Between these two lines of the page.
pub const MARKS: [&str; 2] = ["<!-- compared: begin -->\n", "<!-- compared: end -->\n"];

/// That part.
pub fn part(run: &Run, rows: &[Row]) -> String {
    let mut out = String::new();
    let _ = write!(
        out,
        "Written by `make compare-detection`, {}, in {} minutes: {}.\nThe archive: {}.\n{LEGEND}",
        run.date,
        run.minutes,
        run.versions.join(", "),
        run.archive
    );
    out.push_str("\n### Totals\n\n| tool |");
    for word in Word::ALL {
        let _ = write!(out, " {word} |");
    }
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(Word::ALL.len()));
    let caught = rows.iter().filter(|row| row.pgassay.caught).count();
    let missed = rows.len() - caught;
    let _ = write!(out, "\n| pgassay | {caught} | 0 | {missed} | 0 | 0 |");
    for (index, tool) in TOOLS.iter().enumerate() {
        let _ = write!(out, "\n| {tool} |");
        for word in Word::ALL {
            let count = rows.iter().filter(|row| row.peers[index].word == word).count();
            let _ = write!(out, " {count} |");
        }
    }
    let _ = write!(out, "\n\nOf {} damages {}.\n", rows.len(), silent(rows));
    out.push_str("\n### Each damage\n\n| damage | pgassay | ");
    let _ = write!(out, "{} | {} | rows after it |\n|---|---|", TOOLS[0], TOOLS[1..].join(" | "));
    out.push_str(&"---|".repeat(TOOLS.len() + 1));
    for row in rows {
        let _ = write!(out, "\n| `{}`: {} | {} |", row.name, cell(&row.what), row.pgassay.text);
        for said in &row.peers {
            let _ = write!(out, " {} |", said_in_a_cell(said));
        }
        let _ = write!(out, " {} |", cell(&row.rows));
    }
    out.push('\n');
    for (name, why) in &run.left_out {
        let _ = writeln!(out, "\n`{name}` is left out: {}.", cell(why));
    }
    out
}

/// How many damages no peer that looks at barman-cloud's archive says anything of.
fn silent(rows: &[Row]) -> String {
    let loud = |row: &&Row| row.peers[..3].iter().any(|said| said.word == Word::Caught);
    let lost = |row: &&Row| matches!(row.peers[0].word, Word::Silent | Word::Log);
    let quiet = rows.iter().filter(lost).filter(|row| !loud(row)).count();
    format!(
        "{quiet} end in a cluster that opens, passes `pg_checksums` and `pg_amcheck`, and lacks rows or could \
         not have reached an earlier target"
    )
}

fn said_in_a_cell(said: &Said) -> String {
    let quote = cell(&short(&said.quote));
    match (said.word, quote.is_empty()) {
        (word, true) => word.to_string(),
        (word @ (Word::Silent | Word::Harmless | Word::NotApplicable), false) => {
            format!("{word}: {quote}")
        }
        (word, false) => format!("{word}: `{quote}`"),
    }
}

/// Nothing that would end a table's cell or a quote.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ").trim().to_owned()
}

fn short(text: &str) -> String {
    let text = text.replace('`', "'");
    if text.chars().count() <= QUOTE {
        return text;
    }
    let cut: String = text.chars().take(QUOTE - 1).collect();
    format!("{cut}…")
}

const LEGEND: &str = "
**pgassay**: the class that it names and the cheapest tier that names it, as `pgassay selftest` says on this
archive. **restore and start**: `barman-cloud-restore`, then PostgreSQL with `barman-cloud-wal-restore` as its
`restore_command`, to the end of the newest timeline; the archive was served with the damage in it.
**pg_amcheck** (`--all --heapallindexed --parent-check`) looks at the running cluster, **pg_checksums** at the
same cluster, stopped. **pgbackrest verify** and **pg_verifybackup** cannot read this archive: each looks at its
own backup of the same cluster with an equivalent damage, where there is one. **rows after it**: counted and
hashed in the cluster that came out, against the source.

| word | meaning |
|---|---|
| caught | it ends with another status than 0, the server goes down, or the report that it prints says so |
| log | it ends well with rows lost; only the server's log has a line that the sound archive's has not |
| silent | all is green, and rows or earlier recovery targets are lost |
| harmless | all is green, and nothing is lost in what it restores or looks at |
| n/a | there is nothing for it to look at, or no equivalent damage in its own format |

A restore that brings back all rows is tried again to the point where the backup is consistent: what is lost
there counts as silent. `pgbackrest verify` ends with status 0 whatever it finds, so its report counts.
Some damages harm no restore of today (a wrong value in `backup.info` that barman-cloud never reads): pgassay
reports them, since the file and the bytes contradict each other; *harmless* says that the restore was right.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::marked::into_page;

    #[test]
    fn a_row_keeps_its_columns_whatever_was_said() {
        let said = |word, quote: &str| Said::new(word, quote);
        let row = Row {
            name: "wal_middle_missing".into(),
            what: "a | b".into(),
            pgassay: Pgassay { caught: true, text: "wal_gap, catalog".into() },
            rows: "3 of 9 lost".into(),
            peers: [
                said(Word::Silent, "3 of 9 rows lost"),
                said(Word::Silent, ""),
                said(Word::Caught, &format!("ERROR: `x` | y\n{}", "z".repeat(300))),
                said(Word::NotApplicable, "no tars"),
                said(Word::Harmless, ""),
            ],
        };
        let run = Run {
            date: "2026-01-01".into(),
            minutes: 9,
            versions: vec!["a".into()],
            archive: "small".into(),
            left_out: vec![("store_gone".into(), "no".into())],
        };
        let page = part(&run, &[row]);
        let line = page.lines().find(|line| line.starts_with("| `wal_middle")).unwrap();
        assert_eq!(line.matches('|').count(), 9, "{line}");
        assert!(page.contains("| pgassay | 1 | 0 | 0 | 0 | 0 |"), "{page}");
        assert!(page.contains("| pg_amcheck | 1 | 0 | 0 | 0 | 0 |"), "{page}");
        assert!(page.contains("Of 1 damages 0 end"), "{page}");
        let whole = format!("head\n{}old\n{}tail\n", MARKS[0], MARKS[1]);
        assert_eq!(into_page(&whole, MARKS, "new\n"), whole.replace("old", "new"));
    }
}
