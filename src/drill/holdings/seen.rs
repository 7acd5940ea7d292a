//! What was seen on the way, sorted out at the end: each thing is said once.

use std::collections::BTreeSet;

use crate::drill::Finding;

/// Findings fail the restore that is judged, attentions do not, notes are worth knowing.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub findings: Vec<Finding>,
    pub attentions: Vec<Finding>,
    pub notes: Vec<String>,
}

impl Seen {
    /// The first of each: what is a finding is no attention, too.
    pub(super) fn sorted_out(self) -> Self {
        let mut said = BTreeSet::new();
        let mut new =
            |finding: &Finding| said.insert((finding.class, finding.subject.clone(), finding.lsn));
        let findings = self.findings.into_iter().filter(&mut new).collect();
        let attentions = self.attentions.into_iter().filter(&mut new).collect();
        let mut said = BTreeSet::new();
        let notes = self.notes.into_iter().filter(|note| said.insert(note.clone())).collect();
        Self { findings, attentions, notes }
    }
}
