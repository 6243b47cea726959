//! A headless Chromium, driven by the Chrome DevTools Protocol over a pipe.
//!
//! It depends on nothing else of the tests, so that unit tests of the program can have it too.

#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Chromium reads commands from descriptor 3 and writes messages to descriptor 4.
const LAUNCH: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    /// The session with the page; empty for the browser itself.
    session: String,
    command_id: u64,
    requests: Vec<String>,
    problems: Vec<String>,
    /// Removed after the browser has ended.
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser with an empty page; `None`, and a line on stdout, if no Chromium is installed.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = PROGRAMS.into_iter().find(|program| {
            let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            version.is_ok_and(|status| status.success())
        }) else {
            println!("skipped: there is no Chromium to open the page with");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", LAUNCH, program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]);
        command.args(["--remote-debugging-pipe", "--disable-background-networking", "about:blank"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (commands, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let _ = sender.send(serde_json::from_slice(&message).unwrap());
            }
        });
        let mut browser = Self {
            child,
            commands,
            messages,
            session: String::new(),
            command_id: 0,
            requests: Vec::new(),
            problems: Vec::new(),
            _profile: profile,
        };
        browser.attach();
        Some(browser)
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].take();
        let session = self.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        session["sessionId"].as_str().unwrap().clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.resize(1_280);
    }

    /// Executes a command and returns its result.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.command_id += 1;
        let mut command = json!({ "id": self.command_id, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let Ok(mut message) = self.messages.recv_timeout(PATIENCE) else {
                panic!("the browser does not respond to {command}")
            };
            if message["id"] == self.command_id {
                assert!(message["error"].is_null(), "{command}: {message}");
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => self.requests.push(params["request"]["url"].as_str().unwrap().to_owned()),
            "Runtime.exceptionThrown" => self.problems.push(params["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" => self.problems.push(params["args"].to_string()),
            "Log.entryAdded" => self.problems.push(params["entry"].to_string()),
            _ => {}
        }
    }

    /// Has a script executed before those of each page that is opened.
    pub(crate) fn prepare(&mut self, script: &str) {
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }));
    }

    pub(crate) fn open(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
    }

    /// The width of the page in CSS pixels.
    pub(crate) fn resize(&mut self, width: u32) {
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Sets media features, such as `prefers-color-scheme` to `dark`; all others are as usual.
    pub(crate) fn prefer(&mut self, features: &[(&str, &str)]) {
        let features: Vec<Value> =
            features.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// The value of an expression in the page, awaited if it is a promise.
    #[track_caller]
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut outcome = self.call("Runtime.evaluate", params);
        assert!(outcome["exceptionDetails"].is_null(), "{expression}: {outcome}");
        outcome["result"]["value"].take()
    }

    /// The text of the first element that a CSS selector matches.
    #[track_caller]
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.value(&format!("document.querySelector({}).textContent", json!(selector)));
        text.as_str().unwrap().to_owned()
    }

    /// Waits until an expression holds in the page.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, expression: &str) {
        let wait = format!(
            "new Promise((resolve) => {{
                const deadline = performance.now() + {};
                const ask = () => {{
                    const holds = Boolean({expression});
                    if (holds || performance.now() > deadline) {{ resolve(holds); }} else {{ requestAnimationFrame(ask); }}
                }};
                ask();
            }})",
            PATIENCE.as_millis() / 2
        );
        let holds = self.value(&wait);
        assert!(
            holds == true,
            "{expression} does not hold of\n{}",
            self.value("document.body.innerText.slice(0, 4000)")
        );
    }

    /// Waits until an element has a text.
    #[track_caller]
    pub(crate) fn wait_for_text(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.wait_until(&format!("document.querySelector({selector})?.textContent === {text}"));
    }

    /// Presses and releases a key that has no character, such as `ArrowLeft`, or Enter.
    pub(crate) fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            _ => panic!("the code of {key} is not known here"),
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// The addresses of all requests so far, those of data included.
    pub(crate) fn requests(&self) -> &[String] {
        &self.requests
    }

    /// What the page has logged or failed with since the last call.
    pub(crate) fn take_problems(&mut self) -> Vec<String> {
        // Events that precede the response have been noted with it.
        self.value("0");
        std::mem::take(&mut self.problems)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
