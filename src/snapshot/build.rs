//! From the contents of the inventory to a snapshot. The same for the same contents in any order: which of
//! two charts of one name is listed is decided by their repositories and tags, not by the order of
//! answers.

use super::pages::Pages;
use super::repository::ChartRepository;
use super::{Counts, IndexStyle, Snapshot};
use crate::helm::Version;
use crate::inventory::{Contents, Skipped, StoredChart};
use crate::sorting;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a listed version takes in memory beside its metadata, in bytes, at most.
const ENTRY: usize = 1536;

impl Snapshot {
    /// A snapshot of `contents` as of `now`, in seconds since 1970. The index of the `last` one is kept if
    /// it lists the same.
    pub fn build(
        contents: Contents,
        style: &IndexStyle,
        now: i64,
        last: Option<&Snapshot>,
    ) -> Snapshot {
        let Contents {
            mut charts,
            mut skipped,
            over_bound,
            described,
        } = contents;
        sort(&mut charts);
        let outdated = last.map_or(0, |last| last.outdated + reuse(&mut charts, &last.charts));
        let root = match last.filter(|last| are_same(&last.charts, &charts)) {
            Some(last) => last.root.clone(),
            None => Arc::new(ChartRepository::new(&charts, style.format, &style.urls)),
        };
        let shadowed = root.shadowed.iter().cloned();
        shadowed.for_each(|one| skipped.push(one));
        let counts = Counts {
            charts: root.listing.names(),
            versions: root.by_archive_name.len(),
            skipped: skipped.total(),
            over_bound,
        };
        let mut skipped = skipped.kept;
        sorting::by(&mut skipped, &|one, other| key(one).cmp(&key(other)));
        date(&mut skipped, last.map_or(&[], |last| &last.skipped), now);
        let mut repositories = BTreeMap::new();
        let mut end = 0;
        for of_repository in charts.chunk_by(|one, other| one.repository == other.repository) {
            let start = end;
            end += of_repository.len();
            repositories.insert(of_repository[0].repository.clone(), start);
        }
        let pages = Pages::new(last.map(|last| &last.pages));
        Snapshot {
            root,
            style: style.clone(),
            charts,
            repositories,
            pages,
            skipped,
            described,
            outdated,
            counts,
        }
    }
}

/// Puts the charts of the last snapshot in the places of equal ones, so that both snapshots share them.
/// Returns how many bytes of the last one they don't share.
fn reuse(charts: &mut [Arc<StoredChart>], last: &[Arc<StoredChart>]) -> usize {
    let place = |chart: &StoredChart| (chart.repository.clone(), chart.reference.clone());
    let known: HashMap<_, _> = last.iter().map(|chart| (place(chart), chart)).collect();
    let mut outdated: usize = last.iter().map(|chart| size(chart)).sum();
    for chart in charts {
        let known = known.get(&place(chart));
        if let Some(known) = known.filter(|known| is_same(known, chart)) {
            outdated -= size(known);
            *chart = Arc::clone(known);
        }
    }
    outdated
}

/// What a chart takes in memory, in bytes.
fn size(chart: &StoredChart) -> usize {
    chart.metadata.size() + ENTRY
}

fn key(skipped: &Skipped) -> (&str, &str) {
    (&skipped.reference, &skipped.reason)
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
        let same = known.filter(|known| known.public_reason() == one.public_reason());
        one.since = same.map_or(now, |known| known.since);
    }
}

/// Which chart goes first where two have one archive name: that of the shortest, then the first repository;
/// in it that of the tag that is its version, then of the first tag, then of the first digest.
fn sort(charts: &mut [Arc<StoredChart>]) {
    sorting::by_key(charts, |chart| {
        let version = Version::parse(chart.metadata.version());
        let has_own_tag = version.is_some_and(|version| version.tag() == chart.reference.as_str());
        (
            chart.repository.as_str().len(),
            chart.repository.clone(),
            Reverse(has_own_tag),
            chart.reference.clone(),
        )
    });
}

