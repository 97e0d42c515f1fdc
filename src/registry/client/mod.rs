//! An HTTP client for one registry (distribution-spec v1.1.0), in the order of a request:
//!
//! 1. The scheme is probed, unless a flag says it ([`probe`]).
//! 2. The request waits, or isn't sent, if the registry asked for a pause or limits its clients ([`retry`]).
//! 3. It is sent with the credentials that earlier challenges asked for ([`auth`], [`transport`]).
//! 4. A 401 is a challenge: it is answered ([`challenge`], [`token`]), and the request sent once more; twice
//!    if the challenge names no scope. A refusal without a challenge is answered by the password, once.
//! 5. A failure that may pass is repeated a few times.
//!
//! It knows paths and scopes, and neither repositories nor listings. Nothing in a response is trusted:
//! not its length, its links, its redirects or its types.

mod auth;
pub(super) mod challenge;
pub(super) mod error;
mod probe;
mod proxy;
mod response;
mod retry;
mod timeouts;
mod tls;
mod tls_failure;
mod token;
mod transport;
mod trust;
pub(super) mod url;

pub(super) use auth::Scope;
pub use probe::Scheme;
pub(super) use response::{UPGRADE_ADVICE, UpstreamResponse};
pub(super) use transport::Ask;
pub use trust::{Tls, TlsFiles};

use crate::credentials::SecretFile;
use crate::observe::metrics;
use crate::storage::{Error, ErrorKind, Result};
use crate::sync::{Once, lock};
use auth::{Authenticator, ChallengeRound, MAX_WAITING, kept_or_shared};
use challenge::Challenge;
use retry::{Hop, Retry};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use transport::Transport;
use ureq::http::Uri;

/// For a TLS port that was asked in plain HTTP (Go's `net/http` and nginx answer 400).
pub(super) const HTTPS_ADVICE: &str = "if the registry speaks TLS, write https:// in --storage-registry-repo, or HTTPS in \
     --storage-registry-scheme";

/// A client for one registry. It connects when it has something to ask.
pub(super) struct Client {
    /// `host[:port]`.
    pub(super) authority: String,
    /// The scheme that a flag says.
    given: Option<Scheme>,
    probed: Mutex<Option<Scheme>>,
    probes: Once<(), Result<Scheme>>,
    /// Whether a response makes the probed scheme doubtful.
    is_doubtful: AtomicBool,
    transport: Arc<Transport>,
    pub(super) authenticator: Authenticator,
    /// For the catalog and for tags: how many page lengths are too long for the registry, once it has accepted
    /// one.
    too_long: Mutex<[Option<usize>; 2]>,
}

impl Client {
    /// For the registry at `authority` (`host[:port]`), with up to `connections` kept alive.
    pub(super) fn new(
        authority: String,
        scheme: Option<Scheme>,
        tls: Arc<Tls>,
        credentials: Arc<SecretFile>,
        connections: usize,
    ) -> Client {
        let transport = Arc::new(Transport::new(tls, connections, &authority));
        let (own, permitted) = (transport.clone(), scheme == Some(Scheme::Http));
        Client {
            given: scheme,
            probed: Mutex::default(),
            probes: Once::new(MAX_WAITING),
            is_doubtful: AtomicBool::new(false),
            transport,
            authenticator: Authenticator::new(authority.clone(), credentials, own, permitted),
            too_long: Mutex::default(),
            authority,
        }
    }

    /// `GET path`; only a 200 is `Ok`.
    pub(super) fn get(&self, path: &str, ask: Ask, scope: Scope) -> Result<UpstreamResponse> {
        let response = self.send(path, ask, scope)?;
        match response.status() {
            200 => Ok(response),
            _ => Err(self.refusal(response)),
        }
    }

    /// The error that a response is, with what may help.
    pub(super) fn refusal(&self, response: UpstreamResponse) -> Error {
        let scheme = response.url().scheme_str().map(str::to_owned);
        match response.status() {
            401 | 403 if response.away.is_none() => {
                let why = self.authenticator.explain_refusal(scheme.as_deref());
                response.into_error().with_detail(format_args!("; {why}"))
            }
            400 if scheme.as_deref() == Some("http") => response.into_error().advise(HTTPS_ADVICE),
            _ => response.into_error(),
        }
    }

