//! The page for people, and the address that it tells them to add: issue 15, 4.

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault};
use crate::support::http::Answer;
use crate::support::story::{EACH_TIME, Index, LONG_WAIT, ready_daemon, starting_daemon};

/// What Firefox sends.
const BROWSER: (&str, &str) = (
    "Accept",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
);

fn team_and_db() -> FakeRegistry {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    fake.push(&Chart::new("db", "2.0.0"));
    fake
}

/// The URL behind `helm repo add NAME`.
fn told(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> String {
    let text = daemon.request("GET", path, headers).body_text();
    let (_, rest) = text.split_once("helm repo add ").expect(&text);
    let (_, rest) = rest.split_once(' ').expect(&text);
    let end = rest.find(['\n', '<']).expect("an end");
    rest[..end].to_owned()
}

const CLAIMED: &[(&str, &str)] = &[
    ("X-Forwarded-Host", "charts.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Prefix", "/outer"),
];

/// Behind any proxy the line was wrong, because it was always `http://` and the `Host` header.
#[test]
fn the_address_is_that_of_a_trusted_proxy_else_the_configured_else_that_of_the_request() {
    let fake = team_and_db();
    let own = ready_daemon(&fake, &["--context-path=/helm"]);
    let address = format!("{}/helm", own.url());
    assert_eq!(told(&own, "/helm", CLAIMED), address);
    assert_eq!(told(&own, "/helm/team", &[]), format!("{address}/team"));

    let external = [
        "--external-url=https://e.example/x/",
        "--context-path=/helm",
    ];
    let external = ready_daemon(&fake, &external);
    for claimed in [&[], CLAIMED] {
        assert_eq!(told(&external, "/helm/", claimed), "https://e.example/x");
    }
    assert_eq!(told(&external, "/helm/db", &[]), "https://e.example/x/db");

    let trusting = ["--trust-forwarded", "--external-url=https://e.example"];
    let trusting = ready_daemon(&fake, &trusting);
    let outer = "https://charts.example/outer";
    assert_eq!(told(&trusting, "/", CLAIMED), outer);
    assert_eq!(told(&trusting, "/team/", CLAIMED), format!("{outer}/team"));
    assert_eq!(told(&trusting, "/", &[]), "https://e.example");
    let standard = [(
        "Forwarded",
        "for=10.0.0.1;proto=https;host=\"f.example:8443\"",
    )];
    assert_eq!(told(&trusting, "/", &standard), "https://f.example:8443");
    let bad = [
        ("X-Forwarded-Host", "$(reboot)"),
        ("X-Forwarded-Proto", "ftp"),
    ];
    assert_eq!(told(&trusting, "/", &bad), "https://e.example");
}

/// Even if there are many of them: they count for the 8 KiB of a head that matter.
#[test]
fn a_long_claim_of_an_address_is_ignored_and_the_request_answered() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &["--trust-forwarded"]);
    let long = "h".repeat(7000);
    let claims = [("Forwarded", &*long), ("X-Forwarded-Host", &*long)];
    let answer = daemon.request("GET", "/index.yaml", &claims);
    assert_eq!(answer.status, 200);
    assert_eq!(told(&daemon, "/", &claims), daemon.url());
}

fn visit(daemon: &Daemon, path: &str) -> Answer {
    daemon.request("GET", path, &[BROWSER])
}

/// The HTML of a page that is there.
fn page(daemon: &Daemon, path: &str) -> String {
    let answer = visit(daemon, path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body_text());
    answer.body_text()
}

fn assert_holds(page: &str, all: &[&str]) {
    for one in all {
        assert!(page.contains(one), "{one} is not in {page}");
    }
}

fn assert_lacks(page: &str, all: &[&str]) {
    for one in all {
        assert!(!page.contains(one), "{one} is in {page}");
    }
}

