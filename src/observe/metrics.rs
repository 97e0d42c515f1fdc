//! What is counted while the program works, and told at `/metrics`. A counter is one atomic word, so that
//! no scrape holds up a request. Each metric names the values of its labels; any other value counts as
//! `other`, so that neither a registry nor a client can add a series.

use super::exposition::{Exposition, Kind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of durations, in seconds, and how they are written: from a page in memory to a download over
/// a slow line.
const BOUNDS: [(f64, &str); 9] = [
    (0.001, "0.001"),
    (0.005, "0.005"),
    (0.025, "0.025"),
    (0.1, "0.1"),
    (0.5, "0.5"),
    (2.5, "2.5"),
    (10.0, "10.0"),
    (60.0, "60.0"),
    (300.0, "300.0"),
];
const ROW: usize = BOUNDS.len() + 2;

/// A label, and its values; the last one stands for all others.
type Label = (&'static str, &'static [&'static str]);

/// A counter for each combination of its labels' values.
pub struct Counters {
    name: &'static str,
    help: &'static str,
    labels: &'static [Label],
    /// Apart, because a static that begins as zeros takes no room in the binary.
    values: &'static [AtomicU64],
}

/// How many of each outcome took how long.
pub struct Durations {
    name: &'static str,
    help: &'static str,
    label: Label,
    /// For each value of the label: counts up to each bound, the count of the rest, and the sum in microseconds.
    rows: &'static [[AtomicU64; ROW]],
}

/// So many zeros, or rows of zeros, in a place of their own.
macro_rules! zeros {
    ($count:expr) => {{
        static ZEROS: [AtomicU64; $count] = [const { AtomicU64::new(0) }; $count];
        &ZEROS
    }};
    ($count:expr, $row:expr) => {{
        static ZEROS: [[AtomicU64; $row]; $count] =
            [const { [const { AtomicU64::new(0) }; $row] }; $count];
        &ZEROS
    }};
}

const METHODS: &[&str] = &["GET", "HEAD", "other"];
/// Templates of paths, as the server's routes name them.
const ROUTES: &[&str] = &[
    "/",
    "/PREFIX",
    "/index.yaml",
    "/index.json",
    "/artifacthub-repo.yml",
    "/charts/ARCHIVE",
    "/charts/NAME",
    "/api",
    "/livez",
    "/readyz",
    "/metrics",
    "/health",
    "/info",
    "other",
];
const CODES: &[&str] = &[
    "200", "204", "206", "304", "308", "400", "404", "405", "408", "411", "413", "414", "416",
    "431", "500", "501", "502", "503", "504", "505", "other",
];
const HTTP: &[Label] = &[("method", METHODS), ("route", ROUTES), ("code", CODES)];
const UPSTREAM: &[Label] = &[
    (
        "operation",
        &[
            "probe",
            "catalog",
            "tags",
            "manifest_check",
            "manifest",
            "blob",
            "token",
            "other",
        ],
    ),
    (
        "code",
        &[
            "none", "200", "206", "301", "302", "303", "307", "308", "400", "401", "403", "404",
            "405", "408", "429", "500", "502", "503", "504", "other",
        ],
    ),
];
const USES: &[Label] = &[("result", &["hit", "miss"])];

/// Responses, by `method`, `route` and `code`.
pub static HTTP_REQUESTS: Counters = Counters {
    name: "oci_chartrepo_http_requests_total",
    help: "Requests of clients that were answered.",
    labels: HTTP,
    values: zeros!(combinations(HTTP)),
};

/// From a request's last byte to its response's, by `route`.
pub static HTTP_SECONDS: Durations = Durations {
    name: "oci_chartrepo_http_request_duration_seconds",
    help: "Time from a request's last byte to the last byte of its response.",
    label: ("route", ROUTES),
    rows: zeros!(ROUTES.len(), ROW),
};

/// Refreshes of the index, by `result`.
pub static REFRESHES: Durations = Durations {
    name: "oci_chartrepo_refresh_duration_seconds",
    help: "Time that refreshes of the index took.",
    label: ("result", &["success", "failure"]),
    rows: zeros!(2, ROW),
};

/// Requests to the registry and where it redirects to, by `operation` and `code`.
pub static REGISTRY_REQUESTS: Counters = Counters {
    name: "oci_chartrepo_registry_requests_total",
    help: "Requests to the registry, its token server and where it redirects to.",
    labels: UPSTREAM,
    values: zeros!(combinations(UPSTREAM)),
};

/// Requests to the registry that were sent again.
pub static REGISTRY_RETRIES: Counters = Counters {
    name: "oci_chartrepo_registry_retries_total",
    help: "Requests to the registry that were repeated after a failure.",
    labels: &[],
    values: zeros!(1),
};

/// Times that requests to the registry were held back, because it asked for that or gave no answer.
pub static REGISTRY_PAUSES: Counters = Counters {
    name: "oci_chartrepo_registry_pauses_total",
    help: "Pauses in which no request was sent, as the registry asked or because it gave no answer.",
    labels: &[],
    values: zeros!(1),
};

/// Whether archives that were asked for were in memory, by `result`.
pub static CHART_CACHE: Counters = Counters {
    name: "oci_chartrepo_chart_cache_requests_total",
    help: "Archives and provenance files that were asked for, and whether they were in memory.",
    labels: USES,
    values: zeros!(combinations(USES)),
};

/// Times that archives left memory.
pub static CHART_CACHE_EVICTIONS: Counters = Counters {
    name: "oci_chartrepo_chart_cache_evictions_total",
    help: "Times that archives left memory to make room for another.",
    labels: &[],
    values: zeros!(1),
};

/// Whether blobs that were asked for were in the mirror, by `result`.
pub static MIRROR: Counters = Counters {
    name: "oci_chartrepo_mirror_requests_total",
    help: "Blobs that were asked for, and whether they were in the mirror's directory.",
    labels: USES,
    values: zeros!(combinations(USES)),
};

/// Connections that had to make room for others.
pub static EVICTIONS: Counters = Counters {
    name: "oci_chartrepo_connections_evicted_total",
    help: "Connections that were closed to make room for others.",
    labels: &[],
    values: zeros!(1),
};

/// Writes all that has been counted.
pub fn write(to: &mut Exposition) {
    HTTP_REQUESTS.write(to);
    HTTP_SECONDS.write(to);
    REFRESHES.write(to);
    REGISTRY_REQUESTS.write(to);
    REGISTRY_RETRIES.write(to);
    REGISTRY_PAUSES.write(to);
    CHART_CACHE.write(to);
    CHART_CACHE_EVICTIONS.write(to);
    MIRROR.write(to);
    EVICTIONS.write(to);
}

const fn combinations(labels: &[Label]) -> usize {
    let (mut count, mut at) = (1, 0);
    while at < labels.len() {
        count *= labels[at].1.len();
        at += 1;
    }
    count
}

/// Where the value is, or the last one.
fn place(label: &Label, value: &str) -> usize {
    let known = label.1.iter().position(|known| *known == value);
    known.unwrap_or(label.1.len() - 1)
}

impl Counters {
    /// Adds one to the counter of these values, given in the order of the labels.
    pub fn count(&self, values: &[&str]) {
        let labels = self.labels.iter().zip(values);
        let at = labels.fold(0, |at, (label, value)| {
            at * label.1.len() + place(label, value)
        });
        if let Some(counter) = self.values.get(at) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn write(&self, to: &mut Exposition) {
        to.begin(self.name, Kind::Counter, self.help);
        write_counters(self.name, self.labels, self.values, to);
    }
}

impl Durations {
    /// Notes one that took so long.
    pub fn observe(&self, value: &str, took: Duration) {
        if let Some(row) = self.rows.get(place(&self.label, value)) {
            note(row, took);
        }
    }

    fn write(&self, to: &mut Exposition) {
        to.begin(self.name, Kind::Histogram, self.help);
        for (value, row) in self.label.1.iter().zip(self.rows) {
            write_durations(self.name, (self.label.0, value), row, to);
        }
    }
}

/// Combinations of labels that never occurred are left out.
fn write_counters(name: &str, labels: &[Label], values: &[AtomicU64], to: &mut Exposition) {
    for (at, counter) in values.iter().enumerate() {
        let value = counter.load(Ordering::Relaxed);
        if value == 0 && !labels.is_empty() {
            continue;
        }
        let (mut rest, mut set) = (at, Vec::new());
        for (label, values) in labels.iter().rev() {
            set.insert(0, (*label, values[rest % values.len()]));
            rest /= values.len();
        }
        to.sample(name, &set, value);
    }
}

fn note(row: &[AtomicU64; ROW], took: Duration) {
    let seconds = took.as_secs_f64();
    let bucket = BOUNDS.iter().position(|(bound, _)| seconds <= *bound);
    row[bucket.unwrap_or(BOUNDS.len())].fetch_add(1, Ordering::Relaxed);
    row[ROW - 1].fetch_add(took.as_micros() as u64, Ordering::Relaxed);
}

fn write_durations(name: &str, label: (&str, &str), row: &[AtomicU64; ROW], to: &mut Exposition) {
    let row = row.each_ref().map(|one| one.load(Ordering::Relaxed));
    let count: u64 = row[..ROW - 1].iter().sum();
    if count == 0 {
        return;
    }
    let bounds = BOUNDS.iter().map(|(_, text)| *text).chain(["+Inf"]);
    let mut up_to = 0;
    for (bound, counted) in bounds.zip(row) {
        up_to += counted;
        to.sample(&format!("{name}_bucket"), &[label, ("le", bound)], up_to);
    }
    let sum = row[ROW - 1] as f64 / 1e6;
    to.sample(&format!("{name}_sum"), &[label], sum);
    to.sample(&format!("{name}_count"), &[label], count);
}

#[cfg(test)]
mod tests {
    use super::super::exposition::Format;
    use super::*;

    static REQUESTS: Counters = Counters {
        name: "requests_total",
        help: "Requests.",
        labels: &[("method", METHODS), ("code", &["200", "other"])],
        values: zeros!(6),
    };
    static SECONDS: Durations = Durations {
        name: "seconds",
        help: "Seconds.",
        label: ("result", &["success", "failure"]),
        rows: zeros!(2, ROW),
    };

    #[test]
    fn what_no_label_names_is_counted_as_other() {
        REQUESTS.count(&["GET", "200"]);
        REQUESTS.count(&["GET", "200"]);
        REQUESTS.count(&["BREW", "418"]);
        for (format, family, end) in [
            (Format::Prometheus, "requests_total", ""),
            (Format::OpenMetrics, "requests", "# EOF\n"),
        ] {
            let mut text = Exposition::new(format);
            REQUESTS.write(&mut text);
            let expected = format!(
                "# HELP {family} Requests.\n# TYPE {family} counter\n\
                 requests_total{{method=\"GET\",code=\"200\"}} 2\n\
                 requests_total{{method=\"other\",code=\"other\"}} 1\n{end}"
            );
            assert_eq!(text.finish(), expected);
        }
    }

    #[test]
    fn a_bucket_counts_all_that_took_no_longer_than_its_bound() {
        for milliseconds in [1, 2, 400_000] {
            SECONDS.observe("failure", Duration::from_millis(milliseconds));
        }
        let mut text = Exposition::new(Format::Prometheus);
        SECONDS.write(&mut text);
        let text = text.finish();
        let value = |series: &str| {
            let start = format!("seconds_{series} ");
            text.lines()
                .find_map(|line| line.strip_prefix(&start))
                .map(str::to_owned)
        };
        for (bound, count) in [
            ("0.001", "1"),
            ("0.005", "2"),
            ("300.0", "2"),
            ("+Inf", "3"),
        ] {
            let series = format!("bucket{{result=\"failure\",le=\"{bound}\"}}");
            assert_eq!(value(&series).as_deref(), Some(count), "{bound}");
        }
        assert_eq!(value("sum{result=\"failure\"}").as_deref(), Some("400.003"));
        assert_eq!(value("count{result=\"failure\"}").as_deref(), Some("3"));
        assert!(!text.contains("success"), "{text}");
    }
}
