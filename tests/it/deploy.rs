//! What `deploy/` and the pages about it say, against the program and Prometheus' own tool.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use pgassay::{
    drill::{
        FailureClass, Job, Verdict,
        job::{Credentials, SecretSource},
    },
    telemetry::metrics::{families, forecast, selftest_families},
};
use saphyr::{LoadableYamlNode as _, Yaml};

use crate::{sample_report, support::tools::tool};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs promtool on a file of `deploy/prometheus`.
fn promtool(verb: &str, file: &str) {
    let path = root().join("deploy/prometheus").join(file);
    let output =
        Command::new(tool("bin/promtool")).args([verb, "rules"]).arg(path).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_rules_are_valid() {
    promtool("check", "alerts.yaml");
}

#[test]
fn each_alert_fires_and_stays_silent_as_it_should() {
    promtool("test", "alerts_test.yaml");
    let tests = text("deploy/prometheus/alerts_test.yaml");
    let rules = text("deploy/prometheus/alerts.yaml");
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let (mut fires, mut silent) = (false, false);
        for (index, _) in tests.match_indices(alert) {
            let rest = tests[index + alert.len()..].trim_start_matches([',', ' ']);
            let said = rest.trim_start().starts_with("exp_alerts:");
            fires |= said;
            silent |= !said;
        }
        assert!(fires, "no test in which {alert} fires");
        assert!(silent, "no test in which {alert} stays silent");
    }
}

/// Names of exported metrics in a text.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(|c| !word(c))
        .filter(|word| word.starts_with("pgassay_drill_") || word.starts_with("pgassay_serve_"))
        .collect()
}

#[test]
fn rules_and_pages_name_the_metrics_that_are_exported() {
    let report = sample_report::pass();
    let mut families = families(&report);
    families.push(forecast(None));
    families.extend(selftest_families(&sample_report::selftest()));
    let names = families.iter().map(|family| family.name);
    let exported: BTreeSet<&str> = names.chain(pgassay::web::metrics::NAMES).collect();
    for file in ["deploy/prometheus/alerts.yaml", "deploy/prometheus/alerts_test.yaml"] {
        let text = text(file);
        let unknown: Vec<_> = metric_names(&text).difference(&exported).copied().collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?} are not exported");
    }
    let page = text("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `pgassay_")).map(|rest| {
        let end = rest.find('`').unwrap();
        format!("pgassay_{}", &rest[..end])
    });
    let listed: Vec<String> = rows.collect();
    assert_eq!(listed.iter().map(String::as_str).collect::<BTreeSet<_>>(), exported);
    assert_eq!(listed.len(), exported.len(), "a row twice");
    // Each value of a label that comes from a list is on the page, but for the classes.
    for family in families.iter().filter(|f| f.name != "pgassay_drill_findings") {
        let row = page.lines().find(|line| line.contains(&format!("| `{}` |", family.name)));
        for (label, value) in family.samples.iter().filter_map(|s| s.label.as_ref()) {
            let row = row.unwrap();
            assert!(row.contains(&format!("`{label}`")), "{label}: {row}");
            assert!(
                ["check", "damage"].contains(label) || row.contains(value.as_str()),
                "{value}: {row}"
            );
        }
    }
}

