//! From what a walk has found to what is served. Pure, and the same for the same findings in any
//! order: which of two charts of one name is listed is decided by their places, not by who answered
//! first.

use super::walk::{Found, Harvest, Skipped};
use super::{Archive, Counts, Snapshot};
use crate::helm::{ChartVersion, IndexFile, Version};
use crate::oci::{Reference, qualified};
use crate::representation::Representation;
use std::cmp::Reverse;
use std::collections::{HashMap, hash_map::Entry};

/// Makes a snapshot of a walk's findings.
pub fn assemble(harvest: Harvest) -> Snapshot {
    let Harvest { mut found, mut skipped, .. } = harvest;
    found.sort_by_cached_key(|chart| precedence(chart));
    let mut archives: HashMap<String, Archive> = HashMap::new();
    let mut places: HashMap<String, String> = HashMap::new();
    let mut listed = Vec::new();
    for chart in &found {
        let name = ChartVersion::archive_name(&chart.metadata);
        match archives.entry(name.clone()) {
            Entry::Vacant(free) => {
                free.insert(archive(chart));
                listed.push(entry(chart, &name));
                places.insert(name, place(chart));
            }
            // Another tag for the same archive is an alias, and no loss.
            Entry::Occupied(taken) if taken.get().archive.digest == chart.layers.archive.digest => {}
            Entry::Occupied(_) => skipped.push(Skipped {
                reference: place(chart),
                reason: format!("{name} is shadowed by {}", places[&name]),
            }),
        }
    }
    skipped.sort();
    let index = IndexFile::new(listed);
    let (charts, versions) = index.counts();
    let counts = Counts { charts, versions, skipped: skipped.len() };
    let index = Representation::new(index.to_yaml());
    Snapshot { index, archives, found, skipped, counts }
}

/// Who goes first where two want one name: the shortest, then the first repository; in it the tag
/// that is the version, then the first tag, then the first digest.
fn precedence(chart: &Found) -> (usize, String, Reverse<bool>, Reference) {
    let own_tag = Version::parse(&chart.metadata.version)
        .is_some_and(|version| version.tag() == chart.reference.as_str());
    let repository = chart.repository.as_str();
    (repository.len(), repository.to_owned(), Reverse(own_tag), chart.reference.clone())
}

fn place(chart: &Found) -> String {
    qualified(&chart.repository, chart.reference.as_str())
}

fn archive(chart: &Found) -> Archive {
    Archive {
        repository: chart.repository.clone(),
        archive: chart.layers.archive.clone(),
        provenance: chart.layers.provenance.clone(),
    }
}

fn entry<'a>(chart: &'a Found, archive_name: &str) -> ChartVersion<'a> {
    ChartVersion {
        metadata: &chart.metadata,
        urls: vec![format!("charts/{}", encode_path(archive_name))],
        created: chart.created,
        digest: chart.layers.archive.digest.sha256_hex().map(str::to_owned),
    }
}

/// Percent-encodes a path segment (RFC 3986 §3.3). `+` stays: Helm asks for it as it is.
fn encode_path(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' => {
                encoded.push(byte as char)
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helm::{ChartLayers, ChartMetadata};
    use crate::oci::{Descriptor, Digest, MediaType};
    use std::sync::Arc;

    fn found(repository: &str, tag: &str, name: &str, version: &str, archive: &str) -> Found {
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
            layers: ChartLayers { config: blob(&config), archive: blob(archive), provenance: None },
        }
    }

    fn snapshot(found: Vec<Found>) -> Snapshot {
        assemble(Harvest { found: found.into_iter().map(Arc::new).collect(), ..Harvest::default() })
    }

    #[test]
    fn several_tags_of_one_archive_are_one_entry() {
        let tags = ["1", "1.0.0_b", "latest"].map(|tag| found("web", tag, "web", "1.0.0+b", "bytes"));
        let snapshot = snapshot(tags.to_vec());
        assert_eq!(snapshot.counts, Counts { charts: 1, versions: 1, skipped: 0 });
    }

    #[test]
    fn a_moved_alias_does_not_replace_the_version_it_claims_to_be() {
        let snapshot = snapshot(vec![
            found("web", "0-latest", "web", "1.0.0", "old"),
            found("web", "1.0.0", "web", "1.0.0", "new"),
        ]);
        assert_eq!(snapshot.archives["web-1.0.0.tgz"].archive.digest, Digest::sha256(b"new"));
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
        assert_eq!(one.index.identity, other.index.identity);
        assert_eq!(one.skipped, other.skipped);
        assert_eq!(one.archives["web-1.tgz"].repository.as_str(), "team/a");
        assert_eq!(one.counts, Counts { charts: 1, versions: 1, skipped: 2 });
    }

    #[test]
    fn archive_names_that_collide_are_a_clash_too() {
        let snapshot = snapshot(vec![
            found("amb", "1", "amb", "1.0.0-x-1.0.0", "a"),
            found("amb-1.0.0-x", "1", "amb-1.0.0-x", "1.0.0", "b"),
        ]);
        assert_eq!(snapshot.counts, Counts { charts: 1, versions: 1, skipped: 1 });
    }

    #[test]
    fn a_name_is_made_fit_for_a_url() {
        assert_eq!(encode_path("my chart-1.0.0+b%.tgz"), "my%20chart-1.0.0+b%25.tgz");
    }
}
