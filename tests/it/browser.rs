//! The pages in a real browser, on a phone and on a desk, in the light and in the dark: nothing executes,
//! nothing is loaded from elsewhere, nothing is wider than the screen, and axe-core and tidy find nothing.
//! What they look like is in target/screenshots.

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::certificates::Certificates;
use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault};
use crate::support::folder::{Folder, packed};
use crate::support::helm::{Helm, argument};
use crate::support::nginx::Nginx;
use crate::support::process::{Scratch, run, text};
use crate::support::story::{ready_daemon, starting_daemon};
use crate::support::tools::{NEWEST_HELM, tool};

/// Width and height of a phone's screen and of a desk's.
const SCREENS: [(u32, u32); 2] = [(360, 740), (1280, 800)];

/// Looks at a page on all screens, in the light and in the dark.
fn look(browser: &mut Browser, daemon: &Daemon, path: &str, name: &str) {
    let url = daemon.url() + path;
    assert_valid(daemon, path);
    for (width, height) in SCREENS {
        for is_dark in [false, true] {
            let of = format!("{name}-{width}{}", if is_dark { "-dark" } else { "" });
            browser.screen(width, height, is_dark);
            browser.open(&url);
            browser.screenshot(&of);
            let complaints = browser.complaints();
            assert!(complaints.is_empty(), "{of}: {complaints:#?}");
            let own = format!("{}/", daemon.url());
            let elsewhere = browser.requests();
            assert!(
                elsewhere.iter().all(|url| url.starts_with(&own)),
                "{of}: {elsewhere:?}"
            );
            assert!(
                elsewhere.len() == 1,
                "{of}: only the page is loaded: {elsewhere:?}"
            );
            let widest = browser.evaluate("document.documentElement.scrollWidth");
            assert!(
                widest.as_u64() <= Some(width.into()),
                "{of}: {widest} is wide"
            );
            let styled = browser.evaluate("document.styleSheets[0].cssRules.length");
            assert!(styled.as_u64() > Some(20), "{of}: its style is applied");
            let violations = browser.violations();
            assert_eq!(violations, json!([]), "{of}");
        }
    }
    assert_nothing_executes(browser, name);
}

/// Nothing in the page open can execute, has executed, or leads where a person doesn't expect it.
fn assert_nothing_executes(browser: &mut Browser, name: &str) {
    let script = "({
        pwned: typeof pwned,
        active: document.querySelectorAll('script,img,iframe,object,embed,svg,link,base,meta[http-equiv]').length,
        handlers: [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on')).length,
        styles: document.querySelectorAll('[style]').length,
        headings: document.querySelectorAll('h1').length,
        links: [...document.links].map(a => a.protocol).filter(p => !['http:', 'https:', 'mailto:'].includes(p)).length,
        bare: [...document.links].filter(a => a.host != location.host && a.rel != 'nofollow noopener noreferrer').length,
    })";
    let expected = json!({
        "pwned": "undefined", "active": 0, "handlers": 0, "styles": 0, "headings": 1, "links": 0, "bare": 0
    });
    assert_eq!(browser.evaluate(script), expected, "{name}");
}

/// tidy has nothing to say of it.
fn assert_valid(daemon: &Daemon, path: &str) {
    let html = daemon.request("GET", path, &[("Accept", "text/html")]).body;
    let scratch = Scratch::new("tidy");
    let file = scratch.file("page.html", &html);
    let words = ["-quiet", "-errors", "-utf8", file.to_str().expect("UTF-8")];
    let told = run(&tool("tidy/tidy"), &words, &[]);
    let complaints = text(&told.stderr) + &text(&told.stdout);
    assert!(
        told.status.success() && complaints.is_empty(),
        "{path}: {complaints}\n{}",
        text(&html)
    );
}

