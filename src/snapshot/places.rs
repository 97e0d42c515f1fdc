//! Which charts lie where: from a prefix to the charts below it, without a look at all the others.
//! Pure.

use super::walk::Found;
use crate::oci::RepositoryName;
use std::ops::Range;
use std::sync::Arc;

/// Every repository with a chart, by name, and which of what was found is its.
pub(super) struct Places(Box<[(RepositoryName, Range<u32>)]>);

impl Places {
    /// The places of what was found, in which the charts of a repository stand together.
    pub(super) fn new(found: &[Arc<Found>]) -> Places {
        let mut places = Vec::new();
        let mut end = 0;
        for charts in found.chunk_by(|one, other| one.repository == other.repository) {
            let start = end;
            // No more than a million tags are looked at.
            end += charts.len() as u32;
            places.push((charts[0].repository.clone(), start..end));
        }
        places.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Places(places.into())
    }

    /// Where the charts of `prefix` itself and of all repositories below it stand, first things first.
    pub(super) fn below(&self, prefix: &RepositoryName) -> Vec<Range<usize>> {
        let own = self.0.binary_search_by(|(name, _)| name.cmp(prefix)).ok();
        let inside = format!("{prefix}/");
        let start = self
            .0
            .partition_point(|(name, _)| name.as_str() < inside.as_str());
        let inner = self.0[start..]
            .iter()
            .take_while(|(name, _)| name.as_str().starts_with(&inside));
        let places = own.map(|at| &self.0[at]).into_iter().chain(inner);
        let mut ranges: Vec<_> = places
            .map(|(_, range)| range.start as usize..range.end as usize)
            .collect();
        ranges.sort_unstable_by_key(|range| range.start);
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::assemble::tests::found;

    #[test]
    fn what_lies_below_a_prefix_is_found_and_nothing_beside_it() {
        // In order of precedence.
        let names = [
            "team",
            "teams",
            "team-x",
            "team.y",
            "team/a",
            "teams/b",
            "team/a/b",
            "zoo/team/a",
        ];
        let found: Vec<_> = names
            .iter()
            .flat_map(|name| {
                ["1.0.0", "2.0.0"].map(|tag| Arc::new(found(name, tag, "web", tag, name)))
            })
            .collect();
        let places = Places::new(&found);
        for prefix in [
            "team",
            "teams",
            "team/a",
            "team/a/b",
            "zoo",
            "tea",
            "team/b",
            "zoo/team/a/b",
        ] {
            let prefix = prefix.parse().unwrap();
            let charts = places
                .below(&prefix)
                .into_iter()
                .flat_map(|range| &found[range]);
            let charts: Vec<_> = charts
                .map(|chart| (&chart.repository, &chart.reference))
                .collect();
            let expected = found
                .iter()
                .filter(|chart| chart.repository.is_below(&prefix));
            let expected: Vec<_> = expected
                .map(|chart| (&chart.repository, &chart.reference))
                .collect();
            assert_eq!(charts, expected, "{prefix}");
        }
    }
}
