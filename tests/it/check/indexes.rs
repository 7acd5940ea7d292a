//! Indexes that amcheck knows nothing of.

use super::*;

const INDEXES: [&str; 6] = [
    "shapes_hash",
    "shapes_gin",
    "shapes_gist",
    "shapes_spgist",
    "shapes_spgist_text",
    "shapes_brin",
];

/// Numbers of the pages of a file that are not zero.
fn written(file: &Path) -> Vec<u64> {
    let bytes = fs::read(file).unwrap();
    let pages = bytes.chunks(8192).enumerate().filter(|(_, page)| page.iter().any(|b| *b != 0));
    pages.map(|(block, _)| block as u64).collect()
}

#[test]
fn a_zeroed_page_that_an_index_refers_to() {
    zero_some_of_each(4);
}

#[test]
#[ignore = "a matrix: make test-all"]
fn many_zeroed_pages_that_an_index_refers_to() {
    zero_some_of_each(24);
}

#[test]
fn pages_of_a_gin_index_in_each_others_place() {
    let mut cluster = Cluster::new(18, &["--no-data-checksums"]);
    cluster.fill();
    let sound = cluster.passed(&Amcheck);
    assert!(sound.contains(" and 1 GIN indexes in"), "{sound}");
    let gin = cluster.file("shapes_gin");
    cluster.damage(|_| {
        let mut bytes = fs::read(&gin).unwrap();
        // Leaves of the entry tree have the flag 2 alone (`ginblock.h`).
        let leaves: Vec<usize> = (0..bytes.len() / 8192)
            .map(|block| block * 8192)
            .filter(|at| bytes[at + 8190..at + 8192] == [2, 0])
            .collect();
        let (first, last) = (leaves[0], leaves[leaves.len() - 1]);
        assert!(first < last, "the index is too small");
        let page = bytes[first..first + 8192].to_vec();
        bytes.copy_within(last..last + 8192, first);
        bytes[last..last + 8192].copy_from_slice(&page);
        fs::write(&gin, bytes).unwrap();
    });
    let findings = cluster.findings(&Amcheck);
    expect(&findings, FailureClass::AmcheckIndex, "shop.public.shapes_gin");
    assert_eq!(findings.len(), 1, "{findings:#?}");
    cluster.sql(
        "shop",
        "update pg_index set indisvalid = false where indexrelid = 'shapes_gin'::regclass",
    );
    let text = cluster.passed(&Amcheck);
    assert!(text.contains("1 invalid indexes") && text.contains("shapes_gin"), "{text}");
}

