//! `WWW-Authenticate` (RFC 9110 §11.6.1): one or several challenges, in one header or several, with
//! parameters in any case, quoted or not.

use super::url;
use std::collections::BTreeMap;
use ureq::http::Uri;

/// A challenge that we can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// RFC 7617.
    Basic { realm: Option<String> },
    /// RFC 6750, with the parameters of the token specification.
    Bearer {
        /// Where tokens are fetched.
        realm: Uri,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// The first of the challenges in `headers` that we can answer. `from` is the URL of the refusal: a
    /// realm may be relative to it, and must not lie where it would expose the credentials.
    pub(crate) fn choose(headers: &[String], from: &Uri) -> Option<Challenge> {
        offers(headers).find_map(|mut offer| match &*offer.scheme {
            "basic" => Some(Challenge::Basic {
                realm: offer.parameters.remove("realm"),
            }),
            "bearer" => {
                let realm = url::resolve(from, &offer.parameters.remove("realm")?)?;
                is_safe_realm(&realm, from).then(|| Challenge::Bearer {
                    realm,
                    service: offer.parameters.remove("service"),
                    scope: offer.parameters.remove("scope"),
                })
            }
            _ => None,
        })
    }

    /// The scope that the challenge asks for.
    pub(super) fn scope(&self) -> Option<&str> {
        match self {
            Challenge::Basic { .. } => None,
            Challenge::Bearer { scope, .. } => scope.as_deref().filter(|scope| !scope.is_empty()),
        }
    }
}

/// A token server gets our password: never over HTTP if the registry itself speaks HTTPS, and never at
/// a link-local address, where clouds keep their metadata.
fn is_safe_realm(realm: &Uri, registry: &Uri) -> bool {
    let downgrade = registry.scheme_str() == Some("https") && realm.scheme_str() != Some("https");
    let is_safe = !downgrade && !url::is_link_local(realm);
    if !is_safe {
        let (realm, registry) = (url::display(realm), url::display(registry));
        log::warn!("ignoring token realm {realm} of {registry}: not trusted");
    }
    is_safe
}

/// One challenge as it was sent, its scheme and the names of its parameters in lower case.
struct Offer {
    scheme: String,
    parameters: BTreeMap<String, String>,
}

/// All challenges of all headers. What can't be parsed is skipped.
fn offers(headers: &[String]) -> impl Iterator<Item = Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    for part in headers.iter().flat_map(|header| split_list(header)) {
        match (parameter(part), offers.last_mut()) {
            (Some((name, value)), Some(offer)) => {
                offer.parameters.entry(name).or_insert(value);
            }
            (Some(_), None) => {}
            // A new scheme, alone or with its first parameter behind a blank.
            (None, _) => {
                let (scheme, rest) = part.split_once(' ').unwrap_or((part, ""));
                offers.push(Offer {
                    scheme: scheme.to_ascii_lowercase(),
                    parameters: parameter(rest).into_iter().collect(),
                });
            }
        }
    }
    offers.into_iter()
}

/// Splits at commas that stand outside quotes.
fn split_list(header: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let outside = move |c: char| {
        let was_escaped = escaped;
        escaped = quoted && c == '\\' && !was_escaped;
        quoted ^= c == '"' && !was_escaped;
        c == ',' && !quoted
    };
    let parts = header.split(outside).map(str::trim);
    parts.filter(|part| !part.is_empty())
}

/// `name=value` or `name="value"`, where the name is one word.
fn parameter(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '"') {
        return None;
    }
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let value = inner.map_or_else(|| value.to_owned(), unescape);
    Some((name.to_ascii_lowercase(), value))
}

fn unescape(quoted: &str) -> String {
    let mut text = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    while let Some(c) = rest.next() {
        text.extend(if c == '\\' { rest.next() } else { Some(c) });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(headers: &[&str]) -> Option<Challenge> {
        let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
        let from = "https://reg.example/v2/a/tags/list".parse().unwrap();
        Challenge::choose(&headers, &from)
    }

    fn bearer_of(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let own = |text: &str| text.to_owned();
        Some(Challenge::Bearer {
            realm: realm.parse().unwrap(),
            service: service.map(own),
            scope: scope.map(own),
        })
    }

    #[test]
    fn a_bearer_challenge_keeps_commas_in_quotes() {
        assert_eq!(
            choose(&[
                r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a:pull,push""#
            ]),
            bearer_of(
                "https://auth.example/token",
                Some("reg"),
                Some("repository:a:pull,push")
            )
        );
    }

    #[test]
    fn case_blanks_and_missing_quotes_do_not_matter() {
        assert_eq!(
            choose(&[r#"BEARER  Realm = "/token?account=x" , SERVICE=reg"#]),
            bearer_of("https://reg.example/token?account=x", Some("reg"), None)
        );
    }

    #[test]
    fn the_first_known_challenge_of_several_is_taken() {
        let basic = |realm: Option<&str>| {
            Some(Challenge::Basic {
                realm: realm.map(str::to_owned),
            })
        };
        assert_eq!(choose(&["Negotiate, Basic realm=\"x\""]), basic(Some("x")));
        assert_eq!(
            choose(&["Negotiate", "Digest nonce=\"a\", realm=b", "basic"]),
            basic(None)
        );
        assert_eq!(
            choose(&[r#"Bearer realm="https://a/t", Basic realm="x""#]),
            bearer_of("https://a/t", None, None)
        );
        assert_eq!(choose(&["Negotiate"]), None);
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn quotes_inside_quotes_are_unescaped() {
        assert_eq!(
            choose(&[r#"Bearer realm="https://a/t",service="x \"y\", \\z""#]),
            bearer_of("https://a/t", Some(r#"x "y", \z"#), None)
        );
    }

    #[test]
    fn a_realm_that_would_expose_a_password_is_not_used() {
        for realm in [
            "http://auth.example/token",
            "https://169.254.169.254/token",
            "http://[fe80::1]/token",
        ] {
            assert_eq!(
                choose(&[&format!(r#"Bearer realm="{realm}""#)]),
                None,
                "{realm}"
            );
        }
        assert_eq!(choose(&["Bearer"]), None);
    }
}
