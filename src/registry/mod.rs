//! [`Storage`] by dialling an OCI registry (distribution-spec v1.1.0): the only room that knows
//! `ureq`, and one that has never heard of a chart. Nothing that a registry answers is trusted: not
//! its lengths, its links, its redirects or its types.

mod auth;
mod challenge;
mod error;
mod page;
mod probe;
mod shared;
mod token;
mod transport;
mod url;

pub use probe::Scheme;
pub use transport::{Tls, certificates};

use crate::credentials::Source;
use crate::oci::{Descriptor, Reference, RepositoryName};
use crate::storage::{Error, ErrorKind, MAX_MANIFEST, Storage};
use auth::{Authenticator, Scope};
use serde::Deserialize;
use shared::Shared;
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use transport::{Answer, Ask, Transport};
use ureq::http::Uri;

/// Names asked for at a time: the most that distribution (`catalog.maxentries`) and ECR give, then
/// what the others do; then it's left to the registry.
const PAGE_LENGTHS: [u32; 2] = [1000, 100];
/// How often a call is made before it has failed: a connection that was just closed, a registry
/// that throttles or restarts.
const ATTEMPTS: u32 = 3;
/// First wait before a call is made again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest wait that a registry's `Retry-After` is granted within one call. Who asks for more isn't
/// asked anything until then.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// Longest rest that a registry is given: Docker Hub counts its pulls by six hours, but a date far
/// in the future must not silence us for good.
const MAX_REST: Duration = Duration::from_secs(6 * 3600);
/// All manifest types, because some registries answer 404 to whoever doesn't accept what they have,
/// and an old one converts to schema 1.
const ACCEPT_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";
/// For when a registry has no catalog, or not for us.
const CATALOG_ADVICE: &str = "if this registry lists no repositories for you, name them with --repository";
/// For when a registry wants to know who we are.
const CREDENTIALS_ADVICE: &str = "check what --storage-registry-config holds for this registry";

/// What a [`Registry`] needs to know.
pub struct Options {
    /// `host[:port]`.
    pub authority: String,
    /// The scheme, if it's known; else it's probed.
    pub scheme: Option<Scheme>,
    /// Which certificates are trusted.
    pub tls: Tls,
    /// Where the credentials are.
    pub credentials: Arc<Source>,
    /// Only what lies below this is walked.
    pub prefix: Option<RepositoryName>,
    /// Walked instead of the catalog, unless empty.
    pub repositories: Vec<RepositoryName>,
    /// How many connections are kept alive.
    pub connections: usize,
}

/// A registry, dialled when asked.
pub struct Registry {
    options: Options,
    transport: Transport,
    authenticator: Authenticator,
    scheme: Shared<Scheme>,
    /// The registry has asked not to be asked before this.
    rest_until: Mutex<Option<Instant>>,
}

impl Registry {
    /// Dials nothing yet.
    pub fn new(options: Options) -> Registry {
        Registry {
            transport: Transport::new(&options.tls, options.connections, &options.authority),
            authenticator: Authenticator::new(options.authority.clone(), options.credentials.clone()),
            scheme: Shared::new(options.scheme),
            rest_until: Mutex::default(),
            options,
        }
    }

    /// The scheme, probed the first time.
    fn scheme(&self) -> Result<Scheme, Error> {
        self.scheme.get(
            |_| true,
            || {
                let scheme = probe::scheme(&self.transport, &self.options.authority)?;
                crate::info!("{} speaks {scheme}", self.options.authority);
                Ok(scheme)
            },
        )
    }

    /// Errors while the registry has asked for a rest.
    fn check_rest(&self, what: &str) -> Result<(), Error> {
        let until = *self.rest_until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.map(|until| until.saturating_duration_since(Instant::now())).unwrap_or_default();
        if left.is_zero() {
            return Ok(());
        }
        let why = format!("not asked: the registry wants a rest of {} s more", left.as_secs() + 1);
        Err(Error::new(ErrorKind::Unavailable, format!("{what}: {why}")))
    }

