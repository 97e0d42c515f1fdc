//! Which `Authorization` a request bears: Basic (RFC 7617), or a Bearer token from the realm that the
//! registry's challenge names (distribution's token specification,
//! <https://distribution.github.io/distribution/spec/auth/token/>). Credentials never leave over a
//! plain HTTP that no flag asked for.
//!
//! A challenge is per path, not per host (Harbor wants Basic for its catalog and Bearer for
//! repositories), and a token is good for one scope. So challenges are remembered per kind of
//! scope, tokens per scope.

use super::challenge::Challenge;
use super::error;
use super::response::UpstreamResponse;
use super::timeouts::{SHARED, TOKEN_MARGIN};
use super::token::{TokenRequest, basic};
use super::transport::Transport;
use crate::credentials::{Auths, Credential, SecretFile};
use crate::storage::{Error, ErrorKind, Result};
use crate::sync::{Lru, Once, lock};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use ureq::http::Uri;

/// Most tokens kept: one for each repository of a large registry.
const MAX_TOKENS: usize = 10_000;
/// Most threads that wait for a token or a probe of another: more than there are scanning and
/// downloading ones.
pub(super) const MAX_WAITING: usize = 1_000;
/// Why a registry that was found to speak plain HTTP gets no credentials.
const WITHHELD: &str =
    "credentials are not sent over plain HTTP unless --storage-registry-scheme=HTTP says so";

/// Why credentials that could be sent were not.
const NOT_ASKED: &str = "what --storage-registry-config holds was not sent, because the registry did not ask \
                         for it (no WWW-Authenticate), or asked for something else";

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope<'a> {
    /// List the repositories.
    Catalog,
    /// The same without credentials, to learn the challenge.
    OpenCatalog,
    /// Use an API beside the spec's, for the resource of this name. It gets Basic without asking for it.
    Api(Option<&'a str>),
    /// Pull from the repository of this name.
    Pull(&'a str),
}

impl Scope<'_> {
    /// As the token specification writes it.
    fn text(&self) -> String {
        match self {
            Scope::Catalog | Scope::OpenCatalog => "registry:catalog:*".to_owned(),
            Scope::Api(_) => String::new(),
            Scope::Pull(name) => format!("repository:{name}:pull"),
        }
    }

    /// Where it is kept what the registry has answered: its challenge, for one. For an API there's no place,
    /// because what it gets depends on no challenge.
    pub(super) fn kind(&self) -> Option<usize> {
        match self {
            Scope::Catalog | Scope::OpenCatalog => Some(0),
            Scope::Pull(_) => Some(1),
            Scope::Api(_) => None,
        }
    }

    /// The path that an entry of the secret file may be limited to.
    fn path(&self) -> Option<&str> {
        match *self {
            Scope::Catalog | Scope::OpenCatalog => None,
            Scope::Api(name) => name,
            Scope::Pull(name) => Some(name),
        }
    }
}

/// A token, and when to fetch the next.
#[derive(Clone)]
struct Token {
    value: String,
    renew_at: Instant,
    generation: Option<u64>,
}

/// Keeps challenges and tokens for one registry.
pub(crate) struct Authenticator {
    host: String,
    source: Arc<SecretFile>,
    /// Sends the requests for tokens.
    transport: Arc<Transport>,
    /// Whether a flag says that the registry speaks HTTP.
    http_is_permitted: bool,
    /// The last challenge to each kind of scope: catalog and pull.
    challenges: Mutex<[Option<Challenge>; 2]>,
    tokens: Mutex<Lru<String, Token>>,
    fetches: Once<String, Result<Token>>,
    /// Whether credentials were ever sent to the registry or its token server.
    has_sent: AtomicBool,
    /// By scope: the state of the secret file whose password did not find what an anonymous request did not
    /// find either.
    not_found: Mutex<Lru<String, u64>>,
}

/// How often a request has been challenged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ChallengeRound {
    /// It is answered as the challenge says. One that names no scope gets a token that was asked for
    /// without one: Quay's token server refuses the scope of a catalog.
    First,
    /// If the challenge names no scope, it gets a token for what the request wants to do.
    Second,
}

impl ChallengeRound {
    pub(super) const ALL: [ChallengeRound; 2] = [ChallengeRound::First, ChallengeRound::Second];
}

/// What may be answered to a challenge.
struct Terms<'a> {
    scope: Scope<'a>,
    /// The scope that the token server is asked for: the challenge's, which may differ from ours, or none.
    requested: String,
    auths: Auths,
    /// The state of the secret file; `None` if its credentials are withheld.
    generation: Option<u64>,
    /// The `Authorization` that was just refused.
    refused: Option<&'a str>,
}

