//! Evidence of real drills, with keys that OpenSSL makes and signatures that it verifies.

use std::{fs, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::support::{
    drill::{Answer, Drill, environment},
    fixture,
    workdir::{WorkDir, tree},
};

fn openssl(arguments: &[&str], dir: &Path) {
    let output = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
}

fn make_key(dir: &Path, name: &str) {
    let (private, public) = (format!("{name}.pem"), format!("{name}-public.pem"));
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &private], dir);
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public], dir);
}

fn verify(store: &Path, key: &Path) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgassay"));
    command.env_clear().envs(environment()).args([
        "evidence",
        "verify",
        "--no-cache",
        "--output",
        "json",
    ]);
    command.arg("--key").arg(key).arg("--store").arg(format!("file://{}", store.display()));
    Answer::from(command.output().unwrap())
}

fn states(answer: &Answer) -> Vec<&str> {
    let reports = answer.report["reports"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
    reports.iter().map(|report| report["state"].as_str().unwrap()).collect()
}

/// Files of the store that end so, oldest first.
fn files(store: &Path, end: &str) -> Vec<String> {
    let mut files: Vec<String> =
        tree(store).into_iter().filter(|file| file.ends_with(end)).collect();
    files.sort();
    files
}

#[test]
fn drills_are_signed_and_their_chain_is_verified_offline() {
    let archive = fixture::rich();
    let work = WorkDir::new();
    let store = work.join("reports");
    fs::create_dir(&store).unwrap();
    make_key(work.path(), "ours");
    make_key(work.path(), "theirs");
    let (private, public) = (work.join("ours.pem"), work.join("ours-public.pem"));
    let spec = format!(
        "  depth: read\n  report: {{store: \"file://{}\", sign: {{file: \"{}\"}}}}",
        store.display(),
        private.display()
    );
    let drill = Drill::new(&archive.root, "rich", &spec);
    for _ in 0..3 {
        drill.run(&[]).expect("pass", 0);
    }
    let answer = verify(&store, &public);
    assert_eq!((answer.exit, states(&answer)), (0, vec!["good"; 3]), "{answer:?}");

    // OpenSSL agrees: the signature is over the pre-authentication encoding of the statement.
    let (reports, envelopes) = (files(&store, ".json"), files(&store, ".dsse"));
    let envelope: Value =
        serde_json::from_slice(&fs::read(store.join(&envelopes[2])).unwrap()).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let signature = STANDARD.decode(envelope["signatures"][0]["sig"].as_str().unwrap()).unwrap();
    let kind = envelope["payloadType"].as_str().unwrap();
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    fs::write(work.join("signed"), [head.as_bytes(), &payload].concat()).unwrap();
    fs::write(work.join("signature"), signature).unwrap();
    let checked =
        "pkeyutl -verify -pubin -inkey ours-public.pem -rawin -in signed -sigfile signature";
    openssl(&checked.split(' ').collect::<Vec<_>>(), work.path());
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(statement["subject"][0]["name"], reports[2].as_str());
    assert_eq!(statement["predicate"]["previous"]["name"], reports[1].as_str());

    // Who verifies with another key is told so.
    let answer = verify(&store, &work.join("theirs-public.pem"));
    assert_eq!((answer.exit, states(&answer)), (1, vec!["foreign_key"; 3]), "{answer:?}");

    // A verdict that somebody made better.
    let path = store.join(&reports[1]);
    let report = fs::read_to_string(&path).unwrap();
    fs::write(&path, report.replacen("\"pass\"", "\"fail\"", 1)).unwrap();
    let answer = verify(&store, &public);
    assert_eq!((answer.exit, states(&answer)), (1, vec!["good", "changed", "good"]), "{answer:?}");
    fs::write(&path, report).unwrap();

    // A drill that somebody took away, with its evidence.
    fs::remove_file(&path).unwrap();
    fs::remove_file(store.join(&envelopes[1])).unwrap();
    let answer = verify(&store, &public);
    assert_eq!((answer.exit, states(&answer)), (1, vec!["good", "broken"]), "{answer:?}");
}

#[test]
fn a_key_that_is_none_ends_the_drill_before_it_begins() {
    let archive = fixture::rich();
    let work = WorkDir::new();
    fs::write(work.join("key.pem"), "not a key").unwrap();
    for (file, code) in [("key.pem", "R003"), ("lost.pem", "S011")] {
        let spec = format!(
            "  report: {{store: \"file://{}\", sign: {{file: \"{}\"}}}}",
            work.path().display(),
            work.join(file).display()
        );
        let drill = Drill::new(&archive.root, "rich", &spec);
        let answer = drill.run(&[]);
        assert_eq!(answer.exit, 2, "{answer:?}");
        assert_eq!(answer.report["error"]["code"], code, "{answer:?}");
    }
    assert_eq!(files(work.path(), ".json"), Vec::<String>::new());
}
