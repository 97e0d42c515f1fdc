//! Where the registry is, as it's typed: a host or a URL, with or without a prefix.

use crate::oci::RepositoryName;
use crate::registry::Scheme;
use ureq::http::uri::Authority;

/// What `--storage-registry-repo` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: String,
    pub(super) prefix: Option<RepositoryName>,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Address, String> {
        let (scheme, rest) = match text.split_once("://") {
            // As helm writes it, which says nothing of how the registry is spoken to.
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("oci") => (None, rest),
            Some((scheme, rest)) => match scheme.parse::<Scheme>() {
                Ok(scheme) => (Some(scheme), rest),
                Err(why) => return Err(format!("scheme {scheme:?}: {why}")),
            },
            None => (None, text),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let parsed = authority.parse::<Authority>().ok();
        let host = parsed.as_ref().map_or("", |parsed| parsed.host());
        let port = authority.strip_prefix(host).unwrap_or(authority);
        let is_port = |port: &str| port.parse::<u16>().is_ok();
        if host.is_empty() || !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
            return Err("not host[:port][/prefix]".into());
        }
        let prefix = match path.trim_matches('/') {
            "" | "v2" => None,
            path => Some(
                path.parse()
                    .map_err(|why| format!("prefix {path:?}: {why}"))?,
            ),
        };
        let authority = match authority {
            // Docker Hub's registry isn't at the name it goes by.
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            other => other,
        };
        Ok(Address {
            scheme,
            authority: authority.to_owned(),
            prefix,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> (Option<Scheme>, String, Option<String>) {
        let Address {
            scheme,
            authority,
            prefix,
        } = Address::parse(text).unwrap();
        (scheme, authority, prefix.map(|prefix| prefix.to_string()))
    }

    #[test]
    fn an_address_is_a_host_or_a_url_with_or_without_a_prefix() {
        let own = |text: &str| text.to_owned();
        assert_eq!(
            address("localhost:5000"),
            (None, own("localhost:5000"), None)
        );
        assert_eq!(
            address("https://reg.example/"),
            (Some(Scheme::Https), own("reg.example"), None)
        );
        assert_eq!(
            address("HTTP://reg/team/a/"),
            (Some(Scheme::Http), own("reg"), Some(own("team/a")))
        );
        assert_eq!(
            address("oci://reg:5000/team/a"),
            (None, own("reg:5000"), Some(own("team/a")))
        );
        assert_eq!(address("OCI://reg"), (None, own("reg"), None));
        assert_eq!(address("[::1]:5000/v2/"), (None, own("[::1]:5000"), None));
        assert_eq!(
            address("docker.io/bitnami"),
            (None, own("registry-1.docker.io"), Some(own("bitnami")))
        );
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, why) in [
            ("", "not host[:port][/prefix]"),
            ("oci://", "not host[:port][/prefix]"),
            ("oci:reg/team", "not host[:port][/prefix]"),
            ("a b", "not host[:port][/prefix]"),
            ("host:99999", "not host[:port][/prefix]"),
            ("ftp://host", "scheme \"ftp\": not HTTP or HTTPS"),
            (
                "host/Team",
                "prefix \"Team\": not a repository name (lower-case letters, digits and . _ - between slashes)",
            ),
        ] {
            assert_eq!(Address::parse(text), Err(why.to_owned()), "{text}");
        }
    }
}
