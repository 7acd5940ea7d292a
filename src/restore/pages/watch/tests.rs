use proptest::prelude::*;

use super::*;
use crate::{
    pg::page::checksum,
    restore::pages::testing::{control, page},
};

fn watched(rules: WatchRules, files: &[(&str, Vec<u8>)]) -> WatchedPages {
    let watch = PageWatch::new(rules);
    for (path, bytes) in files {
        if let Some(mut file) = watch.file(path.as_bytes()) {
            file.data(bytes);
        }
    }
    watch.finish()
}

/// `path: blocks` of all suspects.
fn suspects(files: &[(&str, Vec<u8>)]) -> Vec<String> {
    let seen = watched(WatchRules::default(), files).judged_by(&control(true)).unwrap();
    let blocks = |pages: &Vec<SuspectPage>| pages.iter().map(|p| p.block).collect::<Vec<_>>();
    seen.forks.iter().map(|(file, pages)| format!("{file}: {:?}", blocks(pages))).collect()
}

#[test]
fn two_readings_agree_on_the_same_damage_only() {
    let most = |max_suspects| WatchRules { max_suspects, ..WatchRules::default() };
    let prints = |most, bad: &[u32]| {
        let seen = watched(most, &[("base/5/16384", pages(0, 40, bad))]);
        seen.judged_by(&control(true)).unwrap().prints()
    };
    let agree = |a: &Prints, b: &Prints| a.agree(b, "base/5/16384");
    let one = prints(most(10), &[3]);
    assert!(agree(&one, &prints(most(10), &[3])));
    assert!(!agree(&one, &prints(most(10), &[])));
    assert!(!agree(&one, &prints(most(10), &[3, 4])));
    assert!(!one.agree(&one, "base/5/16385"));
    // More than are kept: which ones that are is a matter of chance.
    let many: Vec<u32> = (0..20).collect();
    assert!(agree(&prints(most(4), &many), &prints(most(4), &many[1..])));
    assert!(!agree(&prints(most(4), &many), &one));
}

/// Pages from `first` on, of which those in `bad` are damaged.
fn pages(first: u32, count: u32, bad: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for block in first..first + count {
        let mut page = page(block as u8, block);
        page[5000] ^= u8::from(bad.contains(&block));
        bytes.extend(page);
    }
    bytes
}

#[test]
fn damaged_pages_of_relations_and_of_nothing_else() {
    let mut zeros = pages(0, 3, &[]);
    zeros[8192..16384].fill(0);
    let mut cut = pages(0, 2, &[]);
    cut.extend([7; 5000]);
    assert_eq!(
        suspects(&[
            ("base/5/16384", pages(0, 4, &[1, 3])),
            ("base/5/16384.2", pages(262_144, 2, &[262_145])),
            ("base/5/16385", pages(0, 4, &[])),
            ("base/5/16386", zeros),
            ("base/5/16387", cut),
            ("base/5/t3_16388", pages(0, 1, &[0])),
            ("base/pgsql_tmp/pgsql_tmp1.0", pages(0, 1, &[0])),
            ("global/1262", pages(0, 1, &[0])),
            ("global/pg_control", pages(0, 1, &[0])),
            ("pg_tblspc/16400/PG_15_202209061/5/16401", pages(0, 1, &[0])),
            ("pg_tblspc/16400/PG_14_202107181/5/16401", pages(0, 1, &[0])),
            ("base/5/16390", pages(0, 1, &[0])),
            ("base/5/16390_init", pages(0, 1, &[0])),
            ("base/6/16390", pages(0, 1, &[0])),
            ("base/5/16384_vm", pages(0, 2, &[0])),
            ("base/5/16384_fsm", pages(0, 2, &[1])),
        ]),
        [
            "global/1262: [0]",
            "base/5/16384: [1, 3, 262145]",
            "base/5/16390_init: [0]",
            "base/6/16390: [0]",
            "pg_tblspc/16400/PG_15_202209061/5/16401: [0]",
        ]
    );
}

#[test]
fn maps_are_only_counted() {
    let files =
        [("base/5/1_vm", pages(0, 3, &[0, 2])), ("base/5/1_fsm", pages(0, 1, &[0])), ("x", vec![])];
    let seen = watched(WatchRules::default(), &files);
    assert_eq!(seen.checked(), PagesChecked { files: 2, pages: 4, bad_map_pages: 3 });
    assert!(seen.judged_by(&control(true)).unwrap().is_empty());
}

#[test]
fn without_checksums_only_headers_count() {
    let mut header = page(1, 1).to_vec();
    header[12..14].copy_from_slice(&9000u16.to_le_bytes());
    let files = [("base/5/1", [pages(0, 1, &[0]), header].concat())];
    for hint in [None, Some(true), Some(false)] {
        let rules = WatchRules { checksums: hint, ..WatchRules::default() };
        let off = watched(rules, &files).judged_by(&control(false)).unwrap();
        assert_eq!((off.count(), off.not_computed, off.checksums), (1, false, false), "{hint:?}");
        let on = watched(rules, &files).judged_by(&control(true)).unwrap();
        let all = hint != Some(false);
        assert_eq!((on.count(), on.not_computed), (if all { 2 } else { 1 }, !all), "{hint:?}");
    }
}

