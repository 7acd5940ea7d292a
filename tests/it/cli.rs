//! The command line as a user meets it: help, refusals, `check`, `init`, `doctor`.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use pgassay::demo::s3_server::S3Server;
use serde_json::Value;

use crate::support::{
    drill::environment,
    tools::{SECRET_KEY, s3_server},
    workdir::{WorkDir, tree},
};

/// An S3 server over an empty folder, and a folder to work in.
struct Place {
    server: S3Server,
    work: WorkDir,
}

struct Said {
    exit: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        let work = WorkDir::new();
        fs::create_dir_all(work.join("s3/bucket")).unwrap();
        for dir in ["here", "sandboxes"] {
            fs::create_dir(work.join(dir)).unwrap();
        }
        let server = s3_server(&work.join("s3"));
        server.refuse_writes(true);
        Self { server, work }
    }

    /// An empty work directory.
    fn sandboxes(&self) -> String {
        self.work.join("sandboxes").display().to_string()
    }

    /// Puts a server's archive below `prefix`, with files that only have a name.
    fn with_archive(self, prefix: &str) -> Self {
        let root = self.work.join("s3/bucket").join(prefix);
        for file in ["base/20261122T020000/backup.info", "wals/0000000100000000/x"] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "version=150018\n").unwrap();
        }
        self
    }

    fn job(&self, archive: &str) -> String {
        let path = self.work.join("here/job.yaml");
        let text = format!(
            "apiVersion: pgassay.dev/v1alpha1\nkind: DrillJob\nmetadata: {{name: test}}\nspec:\n  \
             archive:\n    s3: {{endpoint: \"{}\", region: us-east-1, pathStyle: true}}\n{archive}\n",
            self.server.endpoint()
        );
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Runs the program in `here`; checks what must hold of every run.
    fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let output = program(arguments, variables).current_dir(self.work.join("here")).output();
        let said = Said::from(output.unwrap());
        assert_eq!(self.server.writes_seen(), Vec::<String>::new());
        said
    }

    fn s3_flags(&self) -> Vec<String> {
        let endpoint = format!("--s3-endpoint={}", self.server.endpoint());
        vec![endpoint, "--s3-region=us-east-1".to_owned(), "--s3-path-style".to_owned()]
    }

    fn init(&self, arguments: &[&str]) -> Said {
        let flags = self.s3_flags();
        let flags = flags.iter().map(String::as_str);
        self.run(
            &["init"].into_iter().chain(arguments.iter().copied()).chain(flags).collect::<Vec<_>>(),
        )
    }

    fn files(&self) -> Vec<String> {
        tree(&self.work.join("here"))
    }
}

fn program(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    command.env_clear().envs(environment()).envs(variables.iter().copied()).args(arguments);
    command
}

fn run(arguments: &[&str]) -> Said {
    Said::from(program(arguments, &[]).output().unwrap())
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let said = Self {
            exit: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        for text in [&said.stdout, &said.stderr] {
            assert!(!text.contains(SECRET_KEY), "printed a secret: {text}");
            assert!(!text.contains("panicked"), "{text}");
        }
        said
    }
}

impl Said {
    /// A refusal: this code first on stderr, a hint below, nothing on stdout.
    #[track_caller]
    fn refused(&self, exit: i32, code: &str, needle: &str) -> &Self {
        let first = self.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("error[{code}]: ")), "{}", self.stderr);
        assert!(self.stderr.contains(needle), "no `{needle}` in {}", self.stderr);
        assert!(self.stderr.contains("hint: "), "{}", self.stderr);
        assert_eq!((self.exit, self.stdout.as_str()), (exit, ""), "{}", self.stderr);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    /// Status and detail of a doctor's probe.
    #[track_caller]
    fn probe(&self, name: &str) -> (String, String) {
        let json = self.json();
        let probes = json["probes"].as_array().unwrap();
        let probe = probes.iter().find(|probe| probe["name"] == name);
        let probe = probe.unwrap_or_else(|| panic!("no probe `{name}` in {}", self.stdout));
        let text = |key: &str| probe[key].as_str().unwrap().to_owned();
        (text("status"), text("detail"))
    }
}

