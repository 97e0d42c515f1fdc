//! A refresh when nothing has changed and no tag is due: the least that a registry can be asked to
//! see a new repository and a new tag.

use std::time::Instant;

use super::walk::{CONCURRENCY, LATENCY};
use super::{Line, REFRESH_AT_EACH_GET, Setting, Spread, Table};
use crate::census::Asked;
use crate::charts::Shape;
use crate::children::{address, daemon};
use crate::filled::{THOUSAND, thousand};
use crate::load;
use crate::relay::{Distance, Relay};
use crate::synthetic::PAGE;
use crate::table::{Goal, digits, thousands};

const ROUNDS: usize = 5;

pub fn play(setting: &Setting, table: &mut Table) {
    let relay = Relay::start(
        thousand().port(),
        Distance {
            latency: LATENCY,
            pace: None,
        },
    );
    let (flag, concurrency) = (relay.flag(), format!("--concurrency={CONCURRENCY}"));
    let flags = [&[&*flag, &concurrency], &REFRESH_AT_EACH_GET[..]].concat();
    let daemon = daemon(&setting.daemon, &flags);
    let (mut refreshes, mut times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        relay.asked();
        let began = Instant::now();
        load::get(address(daemon.port()), "/index.yaml", &[]).expect("an answer");
        times.push(began.elapsed().as_secs_f64() * 1e3);
        refreshes.push(relay.asked());
    }
    report(
        table,
        "refresh of the same when nothing changed",
        THOUSAND,
        &refreshes,
    );
    table.add(&Line {
        what: "the same: GET /index.yaml that waits for it, 20 ms away".into(),
        ours: String::new(),
        beside: format!("{} ms of waiting", digits(waiting(refreshes[0].all()))),
        measured: Spread::of(times),
        unit: "ms",
        goal: Goal::None,
    });
}

/// Milliseconds that so many requests wait at least.
fn waiting(requests: usize) -> f64 {
    requests as f64 / CONCURRENCY as f64 * LATENCY.as_secs_f64() * 1e3
}

/// Two lines: what was asked in all, and of that what needn't have been.
pub fn report(table: &mut Table, what: &str, shape: Shape, refreshes: &[Asked]) {
    let pages = shape.repositories.div_ceil(PAGE);
    let allowed = pages + shape.repositories;
    let last = refreshes[refreshes.len() - 1];
    assert!(
        refreshes.iter().all(|asked| asked.catalog >= pages),
        "each GET makes a refresh: {refreshes:?}"
    );
    table.add(&Line {
        what: what.into(),
        ours: format!("{} requests", thousands(last.all())),
        beside: format!("{pages} + {} listings", thousands(shape.repositories)),
        measured: Spread::of(
            refreshes
                .iter()
                .map(|asked| asked.all() as f64 / allowed as f64),
        ),
        unit: "",
        goal: Goal::AtMost(1.0),
    });
    let content = |asked: &Asked| asked.manifest_heads + asked.manifests + asked.blobs;
    table.add(&Line {
        what: "the same: requests for manifests and blobs".into(),
        ours: format!(
            "{} HEAD, {} GET, {} blobs",
            last.manifest_heads, last.manifests, last.blobs
        ),
        beside: String::new(),
        measured: Spread::of(refreshes.iter().map(|asked| content(asked) as f64)),
        unit: "",
        goal: Goal::NeverOver(0.0),
    });
}
