//! One request to a token server: `GET`, or OAuth2's `POST` for identity tokens (distribution's
//! token specification, <https://distribution.github.io/distribution/spec/auth/>). Errors never
//! quote the request or the response.

use super::response::UpstreamResponse;
use super::timeouts::{MAX_TOKEN_LIFE, TOKEN_LIFE};
use super::transport::{Ask, Transport};
use super::{error, url};
use crate::credentials::Credential;
use crate::storage::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use ureq::http::Uri;

/// Largest response of a token server, in bytes: a JWT for one scope is a hundredth of it.
const MAX_TOKEN_BODY: u64 = 128 * 1024;

/// One request to a token server.
pub(super) struct TokenRequest<'a> {
    pub(super) realm: &'a Uri,
    pub(super) service: Option<&'a str>,
    pub(super) scope: &'a str,
    pub(super) credential: Option<&'a Credential>,
}

#[derive(Deserialize)]
struct TokenBody {
    token: Option<String>,
    access_token: Option<String>,
    /// A number of seconds, but some write it as a text or with a fraction.
    #[serde(default)]
    expires_in: Value,
}

impl TokenRequest<'_> {
    /// Fetches a token, and how long it lives.
    pub(super) fn send(&self, transport: &Transport) -> Result<(String, Duration)> {
        let response = match self.credential {
            Some(Credential::IdentityToken(token)) => self.exchange_identity(transport, token)?,
            Some(Credential::Password { username, password }) => {
                self.get(transport, Some(basic(username, password)))?
            }
            _ => self.get(transport, None)?,
        };
        if response.status() != 200 {
            return Err(response.into_token_error());
        }
        let what = format!("token from {}", url::display(self.realm));
        let body = response.read(MAX_TOKEN_BODY)?;
        // The parser's message could quote the token.
        let body: TokenBody = serde_json::from_slice(&body)
            .map_err(|_| error::protocol(&what, "not a token response"))?;
        let given = |text: Option<String>| {
            text.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
        };
        let Some(token) = given(body.access_token).or(given(body.token)) else {
            return Err(error::protocol(&what, "the response holds no token"));
        };
        let life = life(&body.expires_in).unwrap_or(TOKEN_LIFE);
        Ok((token, life.min(MAX_TOKEN_LIFE)))
    }

    /// `GET realm?service=…&scope=…`, anonymously without an `authorization`.
    fn get(
        &self,
        transport: &Transport,
        authorization: Option<String>,
    ) -> Result<UpstreamResponse> {
        let mut query = self
            .realm
            .query()
            .map_or(String::new(), |query| format!("{query}&"));
        if let Some(service) = self.service {
            query.push_str(&format!("service={}&", url::encode_query(service)));
        }
        for scope in self.scope.split(' ').filter(|scope| !scope.is_empty()) {
            query.push_str(&format!("scope={}&", url::encode_query(scope)));
        }
        let text = self.realm.to_string();
        let bare = text.split('?').next().unwrap_or_default();
        let target = format!("{bare}?{}", query.trim_end_matches('&'));
        let target = target
            .parse::<Uri>()
            .map_err(|cause| error::protocol("token realm", cause))?;
        let accept = "application/json";
        transport.call(&target, Ask::Get { accept }, authorization.as_deref())
    }

    /// OAuth2's `refresh_token` grant, for identity tokens only: GHCR, GitLab and Portus don't have it. A
    /// server that answers 404 or 405 gets the identity token as a password instead.
    fn exchange_identity(&self, transport: &Transport, identity: &str) -> Result<UpstreamResponse> {
        let form = format!(
            "grant_type=refresh_token&client_id=oci-chartrepo&service={}&scope={}&refresh_token={}",
            url::encode_query(self.service.unwrap_or_default()),
            url::encode_query(self.scope),
            url::encode_query(identity),
        );
        let response = transport.call(self.realm, Ask::Post { form: &form }, None)?;
        match response.status() {
            404 | 405 => self.get(transport, Some(basic("<token>", identity))),
            _ => Ok(response),
        }
    }
}

/// How long a token lives, if the value is a sane number of seconds.
fn life(expires_in: &Value) -> Option<Duration> {
    let seconds = expires_in
        .as_f64()
        .or_else(|| expires_in.as_str()?.parse().ok())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|life| !life.is_zero())
}

/// The `Authorization` for a name and a password (RFC 7617).
pub(super) fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_life_may_be_written_in_many_ways() {
        let seconds = |value: Value| life(&value).map(|life| life.as_secs());
        for value in [json!(300), json!("300"), json!(300.5)] {
            assert_eq!(seconds(value), Some(300));
        }
        for value in [
            json!(null),
            json!(0),
            json!(-1),
            json!("soon"),
            json!(1e300),
            json!({}),
        ] {
            assert_eq!(seconds(value), None);
        }
    }
}
