//! The text that Prometheus reads: its own format, version 0.0.4, and OpenMetrics 1.0, which differs in two
//! places. No name and no label value comes from outside of this program, except the program's version.

use std::fmt::{Display, Write};

/// The two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format.
    Prometheus,
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
}

impl Format {
    /// The one that a request's `Accept` asks for.
    pub fn accepted(accept: Option<&str>) -> Format {
        match accept {
            Some(types) if types.contains("application/openmetrics-text") => Format::OpenMetrics,
            _ => Format::Prometheus,
        }
    }

    /// What a response calls it.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; its name ends in `_total`.
    Counter,
    /// It comes and goes.
    Gauge,
    /// Counts of what took at most so long.
    Histogram,
}

/// A text that grows by a metric at a time.
pub struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    /// Nothing yet.
    pub fn new(format: Format) -> Exposition {
        let text = String::new();
        Exposition { format, text }
    }

    /// Begins a metric; its samples follow.
    pub fn begin(&mut self, name: &str, kind: Kind, help: &str) {
        // OpenMetrics names the family; only its sample has the suffix.
        let family = match self.format {
            Format::Prometheus => name,
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = write!(
            self.text,
            "# HELP {family} {help}\n# TYPE {family} {kind}\n"
        );
    }

    /// A sample of the metric that was begun last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text += name;
        for (at, (label, text)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{label}=\"{text}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    /// A metric of one sample without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.begin(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text += "# EOF\n";
        }
        self.text
    }
}
