//! Metrics against the real readers: promtool, and a Pushgateway that runs for one test.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    process::{Command, Stdio},
};

use pgassay::{
    drill::{Code, DrillReport, job::MetricsSpec},
    telemetry::{
        self,
        metrics::{families, forecast},
        push::{self, Patience},
        text,
    },
};

use crate::{
    sample_report as sample,
    support::{
        gateway::Gateway,
        tools::{RUNTIME, tool},
    },
};

/// One sample as a strict reader sees it.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

fn is_name(text: &str) -> bool {
    let head = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':');
    text.starts_with(head) && text.chars().all(|c| head(c) || c.is_ascii_digit())
}

/// Reads text 0.0.4 with every rule that the format and Pushgateway have: line feeds only, help and
/// type before the samples of their family, one group a family, no timestamps, no series twice.
fn read(text: &str) -> Vec<Read> {
    assert!(text.ends_with('\n') && !text.contains('\r'), "line endings");
    let (mut samples, mut seen) = (Vec::new(), BTreeSet::new());
    let mut family = String::new();
    let mut typed = false;
    for line in text.strip_suffix('\n').unwrap().split('\n') {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help text");
            assert!(is_name(name) && !words.is_empty(), "{line}");
            assert!(seen.insert(name.to_owned()), "{name} comes twice");
            (family, typed) = (name.to_owned(), false);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert_eq!(kind, format!("{family} gauge"));
            assert!(!std::mem::replace(&mut typed, true), "{line}");
        } else {
            assert!(typed, "a sample before its type: {line}");
            let sample = read_sample(line);
            assert_eq!(sample.name, family);
            let series = format!("{} {:?}", sample.name, sample.labels);
            assert!(seen.insert(series), "twice: {line}");
            samples.push(sample);
        }
    }
    samples
}

fn read_sample(line: &str) -> Read {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label) && !label.contains(':'), "{line}");
            let (mut value, mut chars) = (String::new(), after.char_indices());
            let quote = loop {
                match chars.next().expect("a closing quote") {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().expect("an escape").1 {
                        'n' => '\n',
                        c @ ('"' | '\\') => c,
                        other => panic!("escape {other}: {line}"),
                    }),
                    (_, other) => value.push(other),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = &after[quote + 1..];
            if let Some(after) = rest.strip_prefix(',') {
                rest = after;
            } else {
                rest = rest.strip_prefix('}').expect("a closing brace");
                break;
            }
        }
    }
    let value = rest.strip_prefix(' ').expect("one space before the value");
    assert!(!value.contains(' '), "a timestamp: {line}");
    Read { name: name.to_owned(), labels, value: value.parse().expect("a number") }
}

fn find<'a>(samples: &'a [Read], name: &str, labels: &[(&str, &str)]) -> Option<&'a Read> {
    let fits = |s: &&Read| {
        s.name == name && labels.iter().all(|(l, v)| s.labels.get(*l).is_some_and(|x| x == v))
    };
    let mut found = samples.iter().filter(fits);
    let first = found.next();
    assert!(found.next().is_none(), "{name} {labels:?} is not one series");
    first
}

/// Our own series in a gateway, as Prometheus would scrape them.
fn ours(gateway: &Gateway) -> Vec<Read> {
    let text = gateway.get("/metrics").expect("the gateway's metrics");
    let ours: String = text
        .lines()
        .filter(|line| line.contains("pgassay_drill_"))
        .flat_map(|line| [line, "\n"])
        .collect();
    read(&ours)
}

#[test]
fn a_strict_reader_takes_every_report() {
    for mut report in sample::all() {
        report.checks[..].iter_mut().for_each(|check| check.name.push_str(" \"\\\n{é}"));
        let samples = read(&text::write(&families(&report), &[("drill", "a\"\\\nb")]));
        let count: usize = families(&report).iter().map(|family| family.samples.len()).sum();
        assert_eq!(samples.len(), count);
        for sample in &samples {
            assert_eq!(sample.labels["drill"], "a\"\\\nb");
        }
        let verdict = [("verdict", report.verdict.name())];
        assert_eq!(find(&samples, "pgassay_drill_verdict", &verdict).map(|s| s.value), Some(1.0));
    }
}

