//! Several odd config blobs, made by choice rather than by byte: their index is read by every
//! reader and keeps its good entries.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_chartrepo_fuzz::odd::{Choices, config, keeps_the_promise};

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices::new(data);
    let configs: Vec<_> = (0..1 + choices.below(3))
        .map(|_| config(&mut choices))
        .collect();
    if let Err(why) = keeps_the_promise(&configs, "") {
        let shown: Vec<_> = configs
            .iter()
            .map(|config| config.escape_ascii().to_string())
            .collect();
        panic!("{why}\n{shown:#?}");
    }
});
