//! One request to a token server: `GET`, or OAuth2's `POST` for identity tokens (distribution's
//! token specification, <https://distribution.github.io/distribution/spec/auth/>). Errors never
//! quote the request or the response.

use super::response::UpstreamResponse;
use super::timeouts::{MAX_TOKEN_LIFE, TOKEN_LIFE};
use super::transport::{Ask, Transport};
use super::{error, url};
use crate::credentials::Credential;
use crate::storage::Result;
use crate::sync::lock;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use ureq::http::Uri;

/// Largest response of a token server, in bytes: a JWT for one scope is a hundredth of it.
const MAX_TOKEN_BODY: u64 = 128 * 1024;

/// One request to a token server.
#[derive(Clone, Copy)]
pub(super) struct TokenRequest<'a> {
    pub(super) transport: &'a Transport,
    pub(super) realm: &'a Uri,
    /// Empty if the challenge names none.
    pub(super) service: &'a str,
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
    pub(super) fn fetch(&self) -> Result<(String, Duration)> {
        let response = match self.credential {
            Some(Credential::IdentityToken(token)) => self.exchange_identity(token)?,
            Some(Credential::Password { username, password }) => {
                self.get(Some(&basic(username, password)))?
            }
            _ => self.get(None)?,
        };
        if response.status() != 200 {
            return Err(response.into_token_error());
        }
        let invalid = |why| {
            let what = format!("token from {}", url::display(self.realm));
            error::protocol(&what, why)
        };
        // The parser's message could quote the token.
        let body: TokenBody = serde_json::from_slice(&response.read(MAX_TOKEN_BODY)?)
            .map_err(|_| invalid("not a token response"))?;
        let given = |text: Option<String>| {
            text.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
        };
        let token = given(body.access_token).or(given(body.token));
        let token = token.ok_or_else(|| invalid("the response holds no token"))?;
        let life = life(&body.expires_in).unwrap_or(TOKEN_LIFE);
        Ok((token, life.min(MAX_TOKEN_LIFE)))
    }

    /// `GET realm?service=…&scope=…`, anonymously without an `authorization`.
    fn get(&self, authorization: Option<&str>) -> Result<UpstreamResponse> {
        let own = self.realm.query().map(str::to_owned);
        let scopes = self.scope.split(' ').map(|scope| ("scope", scope));
        let asked = [("service", self.service)].into_iter().chain(scopes);
        let asked = asked.filter(|(_, value)| !value.is_empty());
        let asked = asked.map(|(name, value)| format!("{name}={}", url::encode_query(value)));
        let query: Vec<String> = own.into_iter().chain(asked).collect();
        let text = self.realm.to_string();
        let bare = text.split('?').next().unwrap_or_default();
        let target = format!("{bare}?{}", query.join("&")).parse::<Uri>();
        let target = target.map_err(|cause| error::protocol("token realm", cause))?;
        let ask = Ask::TOKEN.bearing(authorization);
        self.transport.call(&target, ask)
    }

    /// OAuth2's `refresh_token` grant, for identity tokens only: GHCR, GitLab and Portus don't have it. A
    /// server that answers 404 or 405 gets the identity token as a password instead.
    fn exchange_identity(&self, identity: &str) -> Result<UpstreamResponse> {
        let [service, scope, token] = [self.service, self.scope, identity].map(url::encode_query);
        let form = format!(
            "grant_type=refresh_token&client_id=oci-chartrepo&service={service}&scope={scope}\
             &refresh_token={token}"
        );
        lock(&self.transport.secrets).note(&format!("identity {identity}"));
        let response = self.transport.call(self.realm, Ask::post(&form))?;
        match response.status() {
            404 | 405 => self.get(Some(&basic("<token>", identity))),
            _ => Ok(response),
        }
    }
}

/// How long a token lives, if the value is a sane number of seconds.
fn life(expires_in: &Value) -> Option<Duration> {
    let text = || expires_in.as_str()?.parse().ok();
    let life = Duration::try_from_secs_f64(expires_in.as_f64().or_else(text)?).ok()?;
    (!life.is_zero()).then_some(life)
}

/// The `Authorization` for a name and a password (RFC 7617).
pub(super) fn basic(username: &str, password: &str) -> String {
    let pair = format!("{username}:{password}");
    format!("Basic {}", STANDARD.encode(pair))
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
