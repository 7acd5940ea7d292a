//! What the evidence of kept reports is worth, as a table and as JSON.

use serde_json::{Value, json};

use super::{chain::State, dsse::Flaw, key::VerifyingKey, record::Looked};
use crate::{
    drill::format::counted,
    report::terminal::{
        Style,
        layout::{Align, Page, Tone},
        time,
    },
};

/// Version of the JSON.
const SCHEMA_VERSION: u32 = 1;

/// Whether nothing speaks against the evidence, and there is any.
#[must_use]
pub fn holds(looked: &[Looked]) -> bool {
    looked.iter().all(|looked| looked.state.holds())
        && looked.iter().any(|looked| looked.state != State::Unsigned)
}

/// The stable name of a state.
const fn name(state: &State) -> &'static str {
    match state {
        State::Good => "good",
        State::Begins(_) => "begins",
        State::Forks(_) => "forks",
        State::Unsigned => "unsigned",
        State::Stripped => "stripped",
        State::Flawed(Flaw::Form(_)) => "malformed",
        State::Flawed(Flaw::ForeignKey(_)) => "foreign_key",
        State::Flawed(Flaw::Signature) => "bad_signature",
        State::Changed => "changed",
        State::Misplaced(_) => "misplaced",
        State::Broken(_) => "broken",
    }
}

/// What a state means, in a sentence.
fn words(state: &State) -> String {
    match state {
        State::Good => "signed, unchanged, follows the one before".to_owned(),
        State::Begins(link) => {
            format!("signed and unchanged; the chain begins here, `{}` is not kept", link.name)
        }
        State::Forks(link) => format!(
            "signed and unchanged; follows `{}`, as another one does: two drills ended at a time",
            link.name
        ),
        State::Unsigned => "kept before there was any evidence".to_owned(),
        State::Stripped => "has no evidence, though earlier reports have".to_owned(),
        State::Flawed(Flaw::Form(what)) => format!("proves nothing: {what}"),
        State::Flawed(Flaw::ForeignKey(ids)) => {
            format!("signed by a key that is not among those given: {}", ids.join(", "))
        }
        State::Flawed(Flaw::Signature) => "the signature does not hold: it was changed".to_owned(),
        State::Changed => "the report is not the one that was signed".to_owned(),
        State::Misplaced(of) => format!("it is the evidence of another report, `{of}`"),
        State::Broken(Some(link)) => format!(
            "it follows `{}`, which is not there as it was: removed, changed, or this one put in",
            link.name
        ),
        State::Broken(None) => "it follows nothing, though earlier evidence is kept".to_owned(),
    }
}

/// A headline, and a line for each report that is not simply good.
#[must_use]
pub fn render(looked: &[Looked], style: Style) -> String {
    let mut page = Page::new(style);
    let count =
        |wanted: fn(&State) -> bool| looked.iter().filter(|l| wanted(&l.state)).count() as u64;
    let bad = count(|state| !state.holds());
    let unsigned = count(|state| *state == State::Unsigned);
    let proved = looked.len() as u64 - bad - unsigned;
    let before = match unsigned {
        0 => String::new(),
        _ => format!(", {} from before there was any", counted(unsigned, "report")),
    };
    let said = format!("the evidence of {} holds{before}", counted(proved, "report"));
    match (holds(looked), bad) {
        (true, _) => page.headline("HOLDS", Tone::Good, &said),
        (false, 0) => page.headline("NOTHING", Tone::Doubt, "no report has evidence"),
        (false, _) => {
            let text = format!("{} cannot be relied upon; {said}", counted(bad, "report"));
            page.headline("BROKEN", Tone::Bad, &text);
        }
    }
    let odd = looked.iter().filter(|l| !matches!(l.state, State::Good | State::Unsigned));
    let rows: Vec<(Vec<String>, Tone)> = odd
        .map(|l| {
            let tone = if l.state.holds() { Tone::Plain } else { Tone::Bad };
            let (at, job) = (time(l.id.at()), l.id.job().to_owned());
            (vec![at, job, l.id.drill_id().to_owned(), words(&l.state)], tone)
        })
        .collect();
    if !rows.is_empty() {
        page.gap();
        page.table(&["time", "job", "drill", "evidence"], &[Align::Left; 4], rows.into_iter());
    }
    page.finish()
}

/// Every report with its state.
#[must_use]
pub fn json(looked: &[Looked], keys: &[VerifyingKey]) -> Value {
    let one = |looked: &Looked| {
        json!({
            "job": looked.id.job(),
            "drill_id": looked.id.drill_id(),
            "started_at": looked.id.at(),
            "state": name(&looked.state),
            "holds": looked.state.holds(),
            "detail": words(&looked.state),
        })
    };
    json!({
        "schema_version": SCHEMA_VERSION,
        "holds": holds(looked),
        "keys": keys.iter().map(VerifyingKey::id).collect::<Vec<_>>(),
        "reports": looked.iter().map(one).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::report::{
        evidence::{Digest, Link},
        kept::KeptId,
    };

    fn all(states: Vec<State>) -> Vec<Looked> {
        let looked = (0..).zip(states).map(|(second, state)| {
            let at = Timestamp::from_second(1_800_000_000 + second).unwrap();
            Looked { id: KeptId::new("orders", at, format!("d{second}")), state }
        });
        looked.collect()
    }

    #[test]
    fn every_state_has_a_name_and_words() {
        let link = || Link { name: "earlier.json".into(), digest: Digest::of(b"") };
        let looked = all(vec![
            State::Unsigned,
            State::Begins(link()),
            State::Good,
            State::Forks(link()),
            State::Stripped,
            State::Flawed(Flaw::Form("it is not a DSSE envelope".into())),
            State::Flawed(Flaw::ForeignKey(vec!["ab".into()])),
            State::Flawed(Flaw::Signature),
            State::Changed,
            State::Misplaced("other.json".into()),
            State::Broken(Some(link())),
            State::Broken(None),
        ]);
        insta::assert_snapshot!(render(&looked, Style::PLAIN));
        insta::assert_snapshot!(format!("{:#}", json(&looked, &[])));
    }

    #[test]
    fn nothing_is_no_proof() {
        assert!(!holds(&[]));
        assert!(!holds(&all(vec![State::Unsigned])));
        assert!(holds(&all(vec![State::Unsigned, State::Good])));
        assert!(!holds(&all(vec![State::Good, State::Stripped])));
        assert!(render(&[], Style::PLAIN).starts_with("NOTHING"));
    }
}