    fn rest(&self, asked: Duration) {
        crate::warn!("the registry asks for a rest of {} s, and gets it", asked.as_secs());
        let until = Instant::now() + asked.min(MAX_REST);
        *self.rest_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// `GET path`; only a 200 is `Ok`.
    fn get(&self, path: &str, ask: Ask, scope: Scope) -> Result<Answer, Error> {
        let answer = self.fetch(path, ask, scope)?;
        match answer.status() {
            200 => Ok(answer),
            401 | 403 => Err(answer.into_error().advise(CREDENTIALS_ADVICE)),
            _ => Err(answer.into_error()),
        }
    }

    /// `GET path`, with credentials as they're asked for, made again while that may help. Any
    /// status that won't pass by itself is `Ok`.
    fn fetch(&self, path: &str, ask: Ask, scope: Scope) -> Result<Answer, Error> {
        let text = format!("{}://{}{path}", self.scheme()?, self.options.authority);
        let target: Uri = text.parse().map_err(|cause| error::protocol(&format!("GET {path}"), cause))?;
        self.check_rest(&format!("GET {}", url::display(&target)))?;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let (error, asked) = match self.fetch_once(&target, ask, scope) {
                Ok(answer) if error::may_pass(answer.status()) => {
                    let asked = retry_after(&answer);
                    (answer.into_error(), asked.unwrap_or_default())
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => (error, Duration::ZERO),
                result => return result,
            };
            if asked > MAX_PAUSE {
                self.rest(asked);
            }
            if attempt == ATTEMPTS || asked > MAX_PAUSE {
                return Err(error);
            }
            crate::debug!("{error}: tried again");
            std::thread::sleep(asked.max(pause));
            pause *= 2;
            attempt += 1;
        }
    }

    /// One request, and a second one if the first is answered by a challenge we can meet.
    fn fetch_once(&self, target: &Uri, ask: Ask, scope: Scope) -> Result<Answer, Error> {
        let known = self.authenticator.known(&self.transport, scope)?;
        let answer = self.transport.call(target, ask, known.as_deref())?;
        // A challenge from where a redirect has led is not the registry's, and gets nothing.
        if answer.status() != 401 || url::origin(answer.url()) != url::origin(target) {
            return Ok(answer);
        }
        match self.authenticator.respond(&self.transport, scope, &answer, known.as_deref())? {
            Some(authorization) => self.transport.call(target, ask, Some(&authorization)),
            None => Ok(answer),
        }
    }

    /// A listing, all pages of it. A cursor that is lost on the way (zot and Harbor answer 404 and 400
    /// when the name it stood for has gone) is a reason to begin again, once.
    fn list<P: Page>(&self, path: &str, scope: Scope) -> Result<BTreeSet<String>, Error> {
        match self.list_once::<P>(path, scope)? {
            Pages::All(names) => Ok(names),
            Pages::Lost(_) => match self.list_once::<P>(path, scope)? {
                Pages::All(names) => Ok(names),
                Pages::Lost(error) => {
                    // Not the listing is gone, only its next page.
                    let text = format!("{error}; the listing changes while it's read");
                    Err(Error::new(ErrorKind::Unavailable, text))
                }
            },
        }
    }

    /// One attempt at a listing. Stops when a page brings nothing new: some registries link in
    /// circles.
    fn list_once<P: Page>(&self, path: &str, scope: Scope) -> Result<Pages, Error> {
        let mut names = BTreeSet::new();
        let mut length_of_all = 0;
        let (mut answer, length) = self.first_page(path, scope)?;
        for _ in 0..page::MAX_PAGES {
            let what = answer.what().to_owned();
            let linked = page::next_query(&answer.texts("link"));
            let body = answer.read(page::MAX_PAGE)?;
            let page: P = serde_json::from_slice(&body)
                .map_err(|cause| error::protocol(&what, format!("not a listing: {cause}")))?;
            let page = page.names();
            let guess = || page::guessed_query(length, &page);
            let (next, guessed) = match (linked, guess()) {
                (Some(query), _) => (query, false),
                (None, Some(query)) => (query, true),
                (None, None) => (String::new(), false),
            };
            let known = names.len();
            length_of_all += page.iter().map(String::len).sum::<usize>();
            names.extend(page);
            if length_of_all > page::MAX_LISTING {
                let why = format!("the listing is over {} bytes", page::MAX_LISTING);
                return Err(error::protocol(&what, why));
            }
            if next.is_empty() || names.len() == known {
                return Ok(Pages::All(names));
            }
            answer = self.fetch(&format!("{path}?{next}"), Ask::List, scope)?;
            match answer.status() {
                200 => {}
                400 | 404 if guessed => return Ok(Pages::All(names)),
                400 | 404 => return Ok(Pages::Lost(answer.into_error())),
                _ => return Err(answer.into_error()),
            }
        }
        Err(error::protocol(&format!("GET {path}"), format!("over {} pages", page::MAX_PAGES)))
    }

    /// The first page, with the longest page length that the registry takes.
    fn first_page(&self, path: &str, scope: Scope) -> Result<(Answer, Option<u32>), Error> {
        let mut lengths = PAGE_LENGTHS.into_iter();
        loop {
            let length = lengths.next();
            let query = length.map_or(String::new(), |length| format!("?n={length}"));
            let answer = self.fetch(&format!("{path}{query}"), Ask::List, scope)?;
            match answer.status() {
                200 => return Ok((answer, length)),
                // PAGINATION_NUMBER_INVALID (distribution), UNSUPPORTED (ECR): too long a page.
                400 | 405 if length.is_some() => {}
                401 | 403 => return Err(answer.into_error().advise(CREDENTIALS_ADVICE)),
                _ => return Err(answer.into_error()),
            }
        }
    }

    fn is_wanted(&self, name: &RepositoryName) -> bool {
        self.options.prefix.as_ref().is_none_or(|prefix| name.is_below(prefix))
    }
}

impl Storage for Registry {
    /// `GET /v2/_catalog` (distribution's API, not in the OCI spec), unless repositories are given.
    fn repositories(&self) -> Result<Vec<RepositoryName>, Error> {
        if !self.options.repositories.is_empty() {
            return Ok(self.options.repositories.clone());
        }
        let names =
            self.list::<Catalog>("/v2/_catalog", Scope::Catalog).map_err(|error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::Refused | ErrorKind::Invalid => error.advise(CATALOG_ADVICE),
                _ => error,
            })?;
        let mut repositories = Vec::with_capacity(names.len());
        for name in names {
            match name.parse::<RepositoryName>() {
                Ok(name) if self.is_wanted(&name) => repositories.push(name),
                Ok(_) => {}
                Err(error) => crate::debug!("skipped repository {name:?}: {error}"),
            }
        }
        Ok(repositories)
    }

