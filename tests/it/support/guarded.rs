//! What stories of credentials begin with: a registry behind a guard, the file that opens it, and
//! a daemon whose log is searched for secrets.

use serde_json::json;

use super::daemon::Daemon;
use super::fake_registry::{Chart, FakeRegistry, Guard, TokenServer};
use super::process::Scratch;
use super::story::{Index, credentials_flag, starting_daemon};

const USER: &str = "reader";
/// With a colon in it: only the first one of `user:password` parts them.
const PASSWORD: &str = "pass:word-1";
/// base64 of `reader:pass:word-1`.
pub const AUTH: &str = "cmVhZGVyOnBhc3M6d29yZC0x";
pub const IDENTITY: &str = "identity-token-7";

/// A registry of two repositories behind this guard, and a file with the user's credentials.
pub struct Guarded {
    pub fake: FakeRegistry,
    scratch: Scratch,
    /// Names the credentials' file.
    pub flag: String,
}

impl Guarded {
    pub fn by(guard: Guard) -> Guarded {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("team/web", "1.0.0"));
        fake.push(&Chart::new("team/db", "0.1.0"));
        fake.guard(guard);
        fake.add_user(USER, PASSWORD);
        let scratch = Scratch::new("credentials");
        let text = json!({ "auths": { (fake.host()): { "auth": AUTH } } }).to_string();
        let flag = credentials_flag(&scratch, text);
        Guarded {
            fake,
            scratch,
            flag,
        }
    }

    pub fn with_tokens(change: impl FnOnce(&mut TokenServer)) -> Guarded {
        let guarded = Guarded::by(Guard::Bearer);
        guarded.fake.tokens(change);
        guarded
    }

    pub fn credentials(mut self, text: &str) -> Guarded {
        let text = text.replace("HOST", &self.fake.host());
        self.flag = credentials_flag(&self.scratch, text);
        self
    }

    pub fn start(&self) -> Daemon {
        starting_daemon(&self.fake, &[&self.flag, "--log-level=trace"])
    }

    /// Every chart is listed and can be had, and the log holds no secret.
    pub fn assert_served(&self) -> Daemon {
        let daemon = self.start();
        daemon.wait_ready();
        let index = Index::of(&daemon);
        assert_eq!(
            index.charts(),
            ["db 0.1.0", "web 1.0.0"],
            "{}",
            daemon.log()
        );
        let archive = daemon.get("/charts/web-1.0.0.tgz");
        assert_eq!(archive.body_text(), "archive of team/web 1.0.0");
        assert_nothing_secret(&daemon);
        daemon
    }

    /// No chart is listed; the log says why in these words, and holds no secret.
    pub fn assert_refused(&self, words: &[&str]) -> Daemon {
        let daemon = self.start();
        let told = daemon.wait_for_log(" ERROR first scan failed");
        assert!(
            words.iter().all(|word| told.contains(word)),
            "{words:?} in {told}"
        );
        assert_eq!(daemon.get("/index.yaml").status, 503);
        assert_nothing_secret(&daemon);
        daemon
    }
}

pub fn assert_nothing_secret(daemon: &Daemon) {
    let log = daemon.log();
    for secret in [
        PASSWORD,
        "word-1",
        AUTH,
        IDENTITY,
        "secret-token-",
        "Basic cm",
    ] {
        assert!(!log.contains(secret), "{secret} in:\n{log}");
    }
}
