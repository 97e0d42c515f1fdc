//! `index.json` of an OCI image layout, whose image indexes lead to the same bytes again: it ends,
//! and lists only what it names, by a tag or a digest.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_chartrepo::fuzzing::{hush, layout_listing};
use oci_chartrepo::oci::{Reference, RepositoryName};

fuzz_target!(init: hush(), |data: &[u8]| {
    for fixed in [false, true] {
        let Some(listing) = layout_listing(data, fixed, &|_| data.to_vec()) else {
            return;
        };
        let text = String::from_utf8_lossy(data);
        for (repository, held) in &listing {
            assert!(repository.as_str().parse::<RepositoryName>().is_ok(), "{repository}");
            assert!(!fixed || repository.as_str() == "home", "{repository}");
            for (listed_as, digest) in held {
                let Some(digest) = digest else {
                    assert!(listed_as.starts_with('"'), "{listed_as} could be taken for a tag");
                    continue;
                };
                assert!(listed_as.parse::<Reference>().is_ok(), "{listed_as}");
                let (_, hex) = digest.parts();
                assert!(text.contains(&hex[1..]) || text.contains("\\u"), "{digest}");
            }
        }
    }
});
