//! From what a walk has found to what is served. Pure, and the same for the same findings in any
//! order: which of two charts of one name is listed is decided by their places, not by who answered
//! first.

use super::chart_repository::{ChartRepository, IndexFormat};
use super::kept::{Kept, Page};
use super::places::Places;
use super::walk::{Found, Harvest, Skipped};
use super::{Counts, Snapshot};
use crate::helm::Version;
use std::cmp::Reverse;
use std::sync::Arc;

/// Makes a snapshot of a walk's findings. Where they are those of the `last` one, so is what was
/// rendered of them.
pub fn assemble(harvest: Harvest, format: IndexFormat, last: Option<&Snapshot>) -> Snapshot {
    let Harvest {
        mut found,
        mut skipped,
        walked_at,
        ..
    } = harvest;
    sort(&mut found);
    let root = match last.filter(|last| tell_the_same(&last.found, &found)) {
        Some(last) => last.root.clone(),
        None => Arc::new(ChartRepository::new(&found, format)),
    };
    skipped.extend_from_slice(&root.shadowed);
    skipped.sort_unstable_by(|one, other| {
        (&one.reference, &one.reason).cmp(&(&other.reference, &other.reason))
    });
    date(
        &mut skipped,
        last.map_or(&[], |last| &last.skipped),
        walked_at,
    );
    let counts = Counts {
        charts: root.charts,
        versions: root.versions(),
        skipped: skipped.len(),
    };
    let places = Places::new(&found);
    let mut snapshot = Snapshot {
        root,
        format,
        found,
        places,
        kept: Kept::default(),
        skipped,
        counts,
    };
    if let Some(last) = last {
        snapshot.kept = last
            .kept
            .carried(|page| is_still_right(page, last, &snapshot));
    }
    snapshot
}

/// What was skipped for the same reason `before` has been so since then, the rest since now. Both are
/// sorted.
fn date(skipped: &mut [Skipped], before: &[Skipped], now: i64) {
    let mut before = before.iter().peekable();
    for one in skipped {
        while before
            .next_if(|known| known.reference < one.reference)
            .is_some()
        {}
        let known = before
            .peek()
            .filter(|known| known.reference == one.reference);
        one.since = known
            .filter(|known| known.told() == one.told())
            .map_or(now, |known| known.since);
    }
}

/// Whether a page of the `last` snapshot would be made alike of this one.
fn is_still_right(page: &Page, last: &Snapshot, snapshot: &Snapshot) -> bool {
    match page {
        Page::Index(prefix, _) => {
            tell_the_same(&last.found_below(prefix), &snapshot.found_below(prefix))
        }
        Page::Charts | Page::Chart(_) => Arc::ptr_eq(&last.root, &snapshot.root),
        Page::Skipped => last.skipped == snapshot.skipped,
    }
}

/// Who goes first where two want one name: the shortest, then the first repository; in it the tag
/// that is the version, then the first tag, then the first digest.
fn sort(found: &mut [Arc<Found>]) {
    let precedence = |chart: &Arc<Found>| {
        let own_tag = Version::parse(chart.metadata.version())
            .is_some_and(|version| version.tag() == chart.reference.as_str());
        (
            chart.repository.as_str().len(),
            chart.repository.clone(),
            Reverse(own_tag),
        )
    };
    // By tag first, without a copy of it; what is equal stays in order.
    found.sort_unstable_by(|one, other| one.reference.cmp(&other.reference));
    found.sort_by_cached_key(precedence);
}

