//! The S3 server that everybody restores from: Garage where it is installed, else the built-in one;
//! with stunnel in front of it for who wants TLS.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pgassay::demo::{s3_server::S3Server, source::run};

use crate::{Outcome, machine::asked, say, tools};

pub const BUCKET: &str = "bench";
pub const REGION: &str = "us-east-1";
/// Keys in the form that Garage demands, of a server that only this machine reaches.
pub const ACCESS_KEY: &str = "GK5ca1ab1e0ddba115ca1ab1e0";
pub const SECRET_KEY: &str = "5ca1ab1e0ddba115ca1ab1e00ddba1155ca1ab1e0ddba115ca1ab1e00ddba115";
/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where a client finds the server.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub url: String,
    /// Whom to trust, where it is TLS.
    pub ca: Option<PathBuf>,
}

impl Endpoint {
    /// The port alone.
    pub fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap()
    }
}

/// A running server.
pub struct Server {
    store: Store,
    pub plain: Endpoint,
    /// The same objects behind TLS, or why not.
    pub tls: Outcome<Endpoint>,
    /// A folder with the keys in the files `id` and `secret`.
    pub keys: PathBuf,
    _stunnel: Option<Ended>,
}

enum Store {
    Garage { program: PathBuf, _child: Ended },
    Embedded { _server: S3Server },
}

/// A program of ours that ends with us.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// The newest Garage that `scripts/setup bench` has built, or that is on the path.
pub fn garage() -> Option<PathBuf> {
    let entries = fs::read_dir(tools::dir()).into_iter().flatten().flatten();
    let built = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("garage-"));
    let mut built: Vec<PathBuf> = built.map(|entry| entry.path().join("bin/garage")).collect();
    built.sort();
    built.push("garage".into());
    let runs = |program: &PathBuf| Command::new(program).arg("--version").output().is_ok();
    built.into_iter().find(runs)
}

impl Server {
    /// Serves what is kept below `folder`.
    pub fn start(folder: &Path, work: &Path) -> Self {
        let (store, url) = if let Some(program) = garage() {
            start_garage(&program, folder)
        } else {
            say(
                "Garage is not installed, the built-in S3 server is used: run `scripts/setup bench`",
            );
            start_embedded(folder)
        };
        let (stunnel, tls) = match start_tls(work, &url) {
            Ok((child, endpoint)) => (Some(child), Ok(endpoint)),
            Err(why) => (None, Err(why)),
        };
        let keys = work.join("keys");
        fs::create_dir_all(&keys).unwrap();
        fs::write(keys.join("id"), ACCESS_KEY).unwrap();
        fs::write(keys.join("secret"), SECRET_KEY).unwrap();
        Self { store, plain: Endpoint { url, ca: None }, tls, keys, _stunnel: stunnel }
    }

    pub fn describe(&self) -> String {
        match &self.store {
            Store::Garage { program, .. } => asked(Command::new(program).arg("--version")),
            Store::Embedded { .. } => {
                "the built-in one (s3s-fs), inside the benchmark's process: Garage is missing"
                    .to_owned()
            }
        }
    }

    pub fn describe_tls(&self) -> String {
        match &self.tls {
            Ok(_) => {
                // It prints to stderr.
                let output = Command::new("/usr/bin/stunnel4").arg("-version").output().unwrap();
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                let line = text.lines().find(|line| line.starts_with("stunnel "));
                line.unwrap_or("stunnel").to_owned()
            }
            Err(why) => format!("missing: {why}"),
        }
    }
}

/// A port that nobody has now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that the system ends, should we not come to do it.
fn spawn(program: &Path, arguments: &[&str], log: &Path) -> Child {
    let file = fs::File::create(log).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program).args(arguments);
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    command.spawn().unwrap()
}

