//! `/metrics`: what a session did is counted exactly, Prometheus reads it, and each expression of
//! `deploy/monitoring` has an answer.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::http;
use crate::support::process::{DEADLINE, Scratch, run_ok, wait_until};
use crate::support::served::noise;
use crate::support::story::ready_daemon;
use crate::support::tools::tool;

const OPENMETRICS: (&str, &str) = ("Accept", "application/openmetrics-text; version=1.0.0");
/// Each takes more than half of it.
const CACHE: &str = "--chart-cache-size=100KiB";
const ARCHIVE: usize = 60_000;

/// Series and their values, without those of the process, of times, and of the probes that wait for the start.
fn counted(daemon: &Daemon) -> BTreeMap<String, f64> {
    let text = daemon.get("/metrics").body_text();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| line.rsplit_once(' ').expect("a series and its value"));
    let is_exact = |series: &str| {
        let varies = ["process_", "_seconds", "/readyz", "_bytes", "build_info"];
        !varies.iter().any(|part| series.contains(part))
    };
    samples
        .filter(|(series, _)| is_exact(series))
        .map(|(series, value)| {
            let series = series.replace("oci_chartrepo_", "");
            (series, value.parse().expect("a number"))
        })
        .collect()
}

/// Two charts, whose first listing fails three times, so that a refresh fails, and one of whose manifests is
/// refused once; and what clients then ask for.
fn session() -> (FakeRegistry, Daemon) {
    let fake = FakeRegistry::start();
    for (name, size) in [("one", ARCHIVE), ("two", ARCHIVE + 1)] {
        fake.push(&Chart::new(name, "1.0.0").archive(noise(size)));
    }
    fake.push_image("image", "1.0.0");
    fake.spoil("GET /v2/_catalog*")
        .first(3)
        .with(Fault::Answer(Reply::new(500)));
    let limited = Reply::new(429).header("Retry-After", "1");
    fake.spoil("GET /v2/one/manifests/*")
        .first(1)
        .with(Fault::Answer(limited));
    let daemon = ready_daemon(&fake, &[CACHE, "--max-stale=1h"]);
    for (method, path) in [
        ("GET", "/index.yaml"),
        ("GET", "/index.yaml"),
        ("HEAD", "/index.yaml"),
        ("GET", "/index.json"),
        ("GET", "/charts/one-1.0.0.tgz"),
        ("GET", "/charts/one-1.0.0.tgz"),
        ("GET", "/charts/two-1.0.0.tgz"),
        ("GET", "/charts/three-1.0.0.tgz"),
        ("POST", "/api/charts"),
        ("BREW", "/secret/path"),
        ("GET", "/livez"),
        ("GET", "/%zz"),
        ("G@T", "/livez"),
    ] {
        daemon.request(method, path, &[]);
    }
    (fake, daemon)
}

