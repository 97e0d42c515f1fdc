//! Finds out the scheme of a registry if no flag says it: `GET /v2/` (distribution-spec v1.1.0,
//! "Determining Support") without credentials, over HTTPS first; over plain HTTP only if the port
//! answers a TLS greeting with something that isn't TLS. A certificate that we don't trust proves
//! that the port does speak TLS, so it's never a reason to fall back.

use super::error;
use super::transport::Transport;
use crate::storage::Result;
use std::fmt;
use std::str::FromStr;
use ureq::http::Uri;

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

/// The scheme that `authority` (`host[:port]`) speaks.
///
/// Errors when there is no answer, or when it leaves the scheme open.
pub(super) fn scheme(transport: &Transport, authority: &str) -> Result<Scheme> {
    for scheme in [Scheme::Https, Scheme::Http] {
        let url = format!("{scheme}://{authority}/v2/");
        let what = format!("GET {url}");
        let url: Uri = url.parse().map_err(|cause| error::protocol(&what, cause))?;
        match transport.touch(&url) {
            Ok(()) => return Ok(scheme),
            Err(cause) if scheme == Scheme::Https && error::is_not_tls(&cause) => {}
            Err(cause) => return Err(error::transport(&what, false, &cause)),
        }
    }
    Err(error::protocol(authority, "no scheme was found"))
}
