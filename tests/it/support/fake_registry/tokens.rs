//! The token server, as the distribution project specifies it (docs/content/spec/auth/token.md,
//! oauth.md and scope.md at v2.8.2), and the registry's side of it. Tokens age by a clock of the
//! fake's own, so that no story waits for one to expire.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::access::unauthorized;
use super::door::Role;
use super::honest::Route;
use super::reply::Reply;
use super::request::Request;

/// How the challenge of a 401 is written.
#[derive(Clone, Copy, Default)]
pub enum ChallengeForm {
    /// One header, one challenge.
    #[default]
    Plain,
    /// A header with a scheme nobody here speaks, then the real one.
    TwoHeaders,
    /// Several challenges in one header, with commas inside quoted strings.
    OneHeader,
    /// Scheme and parameters in odd case, blanks around `=` and commas.
    OddCase,
}

#[derive(Clone, Copy, Default)]
pub enum TokenField {
    #[default]
    Token,
    AccessToken,
    /// Both, as the spec asks for the sake of old clients.
    Both,
}

pub type Mint = Box<dyn Fn(&str, &[String]) -> String + Send>;

pub struct TokenServer {
    /// Where tokens are had: absolute or relative, with or without a query. Empty: here, `/token`.
    pub realm: String,
    pub service: &'static str,
    /// Whether a client without credentials gets a token.
    pub anonymous: bool,
    pub field: TokenField,
    /// What an answer says; tokens live that long, or 60 seconds as the spec has it. Some servers
    /// write 0 where they mean to say nothing.
    pub expires_in: Option<u64>,
    /// Tokens die after so many uses, however young.
    pub uses: usize,
    /// Whether POST (OAuth2) is known; else it is answered with 404.
    pub oauth2: bool,
    /// Refresh tokens that OAuth2 takes.
    pub identity_tokens: Vec<String>,
    /// Bearer tokens good for everything, without asking here.
    pub registry_tokens: Vec<String>,
    /// Scopes that nobody is granted; left out silently, as token servers do.
    pub forbidden: Vec<String>,
    /// Challenges name no scope.
    pub scopeless: bool,
    /// A token for the catalog is asked for without a scope, and refused with one (Quay).
    pub open_catalog: bool,
    /// The actions of a challenge's scope.
    pub actions: &'static str,
    pub challenge: ChallengeForm,
    /// Makes the tokens, for a registry that isn't the fake's own: of the service and the scopes granted.
    pub mint: Option<Mint>,
    pub(super) registry_url: String,
    issued: HashMap<String, Grant>,
    ahead: Duration,
}

struct Grant {
    scopes: Vec<String>,
    expires: Instant,
    uses: usize,
}

impl TokenServer {
    pub(super) fn advance(&mut self, time: Duration) {
        self.ahead += time;
    }

    fn now(&self) -> Instant {
        Instant::now() + self.ahead
    }

    fn realm(&self) -> String {
        match self.realm.as_str() {
            "" => format!("{}/token", self.registry_url),
            realm => realm.to_owned(),
        }
    }

    pub(super) fn is_asked(&self, request: &Request) -> bool {
        let realm = self.realm();
        let (realm, query) = realm.split_once('?').unwrap_or((&realm, ""));
        let (role, path) = match realm.strip_prefix(&self.registry_url) {
            Some(path) => (Role::Registry, path),
            None if realm.starts_with('/') => (Role::Registry, realm),
            None => (Role::TokenServer, "/token"),
        };
        let has = |pair: &str| {
            pair.split_once('=')
                .is_none_or(|(name, value)| request.query(name) == [value])
        };
        request.role == role && request.path() == path && query.split('&').all(has)
    }

    pub(super) fn refuse(&mut self, request: &Request, route: &Route) -> Option<Reply> {
        let scope = match route {
            Route::Ping => None,
            Route::Catalog if self.open_catalog => None,
            Route::Catalog => Some(("registry:catalog:".to_owned(), "*")),
            Route::Tags(name) | Route::Manifest(name, _) | Route::Blob(name, _) => {
                Some((format!("repository:{name}:"), "pull"))
            }
        };
        let sent = request.header("Authorization");
        let token = sent.and_then(|header| header.strip_prefix("Bearer "));
        let mut error = "";
        if let Some(token) = token {
            error = match self.spend(token, scope.as_ref()) {
                Ok(()) => return None,
                Err(error) => error,
            };
        }
        let scope = scope.map(|(resource, action)| match action {
            "pull" => format!("{resource}{}", self.actions),
            action => format!("{resource}{action}"),
        });
        let scope = scope.filter(|_| !self.scopeless);
        let mut reply = unauthorized(route);
        for challenge in self.challenges(scope, error) {
            reply = reply.header("Www-Authenticate", &challenge);
        }
        Some(reply)
    }

