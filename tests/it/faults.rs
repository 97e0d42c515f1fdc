//! A registry that stumbles while it is walked: what fails costs itself alone, what passes is
//! waited for, and nothing that it says leads us astray (contracts C6 to C8).

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Pushed, Reply};
use crate::support::story::{Index, ready_daemon, skip_reason, wait_for_charts};

#[test]
fn a_repository_or_tag_that_fails_costs_nothing_else() {
    let fake = FakeRegistry::start();
    let charts: Vec<Pushed> = ["a/one", "b/two", "c/three", "d/four"]
        .iter()
        .map(|repository| fake.push(&Chart::new(repository, "1.0.0")))
        .collect();
    fake.push(&Chart::new("b/two", "2.0.0"));
    let denied = Reply::error(403, "DENIED", "requested access to the resource is denied");
    fake.spoil("GET /v2/a/one/tags/list")
        .with(Fault::Answer(denied));
    let policy = Reply::error(
        412,
        "PROJECT_POLICY_VIOLATION",
        "current image is not signed",
    );
    let blocked = format!("* {}", charts[1].manifest_path());
    fake.spoil(&blocked).with(Fault::Answer(policy));
    let html = Reply::new(200)
        .header("Content-Type", "text/html")
        .body("<html>log in</html>");
    fake.spoil("GET /v2/c/three/tags/list")
        .with(Fault::Answer(html));

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(Index::of(&daemon).charts(), ["four 1.0.0", "two 2.0.0"]);
    for told in [
        "a/one",
        "b/two:1.0.0",
        "c/three",
        "403",
        "412",
        "PROJECT_POLICY_VIOLATION",
    ] {
        daemon.wait_for_log(told);
    }
}

#[test]
fn a_repository_with_too_many_words_leaves_the_others_theirs() {
    // Of a share of 8 MiB, eight config blobs of a million bytes leave too little for another half.
    let wordy = |repository: &str, version: &str, length: usize| {
        let name = repository.rsplit('/').next();
        let words = "x".repeat(length);
        let config =
            json!({ "apiVersion": "v2", "name": name, "version": version, "words": words });
        Chart::new(repository, version).config(&config)
    };
    let fake = FakeRegistry::start();
    for minor in 0..10 {
        fake.push(&wordy("a/greedy", &format!("1.{minor}.0"), 1_000_000));
    }
    fake.push(&wordy("b/modest", "1.0.0", 500_000));

    let daemon = ready_daemon(&fake, &[]);

    let listed: Vec<String> = (2..10).map(|minor| format!("greedy 1.{minor}.0")).collect();
    let listed: Vec<&str> = listed
        .iter()
        .map(String::as_str)
        .chain(["modest 1.0.0"])
        .collect();
    assert_eq!(Index::of(&daemon).charts(), listed);
    for left_out in ["a/greedy:1.0.0", "a/greedy:1.1.0"] {
        let reason = skip_reason(&daemon, left_out);
        assert!(
            reason.contains("8388608 bytes of config blobs in a/greedy"),
            "{reason}"
        );
    }
    // Nor is it otherwise when they're walked again.
    fake.push(&wordy("b/modest", "2.0.0", 500_000));
    wait_for_charts(&daemon, &[&*listed, &["modest 2.0.0"]].concat());
}

#[test]
fn what_unfolds_far_beyond_what_was_pushed_is_not_listed() {
    let fake = FakeRegistry::start();
    let push = |name: &str, dependencies: usize| {
        let empty = vec![json!({}); dependencies];
        let config =
            json!({ "apiVersion": "v2", "name": name, "version": "1.0.0", "dependencies": empty });
        fake.push(&Chart::new(name, "1.0.0").config(&config));
    };
    push("greedy", 4_000);
    push("greedier", 5_000);
    push("modest", 1);

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(Index::of(&daemon).charts(), ["modest 1.0.0"]);
    let reason = skip_reason(&daemon, "greedy:1.0.0");
    assert!(
        reason.starts_with("config blob of 12") && reason.contains(" bytes becomes 112"),
        "{reason}"
    );
    assert_eq!(
        skip_reason(&daemon, "greedier:1.0.0"),
        "config blob holds over 8192 values"
    );
}