/// Whether both are the same charts at the same places. A config blob's digest stands for the
/// metadata in it.
fn tell_the_same(before: &[Arc<Found>], now: &[Arc<Found>]) -> bool {
    before.len() == now.len()
        && before.iter().zip(now).all(|(before, now)| {
            let place = before.repository == now.repository && before.reference == now.reference;
            place && before.layers == now.layers && before.created == now.created
        })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::helm::{ChartLayers, ChartMetadata};
    use crate::oci::{Descriptor, Digest, MediaType};

    pub(in crate::snapshot) fn found(
        repository: &str,
        tag: &str,
        name: &str,
        version: &str,
        archive: &str,
    ) -> Found {
        let config = serde_json::json!({"name": name, "version": version}).to_string();
        let blob = |bytes: &str| Descriptor {
            media_type: MediaType::default(),
            digest: Digest::sha256(bytes.as_bytes()),
            size: bytes.len() as u64,
        };
        Found {
            repository: repository.parse().unwrap(),
            reference: tag.parse().unwrap(),
            metadata: ChartMetadata::parse(config.as_bytes()).unwrap().into(),
            created: None,
            layers: Box::new(ChartLayers {
                config: blob(&config),
                archive: blob(archive),
                provenance: None,
            }),
        }
    }

    pub(in crate::snapshot) fn harvest(found: Vec<Found>) -> Harvest {
        Harvest {
            found: found.into_iter().map(Arc::new).collect(),
            ..Harvest::default()
        }
    }

    pub(in crate::snapshot) fn snapshot(found: Vec<Found>) -> Snapshot {
        assemble(harvest(found), IndexFormat::Yaml, None)
    }

    #[test]
    fn what_is_found_again_is_not_rendered_again() {
        let charts = || {
            vec![
                found("web", "1.0.0", "web", "1.0.0", "a"),
                found("db", "1.0.0", "db", "1.0.0", "b"),
            ]
        };
        let again = |found, last| assemble(harvest(found), IndexFormat::Yaml, Some(last));
        let (first, mut turned) = (snapshot(charts()), charts());
        turned.reverse();
        assert!(std::ptr::eq(again(turned, &first).index(), first.index()));
        let mut moved = charts();
        moved[0] = found("web", "1.0.0", "web", "1.0.0", "c");
        assert_ne!(
            again(moved, &first).index().identity().etag,
            first.index().identity().etag
        );
    }

    #[test]
    fn the_index_as_json_is_made_once_and_not_at_all_where_it_is_json_already() {
        let plain = snapshot(vec![found("web", "1.0.0", "web", "1.0.0", "a")]);
        assert!(
            plain
                .index_json()
                .identity()
                .bytes
                .starts_with(b"{\"apiVersion\":\"v1\"")
        );
        assert!(std::ptr::eq(plain.index_json(), plain.index_json()));
        let trap = snapshot(vec![found("web", "1.0.0", "on", "1.0.0", "a")]);
        assert!(std::ptr::eq(trap.index_json(), trap.index()));
    }

    #[test]
    fn several_tags_of_one_archive_are_one_entry() {
        let tags =
            ["1", "1.0.0_b", "latest"].map(|tag| found("web", tag, "web", "1.0.0+b", "bytes"));
        let snapshot = snapshot(tags.to_vec());
        assert_eq!(
            snapshot.counts,
            Counts {
                charts: 1,
                versions: 1,
                skipped: 0
            }
        );
    }

    #[test]
    fn a_moved_alias_does_not_replace_the_version_it_claims_to_be() {
        let snapshot = snapshot(vec![
            found("web", "0-latest", "web", "1.0.0", "old"),
            found("web", "1.0.0", "web", "1.0.0", "new"),
        ]);
        assert_eq!(
            snapshot
                .chart_below(None, "web-1.0.0.tgz")
                .unwrap()
                .layers
                .archive
                .digest,
            Digest::sha256(b"new")
        );
        assert_eq!(
            snapshot.skipped[0].to_string(),
            "skipped web:0-latest: web-1.0.0.tgz is shadowed by web:1.0.0"
        );
    }

    #[test]
    fn the_shortest_then_first_repository_wins_in_any_order() {
        let clash = || {
            vec![
                found("team/b", "1", "web", "1", "b"),
                found("team/a", "1", "web", "1", "a"),
                found("long/team/a", "1", "web", "1", "c"),
            ]
        };
        let (one, mut turned) = (snapshot(clash()), clash());
        turned.reverse();
        let other = snapshot(turned);
        assert_eq!(one.index().identity().bytes, other.index().identity().bytes);
        assert_eq!(one.skipped, other.skipped);
        assert_eq!(
            one.chart_below(None, "web-1.tgz")
                .unwrap()
                .repository
                .as_str(),
            "team/a"
        );
        assert_eq!(
            one.counts,
            Counts {
                charts: 1,
                versions: 1,
                skipped: 2
            }
        );
    }

    #[test]
    fn what_is_skipped_for_the_same_reason_has_been_so_since_then() {
        let walk = |walked_at, skipped: &[(&str, &str)], last: Option<&Snapshot>| {
            let skipped = skipped
                .iter()
                .map(|(tag, reason)| Skipped::new((*tag).into(), *reason));
            let harvest = Harvest {
                skipped: skipped.collect(),
                walked_at,
                ..Harvest::default()
            };
            assemble(harvest, IndexFormat::Yaml, last)
        };
        let since = |snapshot: &Snapshot| {
            snapshot
                .skipped
                .iter()
                .map(|one| one.since)
                .collect::<Vec<_>>()
        };
        let first = walk(
            1,
            &[
                ("c:1", "an image"),
                ("a:1", "an image"),
                ("b:1", "an image"),
            ],
            None,
        );
        assert_eq!(since(&first), [1, 1, 1]);
        let next = walk(
            2,
            &[("b:0", "new"), ("c:1", "an image"), ("a:1", "a signature")],
            Some(&first),
        );
        assert_eq!(since(&next), [2, 2, 1]);
        let back = walk(
            3,
            &[("a:1", "a signature"), ("b:1", "an image")],
            Some(&next),
        );
        assert_eq!(since(&back), [2, 3]);
    }

    #[test]
    fn what_the_storage_says_is_not_told_to_everybody() {
        let mut skipped = Skipped::new("a:1".into(), "GET http://inside/v2/a: 500: secret");
        skipped.unread = Some(crate::storage::ErrorKind::Unavailable);
        let harvest = Harvest {
            skipped: vec![skipped],
            ..Harvest::default()
        };
        let told = assemble(harvest, IndexFormat::Yaml, None)
            .skipped_json()
            .unwrap();
        let told = String::from_utf8(told.identity().bytes.to_vec()).unwrap();
        assert!(
            told.contains("could not be read: unreachable or failing"),
            "{told}"
        );
        assert!(
            !told.contains("inside") && !told.contains("secret"),
            "{told}"
        );
    }

    #[test]
    fn archive_names_that_collide_are_a_clash_too() {
        let snapshot = snapshot(vec![
            found("amb", "1", "amb", "1.0.0-x-1.0.0", "a"),
            found("amb-1.0.0-x", "1", "amb-1.0.0-x", "1.0.0", "b"),
        ]);
        assert_eq!(
            snapshot.counts,
            Counts {
                charts: 1,
                versions: 1,
                skipped: 1
            }
        );
        let archive = "amb-1.0.0-x-1.0.0.tgz";
        for (prefix, repository) in [(None, "amb"), (Some("amb-1.0.0-x"), "amb-1.0.0-x")] {
            let prefix = prefix.map(|prefix| prefix.parse().unwrap());
            let chart = snapshot.chart_below(prefix.as_ref(), archive).unwrap();
            assert_eq!(chart.repository.as_str(), repository);
        }
    }
}
