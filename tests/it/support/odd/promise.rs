//! The promise: for any config blob, the index we emit is read by every reader, keeps its good
//! entries as they are, and holds exactly those charts that were found, with every string they had.

use oci_chartrepo::helm::index::parse_created;
use oci_chartrepo::helm::{ChartLayers, ChartMetadata, ChartVersion};
use oci_chartrepo::inventory::{Contents, StoredChart};
use oci_chartrepo::oci::{Blob, Digest};
use oci_chartrepo::snapshot::{IndexStyle, Snapshot};
use serde_json::{Value, json};
use std::sync::Arc;

use super::super::paper::Reader;

/// A chart that anybody could have pushed, and what the index must say of it.
struct Good;

impl Good {
    const CREATED: &str = "2024-01-02T03:04:05Z";

    fn config() -> Value {
        json!({
            "apiVersion": "v2", "name": "good", "version": "1.2.3+build.4", "appVersion": "1.10", "type": "application",
            "description": "As it should be: \"good\"", "home": "https://charts.test/good", "keywords": ["a", "b"],
            "maintainers": [{"name": "Ada", "email": "ada@charts.test"}], "annotations": {"category": "Database"},
            "dependencies": [{"name": "redis", "version": "~20", "repository": "https://charts.test"}],
        })
    }

    fn entry() -> Value {
        let mut entry = Good::config();
        entry["urls"] = json!(["charts/good-1.2.3+build.4.tgz"]);
        entry["created"] = json!(Good::CREATED);
        entry["digest"] = json!(
            Digest::sha256(&archive("good", Good::config().to_string().as_bytes())).sha256_hex()
        );
        entry
    }
}

/// The snapshot of a registry that holds `configs`, each in a repository of its own, and a good
/// chart.
pub fn index_of(configs: &[Vec<u8>], created: &str) -> Snapshot {
    let odd = configs
        .iter()
        .enumerate()
        .filter_map(|(at, config)| found(&format!("odd/{at}"), config, created));
    let good = found("good", Good::config().to_string().as_bytes(), Good::CREATED);
    Snapshot::build(
        Contents {
            charts: odd.chain(good).map(Arc::new).collect(),
            ..Contents::default()
        },
        &IndexStyle::default(),
        0,
        None,
    )
}

/// What a walk finds there: the chart, unless the config blob is none of a chart's.
fn found(repository: &str, config: &[u8], created: &str) -> Option<StoredChart> {
    let blob = |bytes: &[u8]| Blob {
        digest: Digest::sha256(bytes),
        size: bytes.len() as u64,
    };
    Some(StoredChart {
        repository: repository.parse().expect("a repository name"),
        reference: "1".parse().expect("a tag"),
        metadata: ChartMetadata::parse(config).ok()?.into(),
        // No two archives alike, or they would be one chart.
        layers: Arc::new(ChartLayers {
            created: parse_created(created),
            config: blob(config),
            has_packed_config: false,
            archive: blob(&archive(repository, config)),
            provenance: None,
        }),
    })
}

fn archive(repository: &str, config: &[u8]) -> Vec<u8> {
    [repository.as_bytes(), config].concat()
}

/// Errors with what is wrong with the index that a registry with `configs` would have.
pub fn keeps_the_promise(configs: &[Vec<u8>], created: &str) -> Result<(), String> {
    let snapshot = index_of(configs, created);
    let json = snapshot
        .index_json_below(None, [127, 0, 0, 1].into())
        .expect("it is rendered");
    let json = &*json.identity().to_vec();
    serde_json::from_slice::<Value>(json).map_err(|error| format!("our JSON is none: {error}"))?;
    for reader in Reader::ALL {
        let index = reader
            .read(&snapshot.index().identity().to_vec())
            .map_err(|why| format!("{reader:?}: {why}"))?;
        has_what_was_found(&index, &snapshot).map_err(|why| format!("{reader:?}: {why}"))?;
        reader
            .read(json)
            .map_err(|why| format!("{reader:?}, of JSON: {why}"))?;
    }
    Ok(())
}

fn has_what_was_found(index: &Value, snapshot: &Snapshot) -> Result<(), String> {
    let entries = index["entries"].as_object().ok_or("no entries")?;
    let count: usize = entries
        .values()
        .filter_map(Value::as_array)
        .map(Vec::len)
        .sum();
    if count != snapshot.counts.versions || count + snapshot.skipped.len() != snapshot.charts.len()
    {
        return Err(format!("{count} entries of {}", snapshot.counts));
    }
    if !entries
        .get("good")
        .and_then(Value::as_array)
        .is_some_and(|list| list.contains(&Good::entry()))
    {
        return Err("the good entry is not as it was".into());
    }
    let shadowed = |chart: &StoredChart| {
        let place = format!("{}:1", chart.repository);
        snapshot
            .skipped
            .iter()
            .any(|skipped| skipped.reference == place)
    };
    let mut seen = snapshot.charts.iter().filter(|chart| !shadowed(chart));
    seen.try_for_each(|chart| has(entries, chart))
}

/// Whether the chart is listed under its name, with its metadata, its digest, its date and a URL
/// that leads to its file.
fn has(entries: &serde_json::Map<String, Value>, chart: &StoredChart) -> Result<(), String> {
    let name = chart.metadata.name();
    let digest = chart.layers.archive.digest.sha256_hex();
    let versions = entries
        .get(name)
        .and_then(Value::as_array)
        .ok_or_else(|| format!("no entry {name:?}"))?;
    let entry = versions
        .iter()
        .find(|entry| entry["digest"].as_str() == digest.as_deref());
    let mut entry = entry
        .ok_or_else(|| format!("{name:?} is not listed"))?
        .as_object()
        .cloned()
        .unwrap_or_default();
    let url = entry.remove("urls").unwrap_or_default();
    let file = url[0]
        .as_str()
        .and_then(|url| decode(url.strip_prefix("charts/")?));
    if file != Some(ChartVersion::archive_name(&chart.metadata)) {
        return Err(format!("{url} does not lead to {name:?}"));
    }
    if entry.remove("created").is_some() != chart.layers.created.is_some() {
        return Err(format!("{name:?} has the wrong date"));
    }
    entry.remove("digest");
    let metadata: Value =
        serde_json::from_str(&chart.metadata.json()).map_err(|error| error.to_string())?;
    if Value::Object(entry.clone()) != metadata {
        return Err(format!("{entry:?} is not {metadata}"));
    }
    Ok(())
}

/// Undoes percent-encoding; `None` unless what is left to stand for itself may.
fn decode(url: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = url.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || (rest.next()? as char).to_digit(16);
        match byte {
            b'%' => bytes.push((digit()? * 16 + digit()?) as u8),
            b'-' | b'.' | b'_' | b'~' | b'+' => bytes.push(byte),
            _ if byte.is_ascii_alphanumeric() => bytes.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}