#[test]
fn help_and_version_are_data() {
    let version = run(&["--version"]);
    assert_eq!(version.stdout, concat!("pgassay ", env!("CARGO_PKG_VERSION"), "\n"));
    for arguments in [&["--help"][..], &["-h"], &["drill", "--help"], &["demo", "--help"]] {
        let said = run(arguments);
        assert_eq!((said.exit, said.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(said.stdout.contains("Usage: pgassay"), "{}", said.stdout);
        assert!(!said.stdout.contains('\u{1b}'));
    }
    assert_eq!(run(&["drill", "-h"]).stdout, run(&["drill", "--help"]).stdout);
    let nothing = run(&[]);
    assert_eq!((nothing.exit, nothing.stdout.as_str()), (2, ""));
    assert!(nothing.stderr.contains("Start here:"));
}

#[test]
fn a_bad_command_line_is_one_error_and_a_hint() {
    run(&["drll"]).refused(2, "P001", "`drill`");
    run(&["drill", "--target-tme", "x"]).refused(2, "P001", "--target-time");
    run(&["drill"]).refused(2, "P001", "--s3-url: is missing");
    run(&["drill", "--s3-url", "gs://b/x", "--server", "a", "--rto", "4"])
        .refused(2, "P001", "Google Cloud Storage")
        .refused(2, "P001", "--rto: `4` is not a duration");
    run(&[
        "drill",
        "--s3-url",
        "s3://bucket/x",
        "--server",
        "a",
        "--target-time",
        "2026-11-22 04:00",
    ])
    .refused(2, "P001", "no UTC offset");
}

#[test]
fn a_job_and_flags_for_an_archive_exclude_each_other() {
    let place = Place::new();
    let job = place.job("    url: s3://bucket/a\n    server: orders");
    place.run(&["drill", &job, "--server", "x"]).refused(2, "P001", "exclude each other");
    place.run(&["doctor", &job, "--profile", "x"]).refused(2, "P001", "exclude each other");
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    let said = run(&["drill", "--output", "json", "--s3-url", "s3://b"]);
    assert_eq!(said.exit, 2);
    let error = &said.json()["error"];
    assert_eq!(error["code"], "P001");
    assert_eq!(error["problems"].as_array().unwrap().len(), 2, "{error}");
    let said = run(&["drill", "--output=json", "--bogus"]);
    assert_eq!((said.exit, &said.json()["error"]["code"]), (2, &Value::from("P001")));
    let said = run(&["drill", "/nowhere.yaml", "--output", "json"]);
    assert_eq!((said.exit, &said.json()["error"]["code"]), (2, &Value::from("P002")));
}

#[test]
fn errors_are_told_to_people_where_a_page_was_asked_for() {
    for form in ["junit", "html", "markdown"] {
        run(&["drill", "/nowhere.yaml", "--output", form]).refused(2, "P002", "/nowhere.yaml");
        run(&["drill", "--output", form]).refused(2, "P001", "--s3-url: is missing");
    }
}

#[test]
fn a_plan_is_no_page() {
    // Nobody is asked for the archive.
    let archive = ["--s3-url", "s3://b/x", "--server", "a", "--s3-endpoint", "http://127.0.0.1:1"];
    for form in ["junit", "html", "markdown"] {
        run(&[&["drill", "--plan", "--output", form][..], &archive].concat())
            .refused(2, "P001", &format!("a plan is not printed as `{form}`"))
            .refused(2, "P001", "--output json");
    }
}

#[test]
fn check_names_every_problem_of_every_job() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = root.join("jobs/example.yaml").display().to_string();
    let good = run(&["check", &example]);
    assert_eq!((good.exit, good.stderr.as_str()), (0, ""));
    assert!(good.stdout.contains("job `orders-nightly` restores `orders`"), "{}", good.stdout);

    let bad = root.join("fixtures/jobs/typos.yaml").display().to_string();
    let said = run(&["check", &bad]);
    said.refused(2, "P003", "typos.yaml:5:3: spec.shedule: unknown field").refused(
        2,
        "P003",
        "Did you mean `schedule`?",
    );

    let said = run(&["check", &bad, &example, &example, "--output", "json"]);
    assert_eq!(said.exit, 2);
    let jobs = said.json()["jobs"].clone();
    assert_eq!((&jobs[0]["valid"], &jobs[1]["valid"]), (&false.into(), &true.into()));
    assert!(jobs[2]["error"]["message"].as_str().unwrap().contains("both name their job"));

    run(&["check", "/nowhere/x.yaml"]).refused(2, "P002", "/nowhere/x.yaml");
    run(&["check", "/tmp"]).refused(2, "P002", "it is a folder");
    run(&["check", "/dev/zero"]).refused(2, "P002", "longer than 1 MiB");
    run(&["check", "/dev/null"]).refused(2, "P003", "the document is empty");
}

#[test]
fn every_fixture_is_refused_by_the_program_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/jobs");
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path().display().to_string();
        run(&["check", &path]).refused(2, "P003", "hint: ");
        run(&["drill", &path]).refused(2, "P003", "hint: ");
    }
}

