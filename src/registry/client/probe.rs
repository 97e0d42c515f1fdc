//! Finds out the scheme of a registry if no flag says it: `GET /v2/` (distribution-spec v1.1.0,
//! "Determining Support") without credentials, over HTTPS first; over plain HTTP only if the port
//! answers a TLS greeting with something that isn't TLS, or not at all (workerd, gunicorn), and then answers
//! plain HTTP as a registry does. A certificate that we don't trust proves
//! that the port does speak TLS, so it's never a reason to fall back.

use super::error;
use super::transport::Transport;
use crate::storage::{Error, Result};
use std::fmt;
use std::str::FromStr;
use ureq::http::Uri;
use ureq::http::uri::Authority;

/// How plain HTTP was found on a port that doesn't answer a TLS greeting.
const SILENT: &str =
    ": it does not answer a TLS greeting, which --storage-registry-scheme=HTTP would save";

/// The protocol that a registry speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scheme {
    Http,
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        })
    }
}

impl FromStr for Scheme {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Scheme, &'static str> {
        match text.to_ascii_lowercase().as_str() {
            "http" => Ok(Scheme::Http),
            "https" => Ok(Scheme::Https),
            _ => Err("not HTTP or HTTPS"),
        }
    }
}

/// The scheme that `authority` (`host[:port]`) speaks, and what the log may say of how that was found.
///
/// Errors when there is no answer, or when it leaves the scheme open.
pub(super) fn scheme(transport: &Transport, authority: &str) -> Result<(Scheme, &'static str)> {
    let cause = match touch(transport, Scheme::Https, authority)? {
        Ok(_) => return Ok((Scheme::Https, "")),
        Err(cause) => cause,
    };
    // Without a port, plain HTTP would be another port, which may belong to another server.
    let is_silent = error::is_silence(&cause) && has_port(authority);
    if !is_silent && !error::is_not_tls(&cause) {
        return Err(no_answer(Scheme::Https, authority, &cause));
    }
    match touch(transport, Scheme::Http, authority)? {
        // A slow TLS port would answer 400, and others redirect: a registry's answers are these two.
        Ok(200 | 401) if is_silent => Ok((Scheme::Http, SILENT)),
        _ if is_silent => {
            let error = no_answer(Scheme::Https, authority, &cause);
            Err(error.advise("if the port does not speak TLS, set --storage-registry-scheme=HTTP"))
        }
        Ok(_) => Ok((Scheme::Http, "")),
        Err(cause) => Err(no_answer(Scheme::Http, authority, &cause)),
    }
}

/// The error that a request to the registry itself without an answer is.
fn no_answer(scheme: Scheme, authority: &str, cause: &ureq::Error) -> Error {
    error::transport(&what(scheme, authority), true, cause)
}

fn what(scheme: Scheme, authority: &str) -> String {
    format!("GET {scheme}://{authority}/v2/")
}

/// The status that `GET /v2/` is answered with.
fn touch(
    transport: &Transport,
    scheme: Scheme,
    authority: &str,
) -> Result<Result<u16, ureq::Error>> {
    let url = format!("{scheme}://{authority}/v2/").parse::<Uri>();
    let url = url.map_err(|cause| error::protocol(&what(scheme, authority), cause))?;
    Ok(transport.touch(&url))
}

fn has_port(authority: &str) -> bool {
    let parsed = authority.parse::<Authority>();
    parsed.is_ok_and(|authority| authority.port_u16().is_some())
}