impl Terms<'_> {
    /// The name under which the token is kept: one that was asked for without a scope may be good for less.
    fn key(&self) -> String {
        let kind = if self.requested.is_empty() {
            "open"
        } else {
            ""
        };
        format!("{kind}{}", self.scope.text())
    }
}

impl Authenticator {
    /// For the registry `host[:port]`, with the credentials that `source` holds for it.
    pub(super) fn new(
        host: String,
        source: Arc<SecretFile>,
        transport: Arc<Transport>,
        http_is_permitted: bool,
    ) -> Authenticator {
        Authenticator {
            host,
            source,
            transport,
            http_is_permitted,
            challenges: Mutex::default(),
            tokens: Mutex::new(Lru::new(MAX_TOKENS)),
            fetches: Once::new(MAX_WAITING),
            has_sent: AtomicBool::new(false),
            not_found: Mutex::new(Lru::new(MAX_TOKENS)),
        }
    }

    /// The challenge that such requests are answered by at once, if there is one.
    pub(crate) fn challenge(&self, scope: Scope) -> Option<Challenge> {
        match scope.kind() {
            Some(kind) => lock(&self.challenges)[kind].clone(),
            None => Some(Challenge::Basic { realm: None }),
        }
    }

    /// Answers such requests from now on by `challenge`, until they meet another; by none if it's `None`.
    pub(crate) fn set_challenge(&self, scope: Scope, challenge: Option<Challenge>) {
        if let Some(kind) = scope.kind() {
            lock(&self.challenges)[kind] = challenge;
        }
    }

    /// The state of the secret file, if it holds a password for the registry as a whole.
    pub(crate) fn password_generation(&self) -> Option<u64> {
        let (auths, generation) = self.current();
        let credential = auths.credential(&self.host, None);
        matches!(credential, Some(Credential::Password { .. })).then_some(generation)
    }

    /// Whether credentials are withheld from a URL of this scheme: it is plain HTTP, which no flag permits.
    fn withholds(&self, scheme: Option<&str>) -> bool {
        scheme == Some("http") && !self.http_is_permitted
    }

    /// Why a request over `scheme` may have been refused: for the log alone.
    pub(super) fn explain_refusal(&self, scheme: Option<&str>) -> String {
        let (auths, _) = self.current();
        match auths.credential(&self.host, None) {
            Some(_) if self.withholds(scheme) => WITHHELD.to_owned(),
            Some(_) if !self.has_sent.load(Ordering::Relaxed) => NOT_ASKED.to_owned(),
            _ => self.source.explain_refusal(&self.host),
        }
    }

    /// The `Authorization` to send at once to `target`, from what earlier challenges have taught.
    pub(super) fn known(&self, target: &Uri, scope: Scope) -> Result<Option<String>> {
        let known = self.challenge(scope);
        match known.filter(|_| scope != Scope::OpenCatalog) {
            Some(challenge) => {
                let mut terms = self.terms(target, scope);
                if challenge.scope().is_none() && self.kept(&terms).is_none() {
                    terms.requested.clear();
                }
                self.answer(&challenge, &terms)
            }
            None => Ok(None),
        }
    }

    /// The `Authorization` that answers a 401, or `None` when there's nothing new to send.
    pub(super) fn respond(
        &self,
        scope: Scope,
        refusal: &UpstreamResponse,
        round: ChallengeRound,
    ) -> Result<Option<String>> {
        let offered = refusal.texts("www-authenticate");
        let Some(challenge) = Challenge::choose(&offered, refusal.url()) else {
            return Ok(None);
        };
        self.set_challenge(scope, Some(challenge.clone()));
        if matches!(scope, Scope::OpenCatalog | Scope::Api(_)) {
            return Ok(None);
        }
        let mut terms = self.terms(refusal.url(), scope);
        terms.refused = refusal.authorization.as_deref();
        match (challenge.scope(), round) {
            (Some(requested), ChallengeRound::First) => requested.clone_into(&mut terms.requested),
            (None, ChallengeRound::First) => terms.requested.clear(),
            (None, ChallengeRound::Second) => {}
            (Some(_), ChallengeRound::Second) => return Ok(None),
        }
        let answer = self.answer(&challenge, &terms)?;
        Ok(answer.filter(|value| Some(value.as_str()) != terms.refused))
    }

    /// The `Authorization` for a request that was refused without a word of what is wanted: the password, as
    /// Docker sends it where the file has an entry. For what was not found it is sent once, because most
    /// often there is nothing.
    pub(super) fn unasked(&self, scope: Scope, refusal: &UpstreamResponse) -> Option<String> {
        let is_silent =
            refusal.authorization.is_none() && refusal.texts("www-authenticate").is_empty();
        let is_refused = matches!(refusal.status(), 401 | 403 | 404);
        if !(is_silent && is_refused) || matches!(scope, Scope::OpenCatalog | Scope::Api(_)) {
            return None;
        }
        let terms = self.terms(refusal.url(), scope);
        let password = Challenge::Basic { realm: None };
        let answer = self.answer(&password, &terms).ok()??;
        if refusal.status() == 404 {
            let mut not_found = lock(&self.not_found);
            if not_found.get(&scope.text()) == terms.generation {
                return None;
            }
            not_found.insert(scope.text(), terms.generation?, 1);
        }
        Some(answer)
    }

