//! However reading ends, nothing is left on this machine and nothing was written to the archive.

use crate::support::{
    drill::{Answer, Drill, signal, start_until},
    fixture,
    workdir::tree,
};

#[test]
fn interrupted_it_leaves_nothing() {
    let archive = fixture::rich();
    for (name, exit) in [("INT", 130), ("TERM", 143)] {
        for arguments in [&[][..], &["--recovery-point"]] {
            // 10 MiB at this rate take longer than a signal.
            let drill = Drill::new(&archive.root, "rich", "  limits: {bandwidth: 1MiB/s}");
            let mut command = drill.verify_command();
            command.args(arguments);
            let child = start_until(command, "fetch");
            signal(&child, name);
            let answer = Answer::from(child.wait_with_output().unwrap());
            assert_eq!(answer.exit, exit, "{arguments:?}: {answer:?}");
            // What was seen until then is no verdict.
            assert!(answer.report["verdict"].is_null(), "{answer:?}");
            assert_eq!(tree(&drill.sandboxes()), Vec::<String>::new());
            assert_eq!(drill.server.writes_seen(), Vec::<String>::new());
        }
    }
}
