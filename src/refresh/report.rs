//! What the log says of a new snapshot. It changes nothing.

use crate::oci::split;
use crate::snapshot::Snapshot;
use crate::storage::{Error, ErrorKind};
use std::collections::BTreeSet;
use std::time::Duration;

/// Rancher reads no more of an index than this, in bytes; and Flux.
const READERS: [(&str, usize); 2] = [("Rancher", 5 << 20), ("Flux", 50 << 20)];
/// What helps when a bound is reached.
pub(super) const OVER_BOUND: &str =
    "--exclude and --max-versions make it fit, and /api/skipped names what is left out";
/// Most warnings of one snapshot about versions that have changed.
const MAX_CHANGED: usize = 10;

/// Logs what a new snapshot holds, and what has changed since the last one. Its scan took so long, and so
/// many requests.
pub(super) fn report(
    snapshot: &Snapshot,
    last: Option<&Snapshot>,
    (took, requests): (Duration, u64),
) {
    if log::log_enabled!(log::Level::Debug) {
        report_skipped(snapshot, last);
    }
    report_size(snapshot, last);
    if let Some(last) = last {
        report_changed(snapshot, last);
    }
    let over_before = last.map_or(0, |last| last.counts.over_bound);
    if snapshot.counts.over_bound > over_before {
        log::warn!("{}; {OVER_BOUND}", snapshot.counts);
    }
    let etag = |snapshot: &Snapshot| snapshot.index().identity().etag.clone();
    let has_changed =
        last.is_none_or(|last| etag(last) != etag(snapshot) || last.counts != snapshot.counts);
    if has_changed {
        let counts = snapshot.counts;
        log::info!(
            charts = counts.charts, versions = counts.versions, skipped = counts.skipped,
            duration = took.as_secs_f64(), requests = requests;
            "snapshot: {counts} ({took:.1?}, {requests} requests)"
        );
    }
    if has_changed && snapshot.counts.versions == 0 {
        log::warn!("{:#}", no_chart(snapshot));
    }
}

/// Logs what is newly skipped, or for another reason than before.
fn report_skipped(snapshot: &Snapshot, last: Option<&Snapshot>) {
    let before = last.map_or(&[][..], |last| &last.skipped);
    let before: BTreeSet<_> = before
        .iter()
        .map(|skipped| (&skipped.reference, &skipped.reason))
        .collect();
    for skipped in &snapshot.skipped {
        if !before.contains(&(&skipped.reference, &skipped.reason)) {
            let (repository, tag) = split(&skipped.reference);
            log::debug!(repository = repository, tag = tag; "{skipped}");
        }
    }
}

/// Warns of versions that were listed before and are others now.
fn report_changed(snapshot: &Snapshot, last: &Snapshot) {
    let changes = snapshot.changes_since(last);
    for change in changes.iter().take(MAX_CHANGED) {
        log::warn!("{change}");
    }
    if changes.len() > MAX_CHANGED {
        let more = changes.len() - MAX_CHANGED;
        log::warn!("{more} more listed versions have changed");
    }
}

/// Warns when the index exceeds what Rancher or Flux reads, and says when it fits again.
fn report_size(snapshot: &Snapshot, last: Option<&Snapshot>) {
    let length = |snapshot: &Snapshot| snapshot.index().identity().length;
    let (before, now) = (last.map_or(0, length), length(snapshot));
    for (reader, most) in READERS {
        if now > most && before <= most {
            log::warn!(
                "the index has grown to {now} bytes: {reader} reads no more than {} MiB",
                most >> 20
            );
        } else if now <= most && before > most {
            log::info!("the index has shrunk to {now} bytes: {reader} reads it again");
        }
    }
}

/// A mistyped prefix, name or filter looks like this.
pub(super) fn no_chart(snapshot: &Snapshot) -> Error {
    let example = match snapshot.skipped.first() {
        Some(skipped) => format!(
            "; {} skipped, such as {}",
            snapshot.counts.skipped,
            skipped.example()
        ),
        None => String::new(),
    };
    Error::new(ErrorKind::NotFound, format!("no chart was found{example}"))
}
