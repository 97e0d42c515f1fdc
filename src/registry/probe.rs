//! Which scheme a registry speaks, when nobody has said. `GET /v2/` (distribution-spec v1.1.0,
//! "Determining Support") without credentials: HTTPS first; plain HTTP only from a port that
//! answers a TLS greeting with something that isn't TLS. A certificate that we don't trust proves
//! that the port does speak TLS, so it's never a reason to fall back.

use super::error;
use super::transport::Transport;
use crate::storage::Error;
use std::fmt;
use std::str::FromStr;
use ureq::http::Uri;

/// How a registry is spoken to.
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

/// Finds out what `authority` (`host[:port]`) speaks.
///
/// Errors when nothing answers, or when the answer leaves it open.
pub(super) fn scheme(transport: &Transport, authority: &str) -> Result<Scheme, Error> {
    let url = |scheme| format!("{scheme}://{authority}/v2/");
    let what = |scheme| format!("GET {}", url(scheme));
    let parse = |scheme| {
        url(scheme)
            .parse::<Uri>()
            .map_err(|cause| error::protocol(&what(scheme), cause))
    };
    let https = transport.touch(&parse(Scheme::Https)?);
    match https {
        Ok(()) => Ok(Scheme::Https),
        Err(cause) if error::is_not_tls(&cause) => {
            let http = transport.touch(&parse(Scheme::Http)?);
            http.map(|()| Scheme::Http)
                .map_err(|cause| error::transport(&what(Scheme::Http), cause))
        }
        Err(cause) => Err(error::transport(&what(Scheme::Https), cause)),
    }
}
