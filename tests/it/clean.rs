//! Sound archives that look odd: made by the real programs while production did what production
//! does. Each must pass with the source's rows; a finding here is a false alarm.

use std::{collections::BTreeMap, fs, path::Path};

use crate::support::{
    drill::{Answer, Drill},
    fixture::{self, Archive, Mark, Recipe, Workshop},
};

mod contents;
mod history;
mod reshaped;
mod torn;
mod writes;

/// A cluster with small segments, quick to archive.
fn small() -> Recipe<'static> {
    Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() }
}

/// The archive of one life. `live` takes the base backup; what rows there are in the end counts.
fn of(name: &str, recipe: Recipe<'_>, live: impl FnOnce(&mut Workshop)) -> Archive {
    made(name, |root| {
        let mut shop = Workshop::new(root, name, recipe);
        live(&mut shop);
        finish(shop)
    })
}

fn made(name: &str, make: impl FnOnce(&Path) -> BTreeMap<String, Mark>) -> Archive {
    fixture::archive(&format!("clean-{name}"), make)
}

/// Remembers every row and loses the source.
fn finish(mut shop: Workshop) -> BTreeMap<String, Mark> {
    remember(&mut shop);
    shop.finish()
}

fn remember(shop: &mut Workshop) {
    shop.alone();
    let open = "select datname from pg_database where datallowconn and datname <> 'template1'";
    let databases = shop.sql("postgres", &format!("select json_agg(datname) from ({open}) d"));
    let databases: Vec<String> = serde_json::from_str(&databases).unwrap();
    for database in databases {
        shop.remember_rows(&database);
    }
}

/// A job with one check for the rows of each database.
fn job(archive: &Archive) -> String {
    let text = |value: &str| serde_json::to_string(value).unwrap();
    let rows = archive.marks.iter().filter_map(|(mark, rows)| {
        let database = text(mark.strip_prefix("rows of ")?);
        let (query, expect) = (text(&rows.query), text(&format!("= {}", rows.digest)));
        Some((database, query, expect))
    });
    let checks = rows.enumerate().map(|(index, (database, query, expect))| {
        format!(
            "    - sql: {{name: rows-{index}, database: {database}, query: {query}, expect: {expect}}}\n"
        )
    });
    format!("  depth: deep\n  checks:\n{}", checks.collect::<String>())
}

/// The newest backup is restored to the end, with nothing to complain about.
fn passes(archive: &Archive, server: &str) -> Answer {
    passes_with(archive, server, &[])
}

fn passes_with(archive: &Archive, server: &str, arguments: &[&str]) -> Answer {
    let drill = Drill::new(&archive.root, server, &job(archive));
    for command in ["catalog", "verify"] {
        let asked = drill.ask(command);
        asked.expect("pass", 0);
        assert_eq!(asked.report["attentions"], serde_json::json!([]), "{}", asked.stdout);
    }
    let answer = drill.run(arguments);
    answer.expect("pass", 0);
    assert_eq!(answer.findings(), Vec::new(), "{arguments:?}: {}", answer.stdout);
    answer
}

/// So is every other one.
fn passes_from_each_backup(archive: &Archive, server: &str) {
    let base = archive.root.join("bucket/archive").join(server).join("base");
    let entries = fs::read_dir(base).unwrap();
    for entry in entries {
        let id = entry.unwrap().file_name().into_string().unwrap();
        passes_with(archive, server, &["--backup", &id]);
    }
}
