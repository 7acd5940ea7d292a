//! What pgassay and other tools say of the same damages: `make compare-detection` writes the table of
//! `docs/detection.md`.

mod cluster;
mod equivalent;
mod peers;
mod restored;
mod run;
mod said;
mod scene;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use pgassay::selftest::{
    self,
    damage::{Damage, NotMade},
};
use serde_json::Value;

use self::{
    cluster::{Backups, TABLES},
    equivalent::Damaged,
    restored::{Restored, Until},
    run::Ended,
    scene::Stage,
    table::{Pgassay, Row, Run},
};
use crate::support::{drill, marked};

/// What every tool is asked about: each kind of damage, in few compressions.
const CHOSEN: [&str; 54] = [
    "wal_begin_missing",
    "wal_end_missing",
    "wal_middle_missing",
    "wal_fork_missing",
    "wal_neighbour",
    "wal_swapped",
    "wal_duplicate_plain_bad",
    "wal_foreign_system",
    "wal_bit_flip_gzip",
    "wal_bit_flip_plain",
    "wal_bit_flip_lz4",
    "wal_half_gzip",
    "wal_begin_noise",
    "wal_trailing_garbage",
    "wal_short",
    "wal_zeros",
    "wal_page_zeros",
    "wal_page_magic",
    "wal_commit_record",
    "wal_page_image",
    "wal_level_minimal",
    "history_missing",
    "history_empty",
    "history_before_backup",
    "history_stray",
    "info_missing",
    "info_garbage",
    "info_failed",
    "info_system_id",
    "info_tablespaces",
    "base_middle_part_missing",
    "base_last_part_missing",
    "base_tablespace_missing",
    "base_bit_flip_plain",
    "base_bit_flip_gzip",
    "base_bit_flip_lz4",
    "base_half_gzip",
    "base_empty",
    "tar_header",
    "tar_extended_header",
    "tar_no_end",
    "control_bit_flip",
    "control_foreign",
    "label_missing",
    "label_start",
    "page_heap_cold",
    "page_heap_healed",
    "page_index_cold",
    "page_zeros",
    "relation_missing",
    "relation_empty",
    "relation_short",
    "index_missing",
    "page_lz4_silent",
];

/// What the tools say without any damage: what they say then is no sign of one.
struct Sound {
    latest: Restored,
    consistent: Restored,
    shapes: BTreeSet<String>,
    pgbackrest: Ended,
}

impl Sound {
    fn of(backups: &Backups, stage: &Stage, id: &str) -> Self {
        let scene = stage.show(selftest::overlay::View::default());
        let restore = |until| Restored::from(&scene.s3.endpoint(), id, until);
        let (latest, consistent) = (restore(Until::Latest), restore(Until::Consistent));
        assert!(latest.is_green() && consistent.is_green(), "{latest:#?}\n{consistent:#?}");
        // What came back is what the source had.
        let told: Vec<String> = latest
            .rows
            .iter()
            .map(|r| r.clone().map(|(n, sum)| format!("{n}:{sum}")).unwrap())
            .collect();
        assert_eq!(told[..2].join(" "), backups.archive.marks["end"].digest);
        assert_eq!(latest.rows[2].as_ref().unwrap().0, 30_000);
        let told: Vec<String> = consistent.rows[..2]
            .iter()
            .map(|r| r.clone().map(|(n, s)| format!("{n}:{s}")).unwrap())
            .collect();
        assert_eq!(told.join(" "), backups.archive.marks["base"].digest);
        let pgbackrest = peers::pgbackrest_sound(backups);
        assert!(pgbackrest.text.contains("status: ok"), "{}", pgbackrest.text);
        let plain = peers::verifybackup_sound(backups);
        assert_eq!(plain.status, 0, "{}", plain.text);
        let shapes = latest.shapes().into_iter().chain(consistent.shapes()).collect();
        Self { latest, consistent, shapes, pgbackrest }
    }
}

/// What is missing from the tables; `None`: nothing.
fn lost(restored: &Restored, sound: &Restored) -> Option<String> {
    let mut all = Vec::new();
    for ((table, before), after) in TABLES.iter().zip(&sound.rows).zip(&restored.rows) {
        let (count, _) = before.as_ref().unwrap();
        match after {
            Err(why) => all.push(format!("`{table}` cannot be read: {why}")),
            Ok((left, _)) if left != count => {
                all.push(format!("`{table}` has {left} of {count} rows"));
            }
            Ok(after) if Ok(after) != before.as_ref() => {
                all.push(format!("`{table}` has other rows"));
            }
            Ok(_) => {}
        }
    }
    (!all.is_empty()).then(|| all.join(", "))
}

/// All rows, all green: is the backup good for an earlier target, too?
fn lost_before(endpoint: &str, id: &str, sound: &Sound) -> Option<String> {
    let restored = Restored::from(endpoint, id, Until::Consistent);
    if !restored.opened() {
        let said = restored.said(&sound.shapes, None);
        return Some(format!("recovery to the backup's end fails: {}", said.quote));
    }
    if let Some(lost) = lost(&restored, &sound.consistent) {
        return Some(format!("at the backup's end {lost}"));
    }
    if restored.is_green() {
        return None;
    }
    let said = [restored.checksums_said(true), restored.amcheck_said(true)];
    let told: Vec<&str> = said.iter().map(|s| s.quote.as_str()).filter(|q| !q.is_empty()).collect();
    Some(format!("at the backup's end {}", told.join("; ")))
}

