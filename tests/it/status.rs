//! The pages of the service in a real browser: all jobs at a glance, a drill while it runs, what a failed one
//! found, what an archive holds.

use std::fs;

use crate::support::{
    browser::Browser,
    damage,
    drill::damaged_copy,
    fixture,
    service::{Scene, Service, wait_until},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Started by hand, and restored.
const BY_HAND: &str =
    "  depth: restore\n  objectives: {rto: 1h, rpo: 36500d}\n  schedule: \"0 3 1 1 *\"";

fn with_token(scene: &Scene) -> Service {
    let file = scene.work.join("token");
    fs::write(&file, TOKEN).unwrap();
    scene.start_with(&["--token-file", file.to_str().unwrap(), "--max-drills", "4"])
}

/// Starts a drill as people do: on the page of its job.
fn start(browser: &mut Browser, service: &mut Service, job: &str) {
    browser.open(&format!("{}/jobs/{job}", service.url()));
    browser.fill("#token", TOKEN);
    browser.click("form.card button");
    browser.wait("location.pathname.startsWith('/drills/')");
}

#[test]
fn all_jobs_at_a_glance_and_one_of_them_closer() {
    let scene = Scene::new();
    for job in ["billing", "orders"] {
        scene.job(job, BY_HAND);
    }
    scene.job("stale", BY_HAND);
    let text = fs::read_to_string(scene.job_file("stale")).unwrap();
    fs::write(scene.job_file("stale"), text.replace("server: rich", "server: nothing")).unwrap();
    fs::write(scene.job_file("broken"), "kind: Pod").unwrap();
    let mut service = with_token(&scene);
    let mut browser = Browser::start();

    // Before anything was drilled.
    wait_until("ready", || service.get("/readyz").status.is_success());
    browser.open(&service.url());
    assert_eq!(browser.text("#summary"), "3 jobs: 3 need attention");
    assert!(browser.text("main").contains("broken.yaml is broken, it is left out"));

    // The page follows what happens, without being loaded again.
    browser.evaluate("window.stays = true");
    for job in ["orders", "stale"] {
        let path = format!("/api/v1/jobs/{job}/drills");
        service.ask(reqwest::Method::POST, &path, Some(TOKEN));
    }
    let has = |job: &str, words: &str| {
        format!("document.querySelector('tr[data-job={job}]').innerText.includes('{words}')")
    };
    browser.wait(&has("orders", "PASS"));
    browser.wait(&has("stale", "INCONCLUSIVE"));
    browser.wait(&has("billing", "never drilled"));
    assert_eq!(browser.evaluate("window.stays"), true);
    // Who needs somebody comes first.
    let order = "[...document.querySelectorAll('tr[data-job]')].map(row => row.dataset.job).join()";
    assert_eq!(browser.evaluate(order), "billing,stale,orders");
    assert_eq!(browser.text("#summary"), "3 jobs: 2 need attention");
    browser.assert_sound("overview");

    browser.click("tr[data-job=orders] th a");
    browser.wait("document.querySelector('h1').innerText === 'orders'");
    let page = browser.text("main");
    for words in ["The last drill", "pass", "at 03:00", "Worst case", "History"] {
        assert!(page.contains(words), "no {words} in {page}");
    }
    browser.assert_sound("job");
    browser.click("#drills th a");
    browser.wait("location.pathname.startsWith('/drills/')");
    assert!(browser.text("header").contains("PASS"));
    browser.assert_sound("passed-drill");
    service.stop();
}

#[test]
fn a_drill_advances_before_the_readers_eyes() {
    let scene = Scene::new();
    scene.job("slow", &format!("{BY_HAND}\n  limits: {{bandwidth: 300KiB/s}}"));
    let mut service = with_token(&scene);
    let mut browser = Browser::start();
    start(&mut browser, &mut service, "slow");
    browser.evaluate("window.stays = true");
    browser.wait("document.querySelector('[data-stage=plan][data-state=done]') !== null");
    browser.wait("document.querySelector('[data-stage=fetch][data-state=runs]') !== null");
    // How far it is grows.
    let share = "document.querySelector('[data-stage=fetch] progress')?.value ?? 0";
    browser.wait(&format!("(window.before = {share}) > 0 && window.before < 100"));
    browser.wait(&format!("({share}) > window.before"));
    assert_eq!(browser.evaluate("window.stays"), true);
    assert_eq!(browser.text("#live").split_whitespace().next(), Some("RUNS"));
    browser.assert_sound("live-drill");
    // What becomes of its page when it is over is seen of the others, which are not held back.
    service.kill();
}

#[test]
fn what_a_failed_drill_found_and_where_the_archive_has_its_gap() {
    let archive = damaged_copy(&fixture::rich(), |root| {
        fs::remove_file(damage::segment(root, damage::MIDDLE)).unwrap();
    });
    let scene = Scene::of(archive.path());
    scene.job("orders", BY_HAND);
    let mut service = with_token(&scene);
    let mut browser = Browser::start();
    start(&mut browser, &mut service, "orders");
    browser.wait("document.querySelector('.badge.bad')?.innerText === 'FAIL'");
    let findings = browser.text("section[aria-labelledby=findings]");
    for words in ["wal_", "What to do:", "found by the check"] {
        assert!(findings.contains(words), "no {words} in {findings}");
    }
    browser.assert_sound("failed-drill");

    browser.open(&format!("{}/archives", service.url()));
    browser.assert_sound("archives");
    browser.click("th a");
    browser.wait("document.querySelector('svg.window') !== null");
    assert_eq!(
        browser.evaluate("document.querySelectorAll('svg.window .fill-bad').length > 0"),
        true
    );
    let page = browser.text("main");
    for words in ["Recoverable window", "gap: no time from", "Missing segments (1)", "FAIL"] {
        assert!(page.contains(words), "no {words} in {page}");
    }
    browser.assert_sound("catalog");
    service.stop();
}

#[test]
fn a_wrong_token_starts_nothing() {
    let scene = Scene::new();
    scene.job("orders", BY_HAND);
    let mut service = with_token(&scene);
    let mut browser = Browser::start();
    browser.open(&format!("{}/jobs/orders", service.url()));
    browser.fill("#token", "something that is no token");
    browser.expect_status(401);
    browser.click("form.card button");
    browser.wait("document.querySelector('h1').innerText === 'Unauthorized'");
    assert!(browser.text("main").contains("--token-file"));
    browser.assert_sound("wrong-token");
    service.stop();
    // Without a token there is no form.
    let mut service = scene.start();
    browser.open(&format!("{}/jobs/orders", service.url()));
    assert_eq!(browser.evaluate("document.querySelector('form')"), serde_json::Value::Null);
    wait_until("an answer", || service.get("/healthz").status.is_success());
    service.stop();
    assert!(scene.reports().is_empty());
}