/// A chart whose every field is filled.
fn whole(version: &str, more: &Value) -> Chart {
    let mut metadata = json!({
        "apiVersion": "v2", "name": "web", "version": version, "appVersion": "9.8", "deprecated": true,
        "description": "Serves pages", "home": "https://web.example/", "kubeVersion": ">=1.25",
        "keywords": ["http", "Größe"], "sources": ["https://git.example/web", "git@git.example:web"],
        "maintainers": [{"name": "Ann", "email": "ann@web.example", "url": "https://ann.example"}],
        "annotations": {"licenses": "MIT"},
        "dependencies": [{"name": "redis", "version": "~20", "repository": "oci://reg.example/redis",
            "alias": "cache", "condition": "cache.enabled"}],
    });
    for (key, value) in more.as_object().expect("an object") {
        metadata[key] = value.clone();
    }
    Chart::new("team/web", version).config(&metadata)
}

#[test]
fn a_browser_gets_a_page_and_all_others_the_text_as_before() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &[]);
    for path in ["/", "/team/", "/db/"] {
        for accept in [
            "*/*",
            "application/json",
            "text/html;q=0, */*",
            "text/plain",
        ] {
            let answer = daemon.request("GET", path, &[("Accept", accept)]);
            assert_eq!(
                answer.header("Content-Type"),
                Some("text/plain; charset=utf-8")
            );
            assert_eq!(answer.header("Vary"), Some("Accept"), "{path} {accept}");
        }
        let answer = visit(&daemon, path);
        assert_eq!(
            answer.header("Content-Type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(answer.header("Cache-Control"), Some("private, no-cache"));
        assert_eq!(answer.header("Vary"), Some("Accept"));
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(answer.header("Referrer-Policy"), Some("no-referrer"));
        let policy = answer.header("Content-Security-Policy").expect("a policy");
        assert_holds(
            policy,
            &[
                "default-src 'none'; style-src 'sha256-",
                "frame-ancestors 'none'",
            ],
        );
        assert_lacks(policy, &["unsafe", "http", "*"]);
    }
}

#[test]
fn the_list_tells_what_there_is_and_a_prefix_only_its_own() {
    let fake = team_and_db();
    // As Helm does, the page takes the newest release.
    for candidate in ["1.1.0-rc.1", "2.0.0-rc.1"] {
        fake.push(&whole(candidate, &json!({"deprecated": false})));
    }
    fake.push(&whole("1.1.0", &json!({})).signed("sig"));
    fake.push_image("app", "1.0.0");
    let daemon = ready_daemon(&fake, &["--any-name"]);
    let all = page(&daemon, "/");
    assert_holds(
        &all,
        &[
            "<h1>Helm charts</h1>",
            "2 charts",
            "href=\"charts/db\"",
            "href=\"charts/web\"",
            ">1.1.0</td>",
            ">9.8</td>",
            "Serves pages",
            ">deprecated<",
            ">signed<",
            "1 not listed",
            "less than a minute ago",
        ],
    );
    assert_lacks(&all, &["-rc.1", "<script", "javascript"]);
    let web = page(&daemon, "/charts/web");
    assert_holds(&web, &[" --version 1.1.0<", "?version=2.0.0-rc.1"]);
    assert_lacks(&web, &["--version 2.0.0-rc.1"]);
    let team = page(&daemon, "/team/");
    assert_holds(
        &team,
        &[
            "<h1>Helm charts of team</h1>",
            "1 chart<",
            "href=\"charts/web\"",
        ],
    );
    assert_lacks(&team, &["charts/db", "not listed", "app:"]);
    assert_holds(
        &page(&daemon, "/?skipped=1"),
        &[
            "<h1>Not listed</h1>",
            "1 reference",
            ">app:1.0.0<",
            "is not Helm",
        ],
    );
}

#[test]
fn a_chart_has_a_page_with_all_that_is_known_of_it() {
    let fake = team_and_db();
    fake.push(
        &whole("1.1.0", &json!({}))
            .signed("sig")
            .annotation("org.opencontainers.image.created", "2026-05-06T07:08:09Z"),
    );
    let daemon = ready_daemon(&fake, &[]);
    for path in [
        "/charts/web",
        "/team/charts/web",
        "/charts/web?version=1.1.0&page=7",
    ] {
        let web = page(&daemon, path);
        let address = match path.starts_with("/team") {
            true => format!("{}/team", daemon.url()),
            false => daemon.url(),
        };
        let linked = |url: &str, text: &str| {
            format!("<a href=\"{url}\" rel=\"nofollow noopener noreferrer\">{text}</a>")
        };
        assert_holds(
            &web,
            &[
                "<h1>web</h1>",
                "<strong>1.1.0</strong>",
                "app version 9.8",
                "Serves pages",
                "2 versions",
                "2026-05-06",
                &format!("helm pull web --repo {address} --version 1.1.0<"),
                &format!("helm install my-release web --repo {address} --version 1.1.0<"),
                &format!(
                    "  - name: &quot;web&quot;\n    version: &quot;1.1.0&quot;\n    repository: &quot;{address}&quot;<"
                ),
                &linked("https://web.example/", "https://web.example/"),
                &linked("https://git.example/web", "https://git.example/web"),
                &linked("mailto:ann@web.example", "ann@web.example"),
                &linked("https://ann.example", "https://ann.example"),
                "<li>git@git.example:web</li>",
                "&gt;=1.25",
                "Größe",
                "licenses",
                "MIT",
                "redis as cache",
                "~20",
                "cache.enabled",
                "oci://reg.example/redis",
                "href=\"./web-1.1.0.tgz\"",
                "href=\"./web-1.1.0.tgz.prov\"",
                "href=\"?version=1.0.0\"",
                "href=\"./web-1.0.0.tgz\"",
                "href=\"../\"",
            ],
        );
    }
    let old = page(&daemon, "/charts/web?version=1.0.0");
    assert_holds(&old, &["<strong>1.0.0</strong>", "The chart web"]);
    assert_lacks(&old, &["redis", "licenses"]);
    // Counted by the path's template, and once more for the older version.
    let metrics = daemon.get("/metrics").body_text();
    let counted = "route=\"/charts/NAME\",code=\"200\"} 4\n";
    assert_holds(&metrics, &[counted]);
    for missing in [
        "/charts/nothing",
        "/charts/web?version=9.9.9",
        "/team/charts/db",
    ] {
        assert_eq!(visit(&daemon, missing).status, 404, "{missing}");
    }
    assert_eq!(
        daemon.get("/charts/web").status,
        200,
        "there is nothing else at that path"
    );
}

/// A repository may be named as the page of a chart is.
#[test]
fn a_repository_at_the_path_of_a_charts_page_keeps_its_index_and_its_text() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("charts/web", "1.0.0"));
    fake.push(&Chart::new("charts/x.tgz", "1.0.0"));
    let daemon = ready_daemon(&fake, &["--any-name"]);
    let index = Index::parse(&daemon.get("/charts/web/index.yaml").body);
    assert_eq!(index.charts(), ["web 1.0.0"]);
    assert_eq!(daemon.get("/charts/web-1.0.0.tgz").status, 200);
    let told = daemon.get("/charts/web").body_text();
    assert_holds(&told, &["in and below charts/web"]);
    assert_holds(&page(&daemon, "/charts/web"), &["<h1>web</h1>"]);
    assert_holds(
        &page(&daemon, "/charts/web/"),
        &["<h1>Helm charts of charts/web</h1>"],
    );
    // Its page would be at the path of an archive.
    assert_holds(&page(&daemon, "/"), &["<th scope=\"row\">x.tgz "]);
}

