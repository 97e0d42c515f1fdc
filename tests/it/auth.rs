//! Authentication: the registry's challenge is met with Basic or with a Bearer token of the right
//! scope, and tokens are renewed in time.

use std::time::Duration;

use serde_json::json;

use crate::support::fake_registry::{
    ChallengeForm, Chart, Fault, Guard, Reply, Request, TokenField, TokenServer,
};
use crate::support::guarded::{AUTH, Guarded, IDENTITY};
use crate::support::story::{Index, ready_daemon, sources_told};

#[test]
fn a_registry_with_basic_authentication_is_walked_and_read() {
    let guarded = Guarded::by(Guard::Basic);
    guarded.assert_served();
    let refused = guarded
        .fake
        .requests("* *")
        .into_iter()
        .filter(|r| r.status == 401);
    // The catalog and the two repositories, which may be asked at the same time.
    assert!(refused.count() <= 3, "{}", guarded.fake.seen());
}

#[test]
fn being_asked_who_we_are_is_no_refusal_to_be_told() {
    for guard in [Guard::Basic, Guard::Bearer] {
        let daemon = Guarded::by(guard).assert_served();
        assert_eq!(
            sources_told(&daemon),
            ["those that the catalog lists"],
            "{}",
            daemon.log()
        );
    }
}

#[test]
fn a_bearer_challenge_is_met_with_one_token_for_each_scope() {
    let guarded = Guarded::with_tokens(|tokens| tokens.expires_in = Some(60));
    guarded.assert_served();

    let mut scopes: Vec<String> = Vec::new();
    for request in guarded.fake.requests("* /token") {
        assert_eq!(request.method, "GET");
        assert_eq!(
            request.header("Authorization"),
            Some(&*format!("Basic {AUTH}"))
        );
        assert_eq!(request.query("service"), ["fake-registry"]);
        scopes.extend(request.query("scope"));
    }
    scopes.sort();
    let expected = [
        "registry:catalog:*",
        "repository:team/db:pull",
        "repository:team/web:pull",
    ];
    assert_eq!(scopes, expected);
    for request in guarded.fake.requests("* /v2/*") {
        let sent = request.header("Authorization").unwrap_or("Bearer ");
        assert!(sent.starts_with("Bearer "), "{request}");
    }
}

#[test]
fn a_challenge_may_be_written_in_any_way_that_registries_write_it() {
    type Change = fn(&mut TokenServer);
    let forms: [(&str, Change); 15] = [
        ("two headers", |t| t.challenge = ChallengeForm::TwoHeaders),
        ("one header", |t| t.challenge = ChallengeForm::OneHeader),
        ("odd case", |t| t.challenge = ChallengeForm::OddCase),
        ("comma in the scope", |t| t.actions = "pull,push"),
        ("relative realm", |t| t.realm = "/token".into()),
        ("relative realm with a query", |t| {
            t.realm = "/auth/token?account=lab&x=y".into()
        }),
        ("access_token alone", |t| t.field = TokenField::AccessToken),
        ("both fields", |t| t.field = TokenField::Both),
        ("no expires_in", |t| t.expires_in = None),
        ("expires_in of 0", |t| t.expires_in = Some(0)),
        ("expires_in of half a minute", |t| t.expires_in = Some(30)),
        ("expires_in of an hour", |t| t.expires_in = Some(3600)),
        ("expires_in of a century", |t| {
            t.expires_in = Some(u64::from(u32::MAX))
        }),
        ("OAuth2 beside it", |t| t.oauth2 = true),
        ("a service with odd letters", |t| {
            t.service = "Registry & Sons: [a=b]; 100%"
        }),
    ];
    for (form, change) in forms {
        println!("{form}");
        Guarded::with_tokens(change).assert_served();
    }
}

/// Quay lists nothing to anonymous requests, and its challenge to others names no scope for the catalog. A
/// token was asked for with a scope of our own, which its token server refuses: no chart was found, and the
/// log said that the credentials were refused. Issue 11, 6a (F1 of `facts/registries-run.md`).
#[test]
fn a_catalog_whose_challenge_names_no_scope_is_listed_with_a_token_for_none() {
    let guarded = Guarded::with_tokens(|tokens| tokens.open_catalog = true);
    let private = ["team/web", "team/db"];
    guarded.fake.open_to_strangers_but(&private, false);
    let daemon = guarded.assert_served();
    assert!(!daemon.log().contains("was refused"), "{}", daemon.log());
    for request in guarded.fake.requests("GET /token") {
        assert!(
            !request
                .query("scope")
                .contains(&"registry:catalog:*".to_owned()),
            "{request}"
        );
    }
}

