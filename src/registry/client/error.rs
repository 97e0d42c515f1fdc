//! The errors of upstream calls: `GET https://reg.example/v2/team/web/tags/list: 401 UNAUTHORIZED:
//! authentication required`. A query string is never shown, because pre-signed URLs carry secrets
//! there; an error about a certificate says which flag helps.

use super::tls_failure::{CLIENT_CERTIFICATE, TlsFailure};
use crate::storage::{Error, ErrorKind};
use serde::Deserialize;
use std::{fmt, io};

/// Most of a registry's words that is logged, in characters: a line, not a page of HTML.
const MAX_DETAIL: usize = 200;
/// The kind that a failed look-up of a name is given, which the system's error has none for; connections
/// never fail with it.
pub(super) const UNKNOWN_NAME: io::ErrorKind = io::ErrorKind::NotFound;
/// Longest error code, in bytes: the spec's longest has 21.
const MAX_CODE: usize = 64;

/// The error that a response with a status other than success is. `body` may hold the spec's list of
/// errors (distribution-spec v1.1.0, "Error Codes"): the code of the first is shown, and its message if it
/// `may_be_quoted`, but neither where it `holds_a_secret`.
pub(super) fn status(
    what: &str,
    status: u16,
    body: &[u8],
    may_be_quoted: bool,
    holds_a_secret: impl Fn(&str) -> bool,
) -> Error {
    let (mut code, words) = first_listed(body).unwrap_or_default();
    if holds_a_secret(&code) {
        code.clear();
    }
    let what = format!("{what}: {status} {code}");
    let error = Error::new(kind(status), what.trim_end()).with_status(status);
    // nginx ends the handshake without the certificate that it wants, and tells so in a page. No status: it
    // is no answer of a registry.
    if status == 400 && contains(body, b"SSL certificate") {
        let why = "the server requires a client certificate that it trusts";
        let error = Error::new(ErrorKind::Refused, format!("{what}: {why}"));
        return error.with_public(why).advise(CLIENT_CERTIFICATE);
    }
    if words.is_empty() || !may_be_quoted || holds_a_secret(&words) {
        return error;
    }
    let words: String = words.chars().take(MAX_DETAIL).collect();
    error.with_detail(format_args!(": {words}"))
}

fn contains(body: &[u8], words: &[u8]) -> bool {
    body.windows(words.len()).any(|part| part == words)
}

/// Whether the body holds what no registry answers to a path that it doesn't have: neither the spec's
/// list of errors, nor nothing.
pub(super) fn is_foreign(body: &[u8]) -> bool {
    !body.is_empty() && first_listed(body).is_none()
}

/// The error that a 200 is whose body is not what this endpoint returns.
pub(crate) fn unexpected_body(what: &str, why: &str) -> Error {
    protocol(what, why).with_status(200)
}

/// The response that the error is, if it would be the same tomorrow: in our own words, with its status
/// and code.
pub(crate) fn final_answer(error: &Error) -> Option<&str> {
    let is_final = error.status().is_some_and(|status| !may_pass(status));
    is_final.then(|| error.what())
}

fn kind(status: u16) -> ErrorKind {
    match status {
        404 => ErrorKind::NotFound,
        _ if may_pass(status) => ErrorKind::Unavailable,
        400.. => ErrorKind::Refused,
        _ => ErrorKind::Invalid,
    }
}

/// Whether a repeated request may get a different status: after a timeout, throttling, or a server error
/// other than 501, "not implemented" (distribution-spec v1.1.0, "Error Codes"; RFC 9110 §15).
pub(super) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502..)
}

/// A response that breaks the protocol.
pub(crate) fn protocol(what: &str, why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("{what}: {why}"))
}

/// A call that got no response. `is_own` says whether it went to the registry itself.
pub(super) fn transport(what: &str, is_own: bool, error: &ureq::Error) -> Error {
    let new = |kind, why: &dyn fmt::Display| {
        let new = Error::new(kind, format!("{what}: {why}"));
        // A redirect may lead into the network, about which a public text tells nothing.
        match no_connection(error).filter(|_| is_own) {
            Some(why) => new.with_public(why).advise(ADDRESS_ADVICE),
            None => new,
        }
    };
    if let Some(error) = tls_failure(error).and_then(|failure| failure.explain(what)) {
        return error;
    }
    match error {
        ureq::Error::Timeout(phase) => {
            let why = format_args!("no answer in time ({phase})");
            new(ErrorKind::TimedOut, &why)
        }
        _ if is_not_tls(error) => {
            // Another attempt would meet the same port.
            let error = new(ErrorKind::Refused, &"the port does not speak TLS");
            match is_own {
                true => error
                    .with_public("the port does not speak TLS")
                    .advise("is it --storage-registry-scheme=HTTP?"),
                false => error,
            }
        }
        ureq::Error::ConnectProxyFailed(_) => new(ErrorKind::Unavailable, error).advise(
            "to connect without the proxy, name the host in NO_PROXY; many proxies let only HTTPS \
                 through, so if the registry speaks HTTP, set --storage-registry-scheme=HTTP",
        ),
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::Protocol(_)
        | ureq::Error::LargeResponseHeader(..) => new(ErrorKind::Invalid, error),
        _ => new(ErrorKind::Unavailable, error),
    }
}

