//! Trust in TLS (issue 11, C): nginx with certificates by openssl in front of a registry.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::certificates::{Certificates, Recipe, openssl};
use crate::support::daemon::Daemon;
use crate::support::docker_registry::{DockerRegistry, Options};
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::helm::argument;
use crate::support::nginx::Nginx;
use crate::support::process::{Scratch, run, text};
use crate::support::story::{Index, refresh_until_logged};

/// A registry with one chart, and nginx before it.
struct Front {
    nginx: Nginx,
    _fake: FakeRegistry,
}

impl Front {
    fn new(certificates: &Certificates) -> Front {
        Front::with(certificates, "")
    }

    fn with(certificates: &Certificates, settings: &str) -> Front {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        let locations = format!(
            "{settings} location / {{ proxy_http_version 1.1; proxy_pass {}; }}",
            fake.url()
        );
        Front {
            nginx: Nginx::with_tls(certificates, &locations),
            _fake: fake,
        }
    }

    fn daemon(&self, flags: &[&str]) -> Daemon {
        let registry = format!("--storage-registry-repo={}", self.nginx.host());
        Daemon::start(&[&[&*registry], flags].concat())
    }

    fn assert_served(&self, flags: &[&str]) -> Daemon {
        let daemon = self.daemon(flags);
        daemon.wait_ready();
        assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
        daemon
    }

    /// No chart is served; the log and `/readyz` say why.
    fn assert_refused(&self, flags: &[&str], words: &[&str]) {
        let daemon = self.daemon(flags);
        let told = daemon.wait_for_complaint(&["first scan failed"]);
        for word in words {
            assert!(told.contains(word), "{word:?} in {told}");
        }
        let answer = daemon.get("/readyz");
        assert_eq!(answer.status, 503);
        let public = answer.body_text();
        assert!(!public.contains("access denied"), "{public}");
        assert!(public.contains("certificate"), "{public}");
        assert!(!public.contains(".pem"), "no path is for anyone: {public}");
    }
}

fn ca_file(path: &Path) -> String {
    format!("--storage-registry-ca-file={}", argument(path))
}

/// The certificate is both the server's and its authority's: refused with `CaUsedAsEndEntity`, while curl
/// and `helm --ca-file` accept it (<https://github.com/distribution/distribution/issues/1731>).
#[test]
fn a_certificate_by_the_recipe_of_distributions_documentation_is_accepted() {
    let certificates = Certificates::by_the_documentation();
    let registry = DockerRegistry::start(Options {
        tls: Some(&certificates),
        ..Options::default()
    });
    let address = format!("--storage-registry-repo={}", registry.host());
    let daemon = Daemon::start_ready(&[&address, &ca_file(&certificates.certificate())]);
    assert_eq!(daemon.get("/index.yaml").status, 200);
}

/// A certificate in the CA file may be a server's own, whoever has signed it.
#[test]
fn a_server_certificate_that_the_ca_file_holds_is_accepted() {
    let alone = Recipe {
        is_alone: true,
        ..Recipe::default()
    };
    let unsupported = Recipe {
        authority: ("secp521r1", "sha512"),
        ..Recipe::default()
    };
    for recipe in [alone, Recipe::default(), unsupported] {
        let certificates = Certificates::by(&recipe);
        let front = Front::new(&certificates);
        front.assert_served(&[&ca_file(&certificates.certificate())]);
    }
}

#[test]
fn a_certificate_in_the_ca_file_is_still_good_only_for_its_names_and_its_time() {
    for is_alone in [true, false] {
        let certificates = Certificates::by(&Recipe {
            is_alone,
            names: "DNS:other.example",
            ..Recipe::default()
        });
        let trusted = ca_file(&certificates.certificate());
        let front = Front::new(&certificates);
        front.assert_refused(&[&trusted], &["other.example", "name the registry in"]);

        let certificates = Certificates::by(&Recipe {
            is_alone,
            is_expired: true,
            ..Recipe::default()
        });
        let trusted = ca_file(&certificates.certificate());
        let front = Front::new(&certificates);
        front.assert_refused(&[&trusted], &["have the certificate renewed"]);
    }
}

