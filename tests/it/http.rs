//! What the service answers over HTTP: the API, metrics for a real Prometheus, and drills by token.

use std::fs;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::{
    json_schema,
    support::{
        prometheus::Prometheus,
        service::{Answer, Scene, Service, run, wait_until},
        tools::RUNTIME,
    },
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

const BY_HAND: &str = "  depth: catalog";

fn with_token(scene: &Scene) -> Service {
    let file = scene.work.join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    scene.start_with(&["--token-file", file.to_str().unwrap()])
}

fn start(service: &mut Service, job: &str, token: Option<&str>) -> Answer {
    service.ask(Method::POST, &format!("/api/v1/jobs/{job}/drills"), token)
}

/// Starts a drill, waits for its end; its report.
fn drill(service: &mut Service, job: &str) -> Value {
    let started = start(service, job, Some(TOKEN));
    assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.body);
    let path = format!("/api/v1/drills/{}", started.json()["drill_id"].as_str().unwrap());
    let mut over = Value::Null;
    wait_until("the drill is over", || {
        over = service.json(&path);
        over["state"] == "over"
    });
    over["report"].take()
}

fn code(answer: &Answer) -> (StatusCode, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap().to_owned())
}

#[test]
fn drills_are_started_by_whoever_has_the_token_and_by_nobody_else() {
    let scene = Scene::new();
    scene.job("orders", BY_HAND);
    let mut closed = scene.start();
    for token in [None, Some(""), Some(TOKEN)] {
        let answer = start(&mut closed, "orders", token);
        assert_eq!(code(&answer), (StatusCode::FORBIDDEN, "start_off".to_owned()));
    }
    closed.stop();
    assert_eq!(scene.reports(), Vec::<Value>::new());

    let mut service = with_token(&scene);
    for token in [None, Some(""), Some("0123456789abcdef0123456789abcdee")] {
        let answer = start(&mut service, "orders", token);
        assert_eq!(code(&answer), (StatusCode::UNAUTHORIZED, "token_wrong".to_owned()));
    }
    let unknown = start(&mut service, "nobody", Some(TOKEN));
    assert_eq!(code(&unknown), (StatusCode::NOT_FOUND, "job_not_in_folder".to_owned()));
    let report = drill(&mut service, "orders");
    assert_eq!((&report["verdict"], &report["cause"]), (&"pass".into(), &Value::Null), "{report}");
    let seen = service.seen.join("\n");
    service.stop();
    assert!(!seen.contains(TOKEN), "{seen}");
    assert_eq!(scene.reports().len(), 1);
}

#[test]
fn one_drill_of_a_job_at_a_time_and_others_wait_for_room() {
    let scene = Scene::new();
    let slow = "  limits: {bandwidth: 100KiB/s}";
    scene.job("one", slow);
    scene.job("two", slow);
    let file = scene.work.join("token");
    fs::write(&file, TOKEN).unwrap();
    let file = file.to_str().unwrap();
    let mut service = scene.start_with(&["--token-file", file, "--grace", "1s"]);
    assert_eq!(start(&mut service, "one", Some(TOKEN)).json()["state"], "running");
    let again = start(&mut service, "one", Some(TOKEN));
    assert_eq!(code(&again), (StatusCode::CONFLICT, "drill_running".to_owned()));
    assert_eq!(start(&mut service, "two", Some(TOKEN)).json()["state"], "waiting");
    let again = start(&mut service, "two", Some(TOKEN));
    assert_eq!(code(&again), (StatusCode::CONFLICT, "drill_waiting".to_owned()));
    let two = service.json("/api/v1/jobs/two");
    assert_eq!(
        (&two["waiting"]["cause"], &two["running"]),
        (&"hand".into(), &Value::Null),
        "{two}"
    );
    service.stop();
    scene.assert_nothing_left();
}

