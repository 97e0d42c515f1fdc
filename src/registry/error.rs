//! How a failed upstream call is told: `GET https://reg.example/v2/team/web/tags/list: 401
//! UNAUTHORIZED: authentication required`. A query string is never shown, because pre-signed URLs
//! carry secrets there; a certificate error says what to do.

use super::patience::Failure;
use crate::storage::{Error, ErrorKind};
use rustls::CertificateError;
use serde::Deserialize;
use std::error::Error as _;
use std::time::Duration;
use std::{fmt, io};

/// Most of an error's text that is shown, in characters: a line of a log, not a page of HTML.
const MAX_DETAIL: usize = 200;

/// What an error was made of, if that was an answer: the cause of each such [`Error`].
#[derive(Clone, Debug)]
struct Told {
    /// In our words; of the answerer's own only a code.
    text: String,
    status: u16,
    retry_after: Option<Duration>,
    /// Whether its body is some page: not the spec's list of errors, nor nothing.
    is_page: bool,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Told {}

fn told(error: &Error) -> Option<&Told> {
    error.source()?.downcast_ref()
}

/// An answer with a status that isn't success. `body` may hold the spec's error list
/// (distribution-spec v1.1.0, "Error Codes"), which is told unless it `is_secret`.
pub(super) fn status(
    what: &str,
    status: u16,
    retry_after: Option<Duration>,
    body: &[u8],
    is_secret: impl Fn(&str) -> bool,
) -> Error {
    let detail = match first_listed(body) {
        Some(detail) if is_secret(&detail) => return token_status(what, status, retry_after, body),
        Some(detail) => format!(" {}", detail.chars().take(MAX_DETAIL).collect::<String>()),
        None => String::new(),
    };
    let is_page = detail.is_empty() && !body.is_empty();
    let told = Told {
        text: with_code(what, status, body),
        status,
        retry_after,
        is_page,
    };
    Error::new(kind(status), format!("{what}: {status}{detail}")).with_source(told)
}

/// The same, of a token server, of whose answer nothing is told but a code of the spec's: it may
/// repeat what it was sent.
pub(super) fn token_status(
    what: &str,
    status: u16,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Error {
    let text = with_code(what, status, body);
    let told = Told {
        text: text.clone(),
        status,
        retry_after,
        is_page: false,
    };
    Error::new(kind(status), text).with_source(told)
}

/// An answer that is no error, yet none to what was asked.
pub(super) fn unfit(what: &str, why: &str) -> Error {
    let told = Told {
        text: format!("{what}: {why}"),
        status: 200,
        retry_after: None,
        is_page: false,
    };
    protocol(what, why).with_source(told)
}

/// The answer that the error is, if it would be the same when asked again: told in our words.
pub(super) fn final_answer(error: &Error) -> Option<String> {
    told(error)
        .filter(|told| !may_pass(told.status))
        .map(Told::to_string)
}

/// The status of the answer that the error is.
pub(super) fn status_of(error: &Error) -> Option<u16> {
    told(error).map(|told| told.status)
}

/// The same error, unless it's a 404 that isn't the registry's word: an ingress says so of a registry
/// that restarts, for each path, and with a page of its own.
pub(super) fn of_registry(error: Error) -> Error {
    match told(&error)
        .filter(|told| told.status == 404 && told.is_page)
        .cloned()
    {
        Some(told) => {
            let text = format!("{error}, with a page that is no registry's");
            Error::new(ErrorKind::Unavailable, text).with_source(told)
        }
        None => error,
    }
}

/// How a call has failed that may succeed later.
pub(super) fn failure(error: &Error) -> Failure {
    match (told(error), error.kind()) {
        (
            Some(Told {
                status: 429,
                retry_after,
                ..
            }),
            _,
        ) => Failure::Throttled(*retry_after),
        (Some(Told { retry_after, .. }), _) => Failure::Failed(*retry_after),
        (None, ErrorKind::TimedOut) => Failure::TimedOut,
        (None, _) => Failure::Broken,
    }
}

/// The same error once more, for whoever has waited for the same thing.
pub(super) fn copy(error: &Error) -> Error {
    with_text(error, error.to_string())
}

/// The same error, of something that its own words don't name.
pub(super) fn with_subject(subject: &str, error: &Error) -> Error {
    with_text(error, format!("{subject}: {error}"))
}

fn with_text(error: &Error, text: String) -> Error {
    let other = Error::new(error.kind(), text);
    match told(error) {
        Some(told) => other.with_source(told.clone()),
        None => other,
    }
}

fn kind(status: u16) -> ErrorKind {
    match status {
        404 => ErrorKind::NotFound,
        _ if may_pass(status) => ErrorKind::Unavailable,
        400.. => ErrorKind::Refused,
        _ => ErrorKind::Invalid,
    }
}

/// The status, and the code of the first error listed if it looks like one.
fn with_code(what: &str, status: u16, body: &[u8]) -> String {
    let code = first_listed(body).and_then(|text| text.split(':').next().map(str::to_owned));
    let is_code = |code: &String| code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let code = code.filter(is_code).unwrap_or_default();
    format!("{what}: {status} {code}").trim_end().to_owned()
}

/// Whether a status may be another one when asked again (distribution-spec v1.1.0, "Error Codes";
/// RFC 9110 §15). 501 is for good.
pub(super) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502..)
}

/// An answer that breaks the protocol.
pub(super) fn protocol(what: &str, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("{what}: {why}"))
}

/// A call that wasn't made.
pub(super) fn unavailable(what: &str, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what}: {why}"))
}

/// A refusal that is ours.
pub(super) fn refused(what: &str, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Refused, format!("{what}: {why}"))
}