#[test]
fn what_a_session_did_is_counted_exactly() {
    let (fake, daemon) = session();
    let mut expected = BTreeMap::new();
    let mut expect = |series: &str, value: usize| expected.insert(series.to_owned(), value as f64);
    for (method, route, code, count) in [
        ("GET", "/index.yaml", 200, 2),
        ("HEAD", "/index.yaml", 200, 1),
        ("GET", "/index.json", 200, 1),
        ("GET", "/charts/ARCHIVE", 200, 3),
        ("GET", "/charts/ARCHIVE", 404, 1),
        ("other", "/api", 405, 1),
        ("other", "other", 404, 1),
        ("GET", "/livez", 200, 1),
        ("GET", "other", 400, 1),
        // No request could be read.
        ("other", "other", 400, 1),
    ] {
        let labels = format!("method=\"{method}\",route=\"{route}\",code=\"{code}\"");
        expect(&format!("http_requests_total{{{labels}}}"), count);
    }
    let manifests = fake.count("GET /v2/*/manifests/*");
    for (operation, code, count) in [
        ("catalog", 500, 3),
        ("catalog", 200, 1),
        ("tags", 200, 3),
        ("manifest", 429, 1),
        ("manifest", 200, manifests - 1),
        // Two config blobs and two archives.
        ("blob", 200, 4),
    ] {
        let labels = format!("operation=\"{operation}\",code=\"{code}\"");
        expect(&format!("registry_requests_total{{{labels}}}"), count);
    }
    // Two of the catalog, until the refresh fails, and one of the manifest.
    expect("registry_retries_total", 3);
    expect("registry_pauses_total", 1);
    expect("chart_cache_requests_total{result=\"hit\"}", 1);
    expect("chart_cache_requests_total{result=\"miss\"}", 2);
    expect("chart_cache_evictions_total", 1);
    expect("connections_evicted_total", 0);
    // This scrape's own.
    expect("connections", 1);
    expect("downloads", 0);
    expect("unread", 0);
    expect("refresh_failing", 0);
    expect("index_charts", 2);
    expect("index_versions", 2);
    expect("index_from_mirror", 0);
    expect("skipped{reason=\"unreadable\"}", 0);
    expect("skipped{reason=\"over_bound\"}", 0);
    expect("skipped{reason=\"no_chart\"}", 1);
    let lacking = || "the other connections have not ended".to_owned();
    let seen = wait_until(DEADLINE, lacking, || {
        let seen = counted(&daemon);
        (seen["connections"] == 1.0).then_some(seen)
    });
    let own = "http_requests_total{method=\"GET\",route=\"/metrics\",code=\"200\"}";
    let seen: BTreeMap<_, _> = seen
        .into_iter()
        .filter(|(series, _)| series != own)
        .collect();
    assert_eq!(seen, expected, "{}", daemon.log());
    let text = daemon.get("/metrics").body_text();
    for (result, count) in [("success", 1), ("failure", 1)] {
        let series = format!(
            "oci_chartrepo_refresh_duration_seconds_count{{result=\"{result}\"}} {count}\n"
        );
        assert!(text.contains(&series), "{text}");
    }
    let index = daemon.get("/index.yaml").body.len();
    assert!(
        text.contains(&format!("oci_chartrepo_index_bytes {index}\n")),
        "{text}"
    );
}

#[test]
fn no_client_and_no_registry_adds_a_series() {
    let (_fake, daemon) = session();
    let before = counted(&daemon).len();
    for number in 0..20 {
        daemon.request(
            &format!("M{number}"),
            &format!("/p{number}/index.yaml"),
            &[],
        );
        daemon.get(&format!("/charts/c{number}-1.0.0.tgz"));
    }
    let after = counted(&daemon);
    assert!(after.len() <= before + 3, "{after:?}");
    assert!(!daemon.get("/metrics").body_text().contains("secret"));
}

#[test]
fn promtool_takes_the_plain_format_and_openmetrics_is_given_to_a_client_that_asks_for_it() {
    let (_fake, daemon) = session();
    let plain = daemon.get("/metrics");
    assert_eq!(
        plain.header("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let open = daemon.request("GET", "/metrics", &[OPENMETRICS]);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("Content-Type"), Some(content_type));
    assert!(open.body_text().ends_with("# EOF\n"));
    let scratch = Scratch::new("metrics");
    let text = scratch.file("metrics", &plain.body);
    let check = format!(
        "'{}' check metrics < '{}'",
        tool("promtool").display(),
        text.display()
    );
    run_ok(Path::new("sh"), &["-c", &check], &[]);
}

/// A Prometheus that scrapes the daemon each second. It asks for OpenMetrics.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn scraping(daemon: &Daemon, scratch: &Scratch) -> Prometheus {
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n\
             - job_name: charts\n  static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
            monitoring("alerts.yaml").display(),
            daemon.port()
        );
        let config = scratch.file("prometheus.yaml", config);
        let data = scratch.join("data");
        let address = format!("127.0.0.1:{}", free_port());
        let child = Command::new(tool("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .args([
                "--log.level=error",
                "--web.console.libraries=",
                "--web.console.templates=",
            ])
            .stderr(Stdio::null())
            .spawn()
            .expect("run prometheus");
        Prometheus { child, address }
    }

    /// What the API answers; nothing before it is there.
    fn ask(&self, path: &str) -> Option<Value> {
        let port = self.address.rsplit_once(':')?.1.parse().ok()?;
        let answer = http::request(port, "GET", path, &[]).ok()?;
        serde_json::from_slice(&answer.body).ok()
    }

    fn query(&self, expression: &str) -> Option<Value> {
        let bytes = expression.bytes().map(|byte| format!("%{byte:02x}"));
        let path = format!("/api/v1/query?query={}", bytes.collect::<String>());
        self.ask(&path)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago: Prometheus does not tell which one it takes.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("its address").port()
}

