//! Whoever a job names is told of its drills, and no log tells where that is.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc::{self, Receiver},
    thread,
};

use serde_json::Value;

use crate::support::{
    damage,
    drill::{Answer, Drill, damaged_copy},
    fixture,
    workdir::WorkDir,
};

/// Path and body of each request, in their order. Every one is answered with 200.
struct Listener {
    address: String,
    requests: Receiver<(String, Value)>,
}

impl Listener {
    fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", socket.local_addr().unwrap());
        let (sender, requests) = mpsc::channel();
        // Ends with the test's process.
        thread::spawn(move || {
            for connection in socket.incoming() {
                let mut connection = BufReader::new(connection.unwrap());
                let mut head = Vec::new();
                for line in connection.by_ref().lines() {
                    let line = line.unwrap();
                    if line.is_empty() {
                        break;
                    }
                    head.push(line);
                }
                let length = head.iter().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.trim().parse().ok())?
                });
                let mut body = vec![0; length.unwrap_or(0)];
                connection.read_exact(&mut body).unwrap();
                let path = head[0].split(' ').nth(1).unwrap().to_owned();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                connection.get_mut().write_all(answer).unwrap();
                if sender.send((path, body)).is_err() {
                    return;
                }
            }
        });
        Self { address, requests }
    }

    /// What has come since the last time. Drills end after their messages are answered.
    fn told(&self) -> Vec<(String, Value)> {
        self.requests.try_iter().collect()
    }

    fn paths(&self) -> Vec<String> {
        self.told().into_iter().map(|(path, _)| path).collect()
    }
}

fn run(drill: &Drill, listener: &Listener) -> Answer {
    let mut command = drill.command();
    command.arg("-vv").env("HOOK", format!("{}/hook/T0secret", listener.address));
    command.env("SLACK", format!("{}/slack/T1secret", listener.address));
    command.env("PING", format!("{}/ping/T2secret", listener.address));
    let answer = Answer::from(command.output().unwrap());
    for text in [&answer.stdout, &answer.stderr] {
        assert!(!text.contains("secret"), "printed a secret: {text}");
    }
    answer
}

#[test]
fn changes_problems_and_pings() {
    let archive = fixture::rich();
    let reports = WorkDir::new();
    let listener = Listener::start();
    let spec = format!(
        "  depth: read\n  report: {{store: \"file://{}\"}}\n  notify:\n    - webhook: {{url: {{env: HOOK}}}}\n    \
         - webhook: {{url: {{env: SLACK}}, format: slack, when: problem}}\n    - ping: {{url: {{env: PING}}}}",
        reports.path().display()
    );
    let sound = Drill::new(&archive.root, "rich", &spec);
    let copy = damaged_copy(&archive, |root| {
        let segment = damage::segment(root, damage::MIDDLE);
        damage::rewrite_gz(&segment, |bytes| damage::flip_row(bytes, 0));
    });
    let damaged = Drill::new(copy.path(), "rich", &spec);

    run(&sound, &listener).expect("pass", 0);
    // The first word of a job says that its messages arrive.
    let told = listener.told();
    let paths: Vec<&str> = told.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/ping/T2secret/start", "/hook/T0secret", "/ping/T2secret"]);
    assert_eq!(
        (&told[1].1["verdict"], &told[1].1["previous_verdict"]),
        (&"pass".into(), &Value::Null)
    );
    run(&sound, &listener).expect("pass", 0);
    assert_eq!(listener.paths(), ["/ping/T2secret/start", "/ping/T2secret"]);

    let answer = run(&damaged, &listener);
    answer.expect("fail", 1);
    let told = listener.told();
    let paths: Vec<&str> = told.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        ["/ping/T2secret/start", "/hook/T0secret", "/slack/T1secret", "/ping/T2secret/fail"]
    );
    let hook = &told[1].1;
    assert_eq!((&hook["verdict"], &hook["previous_verdict"]), (&"fail".into(), &"pass".into()));
    assert_eq!(hook["drill_id"], answer.report["drill_id"]);
    let slack = told[2].1["text"].as_str().unwrap();
    assert!(slack.starts_with("*FAIL* (was pass)  test: "), "{slack}");
    run(&damaged, &listener).expect("fail", 1);
    assert_eq!(
        listener.paths(),
        ["/ping/T2secret/start", "/slack/T1secret", "/ping/T2secret/fail"]
    );
}

#[test]
fn nobody_there_changes_no_verdict() {
    let archive = fixture::rich();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = Listener { address: format!("http://{closed}"), requests: mpsc::channel().1 };
    let spec = "  depth: catalog\n  notify: [{webhook: {url: {env: HOOK}, when: always}}]";
    let answer = run(&Drill::new(&archive.root, "rich", spec), &listener);
    answer.expect("pass", 0);
    assert!(answer.stderr.contains(&format!("notify `http://{closed}`")), "{}", answer.stderr);
}