/// A call that got no answer.
pub(super) fn transport(what: &str, error: ureq::Error) -> Error {
    let (kind, why) = match &error {
        ureq::Error::Timeout(phase) => {
            (ErrorKind::TimedOut, format!("no answer in time ({phase})"))
        }
        _ if is_certificate_error(&error) => (
            ErrorKind::Refused,
            format!("{error}; {}", certificate_advice(&error)),
        ),
        // Asking again would meet the same port.
        _ if is_not_tls(&error) => (ErrorKind::Refused, "what answers speaks no TLS".to_owned()),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::Protocol(_) => {
            (ErrorKind::Invalid, error.to_string())
        }
        ureq::Error::ConnectProxyFailed(_) => (
            ErrorKind::Unavailable,
            format!("{error}; to ask without the proxy, name the host in NO_PROXY"),
        ),
        ureq::Error::LargeResponseHeader(..) => (ErrorKind::Invalid, error.to_string()),
        _ => (ErrorKind::Unavailable, error.to_string()),
    };
    Error::new(kind, format!("{what}: {why}")).with_source(error)
}

/// The same error, with what to do if TLS was spoken to a port that knows none.
pub(super) fn about_scheme(error: Error) -> Error {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    if cause.is_some_and(is_not_tls) {
        error.advise("is it --storage-registry-scheme=HTTP?")
    } else {
        error
    }
}

/// A body that failed while it was read.
pub(super) fn body(what: &str, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut => ErrorKind::TimedOut,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what}: the answer broke off: {error}")).with_source(error)
}

/// What helps against a certificate that isn't trusted: another authority only if that's what lacks.
fn certificate_advice(error: &ureq::Error) -> String {
    let what_helps = match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "name the registry in --storage-registry-repo as its certificate does",
        // webpki's own, of which rustls has no word but this one.
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            "it shows an authority's certificate as its own, which isn't accepted: give it one that the \
             authority has signed"
        }
        _ => "trust its authority with --storage-registry-ca-file",
    };
    format!("{what_helps}, or skip the check with --storage-registry-insecure-skip-tls-verify")
}

/// Whether the peer speaks TLS, but with a certificate that we don't trust.
pub(super) fn is_certificate_error(error: &ureq::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether the peer answered our TLS greeting with something that isn't TLS.
pub(super) fn is_not_tls(error: &ureq::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidMessage(_)))
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Listed {
    errors: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

fn first_listed(body: &[u8]) -> Option<String> {
    let first = serde_json::from_slice::<Listed>(body)
        .ok()?
        .errors
        .into_iter()
        .next()?;
    let text = format!("{}: {}", first.code, first.message);
    Some(text.trim_matches([':', ' ']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is a secret.
    fn open(_: &str) -> bool {
        false
    }

    #[test]
    fn a_status_is_told_with_the_specs_code() {
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}"#;
        let error = status(
            "GET https://reg.example/v2/team/web/tags/list",
            401,
            None,
            body,
            open,
        );
        assert_eq!(
            error.to_string(),
            "GET https://reg.example/v2/team/web/tags/list: 401 UNAUTHORIZED: authentication required"
        );
        assert_eq!(error.kind(), ErrorKind::Refused);
    }

    #[test]
    fn of_a_token_server_only_a_code_is_told() {
        let text = |body: &str| token_status("GET x", 401, None, body.as_bytes()).to_string();
        assert_eq!(
            text(r#"{"errors":[{"code":"UNAUTHORIZED","message":"Basic dTpw"}]}"#),
            "GET x: 401 UNAUTHORIZED"
        );
        assert_eq!(text(r#"{"errors":[{"code":"Basic dTpw"}]}"#), "GET x: 401");
    }

    #[test]
    fn other_bodies_are_not_quoted() {
        for body in ["<html>", "", r#"{"errors":[]}"#, r#"{"errors":"x"}"#] {
            assert_eq!(
                status("GET x", 503, None, body.as_bytes(), open).to_string(),
                "GET x: 503",
                "{body}"
            );
        }
    }

    #[test]
    fn only_404_is_definite_and_what_may_pass_is_unavailable() {
        let kind = |code| status("GET x", code, None, b"", open).kind();
        assert_eq!(kind(404), ErrorKind::NotFound);
        for code in [408, 429, 500, 502, 503] {
            assert_eq!(kind(code), ErrorKind::Unavailable, "{code}");
        }
        for code in [400, 401, 403, 412, 501] {
            assert_eq!(kind(code), ErrorKind::Refused, "{code}");
        }
        assert_eq!(kind(204), ErrorKind::Invalid);
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_told_with_what_helps_against_that() {
        let text = |error| {
            let error = ureq::Error::Rustls(rustls::Error::InvalidCertificate(error));
            transport("GET x", error).to_string()
        };
        let skip = "or skip the check with --storage-registry-insecure-skip-tls-verify";
        let ends = |text: String, advice: &str| {
            assert!(
                text.ends_with(&format!("; {advice}, {skip}")),
                "{advice} in {text}"
            );
        };
        let trust = "trust its authority with --storage-registry-ca-file";
        ends(text(CertificateError::UnknownIssuer), trust);
        let name = "name the registry in --storage-registry-repo as its certificate does";
        ends(text(CertificateError::NotValidForName), name);
        let other = rustls::OtherError(std::sync::Arc::new(io::Error::other("CaUsedAsEndEntity")));
        let own = "it shows an authority's certificate as its own, which isn't accepted: give it one that \
                   the authority has signed";
        ends(text(CertificateError::Other(other)), own);
    }
}
