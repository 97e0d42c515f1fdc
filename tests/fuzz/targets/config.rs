//! A config blob and, in its first line, the annotation that dates its manifest: whatever they
//! hold, the index that lists the chart is read by every reader and keeps its good entries.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_chartrepo_fuzz::odd::keeps_the_promise;

fuzz_target!(|data: &[u8]| {
    let end = data
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(data.len());
    let created = String::from_utf8_lossy(&data[..end]);
    let config = data[end..].trim_ascii_start().to_vec();
    if let Err(why) = keeps_the_promise(&[config], &created) {
        panic!("{why}");
    }
});
