//! One row, played: a fresh daemon, the attack with a normal client beside it, the time after it,
//! and the same attack again while the daemon is told to stop.

use std::time::{Duration, Instant};

use crate::field::{Field, Turnout};
use crate::normal::{Normal, Visit, visit};
use crate::rows::Row;
use crate::scene::Scene;
use crate::watch::{Status, Watch};

/// How many good visits in a row say that a daemon is well.
const WELL: usize = 3;
/// How long a daemon may take to be well again, and to let its threads go.
const RECOVERY: Duration = Duration::from_secs(60);

/// How much of everything.
pub struct Scale {
    pub full: bool,
    /// How long an attack lasts.
    pub attack: Duration,
    /// How long the normal client stays afterwards.
    pub after: Duration,
    /// How far into the second attack the daemon is told to stop.
    pub until_term: Duration,
    /// How long downloads under way may go on after SIGTERM.
    pub grace: Duration,
    /// How many rows run at a time.
    pub at_a_time: usize,
    /// By how much the deadline of an ending is stretched.
    pub patience: u32,
}

impl Scale {
    pub fn full() -> Scale {
        Scale {
            full: true,
            attack: Duration::from_secs(8),
            after: Duration::from_secs(5),
            until_term: Duration::from_secs(2),
            grace: Duration::from_secs(3),
            at_a_time: 1,
            patience: 1,
        }
    }

    pub fn reduced() -> Scale {
        Scale {
            full: false,
            attack: Duration::from_secs(1),
            after: Duration::from_millis(300),
            until_term: Duration::from_millis(300),
            grace: Duration::from_secs(1),
            at_a_time: 3,
            patience: 3,
        }
    }
}

/// What was seen.
pub struct Outcome {
    pub turnout: Turnout,
    /// Share of normal requests with the right answer, in percent.
    pub answered: f64,
    pub first_failure: Option<String>,
    pub p50: Duration,
    pub p99: Duration,
    pub peak: Status,
    pub threads_before: usize,
    pub threads_left: usize,
    /// From the end of the attack to the first normal request since when all were answered soon.
    pub recovery: Duration,
    /// Whether normal requests are answered after the attack.
    pub well: bool,
    pub exit: Option<i32>,
    /// From SIGTERM to the end.
    pub ending: Duration,
    /// The last line of its log.
    pub last_words: String,
}

pub fn run(row: &Row, scale: &Scale) -> Outcome {
    let mut scene = Scene::set(row, scale);
    (row.spoil)(&scene.registry);
    let field = || {
        let charts = if row.large_charts {
            scene.registry.all()
        } else {
            scene.registry.small()
        };
        Field::new(
            scene.address(),
            row.strength(scale),
            charts,
            scene.registry.large(),
        )
    };
    let (first, second) = (field(), field());
    let before = Status::of(scene.daemon.pid()).unwrap_or_default();
    let watch = Watch::start(scene.daemon.pid());
    let normal = Normal::start(scene.address(), scene.index.clone());
    let ended = attack_for(scale.attack, row, &first);
    std::thread::sleep(scale.after);
    let visits = normal.finish();
    let well = is_well(&scene);
    let threads_left = threads_left(&scene, scale, before.threads);
    let peak = watch.finish();
    let (exit, ending) = term_under_attack(row, scale, &second, &mut scene);
    Outcome {
        turnout: first.turnout(),
        answered: share_answered(&visits),
        first_failure: visits.iter().find_map(|visit| visit.failure.clone()),
        p50: percentile(&visits, 50),
        p99: percentile(&visits, 99),
        peak,
        threads_before: before.threads,
        threads_left,
        recovery: recovery(&visits, ended),
        well,
        exit,
        ending,
        last_words: scene
            .daemon
            .log()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// Attacks for a while; when it ended.
fn attack_for(time: Duration, row: &Row, field: &Field) -> Instant {
    std::thread::scope(|scope| {
        scope.spawn(|| (row.attack)(field));
        std::thread::sleep(time);
        field.end();
    });
    Instant::now()
}

/// Tells the daemon to stop in the middle of an attack; its exit code, and how long it took.
fn term_under_attack(
    row: &Row,
    scale: &Scale,
    field: &Field,
    scene: &mut Scene,
) -> (Option<i32>, Duration) {
    std::thread::scope(|scope| {
        scope.spawn(|| (row.attack)(field));
        std::thread::sleep(scale.until_term);
        scene.daemon.signal("TERM");
        let told = Instant::now();
        let exit = scene.daemon.wait_exit();
        let ending = told.elapsed();
        field.end();
        (exit, ending)
    })
}

fn is_well(scene: &Scene) -> bool {
    let good = |_| visit(scene.address(), &scene.index).failure.is_none();
    (0..WELL).all(good)
}

/// The threads that stay, after some time to let them go.
fn threads_left(scene: &Scene, scale: &Scale, before: usize) -> usize {
    let threads = || Status::of(scene.daemon.pid()).map_or(0, |status| status.threads);
    let deadline = Instant::now() + if scale.full { RECOVERY } else { Duration::ZERO };
    while threads() > before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    threads()
}

fn share_answered(visits: &[Visit]) -> f64 {
    let answered = visits
        .iter()
        .filter(|visit| visit.failure.is_none())
        .count();
    100.0 * answered as f64 / visits.len().max(1) as f64
}

/// How long this share of the requests took at most, those without an answer included.
fn percentile(visits: &[Visit], percent: usize) -> Duration {
    let mut times: Vec<Duration> = visits.iter().map(|visit| visit.took).collect();
    times.sort();
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).copied().unwrap_or_default()
}

/// From the end of the attack until the last visit that was slow or failed was over.
fn recovery(visits: &[Visit], ended: Instant) -> Duration {
    let slow = Duration::from_millis(100);
    let bad = |visit: &&Visit| visit.failure.is_some() || visit.took > slow;
    let last = visits
        .iter()
        .rev()
        .find(bad)
        .map(|visit| visit.at + visit.took);
    last.map_or(Duration::ZERO, |last| last.saturating_duration_since(ended))
}