/// Zeroes up to so many pages of each index behind its first, one at a time.
fn zero_some_of_each(most: usize) {
    let mut cluster = Cluster::shop();
    // Pages come and go, lists are emptied, buckets split: nothing of it may alarm.
    cluster.sql("shop", "delete from shapes where id % 3 = 0 or id < 4000");
    cluster.sql("shop", "vacuum shapes");
    cluster.sql(
        "shop",
        "insert into shapes select i, array[i % 5, i], point(i, i % 89), md5(i::text) from generate_series(30000, 42000) i",
    );
    let files = INDEXES.map(|name| cluster.file(name));
    // A zero page behind the end, as an extension that was never used leaves it.
    cluster.passed(&RelationFiles);
    cluster.source.stop(true).unwrap();
    for file in &files {
        let length = fs::metadata(file).unwrap().len();
        fs::File::options().write(true).open(file).unwrap().set_len(length + 8192).unwrap();
    }
    let passed = cluster.passed(&IndexPages);
    assert!(passed.starts_with("6 indexes"), "{passed}");
    for (name, file) in INDEXES.iter().zip(&files) {
        let sound = fs::read(file).unwrap();
        let blocks = written(file);
        assert!(blocks.len() > 3, "{name} is too small for this test");
        let zeroed = |block: u64| {
            let mut bytes = sound.clone();
            let at = usize::try_from(block * 8192).unwrap();
            bytes[at..at + 8192].fill(0);
            fs::write(file, bytes).unwrap();
        };
        // The metapage or root first, then the others; pages that were deleted are nobody's.
        zeroed(0);
        expect(&cluster.findings(&IndexPages), FailureClass::PageZeroed, "block 0");
        let mut seen = 0;
        let some: Vec<u64> =
            blocks.iter().copied().skip(1).step_by(blocks.len().div_ceil(most)).collect();
        for block in &some {
            zeroed(*block);
            match cluster.run(&IndexPages) {
                CheckOutcome::Failed(findings) => {
                    expect(&findings, FailureClass::PageZeroed, &format!("shop.public.{name}"));
                    seen += 1;
                }
                CheckOutcome::Passed(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(
            seen * 2 > some.len(),
            "{name}: only {seen} of {} zeroed pages were seen",
            some.len()
        );
        fs::write(file, &sound[..0]).unwrap();
        expect(&cluster.findings(&IndexPages), FailureClass::PageZeroed, "block 0");
        fs::write(file, &sound).unwrap();
        cluster.passed(&IndexPages);
    }
    // Whether `files` ran tells whether there is anything to look at.
    cluster.context.observations = Observations::default();
    let CheckOutcome::Skipped(_) = cluster.run(&IndexPages) else { panic!("what did it read?") };
}

#[test]
fn indexes_of_which_nothing_is_known_are_named() {
    let mut cluster = Cluster::shop();
    cluster.sql("shop", "create extension bloom");
    cluster.sql("shop", "create index shapes_bloom on shapes using bloom (id)");
    cluster.sql(
        "shop",
        "update pg_index set indisvalid = false where indexrelid = 'shapes_hash'::regclass",
    );
    cluster.passed(&RelationFiles);
    cluster.source.stop(true).unwrap();
    let text = cluster.passed(&IndexPages);
    assert_eq!(
        text,
        "5 indexes other than B-trees; 1 invalid were not looked at, such as shop.public.shapes_hash; \
         1 of other access methods were not looked at, such as shop.public.shapes_bloom (bloom)"
    );
}

/// One table and its indexes: rows that came, went and came again, and keys that many rows share.
fn entries() -> Cluster {
    let cluster = Cluster::shop();
    for sql in [
        "create table t (id int primary key, name text, kind int)",
        "insert into t select i, md5(i::text), i % 3 from generate_series(1, 30000) i",
        "create index t_kind on t (kind)",
        "delete from t where id % 5 = 0 or id between 3000 and 9000",
        "vacuum t",
        "insert into t select i, md5(i::text), 7 from generate_series(40000, 42000) i",
        "update t set name = 'hot' where id % 7 = 0",
        "update t set id = id + 100000 where id % 11 = 0",
        "begin; insert into t select i, 'gone', 5 from generate_series(50000, 52000) i; rollback",
        "checkpoint",
    ] {
        cluster.sql("shop", sql);
    }
    cluster
}

#[test]
fn entries_without_rows() {
    let mut cluster = entries();
    let (t, index) = (cluster.file("t"), cluster.file("t_kind"));
    cluster.passed(&RelationFiles);
    cluster.source.stop(true).unwrap();
    // With memory for all, and with too little for the bits of the items of `t`.
    let small = IndexEntries { memory: 1 };
    let (all, few) = (cluster.passed(&ENTRIES), cluster.passed(&small));
    let count = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
    assert!(all.contains(" indexes point to rows; ") && count(&all) > 60_000, "{all}");
    assert_eq!(count(&all), count(&few), "{few}");
    assert!(few.contains("unused items were not told from rows"), "{few}");
    assert!(!few.contains("pages without any row"), "{few}");

    let sound = fs::read(&t).unwrap();
    let with = |cluster: &Cluster, bytes: &[u8], words: &str| {
        fs::write(&t, bytes).unwrap();
        for check in [&ENTRIES, &small] {
            let findings = cluster.findings(check);
            assert_eq!(names(&findings), ["shop.public.t_kind", "shop.public.t_pkey"]);
            for finding in &findings {
                assert!(finding.detail.contains(words), "{finding:?}");
            }
        }
    };
    let mut zeroed = sound.clone();
    zeroed[4 * 8192..5 * 8192].fill(0);
    with(&cluster, &zeroed, "in 1 blocks of its table: block 4, which has 0 items, not item");
    let cut = sound.len() - 8192;
    let beyond = format!("block {}, which lies beyond the table's end", cut / 8192);
    with(&cluster, &sound[..cut], &beyond);
    with(&cluster, &[], "block 0, which lies beyond the table's end");

    // A page of an earlier state, with a checksum that holds.
    let mut earlier = sound.clone();
    let page: &mut [u8; 8192] = (&mut earlier[6 * 8192..7 * 8192]).try_into().unwrap();
    page[24..28].fill(0);
    let checksum = pgassay::pg::page::checksum(page, 6);
    page[8..10].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&t, &earlier).unwrap();
    let findings = cluster.findings(&ENTRIES);
    expect(&findings, FailureClass::IndexDangling, "block 6, whose item 1 is unused");
    // A page that is bad by itself is the check `checksums`' to tell.
    fs::write(&t, &sound).unwrap();
    flip(&t, 6 * 8192 + 24);
    cluster.passed(&ENTRIES);
    fs::write(&t, &sound).unwrap();
    flip(&index, 2 * 8192 + 4000);
    cluster.passed(&ENTRIES);
}

fn names(findings: &[Finding]) -> Vec<&str> {
    assert!(findings.iter().all(|f| f.class == FailureClass::IndexDangling), "{findings:#?}");
    findings.iter().map(|f| f.subject.as_str()).collect()
}

/// Makes an entry of the first leaf point to an item that its page does not have.
fn dangle(file: &Path) -> Vec<u8> {
    let sound = fs::read(file).unwrap();
    let mut bytes = sound.clone();
    let u16_at = |page: &[u8], at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
    let (block, page) = bytes
        .chunks_exact_mut(8192)
        .enumerate()
        // `BTP_LEAF`, perhaps `BTP_ROOT`, nothing else.
        .find(|(_, page)| matches!(u16_at(page, 8188), 1 | 3) && u16_at(page, 12) >= 24 + 8)
        .unwrap();
    let page: &mut [u8; 8192] = page.try_into().unwrap();
    // Whether the first is a high key or not, the second is an entry; a list of rows is passed by.
    let mut items = (1..usize::from(u16_at(page, 12) - 24) / 4)
        .map(|n| usize::from(u16_at(page, 24 + n * 4) & 0x7FFF));
    let at = items.find(|at| u16_at(page, at + 6) & 0x2000 == 0).unwrap();
    page[at + 4..at + 6].copy_from_slice(&290_u16.to_le_bytes());
    let checksum = pgassay::pg::page::checksum(page, block as u32);
    page[8..10].copy_from_slice(&checksum.to_le_bytes());
    fs::write(file, bytes).unwrap();
    sound
}

#[test]
fn each_index_is_read_whatever_the_others_of_its_table_say() {
    let mut cluster = entries();
    for sql in [
        "create index t_name on t (name)",
        "create index t_sevens on t (id) where kind = 7",
        "create index t_upper on t (upper(name)) include (id)",
        "create index t_invalid on t (id, name)",
        "update pg_index set indisvalid = false where indexrelid = 't_invalid'::regclass",
        // A page for each row: too many for the numbers of their items in the least memory.
        "create table wide (id int primary key, body text)",
        "alter table wide alter body set storage plain",
        "insert into wide select i, repeat('x', 5000) from generate_series(1, 4200) i",
        "checkpoint",
    ] {
        cluster.sql("shop", sql);
    }
    let toast = cluster.sql(
        "shop",
        "select indexrelid::regclass from pg_index i join pg_class c on i.indrelid = c.reltoastrelid \
         where c.relname = 'big'",
    );
    let relations =
        ["t_name", "t_sevens", "t_upper", &toast, "pg_attribute_relid_attnam_index", "wide_pkey"];
    let files = relations.map(|name| cluster.file(name));
    let (invalid, wide) = (cluster.file("t_invalid"), cluster.file("wide"));
    cluster.passed(&RelationFiles);
    cluster.source.stop(true).unwrap();
    let all = cluster.passed(&ENTRIES);
    for (name, file) in relations.iter().zip(&files) {
        let sound = dangle(file);
        let findings = cluster.findings(&ENTRIES);
        let [subject] = names(&findings)[..] else { panic!("{name}: {findings:#?}") };
        let last = name.rsplit('.').next().unwrap();
        assert!(subject.ends_with(&format!(".{last}")), "{name}: {subject}");
        assert!(findings[0].detail.contains("items, not item 290"), "{findings:?}");
        fs::write(file, sound).unwrap();
    }
    // PostgreSQL itself does not look into it.
    dangle(&invalid);
    assert_eq!(cluster.passed(&ENTRIES), all);

    // With the least memory: which pages of `wide` have rows, and where it ends.
    let small = IndexEntries { memory: 1 };
    let text = cluster.passed(&small);
    assert!(text.contains("; in 1 tables that are large"), "{text}");
    assert!(text.contains("only pages without any row were told from others"), "{text}");
    let sound = fs::read(&wide).unwrap();
    let mut zeroed = sound.clone();
    zeroed[77 * 8192..78 * 8192].fill(0);
    for (bytes, words) in [
        (&zeroed[..], "in 1 blocks of its table: block 77, which has no item 1"),
        (&sound[..sound.len() - 8192], "block 4199, which lies beyond the table's end"),
    ] {
        fs::write(&wide, bytes).unwrap();
        let findings = cluster.findings(&small);
        assert_eq!(names(&findings), ["shop.public.wide_pkey"]);
        assert!(findings[0].detail.contains(words), "{findings:?}");
    }
}

/// What a table's life leaves behind: each state must be there, and none of them is damage.
#[test]
fn entries_of_rows_that_are_dead_pruned_or_never_were() {
    let mut cluster = Cluster::shop();
    for sql in [
        "create extension pageinspect",
        "create table t (id int primary key, kind int, note text) with (fillfactor = 60)",
        "create index t_kind on t (kind)",
        "insert into t select i, i % 9, 'a' from generate_series(1, 20000) i",
        // Chains of heap-only rows; reading them again prunes, and leaves roots that redirect.
        "update t set note = 'b' where id <= 3000",
        "update t set note = 'c' where id <= 3000",
        "select count(*) from t where note = 'c'",
        // Dead rows whose entries stay, and entries that a search then marks dead.
        "delete from t where id between 4000 and 5000",
        "vacuum (index_cleanup off, truncate off) t",
        "delete from t where id between 6000 and 6500",
        "set enable_seqscan = off; set enable_bitmapscan = off; \
         select count(id) from t where id between 6000 and 6500; \
         select count(id) from t where id between 6000 and 6500",
        // A transaction that ends badly.
        "begin; insert into t select i, 5, 'gone' from generate_series(30000, 31000) i; rollback",
        // Leaves that are deleted, and a table that is cut at its end.
        "create table cut (id int primary key)",
        "insert into cut select generate_series(1, 30000)",
        "delete from cut where id > 5000",
        "vacuum cut",
        "create table emptied (id int primary key)",
        "insert into emptied select generate_series(1, 1000)",
        "truncate emptied",
        "insert into emptied select generate_series(1, 10)",
        "checkpoint",
    ] {
        cluster.sql("shop", sql);
    }
    let there = |what: &str, query: &str| {
        let count = cluster.sql("shop", query);
        assert!(count.parse::<u64>().unwrap() > 0, "no {what}: {count}");
    };
    let items = |flags: u32| {
        format!(
            "select count(*) from generate_series(0, pg_relation_size('t') / 8192 - 1) b, \
             heap_page_items(get_raw_page('t', b::int)) where lp_flags = {flags}"
        )
    };
    there("roots that redirect", &items(2));
    there("dead rows", &items(3));
    let leaves = |index: &str, what: &str| {
        format!(
            "select count(*) from generate_series(1, pg_relation_size('{index}') / 8192 - 1) b, \
             {what}"
        )
    };
    there("dead entries", &leaves("t_pkey", "bt_page_items('t_pkey', b) where dead"));
    there("lists", &leaves("t_kind", "bt_page_items('t_kind', b) where tids is not null"));
    let deleted = "bt_page_stats('cut_pkey', b) where type in ('d', 'D')";
    there("deleted leaves", &leaves("cut_pkey", deleted));
    assert!(
        cluster.sql("shop", "select pg_relation_size('cut') / 8192").parse::<u64>().unwrap() < 40
    );
    cluster.passed(&RelationFiles);
    cluster.source.stop(true).unwrap();
    let text = cluster.passed(&ENTRIES);
    assert!(text.contains(" indexes point to rows"), "{text}");
}