/// One of the same name and names, with another key, is another certificate.
#[test]
fn a_certificate_that_only_resembles_the_one_in_the_ca_file_is_refused() {
    let recipe = Recipe {
        is_alone: true,
        ..Recipe::default()
    };
    let (shown, trusted) = (Certificates::by(&recipe), Certificates::by(&recipe));
    let flag = ca_file(&trusted.certificate());
    Front::new(&shown).assert_refused(&[&flag], &["the server's certificate is not accepted"]);
}

/// The advice was to give the CA file that had been given.
#[test]
fn an_authority_that_has_not_signed_the_certificate_is_told_with_its_file() {
    let (shown, other) = (Certificates::new(), Certificates::by(&Recipe::default()));
    let flag = ca_file(&other.authority());
    let lacks = format!(
        "none of the 1 certificates in --storage-registry-ca-file {} has signed it",
        other.authority().display()
    );
    let front = Front::new(&shown);
    // The authorities of both have the same name.
    let daemon = front.daemon(&[&flag]);
    daemon.wait_for_complaint(&["the server's certificate is not accepted"]);
    drop(daemon);
    let scratch = Scratch::new("authority");
    let (key, unrelated) = (scratch.join("ca.key"), scratch.join("ca.pem"));
    let new = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=unrelated",
    ];
    openssl(
        &[
            &new[..],
            &["-keyout", argument(&key), "-out", argument(&unrelated)],
        ]
        .concat(),
    );
    let lacks = lacks.replace(argument(&other.authority()), argument(&unrelated));
    front.assert_refused(&[&ca_file(&unrelated)], &[&lacks]);
}

/// ring verifies ECDSA with SHA-256 and SHA-384 on P-256 and P-384
/// (<https://github.com/rustls/rustls/issues/2054>).
#[test]
fn an_algorithm_that_is_not_supported_is_named_with_those_that_are() {
    for (authority, name) in [
        (("secp521r1", "sha512"), "ECDSA with SHA-512"),
        (("prime256v1", "sha512"), "ECDSA with SHA-512"),
        (("secp521r1", "sha256"), "ECDSA with P-521"),
    ] {
        let certificates = Certificates::by(&Recipe {
            authority,
            ..Recipe::default()
        });
        let words = [
            &format!("it is signed by {name}, which is not supported"),
            "have it signed by RSA from 2048 bits on, Ed25519, or ECDSA (P-256 or P-384)",
        ];
        Front::new(&certificates).assert_refused(&[&ca_file(&certificates.authority())], &words);
    }
}

/// Kubernetes shows a new version of a ConfigMap by swapping the link to the directory that its files lead
/// through. The CA file was read once, so archives were 502 until a restart.
#[test]
fn a_ca_file_that_is_swapped_is_read_again_and_a_broken_one_changes_nothing() {
    let (shown, other) = (Certificates::new(), Certificates::new());
    let scratch = Scratch::new("configmap");
    let swap = |version: &str, bytes: &[u8]| {
        scratch.file(&format!("{version}/ca.crt"), bytes);
        symlink(version, scratch.join("next")).expect("a link");
        fs::rename(scratch.join("next"), scratch.join("data")).expect("swap");
    };
    let good = fs::read(shown.authority()).expect("a file");
    swap("v1", &fs::read(other.authority()).expect("a file"));
    symlink("data/ca.crt", scratch.join("ca.crt")).expect("a link");

    let front = Front::with(&shown, "keepalive_timeout 0;");
    let daemon = front.daemon(&[&ca_file(&scratch.join("ca.crt")), "--max-stale=0s"]);
    daemon.wait_for_complaint(&["first scan failed", "certificate is not accepted"]);
    swap("v2", &good);
    daemon.wait_ready();
    assert_eq!(daemon.get("/charts/web-1.0.0.tgz").status, 200);

    swap("v3", &good[..good.len() / 2]);
    refresh_until_logged(&daemon, "keeping the last good certificates", 1);
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
}

