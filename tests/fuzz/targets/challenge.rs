//! `WWW-Authenticate`, a header a line: a realm that we'd send a password to is absolute, of a
//! scheme we speak, no less safe than the registry, and not a metadata service.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use oci_chartrepo::fuzzing::{challenge, hush};
use oci_chartrepo_fuzz::lines;
use ureq::http::Uri;

fuzz_target!(init: hush(), |data: &[u8]| {
    let headers = lines(data);
    for from in ["https://reg.example:5000/v2/a/tags/list?n=1", "http://reg.example/v2/"] {
        let from: Uri = from.parse().expect("a URL");
        if let Some(Some((realm, _, _))) = challenge(&headers, &from) {
            check(&realm, &from);
        }
    }
});

fn check(realm: &Uri, from: &Uri) {
    let scheme = realm.scheme_str().unwrap_or_default();
    assert!(
        scheme == "https" || (scheme == "http" && from.scheme_str() == Some("http")),
        "{realm}"
    );
    let host = realm.host().unwrap_or_default();
    assert!(!host.is_empty(), "{realm}");
    // Names, and numbers that the resolver takes for an address, are looked at when they're looked up.
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        assert!(!is_link_local(address), "{realm}");
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[..2] == [169, 254],
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}
