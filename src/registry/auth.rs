//! Who we are, as a registry wants to hear it: Basic (RFC 7617), or a Bearer token from the realm
//! that its challenge names (distribution's token specification,
//! <https://distribution.github.io/distribution/spec/auth/token/>).
//!
//! A challenge is per path, not per host (Harbor wants Basic for its catalog and Bearer for
//! repositories), and a token is good for one scope. So challenges are remembered per kind of
//! scope, tokens per scope.

use super::challenge::{self, Challenge};
use super::transport::{Answer, Ask, Transport};
use super::{error, url};
use crate::credentials::{Auths, Credential, Source};
use crate::oci::RepositoryName;
use crate::storage::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::Uri;

/// How long a token lives when its server doesn't say (token specification, "expires_in").
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is renewed this long before its end, or in the last quarter of a shorter life: for the
/// request that is under way, and for clocks that drift.
const MARGIN: Duration = Duration::from_secs(10);
/// Most tokens kept: one for each repository of a large registry. Beyond it all are dropped, and
/// asked for again as they are needed.
const MAX_TOKENS: usize = 10_000;
/// Largest answer of a token server, in bytes: a JWT for one scope is a hundredth of it.
const MAX_TOKEN_ANSWER: u64 = 128 * 1024;

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope<'a> {
    /// List the repositories.
    Catalog,
    /// Read one repository.
    Repository(&'a RepositoryName),
}

impl Scope<'_> {
    fn text(&self) -> String {
        match self {
            Scope::Catalog => "registry:catalog:*".to_owned(),
            Scope::Repository(name) => format!("repository:{name}:pull"),
        }
    }

    fn repository(&self) -> Option<&str> {
        match self {
            Scope::Catalog => None,
            Scope::Repository(name) => Some(name.as_str()),
        }
    }
}

/// A token, and when to fetch the next.
#[derive(Clone)]
struct Token {
    value: String,
    renew_at: Instant,
    /// Which state of the secret file it was fetched with.
    generation: u64,
}

/// A place for one scope's token. Locked while it's fetched, so that requests of one scope share
/// one fetch.
type TokenCell = Arc<Mutex<Option<Token>>>;

/// Keeps challenges and tokens for one registry.
pub(super) struct Authenticator {
    host: String,
    source: Arc<Source>,
    /// By kind of scope: catalog, repositories.
    challenges: Mutex<[Option<Challenge>; 2]>,
    tokens: Mutex<HashMap<String, TokenCell>>,
}

/// A challenge's answer goes by its own words, which may differ from ours.
struct Demand<'a> {
    scope: Scope<'a>,
    /// What the token server is asked for.
    words: String,
    auths: Auths,
    generation: u64,
}

impl Demand<'_> {
    fn credential<'c>(&'c self, host: &str) -> Option<&'c Credential> {
        self.auths.credential(host, self.scope.repository())
    }
}

impl Authenticator {
    /// For the registry `host[:port]`, with the credentials that `source` holds for it.
    pub(super) fn new(host: String, source: Arc<Source>) -> Authenticator {
        Authenticator {
            host,
            source,
            challenges: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// The `Authorization` to send at once, from what earlier challenges have taught us.
    pub(super) fn known(&self, transport: &Transport, scope: Scope) -> Result<Option<String>, Error> {
        let challenge = lock(&self.challenges)[kind(scope)].clone();
        match challenge {
            None => Ok(None),
            Some(challenge) => self.answer(transport, &challenge, &self.demand(scope, None), None),
        }
    }

    /// The `Authorization` that answers a 401, or `None` when there's nothing new to say. `sent` is
    /// what the 401 was the answer to.
    pub(super) fn respond(
        &self,
        transport: &Transport,
        scope: Scope,
        refusal: &Answer,
        sent: Option<&str>,
    ) -> Result<Option<String>, Error> {
        let offered = challenge::parse(refusal.texts("www-authenticate"));
        let Some(challenge) = Challenge::choose(offered, refusal.url()) else {
            return Ok(None);
        };
        lock(&self.challenges)[kind(scope)] = Some(challenge.clone());
        let demand = self.demand(scope, challenge.scope());
        let answer = self.answer(transport, &challenge, &demand, sent)?;
        Ok(answer.filter(|value| Some(value.as_str()) != sent))
    }

    fn demand<'a>(&self, scope: Scope<'a>, asked: Option<&str>) -> Demand<'a> {
        let (auths, generation, problem) = self.source.current();
        if let Some(problem) = problem {
            crate::warn!("credentials stay as they were: {problem}");
        }
        let words = asked.map_or_else(|| scope.text(), str::to_owned);
        Demand {
            scope,
            words,
            auths,
            generation,
        }
    }

