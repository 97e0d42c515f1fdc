//! `Link`, a header a line: the query that is taken from it can be put behind our own path and
//! leads nowhere else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_chartrepo::fuzzing::next_page;
use oci_chartrepo_fuzz::lines;
use ureq::http::Uri;

fuzz_target!(|data: &[u8]| {
    let headers = lines(data);
    let Some(query) = next_page(&headers) else {
        return;
    };
    assert!(
        !query.is_empty()
            && query
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'#'),
        "{query:?}"
    );
    // A URL that can't be made is refused where it's made.
    if let Ok(url) = format!("https://reg.example/v2/_catalog?{query}").parse::<Uri>() {
        assert_eq!(
            (url.host(), url.path()),
            (Some("reg.example"), "/v2/_catalog")
        );
        assert_eq!(url.query(), Some(query.as_str()));
    }
});
