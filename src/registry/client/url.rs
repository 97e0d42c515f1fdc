//! The little of URLs that a registry client needs: origins, what a `Location` or a realm means, and
//! which addresses no server may send us to.

use std::net::{IpAddr, Ipv4Addr};
use ureq::http::Uri;

/// Metadata services beside the link-local ones: Alibaba's, Azure's and Oracle's.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// The first 32 bits of Amazon's `fd00:ec2::254` and Google's `fd20:ce::254`.
const METADATA_V6: [[u16; 2]; 2] = [[0xfd00, 0x0ec2], [0xfd20, 0x00ce]];
/// Names of metadata services that are the same in each network of a cloud. Behind a proxy they aren't looked
/// up here.
const METADATA_NAMES: [&str; 4] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data.ec2.internal",
];

/// Scheme, host and port: what credentials are bound to (RFC 6454).
pub(super) type Origin = (String, String, u16);

/// The origin of a URL.
pub(super) fn origin(url: &Uri) -> Option<Origin> {
    let scheme = url.scheme_str()?.to_ascii_lowercase();
    let port = match (url.port_u16(), scheme.as_str()) {
        (Some(port), _) => port,
        (None, "https") => 443,
        (None, _) => 80,
    };
    Some((scheme, url.host()?.to_ascii_lowercase(), port))
}

/// Whether a redirect leads from HTTP to HTTPS of the same host.
pub(super) fn is_upgrade(from: &Uri, to: &Uri) -> bool {
    let schemes = (from.scheme_str(), to.scheme_str());
    schemes == (Some("http"), Some("https")) && from.host() == to.host()
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
    let in_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    let absolute = reference.split_once("://");
    let absolute = absolute.filter(|(scheme, _)| scheme.bytes().all(in_scheme));
    let text = if let Some((scheme, rest)) = absolute {
        // RFC 3986 §3.1: a scheme may be written in any case.
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(&*scheme, "http" | "https") {
            return None;
        }
        format!("{scheme}://{rest}")
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else if reference.starts_with('/') {
        format!("{scheme}://{authority}{reference}")
    } else if reference.starts_with('?') {
        format!("{scheme}://{authority}{}{reference}", base.path())
    } else {
        let folder = base.path().rsplit_once('/');
        let folder = folder.map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{reference}")
    };
    // RFC 9110 §4.2: a URL without a host is none.
    let url: Uri = text.parse().ok()?;
    url.host()
        .is_some_and(|host| !host.is_empty())
        .then_some(url)
}

/// The URL without its query, which may hold secrets.
pub(super) fn display(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let authority = url.authority().map_or("", |authority| authority.as_str());
    // A user name and password may stand before the host.
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{}", url.path())
}

/// Whether the host is the address of a metadata service, in any spelling that a resolver or a proxy takes
/// for an address, or the name of one that a proxy would look up. Other names are checked when they're
/// looked up here.
pub(super) fn is_link_local(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let host = host.split('%').next().unwrap_or_default();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse().ok().or_else(|| odd_v4(&host).map(IpAddr::V4));
    METADATA_NAMES.contains(&&*host) || address.is_some_and(is_link_local_address)
}

/// An IPv4 address in a spelling of `inet_aton`: one to four numbers, the last of which fills the rest, each
/// decimal, octal or hexadecimal.
fn odd_v4(host: &str) -> Option<Ipv4Addr> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some("") => Some(0),
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    };
    let parts: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last().filter(|(_, first)| first.len() < 4)?;
    let bits = 32 - 8 * first.len() as u32;
    let fits = first.iter().all(|part| *part < 256) && u64::from(*last) < 1 << bits;
    let high = first
        .iter()
        .fold(0, |high, part| high << 8 | u64::from(*part));
    fits.then(|| Ipv4Addr::from_bits((high << bits) as u32 | last))
}

/// Whether a metadata service of a cloud may be there, where each client is given secrets: link-local
/// addresses, and those that clouds chose elsewhere. An IPv4 address in an IPv6 one counts as itself, for a
/// network may translate it.
pub(super) fn is_link_local_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => {
            let inner = embedded(v6.segments()).map(IpAddr::V4);
            v6.is_unicast_link_local()
                || METADATA_V6.contains(&v6.segments()[..2].try_into().unwrap_or_default())
                || inner.is_some_and(is_link_local_address)
        }
    }
}

/// The IPv4 address in an IPv4-compatible one (RFC 4291 §2.5.5.1), in one that NAT64 translates (RFC 6052, RFC
/// 8215), or in a 6to4 one (RFC 3056).
fn embedded(segments: [u16; 8]) -> Option<Ipv4Addr> {
    let [high, low] = match segments {
        [0, 0, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => [high, low],
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
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
            "http://[::169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[64:ff9b:1::a9fe:a9fe]/",
            "http://[2002:a9fe:a9fe::1]/",
            "http://[64:ff9b::168.63.129.16]/",
            "http://[fd20:ce::254]/",
            "http://100.100.100.200/",
            "http://168.63.129.16/",
            "http://192.0.0.192/",
            "http://2852039166/",
            "http://0xA9FEA9FE/",
            "http://0251.0376.0251.0376/",
            "http://169.254.43518/",
            "http://169.254.169.254./",
            "http://Metadata.Google.internal/",
        ] {
            assert!(is_link_local(&uri(bad)), "{bad}");
        }
        for good in [
            "http://10.0.0.1/",
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://[::]/",
            "http://[64:ff9b::10.0.0.1]/",
            "http://[2001:db8::a9fe:a9fe]/",
            "http://1.2.3.4.5/",
            "http://169.254.x/",
            "http://99999999999/",
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
