//! The set-ups that people have around docker-registry: a token server, and nginx with TLS that gives
//! it a place among other things. A real helm pushes through them, we serve, a real helm pulls.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::support::certificates::Certificates;
use crate::support::daemon::Daemon;
use crate::support::docker_registry::{DockerRegistry, Options, PASSWORD, USER};
use crate::support::fake_registry::FakeRegistry;
use crate::support::helm::{Helm, argument};
use crate::support::nginx::Nginx;
use crate::support::process::Scratch;
use crate::support::story::{Index, credentials_flag};
use crate::support::token_issuer::TokenIssuer;
use crate::support::tools::NEWEST_HELM;

/// A helm, the charts it has made, and what it and the daemon know the registry's password by.
struct User {
    helm: Helm,
    scratch: Scratch,
}

impl User {
    fn new() -> User {
        User {
            helm: Helm::new(NEWEST_HELM),
            scratch: Scratch::new("user"),
        }
    }

    /// The flag of the daemon that names the credentials for `host`; helm's is their file.
    fn credentials(&self, host: &str) -> String {
        let auth = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
        credentials_flag(
            &self.scratch,
            json!({ "auths": { host: { "auth": auth } } }).to_string(),
        )
    }

    fn package(&self, name: &str, version: &str) -> PathBuf {
        let charts = self.helm.directory("charts");
        let chart = charts.join(name);
        self.helm.run(&["create", argument(&chart)]);
        let into = ["--version", version, "--destination", argument(&charts)];
        self.helm
            .run(&[&["package", argument(&chart)][..], &into].concat());
        charts.join(format!("{name}-{version}.tgz"))
    }

    /// `place` is `host/path`; `how` tells how the registry is to be reached.
    fn push(&self, archive: &Path, place: &str, how: &[&str]) {
        let credentials = self.scratch.join("dockerconfigjson");
        let push = ["push", argument(archive), &format!("oci://{place}")];
        self.helm.run(
            &[
                &push[..],
                &["--registry-config", argument(&credentials)],
                how,
            ]
            .concat(),
        );
    }

    /// The archive's bytes as they come from us to anyone, and to helm.
    fn assert_pulls(&self, daemon: &Daemon, archive: &Path) {
        let name = archive
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let pushed = fs::read(archive).expect("the archive");
        assert!(
            daemon.get(&format!("/charts/{name}")).body == pushed,
            "{name}: other bytes"
        );
        let (chart, version) = name
            .trim_end_matches(".tgz")
            .split_once('-')
            .expect("a chart and its version");
        let to = self.helm.directory("pulled");
        self.helm
            .run(&["repo", "add", "charts", &daemon.url(), "--force-update"]);
        let what = ["pull", &format!("charts/{chart}"), "--version", version];
        self.helm
            .run(&[&what[..], &["--destination", argument(&to)]].concat());
        assert!(
            fs::read(to.join(name)).expect("pulled") == pushed,
            "{name}: helm has other bytes"
        );
    }
}

#[test]
fn a_registry_with_a_token_server_is_pushed_to_served_and_pulled_from() {
    let issuer = TokenIssuer::new();
    let tokens = FakeRegistry::start();
    tokens.add_user(USER, PASSWORD);
    let settings = issuer.settings(&format!("{}/token", tokens.url()), "charts");
    tokens.tokens(|server| {
        server.service = "charts";
        server.expires_in = Some(60);
        server.mint = Some(Box::new(move |service, scopes| {
            issuer.token(service, scopes)
        }));
    });
    let registry = DockerRegistry::start(Options {
        tokens: Some(settings),
        ..Options::default()
    });
    let user = User::new();
    let credentials = user.credentials(&registry.host());
    let (one, two) = (
        user.package("web", "1.0.0"),
        user.package("db", "2.0.0+build.5"),
    );
    user.push(
        &one,
        &format!("{}/team/a", registry.host()),
        &["--plain-http"],
    );
    user.push(
        &two,
        &format!("{}/team/b", registry.host()),
        &["--plain-http"],
    );
    let before = tokens.count("* *");

    let daemon = Daemon::start_ready(&[
        "--storage-registry-repo",
        &registry.host(),
        "--storage-registry-scheme=HTTP",
        &credentials,
        "--log-level=trace",
    ]);

    assert_eq!(
        Index::of(&daemon).charts(),
        ["db 2.0.0+build.5", "web 1.0.0"],
        "{}",
        daemon.log()
    );
    user.assert_pulls(&daemon, &one);
    user.assert_pulls(&daemon, &two);
    let mut scopes: Vec<String> = tokens.requests("* *")[before..]
        .iter()
        .flat_map(|request| request.query("scope"))
        .collect();
    scopes.sort();
    let expected = [
        "registry:catalog:*",
        "repository:team/a/web:pull",
        "repository:team/b/db:pull",
    ];
    assert_eq!(
        scopes, expected,
        "one token for each, and for no more than reading"
    );
    let log = daemon.log();
    assert!(
        !log.contains(PASSWORD) && !log.contains("Bearer ey"),
        "{log}"
    );
}

