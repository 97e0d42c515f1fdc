//! The charts of one chart repository by name, as its index lists them. It never changes.

use crate::helm::index::is_release;
use crate::inventory::StoredChart;
use std::sync::Arc;

/// Charts in the order of an index.
pub(super) type ListedCharts = Arc<[Arc<StoredChart>]>;

/// The charts of one chart repository.
pub struct ChartList {
    pub(super) charts: ListedCharts,
    /// Where the version of each chart stands that Helm takes when it is asked for none: the newest release,
    /// or the newest version of a chart without one. A budget bounds their number far below 2³².
    preferred: Box<[u32]>,
}

impl ChartList {
    pub(super) fn new(charts: ListedCharts) -> ChartList {
        let mut start = 0;
        let versions = charts.chunk_by(|one, other| name(one) == name(other));
        let preferred = versions.map(|versions| {
            let at = start + preferred(versions);
            start += versions.len();
            at as u32
        });
        ChartList {
            preferred: preferred.collect(),
            charts,
        }
    }

    /// How many charts there are, of one or several versions each.
    pub fn names(&self) -> usize {
        self.preferred.len()
    }

    /// One version of each chart, by name: its newest release, if it has one.
    pub fn preferred(&self) -> impl ExactSizeIterator<Item = &StoredChart> {
        let preferred = self.preferred.iter();
        preferred.map(|at| &*self.charts[*at as usize])
    }

    /// The versions of one chart, newest first.
    pub fn versions(&self, of: &str) -> &[Arc<StoredChart>] {
        let start = self.charts.partition_point(|chart| name(chart) < of);
        let length = self.charts[start..].partition_point(|chart| name(chart) == of);
        &self.charts[start..start + length]
    }

    /// What it takes in memory beside its charts, in bytes.
    pub(super) fn weight(&self) -> usize {
        size_of_val(&*self.charts) + size_of_val(&*self.preferred)
    }
}

/// Which of a chart's versions, newest first, is the newest release; the first, if none is one.
pub fn preferred(versions: &[Arc<StoredChart>]) -> usize {
    let mut versions = versions.iter();
    let release = versions.position(|chart| is_release(&chart.metadata));
    release.unwrap_or(0)
}

fn name(chart: &StoredChart) -> &str {
    chart.metadata.name()
}
