//! Damaged archives: what can be had is had, and what is missing is said.

use std::fs;

use crate::support::{
    damage::{self, MIDDLE, backup_folder, flip_row, rewrite_gz, segment},
    drill::damaged_copy,
    fixture::{self, Recipe, Workshop, archive},
    rescue::Rescue,
    tools,
};

/// Rows of the batches of the fixture that are there whole.
const BATCHES: &str = "select string_agg(b, ' ' order by b) from (select split_part(name, '-', 1) b \
    from items where name ~ '^[abc][0-9]+-' group by 1 having count(*) = 1000) x";

#[test]
fn damaged_wal_ends_the_data_there() {
    let archive = fixture::rich();
    let copy = damaged_copy(&archive, |root| {
        rewrite_gz(&segment(root, MIDDLE), |bytes| flip_row(bytes, 100_000));
    });
    let rescue = Rescue::new(copy.path(), "rich", "");
    let answer = rescue.run(&[]);
    answer.expect_outcome("incomplete", 1).expect_found("wal_corrupt", MIDDLE);
    let report = &answer.report;
    assert_eq!(report["reached"]["end"], report["promise"]["end"], "{}", answer.stdout);
    assert_eq!(report["left_behind"]["wanted"], false, "{}", answer.stdout);
    assert!(answer.next().contains("pg_ctl"), "{}", answer.next());
    let server = rescue.start(tools::packaged_major());
    let batches = server.sql("app", BATCHES);
    assert!(batches.starts_with("a0 a1 "), "{batches}");
    assert!(!batches.contains('c'), "{batches}");
    assert_eq!(server.sql("app", "select count(*) from items where name ~ '^c2-'"), "0");
}

#[test]
#[ignore = "a matrix: make test-all"]
fn a_hole_in_the_wal_ends_the_data_there() {
    let archive = fixture::rich();
    let copy = damaged_copy(&archive, |root| fs::remove_file(segment(root, MIDDLE)).unwrap());
    let rescue = Rescue::new(copy.path(), "rich", "");
    let answer = rescue.run(&[]);
    answer.expect_outcome("incomplete", 1).expect_found("wal_gap", "");
    assert_eq!(answer.report["left_behind"]["wanted"], false, "{}", answer.stdout);
    let server = rescue.start(tools::packaged_major());
    assert!(server.sql("app", BATCHES).starts_with("a0 a1 "));
}

#[test]
fn a_damaged_page_needs_consent_and_is_not_fetched_twice() {
    let archive = archive("rescue-page", |root| {
        let recipe = Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() };
        let mut shop = Workshop::new(root, "rich", recipe);
        shop.sql("app", "create table cold as select i, repeat(md5(i::text), 8) note from generate_series(1, 300) i");
        shop.sql("app", "vacuum freeze cold");
        shop.sql("app", "checkpoint");
        shop.barman.backup(&shop.source, &[]).unwrap();
        shop.add("later", 50);
        shop.mark("end");
        shop.finish()
    });
    let copy = damaged_copy(&archive, |root| {
        let tar = backup_folder(root).join("data.tar");
        let mut bytes = fs::read(&tar).unwrap();
        // `md5('150')`, as the first of eight.
        let row = b"7ef605fc8dba5425d6965fbd4c8fbe1f".repeat(8);
        let at = bytes.windows(row.len()).position(|window| window == row).unwrap();
        bytes[at + 5] ^= 1;
        fs::write(tar, bytes).unwrap();
    });
    let rescue = Rescue::new(copy.path(), "rich", "");
    let answer = rescue.run(&[]);
    answer.expect_outcome("impossible", 1).expect_found("page_checksum", "base/");
    assert!(answer.next().contains("--accept-damage"), "{}", answer.next());
    assert!(!rescue.dir().exists(), "nothing was recovered");
    assert_eq!(rescue.left(), ["main.pgassay-rescue"]);
    rescue.proxy.let_go();

    // The same again says the same, and reads none of it again.
    rescue.run(&[]).expect_outcome("impossible", 1).expect_found("page_checksum", "base/");
    let answer = rescue.run(&["--accept-damage"]);
    answer.expect_outcome("incomplete", 1).expect_found("page_checksum", "base/");
    let fetched: Vec<String> = rescue.proxy.gets();
    let data = |path: &&String| path.contains(".tar") || path.contains("/wals/");
    assert_eq!(fetched.iter().find(data), None, "{fetched:#?}");
    let server = rescue.start(tools::packaged_major());
    assert_eq!(server.digest(), archive.marks["end"].digest);
}

#[test]
fn a_lost_part_of_the_base_cannot_be_had_and_another_backup_is_named() {
    let archive = archive("rescue-two", |root| {
        let recipe = Recipe { initdb: &["--wal-segsize=1"], ..Recipe::default() };
        let mut shop = Workshop::new(root, "rich", recipe);
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("between", 50);
        // Ids are seconds.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        shop.barman.backup(&shop.source, &["--gzip"]).unwrap();
        shop.add("later", 50);
        shop.mark("end");
        shop.finish()
    });
    let mut ids = Vec::new();
    let copy = damaged_copy(&archive, |root| {
        let entries = fs::read_dir(damage::object(root, "base")).unwrap();
        ids.extend(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
        ids.sort();
        let tar = damage::object(root, "base").join(&ids[1]).join("data.tar.gz");
        damage::flip_a_bit(&tar);
    });
    let rescue = Rescue::new(copy.path(), "rich", "");
    for arguments in [&[][..], &["--accept-damage"]] {
        let answer = rescue.run(arguments);
        answer.expect_outcome("impossible", 1).expect_found("archive_corrupt", &ids[1]);
        assert_eq!(answer.report["other_backups"][0], ids[0].as_str(), "{}", answer.stdout);
        assert!(answer.next().contains(&format!("--backup {}", ids[0])), "{}", answer.next());
        assert!(!answer.next().contains("--accept-damage"), "{}", answer.next());
    }
    let answer = rescue.run(&["--backup", &ids[0]]);
    answer.expect_error("E015", 2, &format!("it restores backup `{}`", ids[1]));
    rescue.run(&["--backup", &ids[0], "--anew"]).expect_outcome("complete", 0);
    let server = rescue.start(tools::packaged_major());
    assert_eq!(server.digest(), archive.marks["end"].digest);
}
