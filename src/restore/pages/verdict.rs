//! From what the WAL and the catalogs said to findings.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    commits::Commits,
    judge::{CatalogChanges, key},
    look::{CatalogLook, Existence},
    watch::{PageFault, PagesChecked},
};
use crate::{
    drill::{FailureClass, Finding},
    pg::{
        Lsn, Major,
        filenode_map::FilenodeMap,
        relation_file::{Fork, Location, RelationFile},
    },
};

/// Most pages that a finding names.
const MOST_PLACES: usize = 5;
/// Files beyond these are only counted.
const MOST_FINDINGS: usize = 50;

const HINT: &str = "Check the relation in production (`pg_amcheck`, `pg_checksums` on a stopped replica): if \
    it is sound there, take a new base backup; if not, restore it from an older one.";

/// What happens to a bad page after the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// No WAL of the archive touches it.
    Nothing,
    /// The backup's own WAL changes it and takes it for sound.
    Needed(Lsn),
    /// WAL after the backup makes it anew.
    Healed(Lsn),
    /// WAL after the backup logs it whole, as it does with relations that were in the making.
    Logged(Lsn),
    /// WAL after the backup changes it and takes it for sound.
    Changed(Lsn),
    /// WAL after the backup cuts or drops it.
    Removed(Lsn),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadPage {
    pub block: u32,
    pub fault: PageFault,
    pub after: Afterwards,
}

impl BadPage {
    fn words(self) -> String {
        let Self { block, fault, after } = self;
        let after = match after {
            Afterwards::Nothing => "the backup's own WAL does not repair it".to_owned(),
            Afterwards::Needed(at) => {
                format!("the backup's own WAL changes it at {at} and does not repair it")
            }
            Afterwards::Healed(at) | Afterwards::Logged(at) => {
                format!("the WAL heals it at {at}, but every target before has lost it")
            }
            Afterwards::Changed(at) => format!("the WAL changes it at {at} and does not repair it"),
            Afterwards::Removed(at) => {
                format!("the WAL removes it at {at}, but every target before has lost it")
            }
        };
        format!("block {block} ({fault}; {after})")
    }
}

/// What the WAL said of the suspects.
#[derive(Debug)]
pub struct Judged {
    pub(super) major: Major,
    pub(super) checked: PagesChecked,
    pub(super) checksums: bool,
    pub(super) not_kept: u64,
    pub(super) window_complete: bool,
    pub(super) torn: u64,
    pub(super) unneeded: u64,
    pub(super) damage: BTreeMap<RelationFile, Vec<BadPage>>,
    /// Damage, unless their relation does not exist.
    pub(super) open: BTreeMap<RelationFile, Vec<BadPage>>,
    pub(super) maps: BTreeMap<Location, FilenodeMap>,
    pub(super) changes: CatalogChanges,
    pub(super) commits: Commits,
    pub(super) incomplete_names: bool,
}

/// The verdict on the pages of one base backup.
#[derive(Debug, Default)]
pub struct PageVerdict {
    pub checked: PagesChecked,
    /// The cluster has data checksums; without, only page headers were judged.
    pub checksums: bool,
    /// Pages that were being written while they were copied; the backup's own WAL makes them anew.
    pub torn: u64,
    /// Bad pages that nobody needs: of relations that were dropped, cut or still in the making.
    pub unneeded: u64,
    /// Bad pages of relations in the making whose pages stay bad where replay ends before they are
    /// done. Nothing refers to them.
    pub unfinished: Vec<RelationFile>,
    /// `page_checksum` for damage, `page_undecided` where it cannot be told.
    pub findings: Vec<Finding>,
}

impl PageVerdict {
    /// Where there was nothing to judge.
    #[must_use]
    pub fn clean(checked: PagesChecked, checksums: bool) -> Self {
        Self { checked, checksums, ..Self::default() }
    }

    /// What was looked at, and what is odd and changes nothing; for the report.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let PagesChecked { files, pages, bad_map_pages } = self.checked;
        let how = if self.checksums {
            ""
        } else {
            " (data checksums are off in this cluster: only their headers)"
        };
        let mut first = format!("checked {pages} pages of {files} files in the base backup{how}");
        if self.torn > 0 {
            let _ = write!(
                first,
                "; {} were being written while they were copied, and the backup's own WAL makes them anew",
                self.torn
            );
        }
        let mut notes = vec![first];
        if self.unneeded > 0 {
            notes.push(format!(
                "{} bad pages in the base backup are of no account: their relations were dropped, cut or \
                 still in the making",
                self.unneeded
            ));
        }
        if bad_map_pages > 0 {
            notes.push(format!(
                "{bad_map_pages} pages of free space or visibility maps in the base backup are bad, \
                 which PostgreSQL repairs as it reads them"
            ));
        }
        notes
    }
}