/// Every address that is described answers as it is described.
#[test]
fn the_description_of_the_api_is_true() {
    let scene = Scene::new();
    scene.job("orders", &format!("{BY_HAND}\n  schedule: \"0 3 * * *\""));
    fs::write(scene.job_file("broken"), "kind: Pod").unwrap();
    let mut service = with_token(&scene);
    let description = service.json("/api/v1/openapi.json");
    let report = drill(&mut service, "orders");
    let schema = service.json("/api/v1/jobs");
    let archive = schema["jobs"][0]["archive"]["id"].as_str().unwrap().to_owned();
    let id = report["drill_id"].as_str().unwrap();
    let mut described = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let of = |job: &str, drill: &str, archive: &str| {
                path.replace("{job}", job).replace("{drill}", drill).replace("{archive}", archive)
            };
            for real in [of("orders", id, &archive), of("nobody", "nothing", "none")] {
                let answer = service.ask(method.clone(), &real, Some(TOKEN));
                let told = &operation["responses"][answer.status.as_str()];
                let schema = &told["content"]["application/json"]["schema"];
                assert!(schema.is_object(), "{method} {real}: {} is not described", answer.status);
                let mut root = description.clone();
                root.as_object_mut().unwrap().insert("here".to_owned(), schema.clone());
                let whole = serde_json::json!({"$ref": "#/here"});
                let errors = json_schema::errors_in(&root, &whole, &answer.json());
                assert_eq!(errors, Vec::<String>::new(), "{method} {real}: {}", answer.body);
                described += 1;
            }
        }
    }
    assert!(described >= 14, "{described}");
    let drills = service.json("/api/v1/drills?job=orders&verdict=pass&limit=5");
    assert_eq!(drills["drills"][0]["drill_id"], id, "{drills}");
    assert_eq!(service.json("/api/v1/drills?verdict=fail")["drills"], Value::Array(vec![]));
    for wrong in ["verdict=good", "limit=0", "limit=x", "since=yesterday", "jobs=orders"] {
        let answer = service.get(&format!("/api/v1/drills?{wrong}"));
        assert_eq!(code(&answer), (StatusCode::BAD_REQUEST, "invalid".to_owned()), "{wrong}");
    }
    service.stop();
}

#[test]
fn a_prometheus_reads_what_was_drilled() {
    let scene = Scene::new();
    scene.job(
        "orders",
        &format!(
            "{BY_HAND}\n  metrics: {{cluster: c1, namespace: shop}}\n  schedule: \"0 3 1 1 *\""
        ),
    );
    let mut service = with_token(&scene);
    let report = drill(&mut service, "orders");
    let target = service.url().replace("http://", "");
    let mut prometheus = Prometheus::of(&target);
    let labels = "drill=\"orders\",cluster=\"c1\",namespace=\"shop\"";
    let verdict = format!("pgassay_drill_verdict{{{labels},verdict=\"pass\"}}");
    assert!((prometheus.value(&verdict) - 1.0).abs() < f64::EPSILON);
    let finished: jiff::Timestamp = report["finished_at"].as_str().unwrap().parse().unwrap();
    let finished = finished.as_millisecond() as f64 / 1e3;
    for name in ["last_pass", "last_run"] {
        let told = prometheus.value(&format!("pgassay_drill_{name}_timestamp_seconds{{{labels}}}"));
        assert!((told - finished).abs() < 0.01, "{name}: {told} is not {finished}");
    }
    assert!((prometheus.value("pgassay_serve_jobs") - 1.0).abs() < f64::EPSILON);
    let metrics = service.get("/metrics");
    assert!(metrics.content_type.starts_with("application/openmetrics-text; version=1.0.0"));
    for name in pgassay::web::metrics::NAMES {
        assert!(metrics.body.contains(&format!("# TYPE {name} gauge")), "{name}");
    }
    assert!(prometheus.value(&format!("pgassay_serve_overdue{{{labels}}}")).abs() < f64::EPSILON);
    service.stop();
}