fn text_of(mut command: Command) -> String {
    String::from_utf8(command.output().unwrap().stderr).unwrap()
}

#[test]
fn colours_only_where_they_are_wanted() {
    let colored = program(&["drill", "--color", "always"], &[("NO_COLOR", "1")]);
    assert!(text_of(colored).contains("\u{1b}[1;31merror[P001]"));
    for (arguments, variables) in [
        (&["drill"][..], &[][..]),
        (&["drill", "--color", "never"], &[]),
        (&["drill"], &[("NO_COLOR", "1")]),
    ] {
        assert!(!text_of(program(arguments, variables)).contains('\u{1b}'));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = program(&["drill", "--help"], &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let said = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stderr), "");
    assert_eq!(said.status.code(), Some(0));
}

#[test]
fn init_writes_a_job_that_check_accepts() {
    let place = Place::new().with_archive("postgres/orders");
    let said = place.init(&["s3://bucket/postgres"]);
    assert_eq!((said.exit, said.stdout.as_str()), (0, ""), "{}", said.stderr);
    assert!(said.stderr.contains("wrote orders.yaml"), "{}", said.stderr);
    assert!(said.stderr.contains("next: pgassay drill orders.yaml --plan"));
    assert_eq!(place.run(&["check", "orders.yaml"]).exit, 0);

    // Never over what is there.
    fs::write(place.work.join("here/orders.yaml"), "mine").unwrap();
    place.init(&["s3://bucket/postgres"]).refused(2, "P001", "exists already");
    assert_eq!(fs::read_to_string(place.work.join("here/orders.yaml")).unwrap(), "mine");
    assert_eq!(place.init(&["s3://bucket/postgres", "--force"]).exit, 0);
    assert_eq!(place.run(&["check", "orders.yaml"]).exit, 0);

    let printed = place.init(&["s3://bucket/postgres", "-o", "-"]);
    assert_eq!(printed.stdout, fs::read_to_string(place.work.join("here/orders.yaml")).unwrap());
}

#[test]
fn init_finds_the_doubled_prefix_of_cloudnativepg() {
    let place = Place::new().with_archive("orders/orders");
    assert_eq!(place.init(&["s3://bucket", "-o", "jobs/a.yaml"]).exit, 0);
    let text = fs::read_to_string(place.work.join("here/jobs/a.yaml")).unwrap();
    assert!(
        text.contains("url: s3://bucket/orders\n") && text.contains("server: orders\n"),
        "{text}"
    );
}

#[test]
fn init_asks_which_of_several_servers() {
    let place = Place::new().with_archive("pg/orders").with_archive("pg/Shop_1");
    place.init(&["s3://bucket/pg"]).refused(2, "P001", "there are 2 servers").refused(
        2,
        "P001",
        "--server NAME",
    );
    place.init(&["s3://bucket/pg", "--server", "nope"]).refused(2, "P001", "`orders`");
    assert_eq!(place.files(), Vec::<String>::new());
    assert_eq!(place.init(&["s3://bucket/pg", "--server", "orders"]).exit, 0);
    assert_eq!(place.files(), ["orders.yaml"]);
    assert_eq!(place.init(&["s3://bucket/pg", "--all", "-o", "all"]).exit, 0);
    assert_eq!(place.files(), ["all", "all/orders.yaml", "all/shop-1.yaml", "orders.yaml"]);
    assert_eq!(place.run(&["check", "all/orders.yaml", "all/shop-1.yaml"]).exit, 0);
}