#[test]
fn the_runbook_has_a_section_for_each_class_and_each_link() {
    let page = text("docs/runbook.md");
    let (verdicts, classes) = page.split_once("## By failure class").unwrap();
    let sections = |text: &str| -> Vec<String> {
        text.lines().filter_map(|l| l.strip_prefix("### ")).map(str::to_owned).collect()
    };
    let expected: Vec<&str> = FailureClass::ALL.iter().map(|class| class.name()).collect();
    assert_eq!(sections(classes), expected);
    for verdict in Verdict::ALL {
        assert!(sections(verdicts).contains(&verdict.name().to_owned()), "{verdict}");
    }
    for class in FailureClass::ALL {
        let start = classes.find(&format!("### {class}\n")).unwrap() + 4;
        let section = classes[start..].split("### ").next().unwrap();
        let verdict = match (class.is_environment(), class.is_breach()) {
            (true, _) => "inconclusive",
            (_, true) => "breach",
            _ => "fail",
        };
        assert!(section.contains(&format!("Verdict: *{verdict}*.")), "{section}");
        assert!(section.contains("**Means** ") && section.contains("**Do** "), "{section}");
    }
    let anchors: BTreeSet<String> = sections(&page).into_iter().collect();
    let rules = text("deploy/prometheus/alerts.yaml");
    let mut links = 0;
    for line in rules.lines().filter(|line| line.contains("runbook_url:")) {
        let anchor = line.split_once("docs/runbook.md#").unwrap().1.trim_end_matches('"');
        // The one template: the label is a class, otherwise the text after `else`.
        let anchor = anchor.split("{{ else }}").last().unwrap().trim_end_matches("{{ end }}");
        assert!(anchors.contains(anchor), "{anchor} is no section");
        links += 1;
    }
    assert_eq!(links, rules.matches("- alert: ").count());
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn every_yaml_is_one_document_without_a_namespace() {
    let mut found = Vec::new();
    files(&root().join("deploy"), &mut found);
    let yaml = found.iter().filter(|path| path.extension().is_some_and(|e| e == "yaml"));
    let mut count = 0;
    for path in yaml {
        let text = fs::read_to_string(path).unwrap();
        let documents = Yaml::load_from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        assert_eq!(documents.len(), 1, "{path:?}");
        let metadata = documents[0].as_mapping_get("metadata");
        assert!(metadata.and_then(|m| m.as_mapping_get("namespace")).is_none(), "{path:?}");
        count += 1;
    }
    assert!(count >= 6, "{count} files");
}

/// The job that the manifests run, as the program reads it.
fn job() -> Job {
    let file = "deploy/kubernetes/jobs/orders-nightly.yaml";
    pgassay::config::parse(&text(file), file).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_cron_job_fits_the_job_that_it_runs() {
    let job = job();
    let manifest = text("deploy/kubernetes/cronjob.yaml");
    let documents = Yaml::load_from_str(&manifest).unwrap();
    let at = |path: &str| -> &Yaml<'_> {
        path.split('.').fold(&documents[0], |node, key| {
            let next = match key.parse::<usize>() {
                Ok(index) => node.as_sequence_get(index),
                Err(_) => node.as_mapping_get(key),
            };
            next.unwrap_or_else(|| panic!("no {key} of {path}"))
        })
    };
    assert_eq!(at("spec.concurrencyPolicy").as_str(), Some("Forbid"));
    assert_eq!(at("spec.jobTemplate.spec.backoffLimit").as_integer(), Some(0));
    let deadline = at("spec.jobTemplate.spec.activeDeadlineSeconds").as_integer().unwrap();
    let total = job.limits.total.expect("a limit on the drill").as_secs();
    let grace = at("spec.jobTemplate.spec.template.spec.terminationGracePeriodSeconds");
    assert!(total + 600 < u64::try_from(deadline).unwrap(), "the drill ends itself first");
    assert!(grace.as_integer().unwrap() >= 60);

    let pod = "spec.jobTemplate.spec.template.spec";
    let pod = |path: &str| at(&format!("{pod}.{path}"));
    assert_eq!(pod("restartPolicy").as_str(), Some("Never"));
    assert_eq!(pod("automountServiceAccountToken").as_bool(), Some(false));
    assert_eq!(pod("securityContext.runAsNonRoot").as_bool(), Some(true));
    assert_eq!(pod("securityContext.seccompProfile.type").as_str(), Some("RuntimeDefault"));
    let container = |path: &str| pod(&format!("containers.0.{path}"));
    assert_eq!(container("securityContext.allowPrivilegeEscalation").as_bool(), Some(false));
    assert_eq!(container("securityContext.readOnlyRootFilesystem").as_bool(), Some(true));
    assert_eq!(container("securityContext.capabilities.drop.0").as_str(), Some("ALL"));

    // The user of the image and of the Pod is one.
    let user = pod("securityContext.runAsUser").as_integer().unwrap();
    assert!(text("deploy/Dockerfile").contains(&format!("\nUSER {user}:{user}\n")));

    // The job lies where the arguments say, and its secrets where the job says.
    let jobs = container("volumeMounts.0.mountPath").as_str().unwrap();
    let file = format!("{jobs}/{}.yaml", job.name);
    assert_eq!(container("args.1").as_str(), Some(file.as_str()));
    let kustomization = text("deploy/kubernetes/kustomization.yaml");
    assert!(kustomization.contains(&format!("- jobs/{}.yaml\n", job.name)));
    let map = pod("volumes.0.configMap.name").as_str().unwrap();
    assert!(kustomization.contains(&format!("- name: {map}\n")));
    let Credentials::Static { access_key_id, secret_access_key, .. } =
        &job.archive.store.s3.credentials
    else {
        panic!("credentials are not from the environment")
    };
    for (index, source) in [access_key_id, secret_access_key].into_iter().enumerate() {
        let name = container(&format!("env.{index}.name")).as_str().unwrap();
        assert_eq!(*source, SecretSource::Env(name.to_owned()));
        let secret = container(&format!("env.{index}.valueFrom.secretKeyRef.name"));
        assert!(
            kustomization.contains(&format!("create secret generic {}", secret.as_str().unwrap()))
        );
    }

    // The sandbox is on the scratch volume and fits there.
    let work = container("volumeMounts.1.mountPath").as_str().unwrap();
    assert_eq!(job.sandbox.work_dir.as_deref(), Some(Path::new(work)));
    let size = pod("volumes.1.emptyDir.sizeLimit").as_str().unwrap();
    let size: u64 = size.strip_suffix("Gi").unwrap().parse().unwrap();
    assert!(job.sandbox.disk_budget.expect("a disk budget") < size << 30);
    assert!(job.objectives.rto.is_some() && job.objectives.rpo.is_some());
}
