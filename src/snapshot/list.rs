//! The charts of one chart repository by name, as its index lists them. It never changes.

use crate::inventory::StoredChart;
use std::sync::Arc;

/// Charts in the order of an index.
pub(super) type ListedCharts = Arc<[Arc<StoredChart>]>;

/// The charts of one chart repository.
pub struct ChartList {
    pub(super) charts: ListedCharts,
    /// Where the newest version of each chart stands. A budget bounds their number far below 2³².
    starts: Box<[u32]>,
}

impl ChartList {
    pub(super) fn new(charts: ListedCharts) -> ChartList {
        let is_first = |at: &usize| *at == 0 || name(&charts[at - 1]) != name(&charts[*at]);
        let starts = (0..charts.len()).filter(is_first);
        ChartList {
            starts: starts.map(|at| at as u32).collect(),
            charts,
        }
    }

    /// How many charts there are, of one or several versions each.
    pub fn names(&self) -> usize {
        self.starts.len()
    }

    /// The newest versions of all charts, by name.
    pub fn newest(&self) -> impl ExactSizeIterator<Item = &StoredChart> {
        self.starts.iter().map(|at| &*self.charts[*at as usize])
    }

    /// The versions of one chart, newest first.
    pub fn versions(&self, of: &str) -> &[Arc<StoredChart>] {
        let start = self.charts.partition_point(|chart| name(chart) < of);
        let length = self.charts[start..].partition_point(|chart| name(chart) == of);
        &self.charts[start..start + length]
    }

    /// What it takes in memory beside its charts, in bytes.
    pub(super) fn weight(&self) -> usize {
        size_of_val(&*self.charts) + size_of_val(&*self.starts)
    }
}

fn name(chart: &StoredChart) -> &str {
    chart.metadata.name()
}