#[test]
fn init_says_why_there_is_nothing() {
    let place = Place::new().with_archive("pg/orders");
    place.init(&["s3://bucket/elsewhere"]).refused(2, "S002", "no archive below");
    place.init(&["s3://no-such-bucket/pg"]).refused(2, "S001", "no-such-bucket");
    place.init(&["gs://bucket/pg"]).refused(2, "P001", "Google Cloud Storage");
    let flags = place.s3_flags();
    let arguments: Vec<&str> =
        ["init", "s3://bucket/pg"].into_iter().chain(flags.iter().map(String::as_str)).collect();
    place.run_with(&arguments, &[("AWS_SECRET_ACCESS_KEY", "wrong")]).refused(4, "S003", "hint: ");
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn doctor_sees_this_machine() {
    let place = Place::new();
    let work = place.sandboxes();
    let said = place.run(&["doctor", "--output", "json", "--work-dir", &work]);
    assert_eq!(said.exit, 0, "{}", said.stdout);
    assert_eq!(said.probe("postgresql").0, "ok");
    assert_eq!(said.probe("user").0, "ok");
    assert_eq!(said.probe("disk").0, "ok");
    assert!(["ok", "warn"].contains(&said.probe("network").0.as_str()));
    assert_eq!(tree(&place.work.join("sandboxes")), Vec::<String>::new());

    let human = place.run(&["doctor", "--work-dir", &work]);
    assert!(human.stdout.lines().any(|line| line.starts_with("ok       postgresql")));
    let nowhere = place.run(&["doctor", "--work-dir", "/nowhere", "--output", "json"]);
    assert_eq!(nowhere.exit, 2);
    assert_eq!(nowhere.probe("disk").0, "missing");
}

#[test]
fn doctor_reaches_the_archive_or_says_why_not() {
    let place = Place::new().with_archive("pg/orders");
    let work = place.sandboxes();
    let doctor = |job: &str, variables: &[(&str, &str)]| {
        place.run_with(&["doctor", job, "--output", "json", "--work-dir", &work], variables)
    };
    let ok = |name: &str, said: &Said| assert_eq!(said.probe(name).0, "ok", "{}", said.stdout);

    let good = place.job("    url: s3://bucket/pg\n    server: orders");
    let said = doctor(&good, &[]);
    assert_eq!(said.exit, 0, "{}", said.stdout);
    for name in ["store", "clock", "access", "archive", "major"] {
        ok(name, &said);
    }
    assert!(said.probe("archive").1.contains("base backups and WAL"));

    let said = doctor(&good, &[("AWS_SECRET_ACCESS_KEY", "wrong")]);
    assert_eq!(said.exit, 4, "{}", said.stdout);
    assert_eq!(said.probe("access").0, "missing");

    let wrong = place.job("    url: s3://bucket/pg\n    server: ordres");
    let said = doctor(&wrong, &[]);
    assert_eq!(said.exit, 2, "{}", said.stdout);
    let (status, detail) = said.probe("archive");
    assert_eq!((status.as_str(), detail.contains("ordres")), ("missing", true));
    assert!(said.stdout.contains("`orders`"), "{}", said.stdout);

    let missing = place.job("    url: s3://no-such-bucket/pg\n    server: orders");
    let said = doctor(&missing, &[]);
    assert_eq!((said.exit, said.probe("archive").0.as_str()), (2, "missing"), "{}", said.stdout);
}

#[test]
fn doctor_says_when_nobody_listens() {
    let place = Place::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let work = place.sandboxes();
    let said = place.run(&[
        "doctor",
        "--s3-url",
        "s3://bucket/pg",
        "--server",
        "orders",
        "--s3-path-style",
        "--s3-endpoint",
        &endpoint,
        "--output",
        "json",
        "--work-dir",
        &work,
    ]);
    assert_eq!(said.exit, 4, "{}", said.stdout);
    assert_eq!(said.probe("store").0, "missing");
}

/// A listener that never answers: the program waits until it is told to stop.
#[test]
fn a_signal_stops_with_its_own_status() {
    for (signal, status) in
        [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)]
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let mut child = program(
            &[
                "init",
                "s3://bucket/pg",
                "--s3-path-style",
                "--s3-region=us-east-1",
                "--s3-endpoint",
                &endpoint,
            ],
            &[],
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        // Once it has connected, its signal handlers are there.
        let connection = listener.accept().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().starts_with("stopping: "));
        assert_eq!(child.wait().unwrap().code(), Some(status));
        drop(connection);
    }
}

#[test]
fn sweep_finds_nothing_in_an_empty_folder() {
    run(&["sweep", "--work-dir", "/nowhere"]).refused(2, "E004", "there is no folder `/nowhere`");
    let place = Place::new();
    let work = place.sandboxes();
    let said = place.run(&["sweep", "--work-dir", &work, "--output", "json"]);
    assert_eq!((said.exit, &said.json()["sandboxes"]), (0, &serde_json::json!([])));
}
