//! The Helm chart that installs this program, and the plain Deployment beside it: what they render is what
//! Kubernetes takes, what "restricted" namespaces admit, and what the program runs with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::daemon::{Daemon, program};
use crate::support::fake_registry::{Chart, FakeRegistry};
use crate::support::helm::Helm;
use crate::support::kubernetes::{assert_valid, documents};
use crate::support::process::{Scratch, run_ok, text};
use crate::support::tools::NEWEST_HELM;

/// An older one takes the cluster that it renders for to be older than the chart allows.
const HELMS: [&str; 3] = ["3.9.4", "3.17.3", NEWEST_HELM];
/// The values that have no default.
const FILLED: &str =
    "image.repository=registry.example/oci-chartrepo,registry.address=registry.example";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn place() -> String {
    deploy().join("chart/oci-chartrepo").display().to_string()
}

fn everything() -> String {
    place() + "/ci/everything-values.yaml"
}

fn rendered(helm: &Helm, arguments: &[&str]) -> Vec<Value> {
    let place = place();
    documents(&helm.run(&[&["template", "charts", &place], arguments].concat()))
}

/// The ways to install it that the values choose between.
const CHOICES: [&[&str]; 6] = [
    &["--set", FILLED],
    &[
        "--set",
        FILLED,
        "--set",
        "registry.credentials.existingSecret=",
    ],
    &[
        "--set",
        FILLED,
        "--set",
        "registry.ca.secret=ca,mirror.enabled=true",
    ],
    &[
        "--set",
        FILLED,
        "--set",
        "storage=local,charts.volume.emptyDir.medium=Memory",
    ],
    &[
        "--set",
        FILLED,
        "--set",
        "storage=layout,charts.volume.hostPath.path=/charts,replicaCount=2",
    ],
    &[
        "--set",
        FILLED,
        "--set",
        "ingress.enabled=true,ingress.stripPrefix=/helm",
        "--set",
        "httpRoute.enabled=true,httpRoute.stripPrefix=/helm,httpRoute.parentRefs[0].name=public",
    ],
];

#[test]
fn the_chart_passes_lint_and_renders_with_three_helms_for_three_kubernetes_versions() {
    let everything = everything();
    for version in HELMS {
        let helm = Helm::new(version);
        helm.run(&["lint", "--strict", &place()]);
        helm.run(&["lint", "--strict", &place(), "--values", &everything]);
        let all = rendered(&helm, &["--values", &everything]);
        assert_eq!(all.len(), 11, "helm {version}: {all:#?}");
        assert_valid(&all);
    }
    let helm = Helm::new(NEWEST_HELM);
    for choice in CHOICES {
        assert_valid(&rendered(&helm, choice));
    }
}

#[test]
fn the_rules_of_the_chart_are_those_of_deploy_monitoring() {
    let rules = "prometheusRule.enabled=true";
    let objects = rendered(&Helm::new(NEWEST_HELM), &["--set", FILLED, "--set", rules]);
    let rule = objects
        .iter()
        .find(|object| object["kind"] == "PrometheusRule");
    let alerts = fs::read_to_string(deploy().join("monitoring/alerts.yaml")).expect("the alerts");
    assert_eq!(
        rule.expect("a PrometheusRule is rendered")["spec"],
        documents(&alerts)[0],
        "cp deploy/monitoring/alerts.yaml deploy/chart/oci-chartrepo/files/"
    );
}

#[test]
fn a_prometheus_finds_the_metrics_by_the_service_monitor_below_a_context_path_too() {
    let objects = rendered(&Helm::new(NEWEST_HELM), &["--values", &everything()]);
    let one = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
    let monitor = &one("ServiceMonitor").expect("a ServiceMonitor is rendered")["spec"];
    let service = one("Service").expect("a Service is rendered");
    let wanted = monitor["selector"]["matchLabels"].as_object();
    for (name, value) in wanted.expect("labels") {
        assert_eq!(&service["metadata"]["labels"][name], value, "{name}");
    }
    let endpoint = &monitor["endpoints"][0];
    assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
    let path = endpoint["path"].as_str().unwrap_or("/metrics");
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    let daemon = Daemon::start_ready(&[&fake.flag(), "--context-path=/helm"]);
    assert_eq!(daemon.get(path).status, 200);
}

