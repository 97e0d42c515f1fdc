//! Who may read: Basic users, and holders of the token server's tokens.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::harbor::Harbor;
use super::honest::{Route, detailed};
use super::reply::Reply;
use super::request::Request;
use super::tokens::TokenServer;

#[derive(Clone, Copy, Default, PartialEq)]
pub enum Guard {
    #[default]
    Open,
    Basic,
    Bearer,
}

#[derive(Default)]
pub(super) struct Access {
    pub catalog: Guard,
    /// If strangers are let in without being asked who they are: but not to these repositories.
    pub private: Option<Vec<&'static str>>,
    /// Whether those aren't there for a stranger; else he is asked who he is.
    pub hides_private: bool,
    /// What a request without credentials is answered with, if the registry doesn't say that it wants any.
    pub silent: Option<Reply>,
    ping: Guard,
    repositories: Guard,
    exceptions: HashMap<String, Guard>,
    users: Vec<(String, String)>,
    pub tokens: TokenServer,
    pub harbor: Option<Harbor>,
}

impl Access {
    pub fn guard_all(&mut self, guard: Guard) {
        (self.ping, self.catalog, self.repositories) = (guard, guard, guard);
    }

    /// The Harbor that this is from now on.
    pub fn harbor(&mut self) -> &mut Harbor {
        self.guard_all(Guard::Bearer);
        self.catalog = Guard::Basic;
        self.tokens.service = "harbor-registry";
        self.harbor.get_or_insert_default()
    }

    pub fn guard_repository(&mut self, name: &str, guard: Guard) {
        self.exceptions.insert(name.to_owned(), guard);
    }

    pub fn add_user(&mut self, user: &str, password: &str) {
        self.users.push((user.to_owned(), password.to_owned()));
    }

    pub fn remove_user(&mut self, user: &str) {
        self.users.retain(|(known, _)| known != user);
    }

    /// The 401 that this request deserves, if any.
    pub fn refuse(&mut self, request: &Request, route: &Route) -> Option<Reply> {
        let stranger = request.header("Authorization").is_none();
        if let Some(private) = self.private.as_ref().filter(|_| stranger) {
            let is_private = |name: &str| private.contains(&name);
            match route {
                Route::Tags(name) | Route::Manifest(name, _) | Route::Blob(name, _)
                    if is_private(name) =>
                {
                    if self.hides_private {
                        return Some(Reply::error(
                            404,
                            "NAME_UNKNOWN",
                            "repository name not known to registry",
                        ));
                    }
                }
                _ => return None,
            }
        }
        let guard = match route {
            Route::Ping => self.ping,
            Route::Catalog => self.catalog,
            Route::Tags(name) | Route::Manifest(name, _) | Route::Blob(name, _) => {
                let exception = self.exceptions.get(*name);
                *exception.unwrap_or(&self.repositories)
            }
        };
        if let Some(refusal) = self.silent.as_ref().filter(|_| !self.knows_user(request)) {
            return Some(refusal.clone());
        }
        let knows = |harbor: &Harbor| harbor.knows(request);
        match guard {
            Guard::Open => None,
            // Harbor's `/v2/` opens to a password as well as to a token.
            _ if matches!(route, Route::Ping) && self.harbor.as_ref().is_some_and(knows) => None,
            Guard::Basic => match &self.harbor {
                Some(harbor) if harbor.opens_catalog(request) => None,
                Some(_) => {
                    Some(unauthorized(route).header("Www-Authenticate", "Basic realm=\"harbor\""))
                }
                None if self.knows_user(request) => None,
                None => {
                    let challenge = "Basic realm=\"a registry, fake\"";
                    Some(unauthorized(route).header("Www-Authenticate", challenge))
                }
            },
            Guard::Bearer => self.tokens.refuse(request, route),
        }
    }

    /// The token server's answer, if that is what was asked.
    pub fn token(&mut self, request: &Request) -> Option<Reply> {
        if !self.tokens.is_asked(request) {
            return None;
        }
        match request.method.as_str() {
            "GET" => Some(self.token_by_get(request)),
            "POST" if self.tokens.oauth2 => Some(self.tokens.token_by_post(request)),
            "POST" => Some(Reply::error(404, "NOT_FOUND", "no such page")),
            _ => None,
        }
    }

    fn token_by_get(&mut self, request: &Request) -> Reply {
        let known = match request.header("Authorization") {
            Some(_) => self.knows_user(request),
            None => self.tokens.anonymous,
        };
        if !known {
            return Reply::error(401, "UNAUTHORIZED", "incorrect username or password");
        }
        if request.query("service") != [self.tokens.service] {
            return Reply::error(400, "UNSUPPORTED", "service is not ours");
        }
        self.tokens.grant(&request.query("scope"))
    }

    fn knows_user(&self, request: &Request) -> bool {
        let of_harbor = self
            .harbor
            .as_ref()
            .is_some_and(|harbor| harbor.knows(request));
        of_harbor || self.users.iter().any(|user| is_user(request, user))
    }
}

/// Whether this name and password were sent.
pub(super) fn is_user(request: &Request, (user, password): &(String, String)) -> bool {
    let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    request.header("Authorization") == Some(&basic)
}

pub(super) fn unauthorized(route: &Route) -> Reply {
    let resource = |kind: &str, name: &str, action: &str| json!([{ "Type": kind, "Class": "", "Name": name, "Action": action }]);
    let detail = match route {
        Route::Ping => Value::Null,
        Route::Catalog => resource("registry", "catalog", "*"),
        Route::Tags(name) | Route::Manifest(name, _) | Route::Blob(name, _) => {
            resource("repository", name, "pull")
        }
    };
    detailed(401, ("UNAUTHORIZED", "authentication required"), detail)
        .header("Docker-Distribution-Api-Version", "registry/2.0")
}
