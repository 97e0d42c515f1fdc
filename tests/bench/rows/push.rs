//! `helm push`, and what the next `GET /index.yaml` says.

use std::time::{Duration, Instant};

use super::{Line, Setting, Spread, Table};
use crate::children::{address, daemon};
use crate::filled::thousand;
use crate::load;
use crate::support::daemon::Daemon;
use crate::support::docker_registry::DockerRegistry;
use crate::support::helm::{Helm, argument};
use crate::support::process::Scratch;
use crate::support::tools::NEWEST_HELM;
use crate::table::Goal;

const PUSHES: usize = 10;
/// With an index that may be as old as by default, each push takes as long.
const SLOW_PUSHES: usize = 3;
/// The default of `--max-stale`.
const MAX_STALE: Duration = Duration::from_secs(5);

pub fn play(setting: &Setting, table: &mut Table) {
    let registry = thousand();
    let pusher = Pusher {
        registry,
        helm: Helm::new(NEWEST_HELM),
        charts: Scratch::new("pushed"),
    };
    let always_fresh = daemon(&setting.daemon, &[&flag(registry), "--max-stale=0s"]);
    let seen: Vec<Seen> = (0..PUSHES)
        .map(|number| pusher.push(&always_fresh, number))
        .collect();
    report(
        table,
        "helm push → next GET /index.yaml, --max-stale=0s",
        &seen,
    );
    drop(always_fresh);
    let usual = daemon(&setting.daemon, &[&flag(registry)]);
    let seen = (0..SLOW_PUSHES).map(|number| {
        std::thread::sleep(MAX_STALE);
        pusher.push(&usual, PUSHES + number)
    });
    report(
        table,
        "the same by default, when the index is older than 5 s",
        &seen.collect::<Vec<_>>(),
    );
}

fn flag(registry: &DockerRegistry) -> String {
    format!("--storage-registry-repo=http://{}", registry.host())
}

fn report(table: &mut Table, what: &str, seen: &[Seen]) {
    let times = Spread::of(seen.iter().map(|one| one.took.as_secs_f64() * 1e3));
    let count = seen.iter().filter(|one| one.listed).count();
    table.add(&Line {
        what: what.into(),
        ours: format!("{count} of {} seen", seen.len()),
        beside: format!("GET in {times} ms"),
        measured: Spread::of([count as f64 / seen.len() as f64]),
        unit: "",
        goal: Goal::AtLeast(1.0),
    });
}

/// The first index after a push.
struct Seen {
    listed: bool,
    took: Duration,
}

struct Pusher<'a> {
    registry: &'a DockerRegistry,
    helm: Helm,
    charts: Scratch,
}

impl Pusher<'_> {
    /// Pushes another version of one chart.
    fn push(&self, daemon: &Daemon, number: usize) -> Seen {
        let version = format!("0.{number}.0");
        let text = format!("apiVersion: v2\nname: pushed\nversion: {version}\n");
        self.charts.file("pushed/Chart.yaml", text);
        let (source, target) = (self.charts.join("pushed"), self.charts.path());
        self.helm.run(&[
            "package",
            "--destination",
            argument(target),
            argument(&source),
        ]);
        let archive = self.charts.join(&format!("pushed-{version}.tgz"));
        let team = format!("oci://{}/team-0", self.registry.host());
        self.helm
            .run(&["push", argument(&archive), &team, "--plain-http"]);
        let began = Instant::now();
        let answer = load::get(address(daemon.port()), "/index.yaml", &[]).expect("an answer");
        let took = began.elapsed();
        Seen {
            listed: answer
                .body_text()
                .contains(&format!("pushed-{version}.tgz")),
            took,
        }
    }
}
