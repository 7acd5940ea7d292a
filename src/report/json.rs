//! The report as JSON: what machines read and what is kept.

use serde::Serialize;

use crate::drill::DrillReport;

/// Pretty JSON and a newline. `schema_version` comes first, so that a reader can decide early; 64-bit
/// identifiers are texts, since many readers keep numbers as doubles.
#[must_use]
pub fn render(report: &DrillReport) -> String {
    document(report, report.schema_version)
}

/// A report of any kind as a document of its own.
pub(super) fn document(report: &impl Serialize, schema_version: u32) -> String {
    // Nothing in a report can fail to serialise: no map has other keys than texts.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_else(|error| {
        format!("{{\"schema_version\": {schema_version}, \"error\": {:?}}}", error.to_string())
    });
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::report::sample;

    #[test]
    fn a_failed_drill_as_json() {
        insta::assert_snapshot!(render(&sample::fail()));
    }

    #[test]
    fn reads_back_and_says_its_version_first() {
        for report in sample::all() {
            let text = render(&report);
            assert!(text.starts_with("{\n  \"schema_version\": 1,"), "{text}");
            assert!(text.ends_with("}\n"));
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["verdict"], report.verdict.name());
            // Not a number that a reader of doubles would round.
            assert_eq!(value["seed"], "18446744073709551615");
        }
    }
}
