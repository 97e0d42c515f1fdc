//! A real browser, Chromium without a window, told what to do over a pipe (Chrome DevTools Protocol):
//! what it loads, complains about and executes, how wide a page is, and what it looks like.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use serde_json::{Value, json};

use super::process::{DEADLINE, Scratch, machine_path};
use super::tools::tool;

pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    last: u64,
    /// What happened since the last navigation.
    events: Vec<Value>,
    _scratch: Scratch,
}

/// A page's families and what stands for them: fonts of the tool, so that a page looks the same on every
/// machine.
const FAMILIES: [(&str, &str); 6] = [
    ("system-ui", "Liberation Sans"),
    ("sans", "Liberation Sans"),
    ("Arial", "Liberation Sans"),
    ("sans-serif", "Liberation Sans"),
    ("ui-monospace", "Liberation Mono"),
    ("monospace", "Liberation Mono"),
];

fn font_config(fonts: &Path, cache: &Path) -> String {
    let (fonts, cache) = (fonts.display(), cache.display());
    let mut config = format!(
        "<?xml version=\"1.0\"?><fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir>"
    );
    for (family, font) in FAMILIES {
        config += &format!(
            "<match target=\"pattern\"><test name=\"family\"><string>{family}</string></test>\
             <edit name=\"family\" mode=\"assign\" binding=\"strong\"><string>{font}</string></edit></match>"
        );
    }
    config + "</fontconfig>"
}

impl Browser {
    pub fn start() -> Browser {
        let scratch = Scratch::new("browser");
        let program = tool("chromium-headless-shell/chromium-headless-shell");
        let root = program.parent().expect("a folder").join("root");
        let fonts = font_config(&root.join("usr/share/fonts"), &scratch.join("fonts"));
        let fonts = scratch.file("fonts.conf", fonts);
        // Its pipe is on the descriptors 3 and 4. It ends when the pipe does, and with the test.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sh", "-c"])
            .arg("exec \"$@\" 3<&0 4>&1 </dev/null >\"$0\" 2>&1")
            .arg(scratch.join("log"))
            .arg(program)
            .args([
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--hide-scrollbars",
            ])
            .args(["--disable-gpu", "--disable-dev-shm-usage"])
            .env_clear()
            .env("PATH", machine_path())
            .env("HOME", scratch.path())
            .env("FONTCONFIG_FILE", fonts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run setpriv");
        let commands = child.stdin.take().expect("a pipe");
        let mut answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while answers
                .read_until(0, &mut message)
                .is_ok_and(|count| count > 0)
            {
                message.pop();
                let read = serde_json::from_slice(&message).expect("JSON");
                if sender.send(read).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Browser {
            child,
            commands,
            messages,
            session: String::new(),
            last: 0,
            events: Vec::new(),
            _scratch: scratch,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().expect("an id").to_owned();
        for part in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{part}.enable"), json!({}));
        }
        // The tests' authority is none of its own.
        let ignore = json!({"ignore": true});
        browser.call("Security.setIgnoreCertificateErrors", ignore);
        browser
    }

    /// The result of a command.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let sent = write!(self.commands, "{command}\0").and_then(|()| self.commands.flush());
        sent.expect("the browser runs");
        let id = json!(self.last);
        let answer = self.wait(|message| message["id"] == id);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn wait(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left).expect("an answer in time");
            if is_it(&message) {
                return message;
            }
            self.events.push(message);
        }
    }

    /// The screen's width and height, and whether the user likes it dark.
    pub fn screen(&mut self, width: u32, height: u32, is_dark: bool) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Opens a page, and waits until it is loaded with all that belongs to it.
    pub fn open(&mut self, url: &str) {
        self.events.clear();
        let opened = self.call("Page.navigate", json!({"url": url}));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        self.wait_until_loaded();
    }

    /// Runs a script that leads to another page, and waits until that is loaded.
    pub fn act(&mut self, script: &str) {
        self.events.clear();
        self.evaluate(script);
        self.wait_until_loaded();
    }

    fn wait_until_loaded(&mut self) {
        let is_loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        if !self.events.iter().any(is_loaded) {
            let event = self.wait(is_loaded);
            self.events.push(event);
        }
    }

    /// What a script comes to in the page, which need not allow scripts for it.
    pub fn evaluate(&mut self, script: &str) -> Value {
        let parameters = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{result}");
        result["result"]["value"].clone()
    }

    /// The URLs of all requests since the page was opened.
    pub fn requests(&self) -> Vec<String> {
        let sent = self.events("Network.requestWillBeSent");
        let urls = sent.map(|event| event["params"]["request"]["url"].as_str().expect("a URL"));
        urls.map(str::to_owned).collect()
    }

    /// What the console shows, scripts that ran into an error, and dialogs; but not that the page itself is
    /// an error by its status.
    pub fn complaints(&self) -> Vec<&Value> {
        let of_page = |event: &&Value| event["params"]["entry"]["source"] == "network";
        let logged = self
            .events("Log.entryAdded")
            .filter(|event| !of_page(event));
        let kinds = [
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Page.javascriptDialogOpening",
        ];
        let others = kinds.into_iter().flat_map(|kind| self.events(kind));
        logged.chain(others).collect()
    }

    fn events(&self, method: &str) -> impl Iterator<Item = &Value> {
        self.events
            .iter()
            .filter(move |event| event["method"] == method)
    }

    /// What is on the screen, as a PNG in target/screenshots.
    pub fn screenshot(&mut self, name: &str) -> PathBuf {
        let taken = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let data = taken["data"].as_str().expect("base64");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        fs::create_dir_all(&folder).expect("mkdir");
        let path = folder.join(format!("{name}.png"));
        let bytes = STANDARD.decode(data).expect("base64");
        fs::write(&path, bytes).expect("write a screenshot");
        path
    }

    /// What axe-core finds in the page that some people can't use.
    pub fn violations(&mut self) -> Value {
        let axe = fs::read_to_string(tool("axe-core")).expect("axe-core");
        self.evaluate(&format!("{axe}; 0"));
        let told = "v.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html + ' ' + n.failureSummary).join(' | '))";
        self.evaluate(&format!("axe.run(document).then(v => {told})"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
