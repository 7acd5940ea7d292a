//! chromedriver and the Chromium that it starts: processes of one test, with a folder of their own.

use std::{
    fs,
    io::{BufRead, BufReader},
    iter,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fantoccini::wd::Capabilities;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::tools;

/// What Chromium asks for by itself is off, so that every request is one of the page.
const ARGUMENTS: [&str; 12] = [
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--lang=en-US",
];

/// A running chromedriver. It and whatever it has started end when this is dropped.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    pub url: String,
    folder: Option<TempDir>,
}

impl Driver {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("pgassay-browser-").tempdir().unwrap();
        for name in ["home", "tmp", "profile"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        // A group of its own, since Chromium would outlive a chromedriver that is killed.
        let mut child = Command::new(program("chromedriver"))
            .arg("--port=0")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", folder.path().join("home"))
            .env("TMPDIR", folder.path().join("tmp"))
            .env("LANG", "C.UTF-8")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut driver = Self { child, url: String::new(), folder: Some(folder) };
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            Some(
                line.split_once("started successfully on port ")?
                    .1
                    .trim_end_matches('.')
                    .to_owned(),
            )
        });
        driver.url = format!("http://127.0.0.1:{}", port.expect("chromedriver did not start"));
        // Whoever writes to a closed pipe is told so; go on reading.
        std::thread::spawn(move || for _ in lines {});
        driver
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.as_ref().unwrap().path().to_owned()
    }

    /// What a session of this driver is to be.
    pub fn capabilities(&self) -> Capabilities {
        let profile = self.folder().join("profile");
        let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).into();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let wanted = json!({
            "browserName": "chrome",
            // A page that does not load ends the test soon.
            "timeouts": {"pageLoad": 30_000, "script": 30_000},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {
                "binary": program("chromium"),
                "args": arguments,
                // Else it begins with a page that fetches hundreds of files, or with a search engine's.
                "prefs": {"session": {"restore_on_startup": 4, "startup_urls": ["about:blank"]}},
            },
        });
        let Value::Object(wanted) = wanted else { unreachable!() };
        wanted
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
        // Those that are not our children take a moment to end, and write until then.
        let Some(folder) = self.folder.take() else { return };
        let folder = folder.keep();
        let deadline = Instant::now() + Duration::from_secs(10);
        while processes(&folder) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_dir_all(&folder);
    }
}

/// How many processes name a folder on their command line.
pub fn processes(folder: &Path) -> usize {
    let name = folder.to_str().unwrap();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(name)).count()
}

/// A program: the set-up's own where there is one, else that on `PATH`.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut folders = iter::once(tools::dir().join("bin")).chain(std::env::split_paths(&path));
    let found = folders.find_map(|dir| Some(dir.join(name)).filter(|file| file.is_file()));
    found.unwrap_or_else(|| panic!("`{name}` is missing: run `scripts/setup test`"))
}