#[test]
fn a_value_that_is_missing_misspelt_or_contradictory_is_named() {
    let helm = Helm::new(NEWEST_HELM);
    for (values, named) in [
        ("image.repository=h/i", "registry.address"),
        ("registry.address=h", "image.repository"),
        ("registry.adress=h", "adress"),
        ("logLevel=loud", "logLevel"),
        ("registry.address=https://h", "address"),
        ("index.maxStale=5", "maxStale"),
        (
            "registry.ca.configMap=a,registry.ca.secret=b",
            "registry.ca",
        ),
        ("storage=local", "charts.volume"),
        (
            "mirror.enabled=true,storage=local,charts.volume.emptyDir.medium=Memory",
            "mirror.enabled",
        ),
        (
            "mirror.enabled=true,mirror.persistence.enabled=true,replicaCount=2",
            "replicaCount",
        ),
        ("httpRoute.enabled=true", "httpRoute.parentRefs"),
    ] {
        let all = format!("{FILLED},{values}");
        let values = match named {
            "registry.address" | "image.repository" => values,
            _ => &all,
        };
        let said = helm.fails(&["template", "charts", &place(), "--set", values]);
        assert!(said.contains(named), "{values}: {said}");
    }
}

/// The Deployment that came first, with its placeholders filled.
fn plain() -> Vec<Value> {
    let file = deploy().join("oci-chart-registry-deployment.yaml");
    let text = fs::read_to_string(file).expect("the Deployment can be read");
    let filled = text
        .replace("{{image}}", "registry.example/oci-chartrepo")
        .replace("{{remote.registry.address}}", "registry.example")
        .replace("{{remote.registry.scheme}}", "HTTPS");
    documents(&filled)
}

#[test]
fn the_chart_renders_by_default_what_the_plain_deployment_holds() {
    let named = "fullnameOverride=oci-chart-registry,registry.scheme=HTTPS";
    let set = format!("{FILLED},{named}");
    let mut chart = rendered(&Helm::new(NEWEST_HELM), &["--set", &set, "--no-hooks"]);
    let mut plain = plain();
    assert_valid(&plain);
    for object in chart.iter_mut().chain(&mut plain) {
        // The labels by which the two of each find one another differ: those of a chart name its release.
        for labels in [
            "/metadata/labels",
            "/spec/selector",
            "/spec/template/metadata/labels",
        ] {
            if let Some(labels) = object.pointer_mut(labels) {
                *labels = Value::Null;
            }
        }
    }
    let kind = |object: &Value| object["kind"].to_string();
    chart.sort_by_key(kind);
    plain.sort_by_key(kind);
    assert_eq!(chart, plain);
}

#[test]
fn the_selectors_find_the_pods_and_not_those_of_the_test() {
    let objects = rendered(&Helm::new(NEWEST_HELM), &["--values", &everything()]);
    let one = |kind: &str| {
        let found = objects.iter().find(|object| object["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind} is rendered"))
    };
    let pod = &one("Deployment")["spec"]["template"]["metadata"]["labels"];
    let test = &one("Pod")["metadata"]["labels"];
    for selector in [
        &one("Deployment")["spec"]["selector"]["matchLabels"],
        &one("Service")["spec"]["selector"],
        &one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        &one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ] {
        let wanted = selector.as_object().expect("labels");
        let finds = |labels: &Value| wanted.iter().all(|(name, value)| labels[name] == *value);
        assert!(finds(pod) && !finds(test), "{selector}");
    }
}

/// What Pod Security "restricted" asks of a pod.
#[test]
fn the_pods_are_admitted_to_a_restricted_namespace() {
    for choice in CHOICES {
        for object in rendered(&Helm::new(NEWEST_HELM), choice) {
            let pod = match object["kind"].as_str() {
                Some("Deployment") => &object["spec"]["template"]["spec"],
                Some("Pod") => &object["spec"],
                _ => continue,
            };
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(
                pod["securityContext"]["seccompProfile"]["type"],
                "RuntimeDefault"
            );
            for container in pod["containers"].as_array().expect("containers") {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false);
                assert_eq!(context["readOnlyRootFilesystem"], true);
                assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
            }
        }
    }
}

fn arguments(object: &Value) -> Vec<String> {
    let containers = object
        .pointer("/spec/template/spec/containers/0/args")
        .or_else(|| object.pointer("/spec/containers/0/args"));
    let words = containers.and_then(Value::as_array).expect("arguments");
    words
        .iter()
        .map(|word| word.as_str().expect("a string").to_owned())
        .collect()
}