/// Waits until `ready`, as long as the server lives.
fn wait(child: &mut Child, log: &Path, ready: impl Fn() -> bool) -> Outcome<()> {
    let since = Instant::now();
    while !ready() {
        if since.elapsed() > PATIENCE || child.try_wait().unwrap().is_some() {
            let said = fs::read_to_string(log).unwrap_or_default();
            return Err(crate::measure::last_lines(&said));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn start_embedded(folder: &Path) -> (Store, String) {
    let root = folder.join("objects");
    fs::create_dir_all(root.join(BUCKET)).unwrap();
    let _runtime = tools::RUNTIME.enter();
    let server = S3Server::start(&root, ACCESS_KEY, SECRET_KEY).unwrap();
    let url = server.endpoint();
    (Store::Embedded { _server: server }, url)
}

fn start_garage(program: &Path, folder: &Path) -> (Store, String) {
    let home = folder.join("garage");
    fs::create_dir_all(&home).unwrap();
    let (rpc, api) = (free_port(), free_port());
    let config = home.join("garage.toml");
    let text = format!(
        "metadata_dir = \"{0}/meta\"\ndata_dir = \"{0}/data\"\ndb_engine = \"lmdb\"\n\
         replication_factor = 1\nrpc_bind_addr = \"127.0.0.1:{rpc}\"\n\
         rpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{SECRET_KEY}\"\n\
         [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"127.0.0.1:{api}\"\n",
        home.display()
    );
    fs::write(&config, text).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let log = home.join("garage.log");
    let config = config.to_str().unwrap();
    let mut child = spawn(program, &["-c", config, "server"], &log);
    let ask = |words: &[&str]| run(Command::new(program).args(["-c", config]).args(words));
    let answers = || ask(&["status"]).is_ok();
    wait(&mut child, &log, answers).unwrap_or_else(|why| panic!("Garage did not start: {why}"));
    let ready = home.join("ready");
    if !ready.exists() {
        let id = ask(&["node", "id", "-q"]).unwrap();
        let id = id.trim().split('@').next().unwrap();
        ask(&["layout", "assign", "-z", "here", "-c", "100G", id]).unwrap();
        ask(&["layout", "apply", "--version", "1"]).unwrap();
        ask(&["key", "import", "--yes", "-n", "bench", ACCESS_KEY, SECRET_KEY]).unwrap();
        ask(&["bucket", "create", BUCKET]).unwrap();
        let allow =
            ["bucket", "allow", "--read", "--write", "--owner", BUCKET, "--key", ACCESS_KEY];
        ask(&allow).unwrap();
        fs::write(ready, "").unwrap();
    }
    let url = format!("http://127.0.0.1:{api}");
    (Store::Garage { program: program.to_owned(), _child: Ended(child) }, url)
}

/// stunnel in front of the server, with a certificate of its own authority.
fn start_tls(work: &Path, url: &str) -> Outcome<(Ended, Endpoint)> {
    let program = Path::new("/usr/bin/stunnel4");
    if !program.exists() {
        return Err("stunnel is not installed: run `scripts/setup bench`".into());
    }
    let folder = work.join("tls");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    for arguments in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
         -subj /CN=authority -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server \
         -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
         -extfile san -out server.pem",
    ] {
        let mut openssl = Command::new("openssl");
        run(openssl.args(arguments.split_whitespace()).current_dir(&folder))
            .map_err(|error| error.message)?;
    }
    let port = free_port();
    let config = folder.join("stunnel.conf");
    let text = format!(
        "foreground = yes\npid =\ndebug = err\n[s3]\naccept = 127.0.0.1:{port}\nconnect = {}\n\
         cert = {1}/server.pem\nkey = {1}/server.key\n",
        url.trim_start_matches("http://"),
        folder.display()
    );
    fs::write(&config, text).unwrap();
    let log = folder.join("stunnel.log");
    let mut child = spawn(program, &[config.to_str().unwrap()], &log);
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    wait(&mut child, &log, listens)?;
    let endpoint =
        Endpoint { url: format!("https://127.0.0.1:{port}"), ca: Some(folder.join("ca.pem")) };
    Ok((Ended(child), endpoint))
}
