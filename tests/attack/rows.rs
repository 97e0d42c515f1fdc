//! The table of attacks.

use crate::attacks::{hang_up, pour, pull, read_badly, sit, talk};
use crate::field::Field;
use crate::goal::Goal;
use crate::limits::Limits;
use crate::report::thousands;
use crate::scene::Registry;
use crate::trial::Scale;

/// One attack.
pub struct Row {
    /// What so many clients do.
    name: &'static str,
    full: usize,
    reduced: usize,
    pub attack: fn(&Field),
    pub limits: Limits,
    /// What is wrong with the registry.
    pub spoil: fn(&Registry),
    /// Whether the charts of 5 MB and 50 MB are pulled as well.
    pub large_charts: bool,
    /// Whether the daemon's cache is full before it begins.
    pub warm_cache: bool,
    /// Whether the daemon has a mirror, and the registry an archive for each client.
    pub mirror: bool,
    pub goal: Goal,
}

impl Row {
    pub fn strength(&self, scale: &Scale) -> usize {
        if scale.full { self.full } else { self.reduced }
    }

    pub fn title(&self, scale: &Scale) -> String {
        format!("{} {}", thousands(self.strength(scale)), self.name)
    }

    fn warm(self) -> Row {
        Row {
            warm_cache: true,
            ..self
        }
    }

    fn limited(self, limits: Limits) -> Row {
        Row {
            limits,
            goal: Goal::NEARLY,
            ..self
        }
    }
}

/// An attack by so many (and so many at the reduced scale) on a daemon that lacks nothing.
fn row(full: usize, reduced: usize, name: &'static str, attack: fn(&Field)) -> Row {
    Row {
        name,
        full,
        reduced,
        attack,
        limits: Limits::None,
        spoil: pull::honest,
        large_charts: false,
        warm_cache: false,
        mirror: false,
        goal: Goal::UNIMPRESSED,
    }
}

/// Clients that pull charts from a registry that is spoiled.
fn pulls(name: &'static str, spoil: fn(&Registry)) -> Row {
    Row {
        spoil,
        large_charts: true,
        goal: Goal::ANSWERED,
        ..row(500, 60, name, pull::charts)
    }
}

pub fn all() -> Vec<Row> {
    vec![
        row(10_000, 1_200, "idle connections", sit::idle),
        row(
            10_000,
            1_200,
            "idle connections, from eight addresses",
            sit::idle_from_everywhere,
        ),
        row(1_000, 200, "that drip a header byte a second", sit::drip),
        row(8, 8, "that send an endless header", pour::endless_header),
        row(
            8,
            8,
            "that send 100,000 headers and more",
            pour::endless_headers,
        ),
        row(8, 8, "that send endless empty lines", pour::empty_lines),
        row(
            2_000,
            200,
            "that ask for 5 MB and never read",
            read_badly::never,
        ),
        row(
            2_000,
            600,
            "that never read 5 MB, with a warm cache",
            read_badly::never_from_everywhere,
        )
        .warm(),
        row(
            500,
            100,
            "that read 5 MB a byte at a time",
            read_badly::a_byte_at_a_time,
        ),
        row(
            1_500,
            300,
            "that read 5 MB just fast enough to stay",
            read_badly::just_fast_enough,
        ),
        row(1_000, 300, "resets a second", hang_up::resets),
        row(8, 8, "that flood with pipelined requests", pour::pipeline),
        row(300, 100, "that speak HTTP/2", talk::http2),
        row(300, 100, "that say hello in TLS", talk::tls),
        row(300, 100, "that send random bytes", talk::random),
        row(
            300,
            100,
            "with odd lengths: huge, negative, repeated",
            talk::lengths,
        ),
        row(
            16,
            8,
            "that send endless chunked bodies",
            pour::endless_chunks,
        ),
        row(
            1_000,
            400,
            "of all kinds on 256 descriptors",
            sit::all_kinds,
        )
        .limited(Limits::Descriptors(256)),
        row(1_000, 400, "idle ones on 256 descriptors", sit::idle)
            .limited(Limits::Descriptors(256)),
        row(1_000, 400, "of all kinds on 60 threads", sit::all_kinds).limited(Limits::Threads(60)),
        row(1_000, 400, "idle ones on 60 threads", sit::idle).limited(Limits::Threads(60)),
        pulls("that pull charts of an honest registry", pull::honest),
        Row {
            full: 1_000,
            mirror: true,
            ..pulls("that pull a chart each, through a mirror", pull::honest)
        },
        pulls("that pull charts; the registry hangs", pull::hangs),
        Row {
            full: 1_500,
            reduced: 300,
            ..pulls("that pull charts; the registry hangs", pull::hangs)
        },
        pulls(
            "that pull charts; the registry hangs, the walk too",
            pull::hangs_wholly,
        ),
        pulls("that pull charts; the registry drips", pull::drips),
        pulls("that pull charts; the registry floods", pull::floods),
        pulls("that pull charts; the registry resets", pull::resets),
        pulls(
            "that pull charts; the registry redirects in circles",
            pull::redirects_in_circles,
        ),
    ]
}