#[test]
fn a_chart_that_a_tag_names_by_an_image_index_is_served_and_pulled() {
    let registry = DockerRegistry::plain();
    let user = User::new();
    user.credentials(&registry.host());
    let archive = user.package("web", "1.0.0");
    user.push(&archive, &registry.host(), &["--plain-http"]);
    registry.wrap("web", "1.0.0");

    let daemon = Daemon::start_ready(&["--storage-registry-repo", &registry.host()]);

    assert_eq!(
        Index::of(&daemon).charts(),
        ["web 1.0.0"],
        "{}",
        daemon.log()
    );
    user.assert_pulls(&daemon, &archive);
}

#[test]
fn a_registry_behind_tls_and_a_password_is_read_below_the_prefix_given() {
    let certificates = Certificates::new();
    let registry = DockerRegistry::start(Options {
        htpasswd: true,
        ..Options::default()
    });
    let nginx = Nginx::with_tls(
        &certificates,
        &format!("location /v2/ {{ proxy_pass http://{}; }}", registry.host()),
    );
    let authority = certificates.authority();
    let user = User::new();
    let credentials = user.credentials(&nginx.host());
    let (one, two) = (user.package("web", "1.0.0"), user.package("db", "2.0.0"));
    let by_tls = ["--ca-file", argument(&authority)];
    user.push(&one, &format!("{}/team/a", nginx.host()), &by_tls);
    user.push(&two, &format!("{}/team/b", nginx.host()), &by_tls);
    let below = format!("--storage-registry-repo={}/team/a", nginx.host());
    let authority = format!("--storage-registry-ca-file={}", argument(&authority));

    let daemon = Daemon::start_ready(&[&below, &authority, &credentials]);

    assert_eq!(
        Index::of(&daemon).charts(),
        ["web 1.0.0"],
        "{}",
        daemon.log()
    );
    user.assert_pulls(&daemon, &one);
    assert_eq!(daemon.get("/charts/db-2.0.0.tgz").status, 404);
}

/// A proxy can put a registry below a path only as a prefix of its repositories' names, for `/v2/`
/// must be at the root of a host (distribution-spec v1.1.0, "API"). Then the registry's catalog is below
/// the prefix too, and knows nothing of it.
#[test]
fn a_registry_below_a_path_of_its_proxy_is_read_by_the_names_that_the_proxy_gives() {
    let certificates = Certificates::new();
    let registry = DockerRegistry::plain();
    let upstream = format!("proxy_pass http://{}/v2/;", registry.host());
    let moved = "proxy_redirect ~^(https?://[^/]+)/v2/(.*)$ $1/v2/charts/$2;";
    let nginx = Nginx::with_tls(
        &certificates,
        &format!("location = /v2/ {{ {upstream} }}\nlocation /v2/charts/ {{ {upstream} {moved} }}"),
    );
    let authority = certificates.authority();
    let user = User::new();
    user.credentials(&nginx.host());
    let archive = user.package("web", "1.0.0");
    user.push(
        &archive,
        &format!("{}/charts", nginx.host()),
        &["--ca-file", argument(&authority)],
    );
    let below = format!("--storage-registry-repo={}/charts", nginx.host());
    let authority = format!("--storage-registry-ca-file={}", argument(&authority));

    for named in [&[][..], &["--repository=charts/web"]] {
        let daemon = Daemon::start_ready(&[&[&*below, &*authority], named].concat());
        assert_eq!(
            Index::of(&daemon).charts(),
            ["web 1.0.0"],
            "{}",
            daemon.log()
        );
        user.assert_pulls(&daemon, &archive);
    }
}
