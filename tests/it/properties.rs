//! For any config blob, the index we emit parses, keeps its good entries and has no bad one. Config
//! blobs are drawn from numbered seeds, so that every run of one length tries the same ones, and a
//! failure names the seed and shows the case.

use std::time::{Duration, Instant};

use oci_chartrepo::helm::{ChartMetadata, IndexFile};
use serde_json::Value;

use crate::support::odd::{Choices, config, index_of, keeps_the_promise, proper_config};
use crate::support::paper::Reader;

/// How long each property is tried: hundreds of cases without optimisation. `make fuzz` tries the
/// first one tens of thousands of times.
const TIME: Duration = Duration::from_secs(2);
/// Fewest cases that say anything.
const FEWEST: u64 = 200;
/// Enough choices for the largest config.
const CHOICES: usize = 1024;

/// Tries seeds from 0 on.
fn for_many_seeds(mut holds: impl FnMut(&[u8]) -> Result<(), String>) {
    let start = Instant::now();
    for seed in 0.. {
        if seed >= FEWEST && start.elapsed() > TIME {
            println!("{seed} cases");
            return;
        }
        let bytes = Choices::bytes_from(seed, CHOICES);
        holds(&bytes).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

#[test]
fn any_config_blob_leaves_an_index_that_everybody_reads() {
    for_many_seeds(|bytes| {
        let mut choices = Choices::new(bytes);
        let configs: Vec<_> = (0..1 + choices.below(3))
            .map(|_| config(&mut choices))
            .collect();
        let shown = || {
            configs
                .iter()
                .map(|config| config.escape_ascii().to_string())
                .collect::<Vec<_>>()
        };
        keeps_the_promise(&configs, "2024-02-29T23:59:59.5+02:00")
            .map_err(|why| format!("{why}\n{:#?}", shown()))
    });
}

#[test]
fn a_proper_config_blob_is_an_entry_word_for_word() {
    for_many_seeds(|bytes| {
        let config = Value::Object(proper_config(&mut Choices::new(bytes)));
        let snapshot = index_of(&[config.to_string().into_bytes()], "");
        let name = config["name"].as_str().unwrap_or_default();
        for reader in Reader::ALL {
            let index = reader
                .read(&snapshot.index().identity().to_vec())
                .map_err(|why| format!("{reader:?}: {why}\n{config}"))?;
            let mut entry = index["entries"][name][0].clone();
            let fields = entry
                .as_object_mut()
                .ok_or_else(|| format!("{reader:?}: not listed\n{config}"))?;
            fields.retain(|key, _| key != "urls" && key != "digest");
            if entry != config {
                return Err(format!("{reader:?} reads {entry} of {config}"));
            }
        }
        Ok(())
    });
}

/// The readers on paper must be able to say no, or all of the above says nothing.
#[test]
fn readers_on_paper_refuse_what_a_careless_writer_writes() {
    let careless = |description: &str| {
        let config = serde_json::json!({"name": "a", "version": "1", "description": description});
        let metadata = ChartMetadata::parse(config.to_string().as_bytes()).unwrap();
        format!(
            "apiVersion: v1\nentries:\n  a:\n  - {}",
            serde_yaml::to_string(&metadata)
                .unwrap()
                .trim_end()
                .replace('\n', "\n    ")
        ) + "\n    urls:\n    - a.tgz\n"
    };
    for description in ["yes", "1_000", "0x_f", "off"] {
        for reader in Reader::ALL {
            assert!(
                reader.read(careless(description).as_bytes()).is_err(),
                "{reader:?}: {description}"
            );
        }
    }
    for reader in Reader::ALL {
        // The last one takes no plain word at all.
        let read = reader.read(careless("a story").as_bytes());
        assert_eq!(
            read.is_ok(),
            reader != Reader::Other,
            "{reader:?}: {read:?}"
        );
        let mut empty = Vec::new();
        let written = IndexFile::new(std::iter::empty()).write_yaml(&mut empty);
        written.expect("memory takes it");
        assert!(reader.read(&empty).is_ok(), "{reader:?}");
    }
}
