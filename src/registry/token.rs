//! One request to a token server: `GET`, or OAuth2's `POST` for identity tokens (distribution's
//! token specification, <https://distribution.github.io/distribution/spec/auth/>). Errors never
//! quote what was sent or answered.

use super::answer::Answer;
use super::transport::{Ask, Transport};
use super::{error, url};
use crate::credentials::Credential;
use crate::storage::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use ureq::http::Uri;

/// How long a token lives when its server doesn't say (token specification, "expires_in").
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// Longest life that is believed.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Largest answer of a token server, in bytes: a JWT for one scope is a hundredth of it.
const MAX_TOKEN_ANSWER: u64 = 128 * 1024;

/// One request to a token server.
pub(super) struct TokenRequest<'a> {
    pub(super) realm: &'a Uri,
    pub(super) service: Option<&'a str>,
    pub(super) scope: &'a str,
    pub(super) credential: Option<&'a Credential>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    /// A number of seconds, but some write it as a text or with a fraction.
    #[serde(default)]
    expires_in: Value,
}

impl TokenRequest<'_> {
    /// Fetches a token; how long it lives comes with it.
    pub(super) fn send(&self, transport: &Transport) -> Result<(String, Duration), Error> {
        let answer = match self.credential {
            Some(Credential::IdentityToken(token)) => self.exchange_identity(transport, token)?,
            Some(Credential::Password { username, password }) => {
                self.get(transport, Some(basic(username, password)))?
            }
            _ => self.get(transport, None)?,
        };
        if answer.status() != 200 {
            return Err(answer.into_token_error());
        }
        let what = format!("token from {}", url::display(self.realm));
        let body = answer.read(MAX_TOKEN_ANSWER)?;
        // The parser's message could quote the token.
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| error::protocol(&what, "not a token answer"))?;
        let given = |text: Option<String>| {
            text.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
        };
        let Some(token) = given(answer.access_token).or(given(answer.token)) else {
            return Err(error::protocol(&what, "the answer holds no token"));
        };
        Ok((
            token,
            life(&answer.expires_in)
                .unwrap_or(DEFAULT_LIFE)
                .min(MAX_LIFE),
        ))
    }

    /// `GET realm?service=…&scope=…`, anonymously if there's nobody to be.
    fn get(&self, transport: &Transport, authorization: Option<String>) -> Result<Answer, Error> {
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
        transport.call(
            &target,
            Ask::Get {
                accept: "application/json",
            },
            authorization.as_deref(),
        )
    }

    /// OAuth2's `refresh_token` grant, for identity tokens only: GHCR, GitLab and Portus have no
    /// such door. One that answers 404 or 405 is asked the other way.
    fn exchange_identity(&self, transport: &Transport, identity: &str) -> Result<Answer, Error> {
        let form = format!(
            "grant_type=refresh_token&client_id=oci-chartrepo&service={}&scope={}&refresh_token={}",
            url::encode_query(self.service.unwrap_or_default()),
            url::encode_query(self.scope),
            url::encode_query(identity),
        );
        let answer = transport.call(self.realm, Ask::Post { form: &form }, None)?;
        match answer.status() {
            404 | 405 => self.get(transport, Some(basic("<token>", identity))),
            _ => Ok(answer),
        }
    }
}

/// How long a token lives, if that can be told.
fn life(expires_in: &Value) -> Option<Duration> {
    let seconds = expires_in
        .as_f64()
        .or_else(|| expires_in.as_str()?.parse().ok())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|life| !life.is_zero())
}

/// Whether a text repeats what an `Authorization` says: its token, or the password behind it.
pub(super) fn repeats(text: &str, authorization: &str) -> bool {
    let secret = authorization
        .split_once(' ')
        .map_or(authorization, |(_, secret)| secret);
    let decoded = STANDARD
        .decode(secret)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let password = decoded
        .as_deref()
        .and_then(|pair| Some(pair.split_once(':')?.1));
    text.contains(secret)
        || password.is_some_and(|password| !password.is_empty() && text.contains(password))
}

/// `Authorization` for a name and a password (RFC 7617).
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
    fn a_life_is_told_in_many_ways() {
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

    #[test]
    fn who_repeats_our_password_is_found_out() {
        let ours = basic("reader", "s3cret:x");
        for text in [
            "denied: s3cret:x",
            &*format!("bad header {ours}"),
            &ours[6..],
        ] {
            assert!(repeats(text, &ours), "{text}");
        }
        assert!(repeats("token abc.def is over", "Bearer abc.def"));
        assert!(!repeats("reader is denied", &ours) && !repeats("denied", &basic("reader", "")));
    }
}