#[test]
fn promtool_finds_nothing_to_say() {
    for report in sample::all() {
        let mut child = Command::new(tool("bin/promtool"))
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut families = families(&report);
        families.push(forecast(report.rto.as_ref().map(|rto| rto.seconds)));
        let body = text::write(&families, &[]);
        child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}

fn deliver(report: &DrillReport, spec: &MetricsSpec) {
    deliver_with(report, None, spec);
}

fn deliver_with(report: &DrillReport, worst_case: Option<f64>, spec: &MetricsSpec) {
    let errors = RUNTIME.block_on(telemetry::deliver(report, worst_case, spec, None));
    assert!(errors.is_empty(), "{errors:?}");
}

fn value(samples: &[Read], name: &str, labels: &[(&str, &str)]) -> f64 {
    find(samples, name, labels).unwrap_or_else(|| panic!("no {name} {labels:?}")).value
}

#[test]
#[expect(clippy::float_cmp, reason = "the same numbers come back")]
fn the_last_pass_stands_after_a_failed_run() {
    let gateway = Gateway::start();
    let group = [("job", "pgassay"), ("drill", "orders-nightly"), ("cluster", "orders")];
    let group = [&group[..], &[("namespace", "")][..]].concat();
    let (pass, mut fail) = (sample::pass(), sample::fail());
    let passed_at = pass.finished_at.as_millisecond() as f64 / 1000.0;
    fail.finished_at += jiff::SignedDuration::from_hours(24);

    deliver(&pass, &gateway.spec());
    let samples = ours(&gateway);
    assert_eq!(value(&samples, "pgassay_drill_last_pass_timestamp_seconds", &[]), passed_at);
    let verdict = |samples: &[Read], which| value(samples, "pgassay_drill_verdict", &[which]);
    assert_eq!(verdict(&samples, ("verdict", "pass")), 1.0);
    let first = find(&samples, "pgassay_drill_last_run_timestamp_seconds", &[]).unwrap();
    for (label, expected) in &group {
        // A gateway leaves an empty label out of what it shows.
        assert_eq!(first.labels.get(*label).map_or("", String::as_str), *expected);
    }

    deliver(&fail, &gateway.spec());
    let samples = ours(&gateway);
    assert_eq!(value(&samples, "pgassay_drill_last_pass_timestamp_seconds", &[]), passed_at);
    let last_run = value(&samples, "pgassay_drill_last_run_timestamp_seconds", &[]);
    assert_eq!(last_run, passed_at + 86_400.0);
    assert_eq!(verdict(&samples, ("verdict", "pass")), 0.0);
    assert_eq!(verdict(&samples, ("verdict", "fail")), 1.0);
    assert_eq!(value(&samples, "pgassay_drill_findings", &[("class", "wal_gap")]), 1.0);

    // A run that did not get far clears what it does not know.
    deliver(&sample::inconclusive(), &gateway.spec());
    let samples = ours(&gateway);
    assert!(value(&samples, "pgassay_drill_rto_seconds", &[]).is_nan());
    assert_eq!(value(&samples, "pgassay_drill_findings", &[("class", "wal_gap")]), 0.0);
    assert!(find(&samples, "pgassay_drill_check_passed", &[("check", "amcheck")]).is_none());
    assert_eq!(value(&samples, "pgassay_drill_last_pass_timestamp_seconds", &[]), passed_at);
}

#[test]
#[expect(clippy::float_cmp, reason = "the same numbers come back")]
fn a_forecast_goes_with_every_drill_and_is_cleared_where_it_is_not_known() {
    let gateway = Gateway::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgassay.prom");
    let spec = MetricsSpec { textfile: Some(path.clone()), ..gateway.spec() };
    let told = || {
        let written = read(&std::fs::read_to_string(&path).unwrap());
        [ours(&gateway), written].map(|samples| {
            value(&samples, "pgassay_drill_rto_forecast_seconds", &[("drill", "orders-nightly")])
        })
    };
    deliver_with(&sample::pass(), Some(340.5), &spec);
    assert_eq!(told(), [340.5, 340.5]);
    deliver_with(&sample::fail(), None, &spec);
    assert!(told().iter().all(|seconds| seconds.is_nan()));
}

#[test]
#[expect(clippy::float_cmp, reason = "the same numbers come back")]
fn drills_do_not_overwrite_each_other() {
    let gateway = Gateway::start();
    let mut other = sample::fail();
    other.job = "billing.weekly".to_owned();
    let elsewhere = MetricsSpec {
        cluster: Some("a/b".to_owned()),
        namespace: Some("..".to_owned()),
        ..gateway.spec()
    };
    deliver(&sample::pass(), &gateway.spec());
    deliver(&other, &gateway.spec());
    deliver(&sample::breach(), &elsewhere);
    let samples = ours(&gateway);
    let of = |drill, cluster, verdict| {
        let labels = [("drill", drill), ("cluster", cluster), ("verdict", verdict)];
        value(&samples, "pgassay_drill_verdict", &labels)
    };
    assert_eq!(of("orders-nightly", "orders", "pass"), 1.0);
    assert_eq!(of("billing.weekly", "orders", "fail"), 1.0);
    assert_eq!(of("orders-nightly", "a/b", "breach"), 1.0);
    let odd = [("cluster", "a/b"), ("namespace", "..")];
    assert!(find(&samples, "pgassay_drill_fetched_bytes", &odd).is_some());
}

#[test]
fn a_refusal_is_told_with_the_gateways_words() {
    let gateway = Gateway::start();
    let report = sample::pass();
    let spec = gateway.spec();
    // The same name with another type in another group: the gateway's own rule of consistency.
    let status = RUNTIME.block_on(async {
        let body = "# TYPE pgassay_drill_fetched_bytes counter\npgassay_drill_fetched_bytes 1\n";
        let url = format!("{}/metrics/job/other", gateway.url);
        reqwest::Client::new().post(url).body(body).send().await.unwrap().status()
    });
    assert!(status.is_success());
    let errors = RUNTIME.block_on(telemetry::deliver(&report, None, &spec, None));
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(error.code, Code::MetricsPush);
    assert!(error.message.contains("it answered 400 Bad Request: "), "{}", error.message);
    assert!(error.message.contains("pgassay_drill_fetched_bytes"), "{}", error.message);
}

#[test]
fn an_unreachable_gateway_is_a_warning_and_the_textfile_is_written_all_the_same() {
    let gateway = Gateway::start();
    let url = gateway.url.clone();
    drop(gateway);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgassay.prom");
    let report = sample::fail();
    let spec = MetricsSpec {
        pushgateway: Some(url.replace("http://", "http://bob:hunter2@")),
        textfile: Some(path.clone()),
        ..MetricsSpec::default()
    };
    let errors = RUNTIME.block_on(telemetry::deliver(&report, None, &spec, None));
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(error.code, Code::MetricsPush);
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let samples = read(&std::fs::read_to_string(path).unwrap());
    let labels = [("drill", "orders-nightly"), ("cluster", "orders"), ("verdict", "fail")];
    assert!(value(&samples, "pgassay_drill_verdict", &labels) > 0.5);
}

#[test]
fn https_to_something_else_fails_without_a_panic() {
    // No TLS there; it proves that a TLS provider is compiled in and that the error is one of ours.
    let gateway = Gateway::start();
    let url = gateway.url.replace("http://", "https://");
    let spec = MetricsSpec::default();
    let grouping = telemetry::Grouping::new(&sample::pass(), &spec);
    let once = Patience { attempts: 1, ..Patience::default() };
    let error = RUNTIME.block_on(push::push(&url, &[], &grouping, None, once)).unwrap_err();
    assert_eq!(error.code, Code::MetricsPush);
}