    fn current(&self) -> (Auths, u64) {
        let (auths, generation, problem) = self.source.current();
        if let Some(problem) = problem {
            log::warn!("keeping the last good credentials: {problem}");
        }
        (auths, generation)
    }

    fn terms<'a>(&self, target: &Uri, scope: Scope<'a>) -> Terms<'a> {
        let (auths, generation) = self.current();
        let withheld = self.withholds(target.scheme_str());
        Terms {
            scope,
            requested: scope.text(),
            auths: if withheld { Auths::default() } else { auths },
            generation: (!withheld).then_some(generation),
            refused: None,
        }
    }

    fn answer(&self, challenge: &Challenge, terms: &Terms) -> Result<Option<String>> {
        let credential = terms.auths.credential(&self.host, terms.scope.path());
        let is_password = matches!(credential, Some(Credential::Password { .. }));
        if is_password || (credential.is_some() && matches!(challenge, Challenge::Bearer { .. })) {
            self.has_sent.store(true, Ordering::Relaxed);
        }
        match (challenge, credential) {
            (Challenge::Basic { .. }, Some(Credential::Password { username, password })) => {
                Ok(Some(basic(username, password)))
            }
            (Challenge::Basic { .. }, _) => Ok(None),
            (Challenge::Bearer { .. }, Some(Credential::RegistryToken(token))) => {
                Ok(Some(bearer(token)))
            }
            (Challenge::Bearer { realm, service, .. }, credential) => {
                let request = TokenRequest {
                    transport: &self.transport,
                    realm,
                    service: service.as_deref().unwrap_or_default(),
                    scope: &terms.requested,
                    credential,
                };
                self.token(request, terms).map(Some)
            }
        }
    }

    /// The token that is kept for such requests, unless it's due or the one just refused.
    fn kept(&self, terms: &Terms) -> Option<Token> {
        let token = lock(&self.tokens).get(&terms.key())?;
        let is_current = token.renew_at > Instant::now() && token.generation == terms.generation;
        let is_refused = Some(bearer(&token.value).as_str()) == terms.refused;
        (is_current && !is_refused).then_some(token)
    }

    /// The token that is kept, else a new one.
    fn token(&self, request: TokenRequest, terms: &Terms) -> Result<String> {
        let (key, own) = (terms.key(), terms.scope.text());
        let kept = || self.kept(terms);
        let fetch = || {
            let fetched = request.fetch().or_else(|error| {
                let wants_scope = request.scope.is_empty() && error::final_answer(&error).is_some();
                let scoped = TokenRequest {
                    scope: &own,
                    ..request
                };
                if wants_scope {
                    scoped.fetch()
                } else {
                    Err(error)
                }
            });
            let (value, life) = fetched.map_err(|error| self.of_token_server(error))?;
            let token = Token {
                value,
                renew_at: Instant::now() + life - TOKEN_MARGIN.min(life / 4),
                generation: terms.generation,
            };
            lock(&self.tokens).insert(key.clone(), token.clone(), 1);
            Ok(token)
        };
        let token = kept_or_shared(&self.fetches, &key, kept, fetch)?;
        Ok(bearer(&token.value))
    }

    /// A refusal of credentials by a token server with what may explain it; else whose token server it is that fails,
    /// because its host may be an unfamiliar one.
    fn of_token_server(&self, error: Error) -> Error {
        if matches!(error.status(), Some(401 | 403)) {
            let why = self.source.explain_refusal(&self.host);
            error.with_detail(format_args!("; {why}"))
        } else {
            error.in_context(&format!("token server of {}", self.host))
        }
    }
}

/// What is `kept`, else what one call makes for all threads that want it. They share its failure too:
/// otherwise a server that hangs would hold the last of them for its deadline times their number.
pub(super) fn kept_or_shared<K: Clone + Eq + Hash, V: Clone>(
    calls: &Once<K, Result<V>>,
    key: &K,
    kept: impl Fn() -> Option<V>,
    make: impl FnOnce() -> Result<V>,
) -> Result<V> {
    if let Some(value) = kept() {
        return Ok(value);
    }
    // A call that ended after the first look has kept its result.
    let call = || kept().map_or_else(make, Ok);
    calls.get(key, SHARED, call).unwrap_or_else(|| {
        let text = "another thread's request to the registry gave no result in time";
        Err(Error::new(ErrorKind::Unavailable, text))
    })
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