#[test]
fn a_build_with_other_files_is_refused_where_it_matters() {
    let other = ControlFile { relation_segment_blocks: 1024, ..control(true) };
    let one = watched(WatchRules::default(), &[("base/5/1", pages(0, 1, &[0]))]);
    assert_eq!(one.judged_by(&other).unwrap().count(), 1);
    let two = watched(WatchRules::default(), &[("base/5/1.1", pages(0, 1, &[0]))]);
    assert_eq!(two.judged_by(&other).unwrap_err().code, Code::Unsupported);
    let pages = ControlFile { block_size: 16_384, ..control(true) };
    let one = watched(WatchRules::default(), &[]);
    assert_eq!(one.judged_by(&pages).unwrap_err().code, Code::Unsupported);
}

#[test]
fn suspects_beyond_the_most_are_counted() {
    let rules = WatchRules { checksums: None, max_suspects: 3 };
    let all: Vec<u32> = (0..3000).collect();
    let files = [("base/5/1", pages(0, 3000, &all)), ("base/5/2", pages(0, 2, &[1]))];
    let seen = watched(rules, &files).judged_by(&control(true)).unwrap();
    let kept: usize = seen.forks.values().map(Vec::len).sum();
    assert_eq!((kept, seen.not_kept, seen.count()), (3, 2998, 3001));
    let off = watched(rules, &files).judged_by(&control(false)).unwrap();
    assert_eq!(off.count(), 0);
}

#[test]
fn a_page_of_another_place_is_bad() {
    let mut file = pages(0, 3, &[]);
    file.copy_within(8192..16384, 16384);
    assert_eq!(suspects(&[("base/5/1", file)]), ["base/5/1: [2]"]);
    assert_ne!(checksum(&page(1, 1), 1), checksum(&page(1, 1), 2));
}

#[test]
fn maps_of_this_cluster_are_kept() {
    let map = crate::pg::filenode_map::tests::bytes(&[(1259, 1259)], true);
    let places =
        ["base/5", "global", "pg_tblspc/9/PG_15_202209061/6", "pg_tblspc/9/PG_14_202107181/6"];
    let files = places.map(|place| format!("{place}/pg_filenode.map"));
    let watch = PageWatch::new(WatchRules::default());
    for path in &files {
        watch.file(path.as_bytes()).unwrap().data(&map);
    }
    // One that is damaged is none.
    watch.file(b"base/7/pg_filenode.map").unwrap().data(&map[..500]);
    let seen = watch.finish();
    // But its folder is there.
    assert!(seen.databases().contains(&(1663, 7)), "{:?}", seen.databases());
    let seen = seen.judged_by(&control(true)).unwrap();
    let kept: Vec<String> = seen.maps.keys().map(ToString::to_string).collect();
    assert_eq!(kept, ["global", "base/5", "pg_tblspc/9/PG_15_202209061/6"]);
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same(
        cuts in prop::collection::vec(1..20_000usize, 1..20),
        bad in prop::collection::vec(0..10u32, 0..4),
    ) {
        let bytes = pages(0, 10, &bad);
        let whole = suspects(&[("base/5/1", bytes.clone())]);
        let watch = PageWatch::new(WatchRules::default());
        let mut file = watch.file(b"base/5/1").unwrap();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at(rest.len().min(*cut));
            file.data(piece);
            rest = more;
        }
        drop(file);
        let seen = watch.finish().judged_by(&control(true)).unwrap();
        let blocks: Vec<u32> = seen.forks.values().flatten().map(|p| p.block).collect();
        let expected = whole.first().map_or("[]", |text| text.split_once(": ").unwrap().1);
        prop_assert_eq!(format!("{blocks:?}"), expected);
        prop_assert_eq!(seen.checked.pages, 10);
    }
}

#[test]
fn impossible_headers_have_room_of_their_own() {
    let all: Vec<u32> = (0..20).collect();
    let files = [("base/5/1", pages(0, 20, &all)), ("base/5/2", vec![9; 8192])];
    let rules = WatchRules { checksums: None, max_suspects: 8 };
    // Without data checksums every page of the first file is sound.
    let seen = watched(rules, &files).judged_by(&control(false)).unwrap();
    let found: Vec<String> = seen.forks.keys().map(ToString::to_string).collect();
    assert_eq!((found, seen.not_kept), (vec!["base/5/2".to_owned()], 0));
    let seen = watched(rules, &files).judged_by(&control(true)).unwrap();
    assert_eq!((seen.count(), seen.not_kept), (21, 14));
}
