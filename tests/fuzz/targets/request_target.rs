//! Request targets: a file name that is asked for is one segment, printable, and the same however
//! it was encoded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_chartrepo::fuzzing::request_target;

fuzz_target!(|target: &str| {
    let Ok(Some(name)) = request_target(target) else {
        return;
    };
    assert!(name.ends_with(".tgz"), "{name:?}");
    assert!(
        !name.contains(|c: char| c == '/' || c.is_control()),
        "{name:?}"
    );
    let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for same in [
        format!("/charts/{encoded}?q"),
        format!("http://host/charts/{encoded}.prov#f"),
    ] {
        assert_eq!(request_target(&same), Ok(Some(name.clone())), "{same}");
    }
});