#[test]
fn the_pages_of_a_prefix_end_in_a_slash_because_their_links_are_relative() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &["--context-path=/helm"]);
    for (path, location) in [
        ("/helm", "helm/"),
        ("/helm/team", "team/"),
        ("/helm/team/web?q=a", "web/?q=a"),
    ] {
        let answer = visit(&daemon, path);
        assert_eq!(answer.status, 308, "{path}");
        assert_eq!(answer.header("Location"), Some(location), "{path}");
    }
    assert_eq!(visit(&daemon, "/helm/team/").status, 200);
    assert_eq!(visit(&daemon, "/helm/charts/db").status, 200);
}

#[test]
fn a_search_finds_names_descriptions_and_keywords_in_any_case() {
    let fake = team_and_db();
    fake.push(&whole("1.1.0", &json!({})));
    let daemon = ready_daemon(&fake, &[]);
    let found = |query: &str| {
        let page = page(&daemon, &format!("/?q={query}"));
        ["db", "web"].map(|name| page.contains(&format!("href=\"charts/{name}\"")))
    };
    for (query, expected) in [
        ("", [true, true]),
        ("DB", [true, false]),
        ("eRvEs+pAg", [false, true]),
        ("gr%C3%B6%c3%9fe", [false, true]),
        ("http", [false, true]),
        ("9.8", [false, false]),
        ("nothing", [false, false]),
    ] {
        assert_eq!(found(query), expected, "{query}");
    }
    let hostile = page(&daemon, "/?q=%22%3E%3Cscript%3E");
    assert_holds(
        &hostile,
        &["No chart is found", "value=\"&quot;&gt;&lt;script&gt;\""],
    );
    assert_lacks(&hostile, &["<script"]);
    let long = "x".repeat(201);
    for bad in [
        // The gaps of a page are marked by such ones.
        "q=%00%01",
        &format!("q={long}"),
        "q=%ff",
        "q=%",
        "page=x",
        "page=-1",
        "skipped=x",
    ] {
        let answer = visit(&daemon, &format!("/?{bad}"));
        assert_eq!(answer.status, 400, "{bad}");
        assert_holds(&answer.body_text(), &["<h1>Not understood</h1>"]);
    }
    assert_eq!(visit(&daemon, &format!("/?q={}", &long[..200])).status, 200);
}

