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
