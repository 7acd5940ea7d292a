//! A real headless Chromium, driven as people do. Its tests are ordinary ones: what waits, waits here.

mod command;
mod driver;
mod inspect;
mod watch;

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use fantoccini::{Client, ClientBuilder, Locator, elements::Element};
use serde_json::{Value, json};

pub use self::driver::processes;
use self::{driver::Driver, watch::Watch};
use super::tools::RUNTIME;

/// Longest wait for a page to become what a test waits for.
const PATIENCE: Duration = Duration::from_mins(3);

/// A window, and what its user prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Name in the files of screenshots.
    pub name: &'static str,
    /// CSS pixels.
    width: u32,
    height: u32,
    phone: bool,
    dark: bool,
}

impl Look {
    pub const SCREEN: Self =
        Self { name: "screen", width: 1280, height: 900, phone: false, dark: false };
    pub const SCREEN_DARK: Self = Self { name: "screen-dark", dark: true, ..Self::SCREEN };
    pub const PHONE: Self =
        Self { name: "phone", width: 375, height: 812, phone: true, dark: false };
    pub const PHONE_DARK: Self = Self { name: "phone-dark", dark: true, ..Self::PHONE };
    pub const ALL: [Self; 4] = [Self::SCREEN, Self::SCREEN_DARK, Self::PHONE, Self::PHONE_DARK];
}

/// A browser of one test, with a profile of its own; it is gone when this is dropped.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    watch: Watch,
    driver: Driver,
}

impl Browser {
    pub fn start() -> Self {
        let driver = Driver::start();
        let capabilities = driver.capabilities();
        let client = wait(async {
            let mut builder = ClientBuilder::rustls().unwrap();
            let client = builder.capabilities(capabilities).connect(&driver.url).await.unwrap();
            // The driver ends with all that it has started: nobody has to be told.
            client.persist().await.unwrap();
            client
        });
        let browser = Self { client, watch: Watch::default(), driver };
        browser.look(Look::SCREEN);
        browser
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&mut self, url: &str) {
        self.watch.opened(url);
        wait(self.client.goto(url)).unwrap_or_else(|error| panic!("open {url}: {error}"));
    }

    /// Opens a page that is a file.
    pub fn open_file(&mut self, path: &Path) {
        self.open(url::Url::from_file_path(path).unwrap().as_str());
    }

    /// Another window or preference, also of the page that is open.
    pub fn look(&self, look: Look) {
        let Look { width, height, phone, dark, .. } = look;
        let scale = if phone { 2 } else { 1 };
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({
                "width": width, "height": height, "screenWidth": width, "screenHeight": height,
                "deviceScaleFactor": scale, "mobile": phone,
            }),
        );
        let scheme = if dark { "dark" } else { "light" };
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
        self.wait(&format!(
            "screen.width === {width} && matchMedia('(prefers-color-scheme: {scheme})').matches"
        ));
    }

    /// The text of the first element, as far as it can be seen.
    pub fn text(&self, css: &str) -> String {
        wait(async { self.find(css).await.text().await.unwrap() })
    }

    /// A computed style of the first element, such as `background-color`.
    pub fn style(&self, css: &str, property: &str) -> String {
        wait(async { self.find(css).await.css_value(property).await.unwrap() })
    }

    /// Clicks where a person would; an element that is covered or not shown fails the test.
    pub fn click(&self, css: &str) {
        wait(async { self.find(css).await.click().await.unwrap() });
    }

    /// Types into a field, in place of what it holds.
    pub fn fill(&self, css: &str, text: &str) {
        wait(async {
            let field = self.find(css).await;
            field.clear().await.unwrap();
            field.send_keys(text).await.unwrap();
        });
    }

    /// Waits until a JavaScript condition holds, over any number of pages.
    #[track_caller]
    pub fn wait(&self, condition: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A page that is just being left cannot answer.
            let last = self.ask(condition);
            if matches!(last, Ok(Value::Bool(true))) {
                return;
            }
            let shown = || self.ask("location.href + '\\n' + document.body.innerText");
            assert!(Instant::now() < deadline, "{condition}: {last:?} on {:?}", shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The value of a JavaScript expression; a promise is waited for. The page's policy does not matter.
    #[track_caller]
    pub fn evaluate(&self, expression: &str) -> Value {
        self.ask(expression).unwrap_or_else(|why| panic!("{why}"))
    }

    fn ask(&self, expression: &str) -> Result<Value, String> {
        let arguments =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = wait(command::devtools(&self.client, "Runtime.evaluate", arguments));
        let mut answer = answer.map_err(|error| error.to_string())?;
        match answer.get("exceptionDetails") {
            Some(exception) => Err(exception.to_string()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// The whole page as a picture: `target/screenshots/NAME.png`.
    pub fn screenshot(&self, name: &str) -> PathBuf {
        let layout = self.devtools("Page.getLayoutMetrics", json!({}));
        let size = &layout["cssContentSize"];
        let clip =
            json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let taken = self.devtools(
            "Page.captureScreenshot",
            json!({"format": "png", "captureBeyondViewport": true, "clip": clip}),
        );
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        fs::write(&path, STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()).unwrap();
        path
    }

    /// An answer of 400 or more that the test wants to see from now on.
    pub fn expect_status(&mut self, status: u64) {
        self.watch.expect(status);
    }

    /// What went wrong since this was last asked: warnings and errors on the console, requests that
    /// failed, requests to another origin than those of the pages that the test opened.
    pub fn problems(&mut self) -> Vec<String> {
        let (console, traffic) = wait(async {
            let console = command::log(&self.client, "browser").await.unwrap();
            (console, command::log(&self.client, "performance").await.unwrap())
        });
        let mut problems = watch::console(&console);
        problems.extend(self.watch.traffic(&traffic));
        problems
    }

    /// Looks at the open page in every way: it fits, axe finds nothing, nothing went wrong. Pictures of it
    /// are `NAME-screen.png` and so on.
    #[track_caller]
    pub fn assert_sound(&mut self, name: &str) {
        for look in Look::ALL {
            self.look(look);
            self.screenshot(&format!("{name}-{}", look.name));
            let none: Vec<String> = Vec::new();
            assert_eq!(self.overflow(), none, "{name}, {}: it does not fit", look.name);
            assert_eq!(self.axe(), none, "{name}, {}: axe", look.name);
        }
        assert_eq!(self.problems(), Vec::<String>::new(), "{name}");
        self.look(Look::SCREEN);
    }

    /// What is this browser's alone, below the folder for temporary files.
    pub fn folder(&self) -> PathBuf {
        self.driver.folder()
    }

    fn devtools(&self, method: &str, arguments: Value) -> Value {
        let answer = wait(command::devtools(&self.client, method, arguments));
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn find(&self, css: &str) -> Element {
        let found = self.client.find(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("no `{css}` on the page: {error}"))
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.block_on(work)
}