fn full_registry() -> FakeRegistry {
    let fake = FakeRegistry::start();
    for (name, version, app_version, description) in [
        (
            "cert-manager",
            "1.18.2",
            "v1.18.2",
            "Issues and renews certificates of any authority",
        ),
        (
            "gitea",
            "12.1.0",
            "1.24.0",
            "A Git service with issues and pull requests",
        ),
        (
            "ingress-nginx",
            "4.13.0",
            "1.13.0",
            "Routes requests from outside to Services",
        ),
        ("legacy-proxy", "0.9.4", "2.1", "Replaced by ingress-nginx"),
        (
            "postgresql",
            "17.2.1",
            "17.5",
            "The object-relational database, with one replica or many",
        ),
        (
            "redis",
            "21.2.6",
            "8.0.2",
            "Keeps keys and values in memory",
        ),
    ] {
        let metadata = json!({
            "apiVersion": "v2", "name": name, "version": version, "appVersion": app_version,
            "description": description, "deprecated": name == "legacy-proxy",
        });
        let chart = Chart::new(&format!("platform/{name}"), version).config(&metadata);
        let is_signed = ["cert-manager", "postgresql"].contains(&name);
        fake.push(&if is_signed {
            chart.signed("signature")
        } else {
            chart
        });
    }
    for version in ["3.2.0", "3.1.4", "3.1.3", "3.0.0-rc.1"] {
        let metadata = json!({
            "apiVersion": "v2", "name": "web", "version": version, "appVersion": "1.28.0", "type": "application",
            "description": "Serves the company's web site, with a cache in front of it",
            "home": "https://web.example.com", "kubeVersion": ">=1.28.0-0", "keywords": ["http", "website"],
            "sources": ["https://git.example.com/team/web"],
            "maintainers": [
                {"name": "Ann Example", "email": "ann@example.com"},
                {"name": "Team Web", "url": "https://example.com/team"},
            ],
            "annotations": {"category": "Infrastructure", "licenses": "Apache-2.0"},
            "dependencies": [
                {"name": "redis", "version": "~21.2", "repository": "https://charts.example.com/platform",
                    "alias": "cache", "condition": "cache.enabled"},
                {"name": "common", "version": "2.x.x", "repository": "oci://registry.example.com/library"},
            ],
        });
        let chart = Chart::new("platform/web", version)
            .config(&metadata)
            .signed("signature");
        fake.push(&chart.annotation("org.opencontainers.image.created", "2026-10-14T09:30:00Z"));
    }
    fake.push_image("platform/app", "1.0.0");
    fake
}

#[test]
fn the_pages_of_an_ordinary_registry_hold_on_every_screen() {
    let fake = full_registry();
    let external = "--external-url=https://charts.example.com";
    let daemon = ready_daemon(&fake, &[external]);
    let mut browser = Browser::start();
    for (path, name) in [
        ("/", "list"),
        ("/charts/web", "chart"),
        ("/platform/?q=data", "search"),
        ("/?skipped=1", "skipped"),
        ("/nothing", "not-found"),
    ] {
        look(&mut browser, &daemon, path, name);
    }
    // As the README shows them.
    browser.screen(860, 540, false);
    for (path, name) in [("/", "readme-list"), ("/charts/web", "readme-chart")] {
        browser.open(&(daemon.url() + path));
        browser.screenshot(name);
    }
}

#[test]
fn the_form_and_the_links_lead_to_pages() {
    let fake = full_registry();
    let daemon = ready_daemon(&fake, &["--context-path=/helm"]);
    let mut browser = Browser::start();
    browser.open(&(daemon.url() + "/helm/platform"));
    for (act, there) in [
        (
            "document.querySelector('#q').value = 'POST gres'; document.forms[0].submit()",
            "/helm/platform/?q=POST+gres",
        ),
        (
            "document.querySelector('form a').click()",
            "/helm/platform/",
        ),
        (
            "document.querySelector('a[href$=web]').click()",
            "/helm/platform/charts/web",
        ),
        (
            "document.querySelector('a[href*=\"3.1.4\"]').click()",
            "/helm/platform/charts/web?version=3.1.4",
        ),
        (
            "document.querySelector('header a').click()",
            "/helm/platform/",
        ),
    ] {
        browser.act(act);
        let place = browser.evaluate("location.pathname + location.search");
        assert_eq!(place, there, "{act}");
        assert_eq!(
            browser.evaluate("document.querySelectorAll('h1').length"),
            1
        );
        assert!(
            browser.complaints().is_empty(),
            "{act}: {:?}",
            browser.complaints()
        );
    }
    // The check of accessibility does find something where there is something.
    browser.evaluate("document.querySelector('label').remove()");
    let violations = browser.violations().to_string();
    assert!(violations.contains("label: "), "{violations}");
}

#[test]
fn the_pages_of_no_registry_hold_on_every_screen() {
    let fake = FakeRegistry::start();
    fake.spoil("GET /v2/_catalog").with(Fault::Hang);
    let daemon = starting_daemon(&fake, &["--max-wait=0s"]);
    fake.wait_for("GET /v2/_catalog", 1);
    let mut browser = Browser::start();
    look(&mut browser, &daemon, "/", "not-ready");
    fake.heal("GET /v2/_catalog");
    daemon.wait_ready();
    look(&mut browser, &daemon, "/", "empty");
}