const ADDRESS_ADVICE: &str =
    "is the address in --storage-registry-repo right, and does the registry run there?";

/// Why there was no connection, in words that may be shown to anyone.
fn no_connection(error: &ureq::Error) -> Option<&'static str> {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset};
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, UnexpectedEof};
    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect) => Some("no connection in time"),
        ureq::Error::Io(error) => match error.kind() {
            ConnectionRefused => Some("the connection was refused"),
            UNKNOWN_NAME => Some("the host's name can't be looked up"),
            HostUnreachable | NetworkUnreachable => Some("the network leads to no such host"),
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => {
                Some("the connection was closed without an answer")
            }
            _ => None,
        },
        _ => None,
    }
}

/// A body that failed while it was read.
pub(super) fn body(what: &str, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut => ErrorKind::TimedOut,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what}: the response broke off: {error}"))
}

/// Whether the peer answered our TLS greeting with something that isn't TLS.
pub(super) fn is_not_tls(error: &ureq::Error) -> bool {
    let failure = tls_failure(error);
    failure.is_some_and(|failure| matches!(failure.cause, rustls::Error::InvalidMessage(_)))
}

/// Whether the peer let our TLS greeting wait, or ended the connection after it.
pub(super) fn is_silence(error: &ureq::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    match error {
        ureq::Error::Timeout(_) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof
        ),
        _ => false,
    }
}

fn tls_failure(error: &ureq::Error) -> Option<&TlsFailure> {
    match error {
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

#[derive(Deserialize)]
struct SpecErrors {
    errors: Vec<SpecError>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SpecError {
    code: String,
    message: String,
}

/// Code and message of the first error listed; what isn't a code belongs to the message.
fn first_listed(body: &[u8]) -> Option<(String, String)> {
    let listed: SpecErrors = serde_json::from_slice(body).ok()?;
    let SpecError { code, message } = listed.errors.into_iter().next()?;
    let is_code =
        code.len() <= MAX_CODE && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    if is_code {
        return Some((code, message));
    }
    let words = format!("{code}: {message}");
    Some((String::new(), words.trim_matches([':', ' ']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That nothing is secret.
    fn open(_: &str) -> bool {
        false
    }

    fn logged(error: Error) -> String {
        format!("{error:#}")
    }

    #[test]
    fn a_status_is_told_with_the_specs_code() {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}"#;
        let url = "GET https://reg.example/v2/team/web/tags/list";
        let error = status(url, 401, body, true, open);
        let answer = format!("{url}: 401 UNAUTHORIZED");
        assert_eq!(final_answer(&error), Some(&*answer));
        assert_eq!(
            (error.kind(), error.status()),
            (ErrorKind::Refused, Some(401))
        );
        assert_eq!(logged(error), format!("{answer}: authentication required"));
    }

    #[test]
    fn of_a_body_that_must_not_be_quoted_only_a_code_is_told() {
        let text = |body: &str| logged(status("GET x", 401, body.as_bytes(), false, open));
        assert_eq!(
            text(r#"{"errors":[{"code":"UNAUTHORIZED","message":"Basic dTpw"}]}"#),
            "GET x: 401 UNAUTHORIZED"
        );
        assert_eq!(text(r#"{"errors":[{"code":"Basic dTpw"}]}"#), "GET x: 401");
        let long = format!(
            r#"{{"errors":[{{"code":"{}"}}]}}"#,
            "A".repeat(MAX_CODE + 1)
        );
        assert_eq!(text(&long), "GET x: 401");
    }

    /// A code is shown to anyone, and a password may be of the same characters.
    #[test]
    fn a_code_that_is_a_secret_is_not_told() {
        let body = br#"{"errors":[{"code":"SWORDFISH","message":"no"}]}"#;
        let error = status("GET x", 401, body, true, |text| text == "SWORDFISH");
        assert_eq!(logged(error), "GET x: 401: no");
    }

    #[test]
    fn other_bodies_are_not_quoted() {
        for body in ["<html>", "", r#"{"errors":[]}"#, r#"{"errors":"x"}"#] {
            let error = status("GET x", 503, body.as_bytes(), true, open);
            assert_eq!(logged(error), "GET x: 503", "{body}");
        }
    }

    #[test]
    fn a_connection_that_takes_too_long_is_told_of_the_registry_alone() {
        let slow = ureq::Error::Timeout(ureq::Timeout::Connect);
        let told = |is_own| transport("GET https://reg.example/v2/", is_own, &slow).to_string();
        assert_eq!(
            told(true),
            format!("no connection in time; {ADDRESS_ADVICE}")
        );
        assert_eq!(told(false), "no answer in time; see the log");
    }

    #[test]
    fn only_404_is_definite_and_what_may_pass_is_unavailable() {
        let kind = |code| status("GET x", code, b"", true, open).kind();
        assert_eq!(kind(404), ErrorKind::NotFound);
        for code in [408, 429, 500, 502, 503] {
            assert_eq!(kind(code), ErrorKind::Unavailable, "{code}");
        }
        for code in [400, 401, 403, 412, 501] {
            assert_eq!(kind(code), ErrorKind::Refused, "{code}");
        }
        assert_eq!(kind(204), ErrorKind::Invalid);
    }
}