#[test]
fn what_others_drill_is_seen() {
    let scene = Scene::new();
    scene.job("orders", "  depth: catalog\n  schedule: \"0 0 1 1 *\"");
    let drilled = run(&["drill", scene.job_file("orders").to_str().unwrap()]);
    assert!(drilled.status.success(), "{drilled:?}");
    let mut service = scene.start();
    wait_until("ready", || service.get("/readyz").status == StatusCode::OK);
    assert_eq!(service.get("/healthz").status, StatusCode::OK);
    let orders = service.json("/api/v1/jobs/orders");
    assert_eq!((&orders["last"]["verdict"], &orders["overdue"]), (&"pass".into(), &false.into()));
    // Another one, of a shell, while the service runs, and of a job that has no file here.
    let elsewhere = scene.work.join("elsewhere.yaml");
    let text = fs::read_to_string(scene.job_file("orders")).unwrap();
    fs::write(&elsewhere, text.replace("name: orders", "name: elsewhere")).unwrap();
    let drilled = run(&["drill", elsewhere.to_str().unwrap()]);
    assert!(drilled.status.success(), "{drilled:?}");
    wait_until("the other job", || service.get("/api/v1/jobs/elsewhere").status == StatusCode::OK);
    let other = service.json("/api/v1/jobs/elsewhere");
    assert_eq!((&other["in_folder"], &other["last"]["verdict"]), (&false.into(), &"pass".into()));
    service.stop();
}

#[test]
fn nothing_has_passed_for_two_periods_although_nothing_ran() {
    let scene = Scene::new();
    let job = "  depth: catalog\n  start: {missed: skip}\n  schedule: ";
    scene.job("orders", &format!("{job}\"0 0 1 1 *\""));
    let file = scene.job_file("orders");
    let drilled = run(&["drill", file.to_str().unwrap()]);
    assert!(drilled.status.success(), "{drilled:?}");
    // From now on a drill was due every second, and none begins: it needs more than there is.
    let text = fs::read_to_string(&file).unwrap();
    let text = text
        .replace("0 0 1 1 *", "* * * * * *")
        .replace("sandbox: {", "sandbox: {diskBudget: 2GiB, ");
    fs::write(&file, text).unwrap();
    let mut service = scene.start_with(&["--max-disk", "1GiB"]);
    wait_until("overdue", || service.json("/api/v1/jobs/orders")["overdue"] == true);
    let page = service.get("/").body;
    assert!(page.contains("nothing has passed for two periods"), "{page}");
    let metrics = service.get("/metrics").body;
    let line = metrics.lines().find(|line| line.starts_with("pgassay_serve_overdue{"));
    assert!(line.is_some_and(|line| line.ends_with(" 1.0")), "{line:?}");
    service.stop();
    assert_eq!(scene.reports().len(), 1);
}

#[test]
fn an_address_that_is_taken_is_told_before_anything_begins() {
    let scene = Scene::new();
    scene.job("orders", "  schedule: \"* * * * * *\"\n  depth: catalog");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let jobs = scene.work.join("jobs");
    let state = scene.work.join("state");
    let arguments = ["serve", "--jobs", jobs.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let serve = |listen: &str, more: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["--listen", listen]);
        all.extend(more);
        run(&all)
    };
    let output = serve(&address, &[]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("error[E018]") && told.contains("--listen"), "{told}");
    let short = scene.work.join("token");
    fs::write(&short, "short").unwrap();
    let output = serve("127.0.0.1:0", &["--token-file", short.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("fewer than 16 characters") && told.contains("openssl rand"), "{told}");
    assert_eq!(scene.reports(), Vec::<Value>::new());
    assert!(!state.exists());
}

#[test]
fn what_is_asked_wrongly_is_told_to_people_and_to_programs() {
    let scene = Scene::new();
    let mut service = scene.start();
    let answer = service.get("/nowhere");
    assert_eq!(code(&answer), (StatusCode::NOT_FOUND, "not_found".to_owned()));
    let page = service.get("/jobs/nobody");
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.content_type.starts_with("text/html") && page.body.contains("What to do"));
    let wrong = service.ask(Method::DELETE, "/api/v1/jobs", None);
    assert_eq!(code(&wrong), (StatusCode::METHOD_NOT_ALLOWED, "method_wrong".to_owned()));
    let url = format!("{}/api/v1/jobs", service.url());
    let rebound = RUNTIME.block_on(async {
        let client = reqwest::Client::new();
        client.get(url).header("host", "evil.example").send().await.unwrap().status()
    });
    assert_eq!(rebound, StatusCode::MISDIRECTED_REQUEST);
    // An empty folder is no mistake.
    assert!(service.get("/").body.contains("pgassay init"));
    service.stop();
}