/// Markup, scripts, and characters that turn texts around, in every field that a pusher writes.
#[test]
fn nothing_of_a_hostile_chart_executes_or_breaks_the_layout() {
    let folder = Folder::new();
    let long = "W".repeat(250);
    let texts = [
        "<script>pwned = 1; document.title = 1; alert(1)<\\/script>",
        "\"><img src=x onerror=pwned=1><b a='",
        "'><svg onload=pwned=1>]]><!--",
        "javascript:pwned=1",
        "\u{202e}gnp.exe\u{2066}\u{200b}\u{feff}",
        "</title></style><style>*{display:none}",
        "{{7*7}} ${7*7} \u{0} \u{1} \u{1b}[31m",
        "https://evil.example/\" onmouseover=\"pwned=1",
        "https://evil.example/x.png",
        &long,
    ];
    for (number, hostile) in texts.iter().enumerate() {
        let name = hostile.replace(['/', '\u{0}', '\u{1}', '\u{1b}', '\\'], "");
        let urls = [
            *hostile,
            "//evil.example/a",
            "data:text/html,<script>pwned=1</script>",
            "mailto:a@b\" onclick=\"pwned=1",
        ];
        let chart = json!({
            "apiVersion": "v2", "name": name, "version": "1.0.0", "appVersion": hostile, "description": hostile,
            "home": hostile, "icon": hostile, "kubeVersion": hostile, "keywords": texts, "sources": urls,
            "maintainers": urls.map(|url| json!({"name": hostile, "email": url, "url": url})),
            "annotations": {(*hostile): hostile, "b": "//evil.example"},
            "dependencies": urls.map(|url| json!({
                "name": format!("{hostile}{url}"), "version": hostile, "repository": url, "condition": hostile,
            })),
        });
        let file = packed(&[("chart/Chart.yaml", chart.to_string().as_bytes())]);
        folder.file(&format!("{number}.tgz"), &file);
    }
    let daemon = folder.daemon();
    let mut browser = Browser::start();
    look(&mut browser, &daemon, "/", "hostile-list");
    look(&mut browser, &daemon, "/?skipped=1", "hostile-skipped");
    browser.open(&(daemon.url() + "/"));
    let links = "[...document.querySelectorAll('tbody th a')].map(a => a.getAttribute('href'))";
    let links = browser.evaluate(links);
    let links = links.as_array().expect("links");
    assert!(
        links.len() > 4,
        "{}",
        daemon.get("/api/skipped").body_text()
    );
    for (number, link) in links.iter().enumerate() {
        let path = format!("/{}", link.as_str().expect("a URL"));
        look(
            &mut browser,
            &daemon,
            &path,
            &format!("hostile-chart-{number}"),
        );
    }
}

/// Behind TLS and a prefix, cut off or not: what the page tells works when it is pasted.
#[test]
fn the_lines_of_the_page_work_behind_nginx_with_tls_and_a_prefix() {
    let fake = full_registry();
    let certificates = Certificates::new();
    let authority = certificates.authority();
    let plain = ready_daemon(&fake, &["--trust-forwarded"]);
    let in_place = ready_daemon(&fake, &["--trust-forwarded", "--context-path=/left"]);
    let headers =
        "proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;";
    let locations = format!(
        "location /cut/ {{ {headers} proxy_set_header X-Forwarded-Prefix /cut; proxy_pass {}/; }}\n\
         location /left/ {{ {headers} proxy_pass {}; }}",
        plain.url(),
        in_place.url()
    );
    let nginx = Nginx::with_tls(&certificates, &locations);
    let helm = Helm::new(NEWEST_HELM);
    let mut browser = Browser::start();
    for (number, path) in ["/cut", "/cut/platform", "/left", "/left/platform"]
        .into_iter()
        .enumerate()
    {
        let url = format!("https://{}{path}", nginx.host());
        let name = format!("charts{number}");
        let into = helm.directory(&name);
        let paste = |line: &str, more: &[&str]| {
            // As a shell would take a line without quotes.
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            helm.run(&[&words[..], more, &["--ca-file", argument(&authority)]].concat());
        };
        browser.open(&format!("{url}/"));
        let code = |browser: &mut Browser, number: usize| {
            let code = browser.evaluate(&format!(
                "document.querySelectorAll('code')[{number}].textContent"
            ));
            code.as_str().expect("a line").to_owned()
        };
        let add = code(&mut browser, 0);
        let called = match path.strip_suffix("/platform") {
            Some(_) => "platform",
            None => "charts",
        };
        assert_eq!(add, format!("helm repo add {called} {url}"));
        paste(
            &add.replace(&format!(" {called} "), &format!(" {name} ")),
            &[],
        );
        browser.act("document.querySelector('a[href$=web]').click()");
        paste(&code(&mut browser, 1), &["-d", argument(&into)]);
        assert!(into.join("web-3.2.0.tgz").is_file(), "{path}");
        assert!(
            code(&mut browser, 2).contains(&format!("repository: \"{url}\"")),
            "{path}"
        );
    }
}