impl Judged {
    /// What only the backup's catalogs can answer; `None` where the WAL has told everything.
    #[must_use]
    pub fn questions(&mut self) -> Option<CatalogLook> {
        if self.open.is_empty() {
            return None;
        }
        let asked = self.open.keys();
        let asked =
            asked.map(|file| (key(&file.location, file.filenode), file.location.clone())).collect();
        Some(CatalogLook::new(
            self.major,
            self.checksums,
            asked,
            std::mem::take(&mut self.maps),
            std::mem::take(&mut self.changes),
            std::mem::take(&mut self.commits),
        ))
    }

    /// The verdict; `look` is the finished second look where there were questions.
    #[must_use]
    pub fn verdict(self, look: Option<CatalogLook>) -> PageVerdict {
        let answers = look.map(CatalogLook::answers).unwrap_or_default();
        let mut verdict = PageVerdict {
            torn: self.torn,
            unneeded: self.unneeded,
            ..PageVerdict::clean(self.checked, self.checksums)
        };
        let mut damage = self.damage;
        let mut undecided = BTreeMap::new();
        let left_open = !self.open.is_empty();
        for (file, pages) in self.open {
            let logged = pages.iter().any(|page| matches!(page.after, Afterwards::Logged(_)));
            match answers.of(&file) {
                // Comes back empty: nobody asks for what it held.
                Existence::Unlogged if file.fork == Fork::Main => {
                    verdict.unneeded += pages.len() as u64;
                }
                Existence::Exists | Existence::Unlogged if self.window_complete => {
                    damage.entry(file).or_default().extend(pages);
                }
                // What would have made it anew may stand in the WAL that is not there.
                // Nor does it say much that whole pages are logged later: that is done with relations
                // that were in the making, but with others, too.
                Existence::Exists | Existence::Unlogged | Existence::Unknown => {
                    undecided.insert(file, pages);
                }
                Existence::Absent => {
                    verdict.unneeded += pages.len() as u64;
                    if !logged {
                        verdict.unfinished.push(file);
                    }
                }
            }
        }
        let damaged = !damage.is_empty();
        let more = damage.len().saturating_sub(MOST_FINDINGS);
        for (file, mut pages) in damage.into_iter().take(MOST_FINDINGS) {
            pages.sort_unstable_by_key(|page| page.block);
            verdict.findings.push(Finding::new(
                FailureClass::PageChecksum,
                file.to_string(),
                format!("{} in the base backup: {}", bad_pages(pages.len()), places(&pages)),
                HINT,
            ));
        }
        if more > 0
            && let Some(last) = verdict.findings.last_mut()
        {
            last.detail = format!("{}; and {more} more files like it", last.detail);
        }
        for (file, pages) in undecided.into_iter().take(MOST_FINDINGS) {
            verdict.findings.push(undecided_finding(
                file.to_string(),
                format!(
                    "{} in the base backup, and whether that is damage cannot be told: {}",
                    bad_pages(pages.len()),
                    places(&pages)
                ),
            ));
        }
        if self.not_kept > 0 && !damaged {
            verdict.findings.push(undecided_finding(
                "the base backup".into(),
                format!("{} more pages are bad than can be remembered and judged", self.not_kept),
            ));
        }
        if !self.window_complete && left_open && !damaged {
            verdict.findings.push(undecided_finding(
                "the base backup".into(),
                "the WAL ends before the backup does, so that its bad pages cannot be judged"
                    .into(),
            ));
        }
        if self.incomplete_names && !damaged && !verdict.findings.is_empty() {
            verdict.findings.push(undecided_finding(
                "the base backup".into(),
                "it has more unlogged relations or databases than can be remembered".into(),
            ));
        }
        verdict
    }
}

fn undecided_finding(subject: String, detail: String) -> Finding {
    Finding::new(
        FailureClass::PageUndecided,
        subject,
        detail,
        "Drill a later target or another backup; raise `sandbox.memory` where there are too many.",
    )
}

fn bad_pages(count: usize) -> String {
    if count == 1 { "1 page is bad".to_owned() } else { format!("{count} pages are bad") }
}

fn places(pages: &[BadPage]) -> String {
    let words: Vec<String> = pages.iter().take(MOST_PLACES).map(|page| page.words()).collect();
    let more = pages.len().saturating_sub(MOST_PLACES);
    let words = words.join(", ");
    if more == 0 { words } else { format!("{words}, and {more} more") }
}
