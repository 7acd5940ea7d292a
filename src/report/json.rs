//! The report as JSON: what machines read and what is kept.

use serde::Serialize;

use crate::drill::{
    DrillReport,
    history::{Past, Unreadable},
};

/// The JSON Schema of a drill's report.
pub const SCHEMA: &str = include_str!("../../docs/report.schema.json");

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
#[path = "../../tests/it/json_schema.rs"]
mod json_schema;

/// A kept report back, whole. One of a newer pgassay may say what this one would not understand.
///
/// # Errors
/// [`Unreadable`].
pub fn read(bytes: &[u8]) -> Result<DrillReport, Unreadable> {
    if let Err(why @ Unreadable::Future(_)) = Past::read(bytes) {
        return Err(why);
    }
    serde_json::from_slice(bytes).map_err(|error| Unreadable::NoReport(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{
        json_schema::{errors, strict_errors},
        *,
    };
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

    #[test]
    fn a_kept_report_reads_back() {
        for report in sample::all() {
            let back: DrillReport = serde_json::from_str(&render(&report)).unwrap();
            assert_eq!(back, report);
        }
    }

    fn schema() -> serde_json::Value {
        serde_json::from_str(SCHEMA).unwrap()
    }

    #[test]
    fn reports_follow_the_schema_and_it_names_every_field() {
        let schema = schema();
        let mut all = sample::all().to_vec();
        // With every field that may be left out.
        let mut full = sample::fail();
        full.damaged_object_at = Some(full.started_at);
        full.row_counts = Some(crate::drill::row_floor::RowCounts {
            tables: vec![crate::drill::row_floor::TableRows { table: "a.b.c".into(), rows: 1 }],
            ..Default::default()
        });
        full.backup.as_mut().unwrap().interval_seconds = Some(3_600.0);
        all.push(full);
        for report in all {
            let json: serde_json::Value = serde_json::from_str(&render(&report)).unwrap();
            assert_eq!(strict_errors(&schema, &json), Vec::<String>::new());
            let mut tomorrow = json.clone();
            tomorrow["new_field"] = 1.into();
            assert_eq!(errors(&schema, &tomorrow), Vec::<String>::new());
            assert_eq!(strict_errors(&schema, &tomorrow), ["$.new_field: is not named"]);
            for wrong in ["verdict", "seed", "stages", "schema_version", "window", "target"] {
                let mut json = json.clone();
                json[wrong] = 1.5.into();
                assert!(!errors(&schema, &json).is_empty(), "{wrong}");
                json.as_object_mut().unwrap().remove(wrong);
                assert!(!errors(&schema, &json).is_empty(), "{wrong}");
            }
        }
    }

    #[test]
    fn golden_reports_follow_the_schema() {
        for text in [
            include_str!("../../fixtures/reports/v1-pass.json"),
            include_str!("../../fixtures/reports/v1-fail.json"),
            include_str!("../../fixtures/reports/v1-inconclusive.json"),
        ] {
            let report = serde_json::from_str(text).unwrap();
            assert_eq!(errors(&schema(), &report), Vec::<String>::new());
        }
    }
}
