//! `/metrics`: what was counted since the start, and the state of what is served now. A scrape holds no lock
//! for longer than it takes to read a number.

use super::connections::ConnectionTable;
use super::downloads::Downloads;
use super::response::Response;
use crate::observe::exposition::{Exposition, Format, Kind};
use crate::observe::{metrics, process};
use crate::refresh::Current;
use std::time::{SystemTime, UNIX_EPOCH};

/// What there is to tell of.
pub(super) struct Scraped<'a> {
    pub(super) current: &'a Current,
    pub(super) downloads: &'a Downloads,
    pub(super) connections: &'a ConnectionTable,
}

/// The response to a scrape, in the format that its `Accept` asks for.
pub(super) fn respond(accept: Option<&str>, state: &Scraped) -> Response {
    let format = Format::accepted(accept);
    let mut text = Exposition::new(format);
    let version = env!("CARGO_PKG_VERSION");
    let name = "oci_chartrepo_build_info";
    text.begin(name, Kind::Gauge, "The version of this program.");
    text.sample(name, &[("version", version)], 1);
    write_state(state, &mut text);
    metrics::write(&mut text);
    process::write(&mut text);
    Response::lines(200, format.content_type(), text.finish())
}

fn write_state(state: &Scraped, to: &mut Exposition) {
    let (downloads, cached) = state.downloads.in_use();
    let mut gauge = |name: &str, help: &str, value: usize| {
        to.single(&format!("oci_chartrepo_{name}"), Kind::Gauge, help, value);
    };
    gauge(
        "connections",
        "Open connections of clients.",
        state.connections.open(),
    );
    gauge(
        "downloads",
        "Downloads from the storage that are under way.",
        downloads,
    );
    gauge("chart_cache_bytes", "Memory that archives take.", cached);
    let unread = state.current.unread();
    gauge(
        "unread",
        "Repositories and tags that could not be read yet.",
        unread,
    );
    let is_failing = usize::from(state.current.failing().is_some());
    gauge(
        "refresh_failing",
        "Whether the last refresh has failed.",
        is_failing,
    );
    let Some(snapshot) = state.current.get() else {
        return;
    };
    let counts = snapshot.counts;
    gauge("index_charts", "Charts in the index.", counts.charts);
    gauge(
        "index_versions",
        "Chart versions in the index.",
        counts.versions,
    );
    let bytes = snapshot.index().identity().length;
    gauge("index_bytes", "Size of /index.yaml, not compressed.", bytes);
    let is_restored = usize::from(state.current.restored().is_some());
    gauge(
        "index_from_mirror",
        "Whether the index is what the mirror held at the start.",
        is_restored,
    );
    let age = state.current.age();
    if let Some(at) = age.and_then(|age| SystemTime::now().checked_sub(age)) {
        let at = at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        let name = "oci_chartrepo_last_refresh_success_timestamp_seconds";
        let help = "When the last refresh that succeeded began, in seconds since 1970.";
        to.single(name, Kind::Gauge, help, format_args!("{at:.3}"));
    }
    let unreadable = snapshot.skipped.iter().filter(|one| one.public.is_some());
    let unreadable = unreadable.count();
    let name = "oci_chartrepo_skipped";
    to.begin(
        name,
        Kind::Gauge,
        "Repositories and tags that are not listed, by reason.",
    );
    for (reason, count) in [
        ("unreadable", unreadable),
        ("over_bound", counts.over_bound),
        (
            "no_chart",
            counts
                .skipped
                .saturating_sub(unreadable + counts.over_bound),
        ),
    ] {
        to.sample(name, &[("reason", reason)], count);
    }
}