#[test]
fn the_pods_run_with_the_arguments_that_are_rendered() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("team/web", "1.0.0"));
    fake.push(&Chart::new("other/db", "1.0.0"));
    let set = format!(
        "image.repository=i,registry.address={},registry.prefix=team,registry.scheme=HTTP,\
         server.contextPath=/helm,index.format=json,filter.maxVersions=5,index.maxStale=10s",
        fake.host()
    );
    let objects = rendered(&Helm::new(NEWEST_HELM), &["--set", &set]);
    let of_kind = |kind: &str| {
        let object = objects.iter().find(|object| object["kind"] == kind);
        arguments(object.unwrap_or_else(|| panic!("no {kind} is rendered")))
    };
    let serving: Vec<String> = of_kind("Deployment")
        .iter()
        .map(|word| word.replace("--port=8080", "--port=0"))
        .collect();
    assert!(serving.contains(&"--port=0".into()), "{serving:?}");
    let words: Vec<&str> = serving.iter().map(String::as_str).collect();
    let daemon = Daemon::start_ready(&words);
    let index = daemon.get("/helm/index.yaml");
    let index = text(&index.body);
    assert!(
        index.contains("web-1.0.0.tgz") && !index.contains("db-1.0.0"),
        "{index}"
    );
    // and the one of `helm test`, to its end
    let reading = of_kind("Pod");
    let words: Vec<&str> = reading.iter().map(String::as_str).collect();
    let told = run_ok(Path::new(program()), &words, &[]);
    assert!(told.contains("web-1.0.0.tgz"), "{told}");
}

#[test]
fn the_chart_has_a_value_for_each_flag_and_no_flag_that_the_program_lacks() {
    let help = run_ok(Path::new(program()), &["--help"], &[]);
    let flags = help.lines().filter_map(|line| line.strip_prefix("  --"));
    let flags: Vec<&str> = flags.filter_map(|line| line.split(' ').next()).collect();
    let objects = rendered(&Helm::new(NEWEST_HELM), &["--values", &everything()]);
    let mut used: Vec<String> = objects
        .iter()
        .filter(|object| object["kind"] == "Deployment")
        .flat_map(arguments)
        .collect();
    for local in [
        &[
            "--set",
            FILLED,
            "--set",
            "storage=local,charts.volume.emptyDir.medium=x",
        ],
        &[
            "--set",
            FILLED,
            "--set",
            "storage=layout,charts.volume.emptyDir.medium=x",
        ],
    ] {
        let objects = rendered(&Helm::new(NEWEST_HELM), local);
        used.extend(
            objects
                .iter()
                .filter(|object| object["kind"] == "Deployment")
                .flat_map(arguments),
        );
    }
    assert!(flags.len() > 30, "{help}");
    for word in &used {
        let flag = word.split('=').next().expect("a word");
        let is_one = flags.iter().any(|known| flag == format!("--{known}"));
        assert!(is_one, "{word} is no flag");
    }
    for flag in flags {
        // The Secret is mounted at the default place; the pod's network is its own.
        if ["help", "version", "storage-registry-config", "listen-host"].contains(&flag) {
            continue;
        }
        let is_it = |word: &String| word.split('=').next() == Some(&format!("--{flag}"));
        assert!(used.iter().any(is_it), "--{flag} in {used:?}");
    }
}

#[test]
fn the_chart_is_among_the_sample_charts_and_installs_from_there() {
    let scratch = Scratch::new("own-chart");
    let helm = Helm::new(NEWEST_HELM);
    let folder = scratch.join("charts");
    fs::create_dir(&folder).expect("mkdir");
    helm.run(&[
        "package",
        &place(),
        "--destination",
        &folder.display().to_string(),
    ]);
    let folder = format!("--storage-local-rootdir={}", folder.display());
    let daemon = Daemon::start_ready(&["--storage=local", &folder]);
    helm.run(&["repo", "add", "own", &daemon.url()]);
    let of_repository = helm.run(&["template", "charts", "own/oci-chartrepo", "--set", FILLED]);
    assert_eq!(
        documents(&of_repository),
        rendered(&helm, &["--set", FILLED])
    );
    let list = Command::new("make")
        .args(["--dry-run", "run"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("make is here");
    assert!(
        text(&list.stdout).contains(" deploy/chart "),
        "make run packs it"
    );
}
