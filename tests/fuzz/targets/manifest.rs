//! Manifests: what is taken for a chart has a config of Helm's that is small enough to read, and an
//! archive that isn't empty; all of it addressed by digests that can't lead out of a directory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_chartrepo::helm::ChartLayers;
use oci_chartrepo::oci::{Descriptor, Manifest};

fuzz_target!(|data: &[u8]| {
    let manifest = match Manifest::parse(data) {
        Ok(Manifest::Image(manifest)) => manifest,
        Ok(Manifest::Index(index)) => {
            return index
                .manifests
                .iter()
                .for_each(|one| check(&one.descriptor));
        }
        _ => return,
    };
    std::iter::once(&manifest.config)
        .chain(&manifest.layers)
        .for_each(check);
    let Ok(chart) = ChartLayers::find(&manifest) else {
        return;
    };
    // What they are has been looked at, and isn't kept.
    let is_a_layer =
        |part: &Descriptor| manifest.layers.iter().any(|layer| layer.blob() == *part);
    assert_eq!(chart.config, manifest.config.blob());
    assert!(chart.config.size <= 1024 * 1024 && chart.archive.size > 0);
    assert!(is_a_layer(&chart.archive));
    assert!(chart.provenance.is_none_or(|layer| is_a_layer(&layer)));
});

fn check(blob: &Descriptor) {
    let (algorithm, hex) = blob.digest.parts();
    let length = if algorithm == "sha256" { 64 } else { 128 };
    assert!(matches!(algorithm, "sha256" | "sha512"), "{algorithm}");
    assert!(
        hex.len() == length && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        "{hex}"
    );
}