    fn answer(
        &self,
        transport: &Transport,
        challenge: &Challenge,
        demand: &Demand,
        refused: Option<&str>,
    ) -> Result<Option<String>, Error> {
        match (challenge, demand.credential(&self.host)) {
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                Ok(Some(basic(username, password)))
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { .. }, Some(Credential::RegistryToken(token))) => Ok(Some(bearer(token))),
            (Challenge::Bearer { realm, service, .. }, credential) => {
                let request = TokenRequest {
                    realm,
                    service: service.as_deref(),
                    scope: &demand.words,
                    credential,
                };
                self.token(transport, request, demand, refused).map(Some)
            }
        }
    }

    /// The scope's token, fetched if there's none, if it's due, or if it's the one just refused.
    fn token(
        &self,
        transport: &Transport,
        request: TokenRequest,
        demand: &Demand,
        refused: Option<&str>,
    ) -> Result<String, Error> {
        let cell = self.cell(demand.scope.text());
        let mut token = lock(&cell);
        let good = |token: &&Token| {
            let value = bearer(&token.value);
            token.renew_at > Instant::now()
                && token.generation == demand.generation
                && Some(value.as_str()) != refused
        };
        if let Some(token) = token.as_ref().filter(good) {
            return Ok(bearer(&token.value));
        }
        let (value, life) = request.send(transport)?;
        let renew_at = Instant::now() + life - MARGIN.min(life / 4);
        *token = Some(Token {
            value: value.clone(),
            renew_at,
            generation: demand.generation,
        });
        Ok(bearer(&value))
    }

    fn cell(&self, scope: String) -> TokenCell {
        let mut tokens = lock(&self.tokens);
        if tokens.len() >= MAX_TOKENS && !tokens.contains_key(&scope) {
            tokens.clear();
        }
        tokens.entry(scope).or_default().clone()
    }
}

fn kind(scope: Scope) -> usize {
    match scope {
        Scope::Catalog => 0,
        Scope::Repository(_) => 1,
    }
}

/// What these locks guard is replaced whole, so a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// One request to a token server.
struct TokenRequest<'a> {
    realm: &'a Uri,
    service: Option<&'a str>,
    scope: &'a str,
    credential: Option<&'a Credential>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl TokenRequest<'_> {
    fn send(&self, transport: &Transport) -> Result<(String, Duration), Error> {
        let answer = match self.credential {
            Some(Credential::IdentityToken(token)) => self.exchange_identity(transport, token)?,
            Some(Credential::Password { username, password }) => {
                self.get(transport, Some(basic(username, password)))?
            }
            _ => self.get(transport, None)?,
        };
        if answer.status() != 200 {
            return Err(answer.into_error());
        }
        let what = format!("token from {}", url::display(self.realm));
        let body = answer.read(MAX_TOKEN_ANSWER)?;
        // The parser's message could quote the token.
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| error::protocol(&what, "not a token answer"))?;
        let given = |text: Option<String>| {
            text.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))
        };
        let Some(token) = given(answer.access_token).or(given(answer.token)) else {
            return Err(error::protocol(&what, "the answer holds no token"));
        };
        let life = answer
            .expires_in
            .filter(|seconds| *seconds > 0)
            .map_or(DEFAULT_LIFE, Duration::from_secs);
        Ok((token, life.min(Duration::from_secs(24 * 3600))))
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