fn monitoring(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/monitoring")
        .join(name)
}

/// All expressions of the dashboard, for every instance.
fn dashboard() -> Vec<String> {
    let text = fs::read(monitoring("dashboard.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_slice(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets
        .map(|target| {
            target["expr"]
                .as_str()
                .expect("an expression")
                .replace("$instance", ".*")
        })
        .collect()
}

#[test]
fn each_panel_of_the_dashboard_shows_something_and_no_alert_fires_when_all_is_well() {
    let (_fake, daemon) = session();
    let scratch = Scratch::new("prometheus");
    let prometheus = Prometheus::scraping(&daemon, &scratch);
    let expressions = dashboard();
    assert!(expressions.len() > 15);
    for expression in &expressions {
        let lacking = || format!("{expression}: {:?}", prometheus.query(expression));
        wait_until(DEADLINE, lacking, || {
            let answer = prometheus.query(expression)?;
            assert_eq!(answer["status"], "success", "{expression}: {answer}");
            let found = answer["data"]["result"].as_array()?;
            (!found.is_empty()).then_some(())
        });
    }
    let answer = prometheus.ask("/api/v1/rules").expect("rules");
    let rules = answer["data"]["groups"][0]["rules"]
        .as_array()
        .expect("rules");
    assert_eq!(rules.len(), 7);
    for rule in rules {
        assert_eq!(
            (&rule["health"], &rule["state"]),
            (&"ok".into(), &"inactive".into()),
            "{rule}"
        );
    }
}

/// By promtool, with what the counters of a daemon in trouble say: so no rule asks for what is never there.
#[test]
fn each_alert_fires_when_it_should() {
    let alerts = fs::read(monitoring("alerts.yaml")).expect("the alerts");
    let alerts: Value = serde_yaml::from_slice(&alerts).expect("YAML");
    let rules = alerts["groups"][0]["rules"].as_array().expect("rules");
    let trouble: [(&str, &[&str]); 7] = [
        ("ChartrepoWithoutIndex", &[]),
        (
            "ChartrepoIndexIsOld",
            &[
                "oci_chartrepo_refresh_failing 1x60",
                "oci_chartrepo_last_refresh_success_timestamp_seconds 1x60",
            ],
        ),
        (
            "ChartrepoLostVersions",
            &["oci_chartrepo_index_versions 100x20 10x40"],
        ),
        (
            "ChartrepoUnreadable",
            &["oci_chartrepo_skipped{reason=\"unreadable\"} 1x60"],
        ),
        (
            "ChartrepoOverBound",
            &["oci_chartrepo_skipped{reason=\"over_bound\"} 1x60"],
        ),
        (
            "ChartrepoErrors",
            &[
                "oci_chartrepo_http_requests_total{method=\"GET\",route=\"/charts/ARCHIVE\",code=\"502\"} 0+10x60",
            ],
        ),
        (
            "ChartrepoThrottled",
            &["oci_chartrepo_registry_requests_total{operation=\"tags\",code=\"429\"} 0+100x60"],
        ),
    ];
    let scratch = Scratch::new("alerts");
    let tests = trouble.map(|(alert, series)| {
        assert!(rules.iter().any(|rule| rule["alert"] == alert), "{alert}");
        let inputs = series.iter().map(|line| {
            let (series, values) = line.split_once(' ').expect("a series and its values");
            serde_json::json!({"series": series, "values": values})
        });
        let fires = serde_json::json!({"expr": format!("count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}) > 0"),
            "eval_time": "50m", "exp_samples": [{"labels": "{}", "value": 1}]});
        serde_json::json!({"interval": "1m", "input_series": inputs.collect::<Vec<_>>(), "promql_expr_test": [fires]})
    });
    assert_eq!(rules.len(), tests.len());
    let file = serde_json::json!({"rule_files": [monitoring("alerts.yaml")], "evaluation_interval": "1m", "tests": tests});
    let file = scratch.file("test.yaml", file.to_string());
    run_ok(
        &tool("promtool"),
        &["test", "rules", file.to_str().expect("UTF-8")],
        &[],
    );
}
