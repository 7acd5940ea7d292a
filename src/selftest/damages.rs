//! Every way in which we know an archive to go bad.

mod base;
mod history;
mod info;
mod pages;
mod store;
mod wal_bytes;
mod wal_objects;
mod wal_records;

use super::damage::Damage;

/// All of them, in the order in which they are told.
#[must_use]
pub fn all() -> Vec<Damage> {
    [
        wal_objects::all(),
        wal_bytes::all(),
        wal_records::all(),
        history::all(),
        info::all(),
        base::all(),
        pages::all(),
        store::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_stable_words_and_each_is_there_once() {
        let damages = all();
        assert!(damages.len() >= 100, "{}", damages.len());
        let names: BTreeSet<&str> = damages.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names.len(), damages.len());
        for damage in &damages {
            let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(damage.name.chars().all(letters), "{}", damage.name);
            assert!(!damage.classes.is_empty() && !damage.what.ends_with('.'), "{}", damage.name);
        }
        insta::assert_snapshot!(
            damages
                .iter()
                .map(|d| {
                    let classes: Vec<&str> = d.classes.iter().map(|c| c.name()).collect();
                    format!("{} {} {} {}", d.name, d.tier, d.verdict, classes.join("|"))
                })
                .collect::<Vec<_>>()
                .join("\n")
        );
    }
}