#[test]
fn lists_are_told_in_pages_of_a_hundred() {
    let fake = FakeRegistry::start();
    for number in 0..101 {
        fake.push(&Chart::new(&format!("team/c{number:03}"), "1.0.0"));
        fake.push(&Chart::new("web", &format!("1.{number}.0")));
        fake.push_image(&format!("image{number:03}"), "1.0.0");
    }
    let daemon = ready_daemon(&fake, &[]);
    for (path, first, last, next) in [
        ("/", "c000", "c099", Some("./?page=2")),
        ("/?page=2", "c100", "web", None),
        ("/?page=999", "c100", "web", None),
        ("/?q=chart+c&page=2", "c100", "c100", None),
        ("/team/?page=1", "c000", "c099", Some("./?page=2")),
        (
            "/charts/web",
            "1.100.0",
            "1.1.0",
            Some("?version=1.100.0&amp;page=2"),
        ),
        ("/charts/web?page=2&version=1.7.0", "1.0.0", "1.0.0", None),
        ("/?skipped=2", "image100:1.0.0", "image100:1.0.0", None),
    ] {
        let page = page(&daemon, path);
        let rows: Vec<&str> = page.split("<th scope=\"row\">").skip(1).collect();
        let names = [first, last].map(|name| format!("{name}<"));
        assert!(rows[0].contains(&names[0]), "{path}: {}", rows[0]);
        assert!(
            rows[rows.len() - 1].contains(&names[1]),
            "{path}: {}",
            rows[rows.len() - 1]
        );
        assert!(rows.len() <= 100);
        let link = next.map(|next| format!("rel=\"next\" href=\"{next}\""));
        match link {
            Some(link) => assert_holds(&page, &[&link]),
            None => assert_lacks(&page, &["rel=\"next\""]),
        }
    }
}

