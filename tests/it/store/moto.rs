//! Moto's S3 server: it knows `If-Match`, conditional writes and the errors of the real one.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use crate::support::tools::tool;

/// One server for all tests of this process.
static SERVER: LazyLock<Moto> = LazyLock::new(Moto::start);

struct Moto {
    endpoint: String,
    /// Its standard input is a pipe from here: when this process is gone, however that happened, the
    /// shell reads its end and stops the server.
    _keeper: Child,
}

/// The endpoint of a running server.
pub fn endpoint() -> &'static str {
    &SERVER.endpoint
}

impl Moto {
    fn start() -> Self {
        let program = tool("venv/bin/python");
        assert!(tool("venv/bin/moto_server").exists());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER])
            .arg(&program)
            .args(["-c", SERVE])
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir(Path::new("/"))
            .spawn()
            .unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = keeper.try_wait().unwrap() {
                panic!("`{}` ended with {status} before it listened", program.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { endpoint: format!("http://127.0.0.1:{port}"), _keeper: keeper }
    }
}

/// Starts with a bucket of 2,500 objects: as many requests would take a minute.
const SERVE: &str = r#"
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import main
import sys
store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
store.create_bucket("listed", "us-east-1")
for number in range(2500):
    store.put_object("listed", "pg/wals/0000000100000000/%024X" % number, b"x")
main(sys.argv[1:])
"#;

/// Runs the server given as arguments until standard input ends or the server does.
const KEEPER: &str = r#"
exec 3<&0
"$0" "$@" </dev/null & server=$!
(cat <&3 >/dev/null; kill $server 2>/dev/null) &
wait $server
"#;
