//! Which charts an index has room for. Each pusher can write megabytes of metadata, and whatever is listed
//! takes memory here and in every client that reads the index. So a repository and all together have a
//! budget of rendered bytes. Pure, and the same on every replica: sizes, names and versions decide,
//! not the order of answers.

use crate::budget::{ENTRY, RENDERED, RENDERED_REPOSITORY};
use crate::helm::Version;
use crate::inventory::{Skipped, StoredChart};
use crate::oci::{Digest, qualified};
use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

/// Takes out of `charts`, which stand together by repository, those that are over a budget. All of a
/// repository's charts stay unless it is over its own or over its share: what others leave unused is
/// shared equally. The newest versions stay.
pub(super) fn leave_out(charts: &mut Vec<Arc<StoredChart>>) -> Vec<Skipped> {
    let needs = by_repository(charts).map(need).collect();
    let share = fair_share(needs, RENDERED).min(RENDERED_REPOSITORY);
    let over = by_repository(charts).filter(|of_one| need(of_one) > share);
    let left_out: HashSet<*const StoredChart> = over
        .flat_map(|of_one| over_share(of_one, share))
        .map(Arc::as_ptr)
        .collect();
    if left_out.is_empty() {
        return Vec::new();
    }
    let reason: Arc<str> = format!(
        "newer versions take its repository's share of the index, {share} bytes of {RENDERED}"
    )
    .into();
    let mut skipped = Vec::new();
    charts.retain(|chart| {
        let is_over = left_out.contains(&Arc::as_ptr(chart));
        if is_over {
            let reference = qualified(&chart.repository, chart.reference.as_str());
            skipped.push(Skipped::new(reference, reason.clone()));
        }
        !is_over
    });
    skipped
}

fn by_repository(charts: &[Arc<StoredChart>]) -> impl Iterator<Item = &[Arc<StoredChart>]> {
    charts.chunk_by(|one, other| one.repository == other.repository)
}

/// What a chart counts, in bytes.
fn weight(chart: &StoredChart) -> usize {
    chart.metadata.rendered().max(ENTRY)
}

/// What the charts of one repository need. Those that share a config blob, as tags of one manifest do,
/// count once.
fn need(of_one: &[Arc<StoredChart>]) -> usize {
    let mut seen: HashSet<&Digest> = HashSet::new();
    let counted = of_one
        .iter()
        .filter(|chart| seen.insert(&chart.layers.config.digest));
    counted.map(|chart| weight(chart)).sum()
}

/// The charts of one repository for which newer ones leave no room.
fn over_share(of_one: &[Arc<StoredChart>], share: usize) -> Vec<&Arc<StoredChart>> {
    let mut newest: Vec<&Arc<StoredChart>> = of_one.iter().collect();
    newest.sort_by_cached_key(|chart| Reverse(Version::parse(chart.metadata.version())));
    let (mut left, mut kept) = (share, HashSet::new());
    newest.retain(|chart| {
        let config = &chart.layers.config.digest;
        if weight(chart) <= left && kept.insert(config) {
            left -= weight(chart);
        }
        !kept.contains(config)
    });
    newest
}

/// The most that each may have so that all together have at most `budget`: what some don't need is shared
/// equally among the others.
fn fair_share(mut needs: Vec<usize>, budget: usize) -> usize {
    needs.sort_unstable();
    let (mut left, mut others) = (budget, needs.len());
    for need in needs {
        let share = left / others;
        if need > share {
            return share;
        }
        (left, others) = (left - need, others - 1);
    }
    usize::MAX
}

#[cfg(test)]
mod tests {
    use super::super::build::tests::chart;
    use super::*;
    use crate::helm::ChartMetadata;

    fn large(repository: &str, version: &str, length: usize) -> StoredChart {
        let config = serde_json::json!({
            "name": "web", "version": version, "description": "x".repeat(length)
        });
        StoredChart {
            metadata: ChartMetadata::parse(config.to_string().as_bytes())
                .unwrap()
                .into(),
            ..chart(repository, version, repository, version, "a")
        }
    }

    fn left_out(charts: Vec<StoredChart>) -> Vec<String> {
        let mut charts = charts.into_iter().map(Arc::new).collect();
        let skipped = leave_out(&mut charts);
        skipped.into_iter().map(|one| one.reference).collect()
    }

    #[test]
    fn what_some_do_not_need_is_shared_equally_among_the_others() {
        assert_eq!(fair_share(vec![], 10), usize::MAX);
        assert_eq!(fair_share(vec![3, 4, 3], 10), usize::MAX);
        assert_eq!(fair_share(vec![100, 2, 100], 10), 4);
        assert_eq!(fair_share(vec![100, 5, 100], 10), 3);
    }

    #[test]
    fn a_repository_over_its_share_loses_its_oldest_versions_and_no_other_loses_anything() {
        let versions: Vec<_> = (0..12)
            .map(|number| large("a", &format!("{number}.0.0"), 1_000_000))
            .collect();
        let mut charts = Vec::new();
        for repository in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
            charts.extend(versions.iter().map(|chart| StoredChart {
                repository: repository.parse().unwrap(),
                ..chart.clone()
            }));
        }
        charts.push(large("small", "1.0.0", 10));
        let left_out = left_out(charts);
        let is_oldest = |one: &String| one.ends_with(":0.0.0") && !one.starts_with("small");
        assert!(left_out.iter().all(is_oldest), "{left_out:?}");
        assert_eq!(left_out.len(), 9);
    }

    #[test]
    fn tags_of_one_config_count_once() {
        let charts = vec![large("a", "1.0.0", 1_000_000); 20];
        assert!(left_out(charts).is_empty());
    }
}