/// The scope that a request needs is the second try.
#[test]
fn a_token_for_no_scope_that_is_refused_is_followed_by_one_for_what_is_wanted() {
    let guarded = Guarded::with_tokens(|tokens| tokens.scopeless = true);
    guarded.assert_served();
    let tokens = guarded.fake.requests("GET /token");
    let scopes = tokens.iter().map(|token| token.query("scope"));
    let scopes: Vec<Vec<String>> = scopes.collect();
    let scoped = scopes.iter().filter(|asked| !asked.is_empty()).count();
    // A token for none that is refused may only have expired, so that another one is tried.
    assert!(scoped == 3 && scopes.len() <= 3 * 3, "{scopes:?}");
}

#[test]
fn a_token_server_on_another_host_gets_the_password_and_nobody_else_does() {
    let mut guarded = Guarded::by(Guard::Bearer);
    guarded.fake.tokens_on("127.0.0.2");
    guarded.assert_served();
    for request in guarded.fake.requests("* /v2/*") {
        let sent = request.header("Authorization").unwrap_or_default();
        assert!(!sent.starts_with("Basic"), "{request}");
    }
    assert_eq!(guarded.fake.count("GET /token"), 3);
}

#[test]
fn a_registry_may_want_basic_for_its_catalog_and_bearer_for_its_repositories() {
    let guarded = Guarded::by(Guard::Bearer);
    guarded.fake.guard_catalog(Guard::Basic);
    guarded.assert_served();
    for request in guarded.fake.requests("* /v2/team/*") {
        let sent = request.header("Authorization").unwrap_or_default();
        assert!(
            !sent.starts_with("Basic"),
            "each gets what it asked for: {request}"
        );
    }
}

#[test]
fn a_token_that_dies_before_its_time_is_replaced_once_on_401() {
    let guarded = Guarded::with_tokens(|tokens| {
        tokens.expires_in = Some(3600);
        tokens.uses = 2;
    });
    for minor in 1..6 {
        guarded
            .fake
            .push(&Chart::new("team/web", &format!("1.{minor}.0")));
    }
    let flags = [&*guarded.flag, "--concurrency=1"];
    let daemon = ready_daemon(&guarded.fake, &flags);
    assert_eq!(Index::of(&daemon).charts().len(), 7, "{}", daemon.log());
    let refused = |r: &&Request| r.status == 401;
    let seen = guarded.fake.requests("GET /v2/*");
    let answered = seen.iter().filter(|r| r.status == 200).count();
    let refused = seen.iter().filter(refused).count();
    assert!(
        refused * 2 <= answered + 4,
        "one 401 a token:\n{}",
        guarded.fake.seen()
    );
}

#[test]
fn a_token_is_renewed_before_it_expires() {
    let guarded = Guarded::with_tokens(|tokens| tokens.expires_in = Some(8));
    for minor in 1..12 {
        guarded
            .fake
            .push(&Chart::new("team/web", &format!("1.{minor}.0")));
    }
    // All of it takes longer than a token lives, and no request as long as its last quarter.
    let slow = Fault::Wait(Duration::from_millis(900));
    guarded
        .fake
        .spoil("GET /v2/team/web/manifests/*")
        .with(slow);
    let flags = [&*guarded.flag, "--concurrency=1"];
    let daemon = ready_daemon(&guarded.fake, &flags);
    let all = guarded.fake.requests("* *");
    let refused = all.iter().filter(|r| r.status == 401).count();
    assert_eq!(
        refused,
        2,
        "the catalog's and the repositories' first:\n{}",
        guarded.fake.seen()
    );
    assert_eq!(Index::of(&daemon).charts().len(), 13, "{}", daemon.log());
    let tokens = guarded.fake.requests("GET /token");
    let of_web = |r: &&Request| r.query("scope") == ["repository:team/web:pull"];
    assert!(
        tokens.iter().filter(of_web).count() >= 2,
        "{}",
        guarded.fake.seen()
    );
}

