//! Who we are, as a registry wants to hear it: Basic (RFC 7617), or a Bearer token from the realm
//! that its challenge names (distribution's token specification,
//! <https://distribution.github.io/distribution/spec/auth/token/>).
//!
//! Here it's decided what to send; [`token`](super::token) fetches tokens. A challenge is per path, not per host (Harbor wants Basic for its catalog and Bearer for
//! repositories), and a token is good for one scope. So challenges are remembered per kind of
//! scope, tokens per scope.

use super::answer::Answer;
use super::challenge::{self, Challenge};
use super::error;
use super::shared::{Shared, lock};
use super::token::{TokenRequest, basic};
use super::transport::Transport;
use crate::credentials::{Auths, Credential, Source};
use crate::oci::RepositoryName;
use crate::storage::Error;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A token is renewed this long before its end, or in the last quarter of a shorter life: for the
/// request that is under way, and for clocks that drift.
const MARGIN: Duration = Duration::from_secs(10);
/// Most tokens kept: one for each repository of a large registry. Beyond it all are dropped, and
/// asked for again as they are needed.
const MAX_TOKENS: usize = 10_000;
/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope<'a> {
    /// List the repositories.
    Catalog,
    /// The same without saying who we are, to learn how we would be asked.
    Stranger,
    /// Use Harbor's API, for a repository or what lies below it.
    Api(Option<&'a RepositoryName>),
    /// Read one repository.
    Repository(&'a RepositoryName),
}

impl Scope<'_> {
    fn text(&self) -> String {
        match self {
            Scope::Catalog | Scope::Stranger => "registry:catalog:*".to_owned(),
            Scope::Api(_) => String::new(),
            Scope::Repository(name) => format!("repository:{name}:pull"),
        }
    }

    fn repository(&self) -> Option<&str> {
        match self {
            Scope::Catalog | Scope::Stranger => None,
            Scope::Api(name) => name.map(RepositoryName::as_str),
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

/// A place for one scope's token.
type TokenCell = Arc<Shared<Token>>;

/// Keeps challenges and tokens for one registry.
pub(super) struct Authenticator {
    host: String,
    source: Arc<Source>,
    /// By kind of scope: catalog, repositories, Harbor's API. The last one asks nobody who he is.
    challenges: Mutex<[Option<Challenge>; 3]>,
    /// Which state of the secret file was refused when it was shown unasked.
    refused: Mutex<Option<u64>>,
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
        let challenges = Mutex::new([None, None, Some(Challenge::Basic { realm: None })]);
        Authenticator {
            host,
            source,
            challenges,
            refused: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// Whether it's known how such a request is to say who we are: it was answered by a challenge that
    /// we understand, or the password is shown unasked.
    pub(super) fn has_met(&self, scope: Scope) -> bool {
        lock(&self.challenges)[kind(scope)].is_some()
    }

    /// Whether the registry has given itself away as a Harbor.
    pub(super) fn has_met_harbor(&self) -> bool {
        lock(&self.challenges)[kind(Scope::Catalog)]
            .as_ref()
            .is_some_and(Challenge::is_harbors)
    }

    /// Which state of the secret file holds a password for the registry as a whole, if the catalog has
    /// neither asked for one nor refused it.
    pub(super) fn introduction(&self) -> Option<u64> {
        let demand = self.demand(Scope::Catalog, None);
        let has_password = matches!(
            demand.credential(&self.host),
            Some(Credential::Password { .. })
        );
        let is_new = *lock(&self.refused) != Some(demand.generation);
        (has_password && is_new && !self.has_met(Scope::Catalog)).then_some(demand.generation)
    }

    /// From now on the password is shown unasked to this kind of scope, unless it asks in its own way.
    pub(super) fn introduce(&self, kind: usize) {
        lock(&self.challenges)[kind].get_or_insert(Challenge::Basic { realm: None });
    }

    /// The catalog isn't shown the password any more; nor this state of it again, if it was `refused`.
    pub(super) fn withdraw(&self, refused: Option<u64>) {
        lock(&self.challenges)[CATALOG] = None;
        *lock(&self.refused) = refused;
    }

    /// The `Authorization` to send at once, from what earlier challenges have taught us.
    pub(super) fn known(
        &self,
        transport: &Transport,
        scope: Scope,
    ) -> Result<Option<String>, Error> {
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
        // To whom we have said unasked who we are, there's nothing to add.
        if matches!(scope, Scope::Api(_)) {
            return Ok(None);
        }
        let offered = challenge::parse(&refusal.texts("www-authenticate"));
        let Some(challenge) = Challenge::choose(offered, refusal.url()) else {
            return Ok(None);
        };
        lock(&self.challenges)[kind(scope)] = Some(challenge.clone());
        if scope == Scope::Stranger {
            return Ok(None);
        }
        let demand = self.demand(scope, challenge.scope());
        let answer = self.answer(transport, &challenge, &demand, sent)?;
        Ok(answer.filter(|value| Some(value.as_str()) != sent))
    }

    fn demand<'a>(&self, scope: Scope<'a>, asked: Option<&str>) -> Demand<'a> {
        let (auths, generation, problem) = self.source.current();
        if let Some(problem) = problem {
            log::warn!("credentials stay as they were: {problem}");
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
            (Challenge::Basic { .. }, Some(Credential::Password { username, password })) => {
                Ok(Some(basic(username, password)))
            }
            (Challenge::Basic { .. }, _) => Ok(None),
            (Challenge::Bearer { .. }, Some(Credential::RegistryToken(token))) => {
                Ok(Some(bearer(token)))
            }
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
        let good = |token: &Token| {
            let current = token.renew_at > Instant::now() && token.generation == demand.generation;
            current && Some(bearer(&token.value).as_str()) != refused
        };
        let fetch = || {
            let (value, life) = request
                .send(transport)
                .map_err(|error| self.of_token_server(error))?;
            let renew_at = Instant::now() + life - MARGIN.min(life / 4);
            Ok(Token {
                value,
                renew_at,
                generation: demand.generation,
            })
        };
        let token = self.cell(demand.scope.text()).get(good, fetch)?;
        Ok(bearer(&token.value))
    }

    /// A token server's refusal with what it is about; else whose token server it is that fails, for
    /// its host may be one that nobody has heard of.
    fn of_token_server(&self, error: Error) -> Error {
        match error::status_of(&error) {
            Some(status) if !error::may_pass(status) => {
                error.advise(&self.source.explain_refusal(&self.host))
            }
            _ => error::with_subject(&format!("token server of {}", self.host), &error),
        }
    }

    fn cell(&self, scope: String) -> TokenCell {
        let mut tokens = lock(&self.tokens);
        if tokens.len() >= MAX_TOKENS && !tokens.contains_key(&scope) {
            tokens.clear();
        }
        tokens.entry(scope).or_default().clone()
    }
}

/// Kinds of scopes, each with a challenge of its own.
pub(super) const CATALOG: usize = 0;
pub(super) const REPOSITORIES: usize = 1;
const API: usize = 2;

fn kind(scope: Scope) -> usize {
    match scope {
        Scope::Catalog | Scope::Stranger => CATALOG,
        Scope::Repository(_) => REPOSITORIES,
        Scope::Api(_) => API,
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
