//! The file that node_exporter's textfile collector reads
//! (<https://github.com/prometheus/node_exporter#textfile-collector>): replaced in one step, so that
//! the collector never sees half of it.

use std::{
    fs::{self, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::{
    deliver::Grouping,
    metrics::LAST_PASS,
    text::{self, Family, Sample},
};
use crate::drill::{Code, Error};

/// Most bytes of an earlier file that are read; ours are far smaller.
const OLD_FILE_LIMIT: u64 = 1 << 20;

/// Writes `path`, one file for each job. There is no server that would keep the time of the last pass,
/// so a run without one takes it over from the file that it replaces.
///
/// # Errors
/// `MetricsPush` where the file cannot be written; the earlier one then stands as it was.
pub fn write(path: &Path, families: &[Family], grouping: &Grouping) -> Result<(), Error> {
    let labels = grouping.labels();
    let mut families = families.to_vec();
    if !families.iter().any(|family| family.name == LAST_PASS)
        && let Some(value) = last_pass(path, &labels)
    {
        families.push(Family {
            name: LAST_PASS,
            help: "When the last drill that passed ended, as a Unix time.",
            samples: vec![Sample { label: None, value }],
        });
    }
    replace(path, &text::write(&families, &labels)).map_err(|error| {
        Error::new(Code::MetricsPush, format!("write metrics to `{}`: {error}", path.display()))
            .hint(
                "The verdict stands. Check that the folder of `metrics.textfile` exists and may be \
                 written.",
            )
    })
}

/// The value of our own series in the file as it is. Another drill's series is not ours.
fn last_pass(path: &Path, labels: &[(&str, &str)]) -> Option<f64> {
    let mut old = String::new();
    // A pipe in its place must not hold the drill up.
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    file.take(OLD_FILE_LIMIT).read_to_string(&mut old).ok()?;
    let series = text::series(LAST_PASS, labels, None);
    let value = old.lines().find_map(|line| line.strip_prefix(&series)?.strip_prefix(' '))?;
    value.parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0)
}

/// Writes beside the file and renames. The collector reads `*.prom` only, so it never sees the other
/// name; it may run as another user, hence the mode.
fn replace(path: &Path, content: &str) -> std::io::Result<()> {
    let name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?.to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let write = || {
        // One of a dead process with our number. The folder may belong to another user: a new file
        // is never somebody's link.
        let _ = fs::remove_file(&beside);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o644).open(&beside)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // What is left beside is ours; the error above is the one to tell.
        let _ = fs::remove_file(&beside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drill::{job::MetricsSpec, report::sample},
        telemetry::metrics::families,
    };

    fn grouping(drill: &str) -> Grouping {
        let spec = MetricsSpec { namespace: Some("shop".to_owned()), ..MetricsSpec::default() };
        Grouping { drill: drill.to_owned(), ..Grouping::new(&sample::pass(), &spec) }
    }

    fn passed_at(path: &Path) -> Option<f64> {
        let text = fs::read_to_string(path).unwrap();
        let prefix = "pgassay_drill_last_pass_timestamp_seconds{drill=\"x\",cluster=\"orders\",namespace=\"shop\"} ";
        text.lines().find_map(|line| line.strip_prefix(prefix)).map(|v| v.parse().unwrap())
    }

    #[test]
    fn the_last_pass_outlives_runs_that_do_not_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.prom");
        write(&path, &families(&sample::fail()), &grouping("x")).unwrap();
        assert_eq!(passed_at(&path), None);
        write(&path, &families(&sample::pass()), &grouping("x")).unwrap();
        let passed = passed_at(&path).unwrap();
        for report in [sample::fail(), sample::inconclusive(), sample::breach()] {
            write(&path, &families(&report), &grouping("x")).unwrap();
            assert_eq!(passed_at(&path), Some(passed));
        }
        // Another drill that takes the file over has not passed.
        write(&path, &families(&sample::fail()), &grouping("y")).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains(LAST_PASS));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "leftovers");
    }

    #[test]
    fn a_link_in_the_way_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, "precious").unwrap();
        let path = folder.path().join("x.prom");
        let beside = folder.path().join(format!(".x.prom.{}.tmp", std::process::id()));
        for link in [&beside, &path] {
            std::os::unix::fs::symlink(&outside, link).unwrap();
        }
        write(&path, &families(&sample::pass()), &grouping("x")).unwrap();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
        assert!(passed_at(&path).is_some());
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_it() {
        let error = write(Path::new("/nonexistent/x.prom"), &[], &grouping("x")).unwrap_err();
        assert_eq!(error.code, Code::MetricsPush);
        assert!(error.message.contains("/nonexistent/x.prom"), "{}", error.message);
    }
}
