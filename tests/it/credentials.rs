//! Credentials: every form of the file that holds them is understood, and they go to the registry
//! and its token server and nowhere else: not to another host, not into the probe, not into the
//! log (contract C9).

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Guard, Reply};
use crate::support::guarded::{AUTH, Guarded, assert_nothing_secret};
use crate::support::process::{DEADLINE, wait_until};
use crate::support::story::{Index, refresh_until_logged, skip_reason};

#[test]
fn every_form_of_a_dockerconfigjson_is_understood() {
    let forms = [
        r#"{"auths":{"HOST":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#,
        r#"{"auths":{"HOST":{"username":"reader","password":"pass:word-1"}}}"#,
        r#"{"auths":{"HOST":{"username":"reader","password":"pass:word-1","email":"a@b","auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#,
        r#"{"auths":{"http://HOST":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#,
        r#"{"auths":{"https://HOST":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#,
        r#"{"auths":{"https://HOST/v1/":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#,
        r#"{"auths":{"https://HOST/v2/":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#,
        r#"{"auths":{"HOST/":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#,
        // NULs at the end, as old docker versions padded it.
        r#"{"auths":{"HOST":{"auth":"cmVhZGVyOnBhc3M6d29yZC0xAAA="}}}"#,
        r#"{"HOST":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x","email":""}}"#,
        r#"{"auths":{"other.example":{"auth":"eDp5"},"HOST":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}},"HttpHeaders":{"a":"b"}}"#,
        "\n {\"auths\" : {\"HOST\" : {\"auth\" : \"cmVhZGVyOnBhc3M6d29yZC0x\"}}}\n\n",
    ];
    for form in forms {
        println!("{form}");
        Guarded::by(Guard::Basic).credentials(form).assert_served();
    }
}

#[test]
fn an_entry_for_one_namespace_goes_before_the_registrys_own() {
    let guarded = Guarded::by(Guard::Basic);
    guarded.fake.add_user("web-only", "other");
    let entries = r#"{"auths":{"HOST":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"},
        "HOST/team/web":{"username":"web-only","password":"other"}}}"#;
    let guarded = guarded.credentials(entries);
    guarded.assert_served();
    let own = guarded.fake.requests("GET /v2/team/web/*");
    let answered: Vec<_> = own.iter().filter(|r| r.status == 200).collect();
    assert!(!answered.is_empty());
    for request in answered {
        assert_eq!(
            request.header("Authorization"),
            Some("Basic d2ViLW9ubHk6b3RoZXI="),
            "{request}"
        );
    }
}

#[test]
fn a_file_that_has_nothing_for_this_registry_means_nobody() {
    let without = [
        "",
        " \n",
        "{}",
        r#"{"auths":null}"#,
        r#"{"auths":{}}"#,
        r#"{"auths":{"HOST":{}}}"#,
        r#"{"auths":{"other.example":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#,
        r#"{"auths":{"HOST.example":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#,
    ];
    for text in without {
        println!("{text:?}");
        let guarded = Guarded::by(Guard::Basic).credentials(text);
        guarded.assert_refused(&["/v2/_catalog", "401"]);
        for request in guarded.fake.requests("* *") {
            assert_eq!(request.header("Authorization"), None, "{request}");
        }
    }
}