    /// `GET /v2/<name>/tags/list` (distribution-spec v1.1.0, end-8a and end-8b).
    fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, Error> {
        let path = format!("/v2/{repository}/tags/list");
        let tags = self.list::<TagList>(&path, Scope::Repository(repository))?;
        Ok(tags.into_iter().collect())
    }

    /// `GET /v2/<name>/manifests/<reference>` (end-3).
    fn manifest(&self, repository: &RepositoryName, reference: &Reference) -> Result<Vec<u8>, Error> {
        let path = format!("/v2/{repository}/manifests/{}", reference.as_str());
        let answer = self.get(&path, Ask::Get { accept: ACCEPT_MANIFEST }, Scope::Repository(repository))?;
        answer.read(MAX_MANIFEST)
    }

    /// `GET /v2/<name>/blobs/<digest>` (end-2).
    fn blob(&self, repository: &RepositoryName, blob: &Descriptor) -> Result<Box<dyn Read + Send>, Error> {
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        let answer = self.get(&path, Ask::Get { accept: "*/*" }, Scope::Repository(repository))?;
        Ok(Box::new(answer.into_reader()))
    }
}

/// What became of a listing.
enum Pages {
    All(BTreeSet<String>),
    /// A page after the first isn't there any more.
    Lost(Error),
}

/// A page of a listing, whose names may be `null`.
trait Page: for<'de> Deserialize<'de> {
    fn names(self) -> Vec<String>;
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

impl Page for Catalog {
    fn names(self) -> Vec<String> {
        self.repositories.unwrap_or_default()
    }
}

impl Page for TagList {
    fn names(self) -> Vec<String> {
        self.tags.unwrap_or_default()
    }
}

/// `Retry-After` (RFC 9110 §10.2.3) in seconds, or until a date.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let text = answer.texts("retry-after").into_iter().next()?;
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            httpdate::parse_http_date(text.trim()).ok()?.duration_since(std::time::SystemTime::now()).ok()
        }
    }
}