#[test]
fn a_scope_that_is_never_granted_costs_that_repository_and_ends_soon() {
    let guarded = Guarded::with_tokens(|tokens| {
        tokens.forbidden = vec!["repository:team/db:pull".to_owned()];
    });
    let daemon = guarded.start();
    daemon.wait_ready();
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    assert!(
        guarded.fake.count("GET /v2/team/db/*") <= 4,
        "{}",
        guarded.fake.seen()
    );
    assert!(daemon.log().contains("team/db"), "{}", daemon.log());
}

#[test]
fn one_repository_that_asks_for_other_credentials_costs_only_itself() {
    let guarded = Guarded::by(Guard::Open);
    guarded.fake.guard_repository("team/db", Guard::Basic);
    let guarded = guarded.credentials(r#"{"auths":{}}"#);
    let daemon = guarded.start();
    daemon.wait_ready();
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
    let told = daemon.wait_for_log(" DEBUG skipped team/db: ");
    assert!(told.contains("401 UNAUTHORIZED"), "{told}");
}

#[test]
fn public_repositories_are_read_with_anonymous_tokens() {
    let guarded = Guarded::with_tokens(|tokens| tokens.anonymous = true).credentials("{}");
    guarded.assert_served();
    for request in guarded.fake.requests("* /token") {
        assert_eq!(request.header("Authorization"), None);
    }
}

#[test]
fn a_token_server_that_throttles_is_given_the_time_it_asks_for() {
    let guarded = Guarded::by(Guard::Bearer);
    let throttled = Reply::error(429, "TOOMANYREQUESTS", "slow down").header("Retry-After", "1");
    guarded
        .fake
        .spoil("GET /token")
        .first(1)
        .with(Fault::Answer(throttled));
    guarded.assert_served();
    let asked = guarded.fake.requests("GET /token");
    assert_eq!(asked.len(), 1 + 3, "{}", guarded.fake.seen());
    let waited = asked[1].at.duration_since(asked[0].at);
    assert!(
        waited >= Duration::from_secs(1),
        "asked again after {waited:?}"
    );
}

#[test]
fn a_token_server_that_cannot_be_reached_is_told_by_whose_it_is() {
    // Port 1 is nobody's.
    let guarded =
        Guarded::with_tokens(|tokens| tokens.realm = "http://127.0.0.1:1/token".to_owned());
    let told = format!(
        "token server of {}: GET http://127.0.0.1:1/token: ",
        guarded.fake.host()
    );
    guarded.assert_refused(&[&told]);
}

#[test]
fn an_identity_token_is_exchanged_by_post() {
    let guarded = Guarded::with_tokens(|tokens| {
        tokens.oauth2 = true;
        tokens.field = TokenField::AccessToken;
        tokens.identity_tokens = vec![IDENTITY.to_owned()];
    });
    let entry =
        json!({ "auths": { "HOST": { "identitytoken": IDENTITY, "username": "<token>" } } });
    let guarded = guarded.credentials(&entry.to_string());
    guarded.assert_served();
    let exchanged = guarded.fake.requests("* /token");
    assert_eq!(exchanged.len(), 3, "one a scope");
    for request in exchanged {
        assert_eq!(request.method, "POST");
        assert_eq!(request.form("grant_type"), ["refresh_token"]);
        assert!(!request.target.contains(IDENTITY), "{request}");
    }
}

#[test]
fn a_token_server_without_oauth2_is_asked_for_an_identity_token_by_get() {
    let guarded = Guarded::with_tokens(|_| {});
    guarded.fake.add_user("<token>", IDENTITY);
    let entry =
        json!({ "auths": { "HOST": { "auth": "PHRva2VuPjo=", "identitytoken": IDENTITY } } });
    let guarded = guarded.credentials(&entry.to_string());
    guarded.assert_served();
    assert!(guarded.fake.count("POST /token") >= 1);
}

#[test]
fn a_registry_token_goes_to_the_registry_as_it_is() {
    let guarded = Guarded::with_tokens(|tokens| tokens.registry_tokens = vec!["ready-made".into()]);
    let guarded = guarded.credentials(r#"{"auths":{"HOST":{"registrytoken":"ready-made"}}}"#);
    let daemon = guarded.assert_served();
    assert_eq!(guarded.fake.count("* /token"), 0);
    assert!(!daemon.log().contains("ready-made"));
}