    /// Sends a request for `path`, with the credentials that are asked for, and repeats it while that may
    /// help. Any status that won't pass by itself is `Ok`.
    pub(super) fn send(&self, path: &str, ask: Ask, scope: Scope) -> Result<UpstreamResponse> {
        let url = format!("{}://{}{path}", self.scheme()?, self.authority);
        let target = url.parse::<Uri>();
        let target = target.map_err(|cause| error::protocol(&format!("GET {path}"), cause))?;
        let what = ask.what(&target);
        let (retries, mut attempt) = (&self.transport.retries, 1);
        loop {
            let mut hop = retries.wait(&target, ask.is_blob, &what)?;
            let error = match self.send_once(&target, ask, scope, &mut hop) {
                Ok(response) if error::may_pass(response.status()) => response.into_error(),
                // It was not sent to where a redirect leads.
                Err(error) if error.kind() == ErrorKind::Paused => return Err(error),
                Err(error) if error.kind().is_no_answer() => error,
                result => {
                    retries.answered(&hop);
                    let status = result.as_ref().map(UpstreamResponse::status);
                    self.doubt_scheme(matches!(status, Ok(400 | 401)));
                    return result;
                }
            };
            let Retry::After(pause) = retries.failed(&hop, ask.is_blob, &error, attempt) else {
                self.doubt_scheme(error.kind() == ErrorKind::Unavailable);
                return Err(error);
            };
            metrics::REGISTRY_RETRIES.count(&[]);
            log::debug!(status = error.status(); "{error:#}: trying again");
            thread::sleep(pause);
            attempt += 1;
        }
    }

    /// One request, and further ones while they are answered by a challenge that can be met.
    fn send_once(
        &self,
        target: &Uri,
        ask: Ask,
        scope: Scope,
        hop: &mut Hop,
    ) -> Result<UpstreamResponse> {
        let known = self.authenticator.known(target, scope)?;
        let mut response = self
            .transport
            .follow(target, ask.bearing(known.as_deref()), hop)?;
        let is_home = url::origin(response.url()) == url::origin(target);
        let unasked = is_home.then(|| self.authenticator.unasked(scope, &response));
        if let Some(unasked) = unasked.flatten() {
            response = self
                .transport
                .follow(target, ask.bearing(Some(&unasked)), hop)?;
            if response.status() < 400 {
                let password = Challenge::Basic { realm: None };
                self.authenticator.set_challenge(scope, Some(password));
            }
        }
        for round in ChallengeRound::ALL {
            // A challenge from where a redirect has led is not the registry's, and gets nothing.
            if response.status() != 401 || url::origin(response.url()) != url::origin(target) {
                break;
            }
            let Some(answer) = self.authenticator.respond(scope, &response, round)? else {
                break;
            };
            response = self
                .transport
                .follow(target, ask.bearing(Some(&answer)), hop)?;
        }
        Ok(response)
    }

    /// The scheme that a flag says, else the probed one.
    fn scheme(&self) -> Result<Scheme> {
        if let Some(given) = self.given {
            return Ok(given);
        }
        let kept = || lock(&self.probed).filter(|_| !self.is_doubtful.load(Ordering::Relaxed));
        let probe = || {
            let last = *lock(&self.probed);
            let scheme = probe::scheme(&self.transport, &self.authority);
            let known = |error| last.map(|scheme| (scheme, "")).ok_or(error);
            let (scheme, how) = scheme.or_else(known)?;
            if last != Some(scheme) {
                log::info!("{} speaks {scheme}{how}", self.authority);
            }
            *lock(&self.probed) = Some(scheme);
            self.is_doubtful.store(false, Ordering::Relaxed);
            Ok(scheme)
        };
        kept_or_shared(&self.probes, &(), kept, probe)
    }

    /// A plain HTTP that was only probed is probed again once requests are refused or fail: what kept TLS
    /// from the probe may have been an accident or an attack.
    fn doubt_scheme(&self, is_suspect: bool) {
        if is_suspect && self.withholds_credentials() {
            self.is_doubtful.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the registry was found to speak plain HTTP, so that it gets no credentials.
    pub(super) fn withholds_credentials(&self) -> bool {
        self.given.is_none() && *lock(&self.probed) == Some(Scheme::Http)
    }

    /// Why the registry may refuse requests: for the log alone, because it names files and hosts.
    pub(super) fn explain_refusal(&self) -> String {
        let scheme = self.withholds_credentials().then_some("http");
        self.authenticator.explain_refusal(scheme)
    }

    /// How many of the page lengths are too long for such listings, if one was accepted before.
    pub(super) fn too_long(&self, scope: Scope) -> Option<usize> {
        lock(&self.too_long)[scope.kind()?]
    }

    /// Notes how many of the page lengths were refused before one was accepted.
    pub(super) fn note_too_long(&self, scope: Scope, count: usize) {
        if let Some(kind) = scope.kind() {
            lock(&self.too_long)[kind] = Some(count);
        }
    }

    /// How many requests have been sent so far.
    pub(super) fn requests(&self) -> u64 {
        self.transport.requests()
    }
}