/// A registry behind mutual TLS (<https://github.com/rancher/rancher/issues/53589>): Go's server ends the
/// handshake by an alert, nginx answers with a page.
#[test]
fn a_registry_that_wants_a_client_certificate_is_shown_one_and_told_about_without() {
    let certificates = Certificates::new();
    let (certificate, key) = certificates.client();
    let trusted = ca_file(&certificates.authority());
    let shown = [
        format!("--storage-registry-cert-file={}", argument(&certificate)),
        format!("--storage-registry-key-file={}", argument(&key)),
    ];
    let [shown, its_key] = [&*shown[0], &*shown[1]];
    let help = "--storage-registry-cert-file and --storage-registry-key-file";
    for versions in ["TLSv1.2", "TLSv1.3"] {
        let settings = format!(
            "ssl_protocols {versions}; ssl_verify_client on; ssl_client_certificate {};",
            certificates.authority().display()
        );
        let front = Front::with(&certificates, &settings);
        front.assert_served(&[&trusted, shown, its_key]);
        front.assert_refused(&[&trusted], &[help]);
    }
    let authority = certificates.authority();
    let registry = DockerRegistry::start(Options {
        tls: Some(&certificates),
        client_authority: Some(&authority),
        ..Options::default()
    });
    let address = format!("--storage-registry-repo={}", registry.host());
    Daemon::start_ready(&[&address, &trusted, shown, its_key]);
    let daemon = Daemon::start(&[&address, &trusted]);
    daemon.wait_for_complaint(&["the server requires a client certificate", help]);
    drop(daemon);

    let stranger = Certificates::new();
    let (certificate, key) = stranger.client();
    let scratch = Scratch::new("rotating");
    let place = |name: &str, from: &PathBuf| {
        fs::copy(from, scratch.join(name)).expect("copied");
        scratch.join(name)
    };
    let pair = [
        format!(
            "--storage-registry-cert-file={}",
            argument(&place("tls.crt", &certificate))
        ),
        format!(
            "--storage-registry-key-file={}",
            argument(&place("tls.key", &key))
        ),
    ];
    let daemon = Daemon::start(&[&address, &trusted, &pair[0], &pair[1]]);
    daemon.wait_for_complaint(&["the server refuses our certificate", "tls.crt"]);
    let (certificate, key) = certificates.client();
    place("tls.crt", &certificate);
    place("tls.key", &key);
    daemon.wait_ready();
}

/// A truncated file was told as a list of hundreds of numbers, a DER one as "holds no certificate".
#[test]
fn a_file_that_cannot_be_used_is_told_in_one_short_sentence() {
    let certificates = Certificates::new();
    let (certificate, key) = certificates.client();
    let scratch = Scratch::new("broken");
    let pem = fs::read(certificates.authority()).expect("a file");
    let der = scratch.join("ca.der");
    openssl(&[
        "x509",
        "-in",
        argument(&certificates.authority()),
        "-outform",
        "DER",
        "-out",
        argument(&der),
    ]);
    let cut = scratch.file("cut.pem", &pem[..pem.len() / 2]);
    let one_line = scratch.file("line.pem", text(&pem).replace('\n', " "));
    let trusted = scratch.file("trusted.pem", text(&pem).replace(" CERT", " TRUSTED CERT"));
    let damaged = scratch.file("damaged.pem", text(&pem).replace("M", "!"));
    let other = Certificates::new();
    let cert = |path: &Path| format!("--storage-registry-cert-file={}", argument(path));
    let key_of = |path: &Path| format!("--storage-registry-key-file={}", argument(path));
    for (flags, words) in [
        (
            vec![ca_file(&cut)],
            "breaks off: a BEGIN line has no END line",
        ),
        (
            vec![ca_file(&der)],
            "is DER, but PEM is needed (openssl x509 -inform DER",
        ),
        (
            vec![ca_file(&one_line)],
            "breaks off: a BEGIN line has no END line",
        ),
        (vec![ca_file(&trusted)], "holds no certificate"),
        (vec![ca_file(&damaged)], "is damaged"),
        (vec![ca_file(&key)], "holds more than certificates"),
        (
            vec![cert(&certificate)],
            "needs --storage-registry-key-file",
        ),
        (vec![key_of(&key)], "needs --storage-registry-cert-file"),
        (vec![cert(&key), key_of(&key)], "holds no certificate"),
        (
            vec![cert(&certificate), key_of(&certificate)],
            "holds no private key",
        ),
        (
            vec![cert(&certificate), key_of(&other.key())],
            "the key is not the certificate's",
        ),
    ] {
        let arguments: Vec<&str> = flags.iter().map(String::as_str).collect();
        let output = run(
            Path::new(env!("CARGO_BIN_EXE_oci-chartrepo")),
            &arguments,
            &[],
        );
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.contains("--storage-registry-") && told.contains(words),
            "{words} in {told}"
        );
        assert!(told.len() < 600, "{told}");
    }
}