#[test]
fn an_error_that_drips_is_not_listened_to_for_long_and_costs_nothing_else() {
    let fake = FakeRegistry::start();
    for repository in ["a/web", "b/db"] {
        fake.push(&Chart::new(repository, "1.0.0"));
    }
    let daemon = ready_daemon(&fake, &["--concurrency=1"]);
    // It would take more than three minutes to say all of it.
    let denied = Reply::error(403, "DENIED", &"no ".repeat(700));
    fake.spoil("GET /v2/a/web/tags/list")
        .with(Fault::Answer(denied));
    fake.spoil("GET /v2/a/web/tags/list")
        .with(Fault::Drip(1, Duration::from_millis(100)));
    fake.push(&Chart::new("b/db", "2.0.0"));

    wait_for_charts(&daemon, &["db 1.0.0", "db 2.0.0", "web 1.0.0"]);

    let told =
        daemon.wait_for_complaint(&["a/web: could not be read, keeping its last known charts"]);
    assert!(
        told.contains("/v2/a/web/tags/list: 403; "),
        "as much as is known: {told}"
    );
}

#[test]
fn names_and_tags_outside_the_grammar_are_never_asked_for() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("good", "1.0.0"));
    let catalog = json!({ "repositories": ["good", "UPPER", "../../etc", "a b", "a/../good", "", "a?b=c", "/abs", "é"] });
    fake.spoil("GET /v2/_catalog")
        .with(Fault::Body(catalog.to_string().into()));
    let tags = json!({ "name": "good", "tags": ["1.0.0", "../1.0.0", "a b", "", "x".repeat(129), "1?a=b", "a/b"] });
    fake.spoil("GET /v2/good/tags/list")
        .with(Fault::Body(tags.to_string().into()));

    let daemon = ready_daemon(&fake, &[]);

    assert_eq!(Index::of(&daemon).charts(), ["good 1.0.0"]);
    for request in fake.requests("* *") {
        let known = [
            "/v2/",
            "/v2/_catalog",
            "/v2/good/tags/list",
            "/v2/good/manifests/1.0.0",
        ];
        let path = request.path();
        assert!(
            known.contains(&path) || path.starts_with("/v2/good/blobs/sha256:"),
            "{request}"
        );
    }
}

#[test]
fn headers_that_a_registry_leaves_out_or_gets_wrong_are_not_missed() {
    let spoils: [(&str, Vec<Fault>); 5] = [
        (
            "GET /v2/web/manifests/*",
            vec![Fault::NoHeader("Content-Type")],
        ),
        (
            "GET /v2/web/manifests/*",
            vec![Fault::Header("Content-Type", "text/plain".to_owned())],
        ),
        (
            "GET /v2/*",
            vec![
                Fault::NoHeader("Docker-Content-Digest"),
                Fault::NoHeader("Etag"),
            ],
        ),
        ("GET /v2/*", vec![Fault::Chunked]),
        ("GET /v2/*", vec![Fault::NoHeader("Content-Length")]),
    ];
    for (pattern, faults) in spoils {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        faults
            .into_iter()
            .for_each(|fault| fake.spoil(pattern).with(fault));
        let daemon = ready_daemon(&fake, &[]);
        assert_eq!(
            Index::of(&daemon).charts(),
            ["web 1.0.0"],
            "{}",
            daemon.log()
        );
        let archive = daemon.get("/charts/web-1.0.0.tgz");
        assert_eq!(archive.body_text(), "archive of web 1.0.0");
    }
}

#[test]
fn a_registry_that_stumbles_is_asked_again_and_nothing_is_lost() {
    let unavailable = Fault::Answer(Reply::error(503, "UNAVAILABLE", "back in a moment"));
    for fault in [unavailable, Fault::Reset] {
        let fake = FakeRegistry::start();
        for number in 0..5 {
            fake.push(&Chart::new(&format!("c{number}"), "1.0.0"));
        }
        fake.spoil("GET /v2/_catalog").first(1).with(fault.clone());
        fake.spoil("GET /v2/c*").after(4).first(2).with(fault);
        let daemon = ready_daemon(&fake, &["--concurrency=1"]);
        assert_eq!(Index::of(&daemon).charts().len(), 5, "{}", daemon.log());
        assert_eq!(daemon.log().matches(" DEBUG skipped ").count(), 0);
    }
}

#[test]
fn a_registry_that_throttles_is_given_the_time_it_asks_for() {
    // In seconds, or as a date; its fractions of a second are cut off.
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    for asked_for in [&*date, "1"] {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        let throttled =
            Reply::error(429, "TOOMANYREQUESTS", "slow down").header("Retry-After", asked_for);
        let listing = "GET /v2/web/tags/list";
        fake.spoil(listing).first(1).with(Fault::Answer(throttled));

        let daemon = ready_daemon(&fake, &[]);

        assert_eq!(
            Index::of(&daemon).charts(),
            ["web 1.0.0"],
            "{}",
            daemon.log()
        );
        let asked = fake.requests(listing);
        let waited = asked[1].at.duration_since(asked[0].at);
        assert!(
            waited >= Duration::from_secs(1),
            "asked again after {waited:?}"
        );
    }
}