/// Whether both are the same charts under the same tags.
fn are_same(before: &[Arc<StoredChart>], now: &[Arc<StoredChart>]) -> bool {
    let mut pairs = before.iter().zip(now);
    before.len() == now.len() && pairs.all(|(before, now)| is_same(before, now))
}

/// Whether both are the same chart under the same tag. A config blob's digest stands for what it says.
fn is_same(before: &StoredChart, now: &StoredChart) -> bool {
    let has_same_name = before.repository == now.repository && before.reference == now.reference;
    has_same_name && before.layers == now.layers
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{ArchiveUrls, IndexFormat};
    use super::*;
    use crate::helm::{ChartLayers, ChartMetadata};
    use crate::oci::{Blob, Digest};
    use crate::representation::Representation;
    use core::net::{IpAddr, Ipv4Addr};

    /// Any client.
    pub(in crate::snapshot) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    pub(in crate::snapshot) fn chart(
        repository: &str,
        tag: &str,
        name: &str,
        version: &str,
        archive: &str,
    ) -> StoredChart {
        let config = serde_json::json!({"name": name, "version": version}).to_string();
        let blob = |bytes: &str| Blob {
            digest: Digest::sha256(bytes.as_bytes()),
            size: bytes.len() as u64,
        };
        StoredChart {
            repository: repository.parse().unwrap(),
            reference: tag.parse().unwrap(),
            metadata: ChartMetadata::parse(config.as_bytes()).unwrap().into(),
            layers: Arc::new(ChartLayers {
                has_packed_config: false,
                config: blob(&config),
                archive: blob(archive),
                provenance: None,
                created: None,
            }),
        }
    }

    pub(in crate::snapshot) fn contents(charts: Vec<StoredChart>) -> Contents {
        Contents {
            charts: charts.into_iter().map(Arc::new).collect(),
            ..Contents::default()
        }
    }

    pub(in crate::snapshot) fn snapshot(charts: Vec<StoredChart>) -> Snapshot {
        Snapshot::build(contents(charts), &IndexStyle::default(), 0, None)
    }

    fn text(page: &Representation) -> String {
        String::from_utf8(page.identity().to_vec()).unwrap()
    }

    #[test]
    fn what_is_found_again_is_not_rendered_again() {
        let charts = || {
            vec![
                chart("web", "1.0.0", "web", "1.0.0", "a"),
                chart("db", "1.0.0", "db", "1.0.0", "b"),
            ]
        };
        let again =
            |charts, last| Snapshot::build(contents(charts), &IndexStyle::default(), 0, Some(last));
        let (first, mut turned) = (snapshot(charts()), charts());
        turned.reverse();
        assert!(Arc::ptr_eq(again(turned, &first).index(), first.index()));
        let mut moved = charts();
        moved[0] = chart("web", "1.0.0", "web", "1.0.0", "c");
        assert_ne!(
            again(moved, &first).index().identity().etag,
            first.index().identity().etag
        );
    }

    #[test]
    fn the_index_as_json_is_rendered_once_and_not_at_all_where_it_is_json_already() {
        let yaml = snapshot(vec![chart("web", "1.0.0", "web", "1.0.0", "a")]);
        let json = yaml.index_json_below(None, CLIENT).unwrap();
        assert!(text(&json).starts_with("{\"apiVersion\":\"v1\""));
        assert!(Arc::ptr_eq(
            &json,
            &yaml.index_json_below(None, CLIENT).unwrap()
        ));
        let charts = contents(vec![chart("web", "1.0.0", "web", "1.0.0", "a")]);
        let style = IndexStyle {
            format: IndexFormat::Json,
            ..IndexStyle::default()
        };
        let json = Snapshot::build(charts, &style, 0, None);
        assert!(Arc::ptr_eq(
            &json.index_json_below(None, CLIENT).unwrap(),
            json.index()
        ));
    }

    #[test]
    fn archives_are_named_relatively_or_below_a_url_or_in_their_registry() {
        let index = |urls: ArchiveUrls, prefix: Option<&str>| {
            let charts = contents(vec![
                chart("team/web", "1.0.0_b", "web", "1.0.0+b", "a"),
                chart("db", "latest", "db", "2.0.0", "b"),
            ]);
            let style = IndexStyle {
                format: IndexFormat::Json,
                urls,
            };
            let snapshot = Snapshot::build(charts, &style, 0, None);
            let prefix = prefix.map(|prefix| prefix.parse().unwrap());
            let page = snapshot.index_below(prefix.as_ref(), CLIENT).unwrap();
            text(&page)
        };
        let below = || ArchiveUrls::Below("https://x/helm".to_owned());
        let registry = || ArchiveUrls::Registry("reg:5000".to_owned());
        for (urls, prefix, url) in [
            (ArchiveUrls::Relative, None, "charts/web-1.0.0+b.tgz"),
            (below(), None, "https://x/helm/charts/web-1.0.0+b.tgz"),
            (
                below(),
                Some("team"),
                "https://x/helm/team/charts/web-1.0.0+b.tgz",
            ),
            (registry(), None, "oci://reg:5000/team/web:1.0.0_b"),
            (registry(), Some("db"), "oci://reg:5000/db:latest"),
        ] {
            let index = index(urls, prefix);
            assert!(
                index.contains(&format!(r#""urls":["{url}"]"#)),
                "{url} in {index}"
            );
        }
    }

    #[test]
    fn several_tags_of_one_archive_are_one_entry() {
        let tags =
            ["1", "1.0.0_b", "latest"].map(|tag| chart("web", tag, "web", "1.0.0+b", "bytes"));
        let snapshot = snapshot(tags.to_vec());
        assert_eq!(
            snapshot.counts,
            Counts {
                charts: 1,
                versions: 1,
                skipped: 0,
                over_bound: 0,
            }
        );
    }

    #[test]
    fn a_moved_alias_does_not_replace_the_version_it_claims_to_be() {
        let snapshot = snapshot(vec![
            chart("web", "0-latest", "web", "1.0.0", "old"),
            chart("web", "1.0.0", "web", "1.0.0", "new"),
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
                chart("team/b", "1", "web", "1", "b"),
                chart("team/a", "1", "web", "1", "a"),
                chart("long/team/a", "1", "web", "1", "c"),
            ]
        };
        let (one, mut turned) = (snapshot(clash()), clash());
        turned.reverse();
        let other = snapshot(turned);
        assert_eq!(text(one.index()), text(other.index()));
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
                skipped: 2,
                over_bound: 0,
            }
        );
    }

    #[test]
    fn what_is_skipped_for_the_same_reason_has_been_so_since_then() {
        let walk = |walked_at, skipped: &[(&str, &str)], last: Option<&Snapshot>| {
            let skipped = skipped
                .iter()
                .map(|(tag, reason)| Skipped::new((*tag).into(), *reason));
            let mut harvest = Contents::default();
            skipped.for_each(|one| harvest.skipped.push(one));
            Snapshot::build(harvest, &IndexStyle::default(), walked_at, last)
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
        skipped.public = Some("could not be read: unreachable or failing".into());
        let mut harvest = Contents::default();
        harvest.skipped.push(skipped);
        let told = Snapshot::build(harvest, &IndexStyle::default(), 0, None)
            .skipped_json(0, 9, CLIENT)
            .unwrap();
        let told = text(&told);
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
            chart("amb", "1", "amb", "1.0.0-x-1.0.0", "a"),
            chart("amb-1.0.0-x", "1", "amb-1.0.0-x", "1.0.0", "b"),
        ]);
        assert_eq!(
            snapshot.counts,
            Counts {
                charts: 1,
                versions: 1,
                skipped: 1,
                over_bound: 0,
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