#[test]
fn a_credential_helper_is_warned_of_and_the_rest_of_the_file_is_used() {
    for helper in [
        r#""credHelpers":{"HOST":"ecr-login"}"#,
        r#""credsStore":"desktop""#,
    ] {
        let text = format!(r#"{{{helper},"auths":{{"HOST":{{"auth":"{AUTH}"}}}}}}"#);
        let daemon = Guarded::by(Guard::Basic).credentials(&text).assert_served();
        let told = daemon.wait_for_log(" WARN ");
        assert!(told.contains("helper"), "{told}");
    }
}

#[test]
fn a_wrong_password_is_told_without_being_shown_and_a_corrected_file_is_read_again() {
    let wrong = r#"{"auths":{"HOST":{"username":"reader","password":"word-1 mistyped"}}}"#;
    for guard in [Guard::Basic, Guard::Bearer] {
        let guarded = Guarded::by(guard).credentials(wrong);
        let daemon = guarded.assert_refused(&["401", "UNAUTHORIZED", "was refused"]);
        assert!(
            guarded.fake.requests("* *").len() < 20,
            "{}",
            guarded.fake.seen()
        );
        let guarded =
            guarded.credentials(r#"{"auths":{"HOST":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#);
        daemon.wait_ready();
        assert_eq!(Index::of(&daemon).charts(), ["db 0.1.0", "web 1.0.0"]);
        assert_nothing_secret(&daemon);
        drop(guarded);
    }
}

#[test]
fn a_rotated_secret_is_used_from_the_next_refresh_on() {
    let guarded = Guarded::with_tokens(|tokens| tokens.expires_in = Some(3600));
    guarded.fake.add_user("rotated", "next");
    let daemon = guarded.assert_served();
    let guarded =
        guarded.credentials(r#"{"auths":{"HOST":{"username":"rotated","password":"next"}}}"#);
    let by_the_new_one = || {
        let tokens = guarded.fake.requests("GET /token");
        tokens
            .iter()
            .any(|r| r.header("Authorization") == Some("Basic cm90YXRlZDpuZXh0"))
    };
    wait_until(
        DEADLINE,
        || guarded.fake.seen(),
        || {
            assert_eq!(Index::of(&daemon).charts().len(), 2);
            by_the_new_one().then_some(())
        },
    );
}

#[test]
fn a_password_that_is_revoked_leaves_the_index_and_readyz_says_why_it_gets_no_newer() {
    let guarded = Guarded::by(Guard::Basic);
    let daemon = guarded.assert_served();
    let ready = |text: &str| {
        text.strip_prefix("ready: 2 charts, 2 versions, 0 skipped")
            .map(str::to_owned)
    };
    assert_eq!(
        ready(&daemon.get("/readyz").body_text()).as_deref(),
        Some("\n")
    );
    guarded.fake.remove_user("reader");
    refresh_until_logged(&daemon, " WARN refresh failed", 1);
    assert_eq!(Index::of(&daemon).charts(), ["db 0.1.0", "web 1.0.0"]);
    let answer = daemon.get("/readyz");
    let text = answer.body_text();
    let told = ready(&text).and_then(|told| {
        told.strip_prefix("; refreshes have failed for ")
            .map(str::to_owned)
    });
    let (seconds, why) = told
        .as_deref()
        .and_then(|told| told.split_once(" s: "))
        .expect(&text);
    assert!(seconds.parse::<u32>().is_ok(), "{text}");
    assert_eq!((answer.status, why), (200, "access denied; see the log\n"));
    guarded.fake.add_user("reader", "pass:word-1");
    let body = || daemon.get("/readyz").body_text();
    let recovered = || {
        daemon.get("/index.yaml");
        (ready(&body()).as_deref() == Some("\n")).then_some(())
    };
    wait_until(DEADLINE, body, recovered);
    assert_nothing_secret(&daemon);
}

#[test]
fn credentials_never_follow_a_redirect_to_another_host() {
    for guard in [Guard::Basic, Guard::Bearer] {
        let guarded = Guarded::by(guard);
        let config = r#"{"name":"far","version":"1.0.0","apiVersion":"v2"}"#;
        let chart = Chart::new("team/far", "1.0.0").config_bytes(config);
        let chart = guarded.fake.push(&chart);
        let elsewhere = FakeRegistry::start_on("127.0.0.2");
        let bucket = |path: &str, body: &str| {
            elsewhere.page(path, Reply::new(200).body(body));
            Fault::Answer(Reply::redirect(307, &format!("{}{path}", elsewhere.url())))
        };
        let to_config = bucket("/bucket/config", config);
        guarded
            .fake
            .spoil(&format!("GET {}", chart.config_path()))
            .with(to_config);
        let to_archive = bucket(
            "/bucket/archive?signature=s3cr3t",
            "archive of team/far 1.0.0",
        );
        let archive = format!("GET {}", chart.archive_path());
        guarded.fake.spoil(&archive).with(to_archive);

        let daemon = guarded.start();
        daemon.wait_ready();

        let answer = daemon.get("/charts/far-1.0.0.tgz");
        assert_eq!(
            answer.body_text(),
            "archive of team/far 1.0.0",
            "{}",
            daemon.log()
        );
        let followed = elsewhere.requests("* *");
        assert_eq!(followed.len(), 2);
        for request in followed {
            assert_eq!(request.header("Authorization"), None, "{request}");
        }
        assert!(
            !daemon.log().contains("s3cr3t"),
            "a signed URL's query is a secret"
        );
    }
}

#[test]
fn a_challenge_from_where_a_redirect_led_gets_no_credentials() {
    for challenge in [
        "Basic realm=\"mine\"",
        "Bearer realm=\"HOST/token\",service=\"mine\",scope=\"x\"",
    ] {
        let guarded = Guarded::by(Guard::Basic);
        let chart = guarded.fake.push(&Chart::new("team/far", "1.0.0"));
        let thief = FakeRegistry::start_on("127.0.0.2");
        let challenge = challenge.replace("HOST", &thief.url());
        thief.page(
            "/bucket",
            Reply::new(401).header("WWW-Authenticate", &challenge),
        );
        let moved = Fault::Answer(Reply::redirect(307, &format!("{}/bucket", thief.url())));
        guarded
            .fake
            .spoil(&format!("GET {}", chart.archive_path()))
            .with(moved);
        let daemon = guarded.start();
        daemon.wait_ready();
        assert_eq!(
            daemon.get("/charts/far-1.0.0.tgz").status,
            502,
            "{}",
            daemon.log()
        );
        assert!(thief.count("GET /bucket") >= 1);
        for request in thief.requests("* *") {
            assert_eq!(request.header("Authorization"), None, "{request}");
        }
    }
}

#[test]
fn credentials_follow_a_redirect_within_the_registry() {
    for guard in [Guard::Basic, Guard::Bearer] {
        let guarded = Guarded::by(guard);
        let chart = guarded.fake.push(&Chart::new("team/near", "1.0.0"));
        let by_digest = format!("/v2/team/near/manifests/{}", chart.manifest);
        let moved = Fault::Answer(Reply::redirect(308, &by_digest));
        guarded
            .fake
            .spoil(&format!("GET {}", chart.manifest_path()))
            .with(moved);
        let daemon = guarded.start();
        daemon.wait_ready();
        let charts = ["db 0.1.0", "near 1.0.0", "web 1.0.0"];
        assert_eq!(Index::of(&daemon).charts(), charts, "{}", daemon.log());
    }
}

#[test]
fn the_scheme_is_probed_with_tls_first_and_without_credentials() {
    let guarded = Guarded::by(Guard::Open);
    let registry = format!("--storage-registry-repo={}", guarded.fake.host());
    let daemon = Daemon::start_ready(&[&registry, &guarded.flag]);
    assert_eq!(Index::of(&daemon).charts(), ["db 0.1.0", "web 1.0.0"]);
    assert_eq!(guarded.fake.tls_hellos(), 1);
    let first = &guarded.fake.requests("* *")[0];
    assert_eq!((&*first.method, &*first.target), ("GET", "/v2/"));
    assert_eq!(first.header("Authorization"), None);
}

/// Anyone on the way can answer a TLS greeting so that plain HTTP is found, and then ask for a password.
#[test]
fn over_http_that_was_only_probed_no_credential_leaves_in_any_form() {
    let password = r#"{"auths":{"HOST":{"auth":"cmVhZGVyOnBhc3M6d29yZC0x"}}}"#;
    let identity = r#"{"auths":{"HOST":{"identitytoken":"identity-token-7"}}}"#;
    let token = r#"{"auths":{"HOST":{"registrytoken":"ready-made"}}}"#;
    for guard in [Guard::Basic, Guard::Bearer] {
        for text in [password, identity, token] {
            let guarded = Guarded::by(guard).credentials(text);
            let registry = format!("--storage-registry-repo={}", guarded.fake.host());
            let daemon = Daemon::start(&[&registry, &guarded.flag]);
            let told = daemon.wait_for_log(" ERROR first scan failed");
            assert!(
                told.contains("--storage-registry-scheme=HTTP says so"),
                "{told}"
            );
            assert_eq!(guarded.fake.count("POST *"), 0, "{}", guarded.fake.seen());
            for request in guarded.fake.requests("* *") {
                assert_eq!(request.header("Authorization"), None, "{request}");
            }
            // HTTPS is tried again.
            assert!(guarded.fake.tls_hellos() > 1);
        }
    }
}

#[test]
fn the_scheme_flag_in_any_case_saves_the_probe() {
    for scheme in ["HTTP", "http", "Http"] {
        let guarded = Guarded::by(Guard::Basic);
        let registry = format!("--storage-registry-repo={}", guarded.fake.host());
        let scheme = format!("--storage-registry-scheme={scheme}");
        let daemon = Daemon::start_ready(&[&registry, &scheme, &guarded.flag]);
        assert_eq!(Index::of(&daemon).charts().len(), 2);
        assert_eq!(guarded.fake.tls_hellos(), 0);
    }
    let guarded = Guarded::by(Guard::Basic);
    let registry = format!("--storage-registry-repo={}", guarded.fake.host());
    let daemon = Daemon::start(&[&registry, "--storage-registry-scheme=HTTPS", &guarded.flag]);
    daemon.wait_for_log(" ERROR first scan failed");
    assert_eq!(daemon.get("/readyz").status, 503);
    assert_eq!(
        guarded.fake.count("* *"),
        0,
        "never in the clear when HTTPS was asked for"
    );
}

/// An entry that can't be used was called absent: "holds no credentials" (132 mistakes of a new user).
#[test]
fn an_entry_that_cannot_be_used_is_told_at_the_start_and_with_the_refusal() {
    let guarded = Guarded::by(Guard::Basic);
    let host = guarded.fake.host();
    let why = format!("for {host} has an auth that is not base64 of NAME:PASSWORD");
    let guarded = guarded.credentials(r#"{"auths":{"HOST":{"auth":"word-1"}}}"#);
    let daemon = guarded.assert_refused(&["401", &why]);
    let told = daemon.wait_for_log(" WARN --storage-registry-config ");
    assert!(told.contains(&why), "{told}");
}

/// A registry's error text that echoes the password, in any encoding; also one that was asked with a token, where
/// the registry, its own token server, has learnt the password before. Issue 17, 10.
#[test]
fn a_password_that_a_registry_echoes_reaches_neither_the_log_nor_an_answer() {
    let echoes = [
        ("DENIED", "for pass:word-1"),
        ("DENIED", "for reader%3Apass%3Aword-1"),
        ("DENIED", r"for pass\u003aword\u002d1"),
        ("DENIED", "for cmVhZGVyOnBhc3M6d29yZC0x"),
        ("DENIED", "for cGFzczp3b3JkLTE="),
        ("DENIED", "for 706173733a776f72642d31"),
        ("WORD_ONE", "no"),
    ];
    let secret = r#"{"auths":{"HOST":{"username":"reader","password":"WORD_ONE"}}}"#;
    std::thread::scope(|scope| {
        for guard in [Guard::Basic, Guard::Bearer] {
            for (code, words) in echoes {
                scope.spawn(move || {
                    let mut guarded = Guarded::by(guard);
                    if code == "WORD_ONE" {
                        guarded = guarded.credentials(secret);
                        guarded.fake.add_user("reader", code);
                    }
                    let echo = Fault::Answer(Reply::error(403, code, words));
                    guarded
                        .fake
                        .spoil("GET /v2/team/web/manifests/*")
                        .with(echo);
                    let daemon = guarded.start();
                    daemon.wait_ready();
                    let told = skip_reason(&daemon, "team/web:1.0.0");
                    assert!(told.contains("/manifests/1.0.0: 403"), "{told}");
                    let skipped = daemon.get("/api/skipped").body_text();
                    for text in [&daemon.log(), &skipped, &told] {
                        let echoed = text.contains(": for ") || text.contains("WORD_ONE");
                        assert!(!echoed, "{words} in {text}");
                    }
                });
            }
        }
    });
}