#[test]
fn a_page_has_an_etag_of_its_content_and_its_address_and_head_answers_as_get_does() {
    let fake = team_and_db();
    let daemon = ready_daemon(&fake, &[EACH_TIME, LONG_WAIT, "--trust-forwarded"]);
    let other = ready_daemon(&fake, &["--trust-forwarded"]);
    for path in ["/", "/team/", "/charts/web", "/?q=web", "/?skipped=1"] {
        let etag = |daemon: &Daemon, host: &str| {
            let answer = daemon.request("GET", path, &[BROWSER, ("X-Forwarded-Host", host)]);
            assert_eq!(
                answer.header("Vary"),
                Some("Accept, Forwarded, X-Forwarded-Host, X-Forwarded-Prefix, X-Forwarded-Proto")
            );
            answer.header("ETag").expect("an ETag").to_owned()
        };
        let tag = etag(&daemon, "a");
        assert_eq!(tag, etag(&other, "a"), "{path}: every replica has the same");
        assert_ne!(tag, etag(&daemon, "b"), "{path}");
        let knows = [BROWSER, ("X-Forwarded-Host", "a"), ("If-None-Match", &*tag)];
        let known = daemon.request("GET", path, &knows);
        assert_eq!((known.status, known.body.len()), (304, 0), "{path}");
        assert_eq!(known.header("Cache-Control"), Some("private, no-cache"));
        let [get, head] = ["GET", "HEAD"].map(|method| daemon.request(method, path, &[BROWSER]));
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for name in ["Content-Length", "ETag", "Content-Security-Policy"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        let length = get.header("Content-Length").expect("a length");
        assert_eq!(length, get.body.len().to_string(), "{path}");
    }
    fake.push(&Chart::new("new", "1.0.0"));
    assert_holds(&page(&daemon, "/"), &["href=\"charts/new\""]);
}

#[test]
fn a_browser_gets_a_page_that_says_why_there_is_none() {
    let fake = FakeRegistry::start();
    fake.spoil("GET /v2/_catalog").with(Fault::Hang);
    let daemon = starting_daemon(&fake, &["--max-wait=0s"]);
    fake.wait_for("GET /v2/_catalog", 1);
    for path in ["/", "/index.yaml"] {
        let answer = visit(&daemon, path);
        assert_eq!(
            (answer.status, answer.header("Retry-After")),
            (503, Some("2"))
        );
        assert_holds(
            &answer.body_text(),
            &["<h1>Not ready</h1>", "the first scan"],
        );
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        assert!(answer.header("Content-Security-Policy").is_some());
    }
    fake.heal("GET /v2/_catalog");
    daemon.wait_ready();
    let empty = page(&daemon, "/");
    assert_holds(
        &empty,
        &[
            "This chart repository is empty. To add a chart, ",
            "helm push",
            "helm repo add",
        ],
    );
    for (path, home) in [("/nothing", "href=\"./\""), ("/a/b/c", "href=\"../../\"")] {
        let answer = visit(&daemon, path);
        assert_eq!(answer.status, 404);
        assert_holds(&answer.body_text(), &["<h1>Not found</h1>", home]);
    }
    let api = visit(&daemon, "/api/charts/nothing");
    assert_eq!(api.header("Content-Type"), Some("application/json"));
}

/// 64 MiB would be held for it, and sent to a phone.
#[test]
fn no_page_is_longer_than_a_mebibyte_however_long_the_texts_are() {
    let fake = FakeRegistry::start();
    let (marks, wide) = ("\"".repeat(400), "\u{202e}".repeat(400));
    let many = |one: Value| Value::Array(vec![one; 120]);
    for number in 0..100 {
        let name = format!("c{number:03}{}", "x".repeat(240));
        let text = if number % 2 == 0 { &marks } else { &wide };
        let metadata = json!({
            "name": name, "version": format!("1.0.0-{}", "x".repeat(240)), "description": text, "appVersion": text,
            "home": text, "keywords": many(json!(text)), "sources": many(json!(text)),
            "maintainers": many(json!({"name": &text[..300], "email": &text[..300]})),
        });
        fake.push(&Chart::new(&name, "1.0.0").config(&metadata).tag("1.0.0"));
    }
    let daemon = ready_daemon(&fake, &["--any-name"]);
    let longest = format!("c000{}", "x".repeat(240));
    for (path, rows) in [("/", 100), (&*format!("/charts/{longest}"), 1)] {
        let page = page(&daemon, path);
        assert!(page.len() < 1 << 20, "{path}: {}", page.len());
        assert_eq!(page.matches("<th scope=\"row\">").count(), rows, "{path}");
        assert_lacks(&page, &["\u{202e}"]);
    }
    assert_holds(
        &page(&daemon, &format!("/charts/{longest}")),
        &["too long for a page"],
    );
}
