//! The little of URLs that a registry client needs: origins, what a `Location` or a realm means, and
//! which addresses no server may send us to.

use std::net::IpAddr;
use ureq::http::Uri;

/// Scheme, host and port: what credentials are bound to (RFC 6454).
pub(super) fn origin(url: &Uri) -> Option<(String, String, u16)> {
    let scheme = url.scheme_str()?.to_ascii_lowercase();
    let port = match (url.port_u16(), scheme.as_str()) {
        (Some(port), _) => port,
        (None, "https") => 443,
        (None, _) => 80,
    };
    Some((scheme, url.host()?.to_ascii_lowercase(), port))
}

/// Whether the URL's host and port are written as `authority`, which is in lower case.
pub(super) fn is_at(url: &Uri, authority: &str) -> bool {
    let own = url.authority();
    own.is_some_and(|own| own.as_str().eq_ignore_ascii_case(authority))
}

/// What `reference` means in a response from `base` (RFC 3986 §5.2): absolute, without a scheme, with
/// an absolute path, with a query alone, or relative.
pub(super) fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.trim();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?;
    let other_scheme = reference.split_once("://").is_some_and(|(scheme, _)| {
        !["http", "https"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    if other_scheme && !reference.starts_with("//") {
        return None;
    }
    // RFC 3986 §3.1: a scheme may be written in any case.
    let absolute = reference
        .split_once("://")
        .map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    let absolute = absolute.filter(|(scheme, _)| matches!(&**scheme, "http" | "https"));
    let text = if let Some((scheme, rest)) = absolute {
        format!("{scheme}://{rest}")
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{reference}")
    } else if reference.starts_with('?') {
        format!("{scheme}://{authority}{}{reference}", base.path())
    } else {
        let folder = base
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{reference}")
    };
    // RFC 9110 §4.2: a URL without a host is none.
    text.parse::<Uri>()
        .ok()
        .filter(|url| url.host().is_some_and(|host| !host.is_empty()))
}

/// The URL without its query, which may hold secrets.
pub(super) fn display(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let authority = url
        .authority()
        .map(|authority| authority.as_str())
        .unwrap_or_default();
    // A user name and password may stand before the host.
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{}", url.path())
}

/// Whether the host is a link-local address, spelled as one. Names and odd spellings are checked when
/// they're looked up.
pub(super) fn is_link_local(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host.parse().is_ok_and(is_link_local_address)
}

/// `169.254.0.0/16`, `fe80::/10`, and Amazon's `fd00:ec2::/32`, mapped ones too.
pub(super) fn is_link_local_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.segments()[..2] == [0xfd00, 0x0ec2],
    }
}

/// Percent-encodes `text` as a value in a query (RFC 3986 §3.4), leaving readable what may stay.
pub(crate) fn encode_query(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:*,".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn references_are_resolved() {
        let base = uri("https://reg.example:5000/v2/a/blobs/x?y=1");
        for (reference, expected) in [
            ("http://other/z?s=1", "http://other/z?s=1"),
            ("HTTPS://other/Z?s=1", "https://other/Z?s=1"),
            ("//other/z", "https://other/z"),
            ("/z?s=1", "https://reg.example:5000/z?s=1"),
            ("z", "https://reg.example:5000/v2/a/blobs/z"),
            ("?s=1", "https://reg.example:5000/v2/a/blobs/x?s=1"),
        ] {
            assert_eq!(resolve(&base, reference).unwrap().to_string(), expected);
        }
        for bad in [
            "http://:80/",
            "//",
            "http://\u{7f}",
            "ftp://other/z",
            "file:///etc/passwd",
            "HTTPX://a",
        ] {
            assert!(resolve(&base, bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_origin_knows_the_default_ports() {
        assert_eq!(origin(&uri("https://A/x")), origin(&uri("https://a:443/y")));
        assert_ne!(origin(&uri("https://a/")), origin(&uri("http://a/")));
        assert_ne!(origin(&uri("https://a/")), origin(&uri("https://a:444/")));
    }

    #[test]
    fn a_query_and_a_user_are_not_shown() {
        assert_eq!(
            display(&uri("https://u:p@a:1/b?X-Signature=s")),
            "https://a:1/b"
        );
    }

    #[test]
    fn metadata_services_are_known_by_their_address() {
        for bad in [
            "http://169.254.169.254/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[::ffff:169.254.169.254]/",
        ] {
            assert!(is_link_local(&uri(bad)), "{bad}");
        }
        for good in [
            "http://10.0.0.1/",
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://reg.example/",
        ] {
            assert!(!is_link_local(&uri(good)), "{good}");
        }
    }

    #[test]
    fn a_scope_stays_readable_in_a_query() {
        assert_eq!(
            encode_query("repository:a/b:pull,push x&y"),
            "repository:a/b:pull,push%20x%26y"
        );
    }
}
