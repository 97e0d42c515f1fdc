//! Debian's docker-registry as a child on a free port, with its own storage directory: plain,
//! with htpasswd, with a token server, or behind TLS. It ends with the test process whatever
//! happens, for the zoo's registry lives in a static, and statics are never dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use oci_chartrepo::oci::Digest;

use super::certificates::Certificates;
use super::http;
use super::process::{DEADLINE, Log, Scratch, machine_path, wait_until};
use super::tools::tool;

const STORAGE: &str = "storage";

const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The one user of a registry with htpasswd, and the line of the file that lets them in
/// (bcrypt, the only hash this registry takes).
pub const USER: &str = "chart-reader";
pub const PASSWORD: &str = "chart:secret";
const HTPASSWD: &str =
    "chart-reader:$2b$05$abcdefghijklmnopqrstuuopc/ognz/tFTk4j2SReUUwB5v14fdHm\n";

/// Ends the registry and removes its directory when the pipe to this process closes, be it by a
/// crash of ours. Then nobody reads its stderr either, and to tell that the registry was killed
/// would end it. An interrupt from the keyboard reaches it too, and must not.
const MINDER: &str = r#"
    trap '' INT HUP TERM
    directory=$1; shift
    "$@" & registry=$!
    read -r _
    exec 2>/dev/null
    kill -KILL $registry; wait $registry
    rm -rf "$directory"
"#;

/// What it logs before the port it was given.
const LISTENING: &str = "msg=\"listening on 127.0.0.1:";

#[derive(Default)]
pub struct Options<'a> {
    pub htpasswd: bool,
    /// Where tokens are had and who signs them, as its configuration tells it.
    pub tokens: Option<serde_json::Value>,
    pub tls: Option<&'a Certificates>,
    /// Who has to have signed the certificates of its clients.
    pub client_authority: Option<&'a Path>,
    /// Storage that outlives this registry, or was filled by another.
    pub storage: Option<PathBuf>,
    /// 0 is any free one.
    pub port: u16,
    /// Variables that its runtime knows.
    pub environment: &'a [(&'a str, &'a str)],
}

pub struct DockerRegistry {
    minder: Option<Child>,
    port: u16,
    log: Log,
    scratch: Scratch,
}

impl DockerRegistry {
    pub fn plain() -> DockerRegistry {
        DockerRegistry::start(Options::default())
    }

    /// Tries again while somebody's passing connection holds the wanted port.
    pub fn start(options: Options) -> DockerRegistry {
        let lacking = || format!("docker-registry starts on port {}", options.port);
        wait_until(DEADLINE, lacking, || attempt(&options))
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps what was pushed, unless [`Options::storage`] said otherwise.
    pub fn storage(&self) -> PathBuf {
        self.scratch.join(STORAGE)
    }

    /// A directory that goes when the registry is stopped or the test process ends.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Gone when this returns: its port refuses connections.
    pub fn stop(&mut self) {
        if let Some(mut minder) = self.minder.take() {
            drop(minder.stdin.take());
            let _ = minder.wait();
        }
    }

    /// The manifest under a tag, as it was pushed.
    pub fn manifest(&self, repository: &str, tag: &str) -> serde_json::Value {
        serde_json::from_slice(&self.manifest_bytes(repository, tag)).expect("a manifest is JSON")
    }

    /// Gives what `tag` names another tag.
    pub fn alias(&self, repository: &str, tag: &str, other: &str) {
        let bytes = self.manifest_bytes(repository, tag);
        self.put_manifest(repository, other, IMAGE_MANIFEST, &bytes);
    }

    /// Has `tag` name an image index that lists what it has named so far.
    pub fn wrap(&self, repository: &str, tag: &str) {
        let bytes = self.manifest_bytes(repository, tag);
        let (digest, size) = (Digest::sha256(&bytes).to_string(), bytes.len());
        let listed =
            serde_json::json!({"mediaType": IMAGE_MANIFEST, "digest": digest, "size": size});
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": [listed]});
        self.put_manifest(repository, tag, IMAGE_INDEX, index.to_string().as_bytes());
    }

    fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let kind = [("Content-Type", media_type)];
        let answer = http::send(self.port, "PUT", &path, &kind, bytes).expect("an answer");
        assert_eq!(answer.status, 201, "PUT {path}: {}", answer.body_text());
    }

    pub fn blob(&self, repository: &str, digest: &str) -> Vec<u8> {
        self.get(&format!("/v2/{repository}/blobs/{digest}"), &[])
    }

    fn manifest_bytes(&self, repository: &str, tag: &str) -> Vec<u8> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        self.get(&path, &[("Accept", IMAGE_MANIFEST)])
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let answer = http::request(self.port, "GET", path, headers).expect("the registry answers");
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body_text());
        assert!(answer.complete, "GET {path} was cut");
        answer.body
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Writes the configuration file; JSON, which is YAML.
fn configuration(scratch: &Scratch, options: &Options) -> PathBuf {
    let own = scratch.join(STORAGE);
    let storage = options.storage.as_ref().unwrap_or(&own);
    let mut settings = serde_json::json!({
        "version": 0.1,
        "log": {"accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": storage}, "delete": {"enabled": true}},
        "http": {"addr": format!("127.0.0.1:{}", options.port), "secret": "shared by no one"},
    });
    if options.htpasswd {
        let path = scratch.file("htpasswd", HTPASSWD);
        settings["auth"] = serde_json::json!({"htpasswd": {"realm": "charts", "path": path}});
    }
    if let Some(tokens) = &options.tokens {
        settings["auth"] = serde_json::json!({"token": tokens});
    }
    if let Some(tls) = options.tls {
        let (certificate, key) = (tls.certificate(), tls.key());
        settings["http"]["tls"] = serde_json::json!({"certificate": certificate, "key": key});
    }
    if let Some(authority) = options.client_authority {
        settings["http"]["tls"]["clientcas"] = serde_json::json!([authority]);
    }
    scratch.file("config.yml", settings.to_string())
}

/// One start; none if the registry ended before it listened, which a taken port makes it do.
fn attempt(options: &Options) -> Option<DockerRegistry> {
    let scratch = Scratch::new("docker-registry");
    let configuration = configuration(&scratch, options);
    let mut minder = Command::new("sh")
        .args(["-c", MINDER, "minder"])
        .args([
            scratch.path(),
            &tool("docker-registry"),
            Path::new("serve"),
            &configuration,
        ])
        .env_clear()
        .env("PATH", machine_path())
        .envs(options.environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start sh");
    let log = Log::collect(minder.stderr.take().expect("stderr is piped"));
    let mut registry = DockerRegistry {
        minder: Some(minder),
        port: 0,
        log,
        scratch,
    };
    // The minder keeps stderr open, so a registry that ended is told by what it said last.
    let told = |line: &str| line.contains(LISTENING) || line.contains("address already in use");
    let line = registry.log.wait_for(DEADLINE, told);
    let line = line.unwrap_or_else(|| panic!("docker-registry is silent:\n{}", registry.log()));
    let (_, rest) = line.split_once(LISTENING)?;
    let digits = rest.split(|next: char| !next.is_ascii_digit()).next();
    let port = digits.and_then(|digits| digits.parse().ok());
    registry.port = port.unwrap_or_else(|| panic!("no port in {line}"));
    Some(registry)
}
