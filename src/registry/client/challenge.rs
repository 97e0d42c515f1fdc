//! `WWW-Authenticate` (RFC 9110 §11.6.1): one or several challenges, in one header or several, with
//! parameters in any case, quoted or not.

use super::url;
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
    /// The first of the offered challenges that we can answer. `from` is the URL of the refusal: a realm
    /// may be relative to it, and must not lie where it would expose the credentials.
    pub(crate) fn choose(offered: Vec<Offer>, from: &Uri) -> Option<Challenge> {
        offered.into_iter().find_map(|mut offer| {
            if offer.scheme.eq_ignore_ascii_case("basic") {
                return Some(Challenge::Basic {
                    realm: offer.take("realm"),
                });
            }
            if !offer.scheme.eq_ignore_ascii_case("bearer") {
                return None;
            }
            let realm = url::resolve(from, &offer.take("realm")?)
                .filter(|realm| is_safe_realm(realm, from))?;
            Some(Challenge::Bearer {
                realm,
                service: offer.take("service"),
                scope: offer.take("scope"),
            })
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
    if downgrade || url::is_link_local(realm) {
        log::warn!(
            "ignoring token realm {} of {}: not trusted",
            url::display(realm),
            url::display(registry)
        );
        return false;
    }
    true
}

/// One challenge as it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Offer {
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self
            .parameters
            .iter()
            .position(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(self.parameters.swap_remove(at).1)
    }
}

/// All challenges of all headers. What can't be parsed is skipped.
pub(crate) fn parse(headers: &[String]) -> Vec<Offer> {
    let mut offers = Vec::new();
    for header in headers {
        for part in split_list(header) {
            match parameter(part) {
                Some(pair) => {
                    if let Some(Offer { parameters, .. }) = offers.last_mut() {
                        parameters.push(pair);
                    }
                }
                // A new scheme, alone or with its first parameter behind a blank.
                None => {
                    let (scheme, rest) = part.split_once(' ').unwrap_or((part, ""));
                    offers.push(Offer {
                        scheme: scheme.to_owned(),
                        parameters: parameter(rest).into_iter().collect(),
                    });
                }
            }
        }
    }
    offers
}

/// Splits at commas that stand outside quotes.
fn split_list(header: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let outside = move |c: char| {
        let was_escaped = escaped;
        escaped = quoted && c == '\\' && !was_escaped;
        quoted ^= c == '"' && !was_escaped;
        c == ',' && !quoted
    };
    header
        .split(outside)
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

/// `name=value` or `name="value"`, where the name is one word.
fn parameter(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '"') {
        return None;
    }
    let quoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    Some((
        name.to_owned(),
        quoted.map_or_else(|| value.to_owned(), unescape),
    ))
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
        Challenge::choose(
            parse(
                &headers
                    .iter()
                    .map(|header| (*header).to_owned())
                    .collect::<Vec<_>>(),
            ),
            &"https://reg.example/v2/a/tags/list".parse().unwrap(),
        )
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