    /// Uses a token once for this resource and action.
    fn spend(&mut self, token: &str, scope: Option<&(String, &str)>) -> Result<(), &'static str> {
        if self.registry_tokens.iter().any(|t| t == token) {
            return Ok(());
        }
        let now = self.now();
        let grant = self.issued.get_mut(token).ok_or("invalid_token")?;
        if grant.uses == 0 || grant.expires <= now {
            return Err("invalid_token");
        }
        let covers = |granted: &String, (resource, action): &(String, &str)| {
            let actions = granted.strip_prefix(resource.as_str());
            actions.is_some_and(|actions| actions.split(',').any(|a| a == *action))
        };
        if scope.is_some_and(|scope| !grant.scopes.iter().any(|s| covers(s, scope))) {
            return Err("insufficient_scope");
        }
        grant.uses -= 1;
        Ok(())
    }

    fn challenges(&self, scope: Option<String>, error: &str) -> Vec<String> {
        let (realm, service) = (self.realm(), self.service);
        let mut rest = scope.map_or(String::new(), |scope| format!(",scope=\"{scope}\""));
        if !error.is_empty() {
            rest += &format!(",error=\"{error}\"");
        }
        let plain = format!("Bearer realm=\"{realm}\",service=\"{service}\"{rest}");
        match self.challenge {
            ChallengeForm::Plain => vec![plain],
            ChallengeForm::TwoHeaders => vec!["Negotiate".to_owned(), plain],
            ChallengeForm::OneHeader => {
                vec![format!(
                    "Negotiate, Digest realm=\"a, \\\"b\\\"\", qop=\"auth,auth-int\", {plain}"
                )]
            }
            ChallengeForm::OddCase => {
                let rest = rest.replace(",scope=", " , Scope = ");
                vec![format!(
                    "bEARER REALM = \"{realm}\" ,Service=\"{service}\"{rest}"
                )]
            }
        }
    }

    pub(super) fn token_by_post(&mut self, request: &Request) -> Reply {
        let has = |name: &str| request.form(name).first().is_some_and(|v| !v.is_empty());
        let one = |name: &str| request.form(name).first().cloned().unwrap_or_default();
        if !has("client_id") || one("service") != self.service {
            return Reply::json(400, &json!({ "error": "invalid_request" }));
        }
        let known = self.identity_tokens.contains(&one("refresh_token"));
        if one("grant_type") != "refresh_token" || !known {
            return Reply::json(401, &json!({ "error": "invalid_grant" }));
        }
        self.grant(&request.form("scope"))
    }

    pub(super) fn grant(&mut self, asked: &[String]) -> Reply {
        if self.open_catalog && asked.iter().any(|scope| scope == "registry:catalog:*") {
            let why = "Unable to decode repository and actions: registry:catalog:*";
            return Reply::error(400, "INVALID_REQUEST", why);
        }
        let asked = asked.iter().flat_map(|scope| scope.split(' '));
        let granted = asked.filter(|scope| !self.forbidden.iter().any(|f| f == scope));
        let scopes: Vec<String> = granted.map(str::to_owned).collect();
        let token = match &self.mint {
            Some(mint) => mint(self.service, &scopes),
            None => format!("secret-token-{}", self.issued.len()),
        };
        let lives =
            Duration::from_secs(self.expires_in.filter(|seconds| *seconds > 0).unwrap_or(60));
        let grant = Grant {
            scopes,
            expires: self.now() + lives,
            uses: self.uses,
        };
        self.issued.insert(token.clone(), grant);
        let mut answer = json!({});
        if !matches!(self.field, TokenField::AccessToken) {
            answer["token"] = json!(token);
        }
        if !matches!(self.field, TokenField::Token) {
            answer["access_token"] = json!(token);
        }
        if let Some(seconds) = self.expires_in {
            answer["expires_in"] = json!(seconds);
        }
        Reply::json(200, &answer)
    }
}

impl Default for TokenServer {
    fn default() -> Self {
        TokenServer {
            realm: String::new(),
            service: "fake-registry",
            anonymous: false,
            field: TokenField::default(),
            expires_in: None,
            uses: usize::MAX,
            oauth2: false,
            identity_tokens: Vec::new(),
            registry_tokens: Vec::new(),
            forbidden: Vec::new(),
            scopeless: false,
            open_catalog: false,
            actions: "pull",
            challenge: ChallengeForm::default(),
            mint: None,
            registry_url: String::new(),
            issued: HashMap::new(),
            ahead: Duration::ZERO,
        }
    }
}
