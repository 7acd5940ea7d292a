//! The job that `pgassay init` writes: short, with the choices that a newcomer has.

use std::fmt::Write as _;

use crate::drill::job::{ArchiveLocation, Credentials};

/// Text of a job for `archive`, named `name`.
#[must_use]
pub fn render(name: &str, archive: &ArchiveLocation) -> String {
    let store = &archive.store;
    let slash = if store.prefix.is_empty() { "" } else { "/" };
    let url = quoted(&format!("s3://{}{slash}{}", store.bucket, store.prefix));
    let server = quoted(&archive.server);
    let mut s3 = String::new();
    let mut line = |field: &str, value: String| {
        let _ = writeln!(s3, "      {field}: {value}");
    };
    if let Some(endpoint) = &store.s3.endpoint {
        line("endpoint", quoted(endpoint));
    }
    if let Some(region) = &store.s3.region {
        line("region", quoted(region));
    }
    if store.s3.path_style {
        line("pathStyle", "true".to_owned());
    }
    if let Some(path) = &store.s3.ca_bundle {
        line("caBundle", quoted(&path.display().to_string()));
    }
    match &store.s3.credentials {
        Credentials::Profile(profile) => {
            line("credentials", format!("{{profile: {}}}", quoted(profile)));
        }
        Credentials::Anonymous => line("credentials", "{anonymous: {}}".to_owned()),
        _ => {}
    }
    let s3 = if s3.is_empty() { String::new() } else { format!("    s3:\n{s3}") };
    let name = quoted(name);
    format!(
        r#"# What to drill, how, and against which objectives. Every field: jobs/example.yaml of pgassay.
apiVersion: pgassay.dev/v1alpha1
kind: DrillJob
metadata:
  name: {name}
spec:
  # When drills begin by themselves, once a scheduler runs the job. In UTC without a time zone.
  # schedule: "0 4 * * *"       # what it means: pgassay schedule "0 4 * * *"
  # timeZone: Europe/Berlin

  archive:
    url: {url}
    server: {server}
{s3}    # Credentials come from the AWS default chain unless `s3.credentials` names another source,
    # such as {{profile: drill}}. Reading is all that they need to allow.

  recoveryPoint:
    backup: latest      # or random, or a backup's id
    target: latest      # or immediate, or one of {{time: …}}, {{lsn: …}}, {{xid: …}}, {{name: …}}

  depth: deep           # catalog: the listing; read: every byte; restore: recover; deep: examine all

  # What you promise. Without an objective nothing is ever too slow or too old.
  # objectives:
  #   rto: 4h           # from nothing to the first query that can write
  #   rpo: 15m          # age of the newest data

  # What only you know about your data.
  # checks:
  #   - sql: {{name: orders-not-empty, database: app, query: select count(*) from orders, expect: ">= 1"}}

  limits:
    total: 6h           # the drill ends here at the latest
    noProgress: 10m     # and a stage that stands still for so long ends it too

  # metrics: {{pushgateway: "http://pushgateway:9091"}}
  # report: {{store: "file:///var/lib/pgassay/reports"}}
"#
    )
}

/// Plain where YAML reads it back as the same text, else in double quotes.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/.-_:".contains(c))
        && !text.ends_with(':')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{self, flags};

    fn archive(server: &str) -> ArchiveLocation {
        let archive = flags::ArchiveFlags {
            url: Some("s3://home-backups/postgres".to_owned()),
            server: Some(server.to_owned()),
            endpoint: Some("http://127.0.0.1:9000".to_owned()),
            path_style: true,
            profile: Some("drill".to_owned()),
            ..flags::ArchiveFlags::default()
        };
        flags::job(&archive, &flags::Overrides::default()).unwrap().archive
    }

    #[test]
    fn a_written_job() {
        insta::assert_snapshot!(render("orders", &archive("orders")));
    }

    proptest! {
        /// Whatever a server is called, the job that is written names it.
        #[test]
        fn reads_back_as_what_was_meant(server in "\\PC{1,20}") {
            let Ok(server) = crate::config::archive::server_name(&server) else { return Ok(()) };
            let wanted = archive(&server);
            let text = render(&flags::name_from(&server), &wanted);
            let job = config::parse(&text, "a.yaml").map_err(|p| TestCaseError::fail(p.to_string()))?;
            prop_assert_eq!(job.archive, wanted);
        }
    }
}