fn row(
    backups: &Backups,
    stage: &Stage,
    sound: &Sound,
    id: &str,
    damage: &Damage,
) -> Result<Row, String> {
    let m = &stage.materials;
    let made = match damage.make(m, 1) {
        Ok(made) => made,
        Err(NotMade::NotApplicable(why) | NotMade::TooLarge(why)) => return Err(why),
    };
    if !made.view.troubles.is_empty() {
        return Err(
            "trouble of the store while it is read, which no folder of files can show".into()
        );
    }
    let damaged = Damaged::of(&stage.store, m, &made.view);
    let scene = stage.show(made.view);
    let endpoint = scene.s3.endpoint();
    let restored = Restored::from(&endpoint, id, Until::Latest);
    let mut rows = "no cluster".to_owned();
    let mut missing = None;
    if restored.opened() {
        missing = lost(&restored, &sound.latest);
        rows = missing.clone().unwrap_or_else(|| "all".to_owned());
        if missing.is_none() {
            missing = if restored.is_green() {
                lost_before(&endpoint, id, sound)
            } else {
                Some("opens over damaged pages or indexes".to_owned())
            };
        }
    }
    Ok(Row {
        name: damage.name.clone(),
        what: damage.what.clone(),
        pgassay: Pgassay::default(),
        rows,
        peers: [
            restored.said(&sound.shapes, missing.as_deref()),
            restored.checksums_said(missing.is_some()),
            restored.amcheck_said(missing.is_some()),
            peers::pgbackrest_says(backups, &damage.name, &damaged, m, &sound.pgbackrest),
            peers::verifybackup_says(backups, &damage.name, &damaged, m),
        ],
    })
}

/// What this program's own self-test says of every damage of this archive.
struct Ours {
    report: Value,
}

impl Ours {
    fn ask(stage: &Stage, only: &[String]) -> Self {
        let sandboxes = stage.work.join("sandboxes");
        fs::create_dir_all(&sandboxes).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
        command.env_clear().envs(drill::environment()).arg("selftest").arg(&stage.job);
        command.args(["--seed", "1", "--output", "json"]).arg("--work-dir").arg(&sandboxes);
        command.args(only.iter().flat_map(|name| ["--only", name]));
        let output = command.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        let controls = report["controls"].as_array().unwrap();
        let alarms: Vec<&Value> = controls.iter().filter(|c| c["outcome"] == "missed").collect();
        assert!(alarms.is_empty(), "the sound archive does not pass: {alarms:#?}");
        Self { report }
    }

    fn said(&self, name: &str) -> Pgassay {
        let damages = self.report["damages"].as_array().unwrap();
        let Some(damage) = damages.iter().find(|damage| damage["name"] == name) else {
            return Pgassay { caught: false, text: "not asked".into() };
        };
        if damage["outcome"] != "caught" {
            let why = damage["why"].as_str().unwrap_or_default();
            return Pgassay { caught: false, text: format!("**not caught**: {why}") };
        }
        let expected = damage["expected"]["classes"].as_array().unwrap();
        let named = damage["seen"].as_array().unwrap().iter().find_map(|seen| {
            let told = ["findings", "errors"].iter().filter_map(|k| seen[k].as_array()).flatten();
            let mut classes = told.map(|f| &f["class"]);
            let class = classes.find(|class| expected.contains(class))?;
            Some(format!("`{}`, {}", class.as_str()?, seen["tier"].as_str()?))
        });
        Pgassay { caught: true, text: named.unwrap() }
    }
}

#[test]
#[ignore = "takes many minutes: `make compare-detection`"]
fn compare() {
    let since = Instant::now();
    let chosen: Vec<String> = std::env::var("DETECTION_ONLY").map_or_else(
        |_| CHOSEN.map(str::to_owned).to_vec(),
        |names| names.split(',').map(str::to_owned).collect(),
    );
    let backups = cluster::backups();
    let stage = Stage::new(&backups);
    let id = cluster::backup_id(&backups.archive);
    let sound = Sound::of(&backups, &stage, &id);
    let all = selftest::chosen(&chosen).unwrap();

    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Result<Row, String>>> = Mutex::default();
    // Most of a restore is waiting.
    let workers = 2 * thread::available_parallelism().map_or(2, usize::from);
    let ours = thread::scope(|scope| {
        let ours = scope.spawn(|| Ours::ask(&stage, &chosen));
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    let Some(damage) = all.get(index) else { break };
                    let row = row(&backups, &stage, &sound, &id, damage);
                    let words = row.as_ref().map(|row| row.peers.each_ref().map(|s| s.word.name()));
                    println!("{}: {words:?}", damage.name);
                    done.lock().unwrap().insert(index, row);
                }
            });
        }
        ours.join().unwrap()
    });
    let mut rows = Vec::new();
    let mut left_out = Vec::new();
    for (index, row) in done.into_inner().unwrap() {
        match row {
            Ok(mut row) => {
                row.pgassay = ours.said(&row.name);
                rows.push(row);
            }
            Err(why) => left_out.push((all[index].name.clone(), why)),
        }
    }
    let mut versions = vec![format!("pgassay {}", env!("CARGO_PKG_VERSION"))];
    versions.extend(cluster::versions());
    let run = Run {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        minutes: since.elapsed().as_secs().div_ceil(60),
        versions,
        archive: ours.report["archive"].as_str().unwrap().to_owned(),
        left_out,
    };
    let part = table::part(&run, &rows);
    if chosen.len() < CHOSEN.len() {
        println!("{part}");
        return;
    }
    marked::write("docs/detection.md", table::MARKS, &part);
    println!("written: docs/detection.md");
}
