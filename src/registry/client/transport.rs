//! One HTTP exchange with a registry or its token server: bounded, on kept-alive connections, with
//! a deadline for each phase. Redirects are followed here, because credentials must not follow them:
//! they are dropped on the way to another origin. A link-local address is never connected to, under any
//! name or spelling, unless the registry itself was configured to be there.

use super::proxy::{Proxies, ProxyConnector};
use super::response::{Away, Secrets, UpstreamResponse};
use super::retry::{Hop, Retries};
use super::timeouts::{
    BLOB, BODY, CONNECT, CONNECT_OF_PROBE, HEAD, HEAD_OF_CATALOG, HEAD_OF_CHECK, STALL,
};
use super::tls::TlsConnector;
use super::trust::Tls;
use super::{error, url};
use crate::observe::metrics;
use crate::storage::{Error, ErrorKind, Result};
use crate::sync::lock;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use ureq::http::header::AUTHORIZATION;
use ureq::http::{Response, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs};
use ureq::unversioned::transport::{Connector, NextTimeout, TcpConnector};
use ureq::{Agent, Body};

/// Most redirects followed for one call: a load balancer, a storage, and some to spare.
const MAX_REDIRECTS: usize = 5;
/// Buffers of a connection, in bytes; over TLS it has them twice. ureq's own are four times as large, and
/// downloads are many.
const BUFFER: usize = 32 * 1024;

/// The one client that dials.
pub(super) struct Transport {
    agent: Agent,
    /// The registry's own `host[:port]`, in lower case.
    own: String,
    requests: AtomicU64,
    /// When requests to each host may be sent.
    pub(super) retries: Retries,
    /// What was sent as credentials.
    pub(super) secrets: Mutex<Secrets>,
}

/// Looks names up as the system does: of the proxy, if the URL has one. It refuses what leads to a
/// link-local address: there live the metadata services of clouds, and a name or an odd spelling leads there
/// as well as digits do.
struct Resolver {
    own: String,
    proxies: Arc<Proxies>,
    system: DefaultResolver,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ureq::unversioned::resolver::Resolver for Resolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let look_up = |uri| {
            let addresses = self.system.resolve(uri, config, timeout);
            addresses.map_err(|error| match error {
                ureq::Error::Io(cause) => io::Error::new(error::UNKNOWN_NAME, cause).into(),
                other => other,
            })
        };
        if let Some(proxy) = self.proxies.of(uri) {
            return look_up(proxy.uri());
        }
        let addresses = look_up(uri)?;
        let is_link_local = |address: &SocketAddr| url::is_link_local_address(address.ip());
        if !url::is_at(uri, &self.own) && addresses.iter().any(is_link_local) {
            let text = "a link-local address, allowed only for the configured registry";
            let error = io::Error::new(io::ErrorKind::PermissionDenied, text);
            return Err(ureq::Error::Io(error));
        }
        Ok(addresses)
    }
}

/// What a request asks for, and what it bears.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// What it is for, as it is counted.
    operation: &'static str,
    /// `GET`, `HEAD`, or `POST` of a form.
    method: &'static str,
    /// The types that are accepted.
    accept: &'static str,
    /// Longest waits for the head of the response and for the whole body.
    head: Duration,
    body: Duration,
    /// Whether it's a blob, which may lie in a storage behind the registry.
    pub(super) is_blob: bool,
    /// The first byte of the body that is asked for.
    start: u64,
    /// A form, already encoded. It holds a secret, which goes to the host it's meant for or nowhere.
    form: Option<&'a str>,
    /// The `Authorization`, which goes to the origin of the request and nowhere else.
    authorization: Option<&'a str>,
}

impl<'a> Ask<'a> {
    /// `GET` of JSON.
    pub(crate) const JSON: Ask<'static> = Ask {
        operation: "other",
        method: "GET",
        accept: "application/json",
        head: HEAD,
        body: BODY,
        is_blob: false,
        start: 0,
        form: None,
        authorization: None,
    };
    /// `GET` of the catalog, which may take its time.
    pub(crate) const CATALOG: Ask<'static> = Ask {
        operation: "catalog",
        head: HEAD_OF_CATALOG,
        ..Ask::JSON
    };
    /// `GET` of a listing of tags.
    pub(crate) const TAGS: Ask<'static> = Ask {
        operation: "tags",
        ..Ask::JSON
    };
    /// `GET` of a manifest, whose types are still to be told.
    pub(crate) const MANIFEST: Ask<'static> = Ask {
        operation: "manifest",
        ..Ask::JSON
    };
    /// `GET` of a token.
    pub(super) const TOKEN: Ask<'static> = Ask {
        operation: "token",
        ..Ask::JSON
    };
    /// `GET` of bytes that may be many.
    pub(crate) const BLOB: Ask<'static> = Ask {
        operation: "blob",
        accept: "*/*",
        body: BLOB,
        is_blob: true,
        ..Ask::JSON
    };
    /// `HEAD`.
    pub(crate) const CHECK: Ask<'static> = Ask {
        operation: "manifest_check",
        method: "HEAD",
        head: HEAD_OF_CHECK,
        ..Ask::JSON
    };

    /// `POST` of a form that is answered with JSON.
    pub(super) fn post(form: &'a str) -> Ask<'a> {
        Ask {
            method: "POST",
            form: Some(form),
            ..Ask::TOKEN
        }
    }

    /// The same from a byte of the body on.
    pub(crate) fn from(self, start: u64) -> Ask<'a> {
        Ask { start, ..self }
    }

    /// The same with these types accepted.
    pub(crate) fn accepting(self, accept: &'static str) -> Ask<'a> {
        Ask { accept, ..self }
    }

    /// The same with this `Authorization`.
    pub(super) fn bearing(self, authorization: Option<&'a str>) -> Ask<'a> {
        Ask {
            authorization,
            ..self
        }
    }

    /// Method and URL, for messages.
    pub(super) fn what(self, target: &Uri) -> String {
        format!("{} {}", self.method, url::display(target))
    }
}

impl Transport {
    /// A client that keeps up to `connections` alive. `authority` is the registry's own address.
    pub(super) fn new(tls: Arc<Tls>, connections: usize, authority: &str) -> Transport {
        let config = Agent::config_builder()
            .user_agent(concat!("oci-chartrepo/", env!("CARGO_PKG_VERSION")))
            // What we verify by digest must arrive as it is stored.
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .timeout_connect(Some(CONNECT))
            .timeout_send_request(Some(STALL))
            .timeout_send_body(Some(STALL))
            .timeout_recv_response(Some(HEAD))
            .timeout_recv_body(Some(BODY))
            .timeout_per_read(Some(STALL))
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER / 2)
            // Those that it would find are another's reading of the environment.
            .proxy(None)
            .build();
        let own = authority.to_ascii_lowercase();
        let proxies = Arc::new(Proxies::from_environment());
        let resolver = Resolver {
            own: own.clone(),
            proxies: proxies.clone(),
            system: DefaultResolver::default(),
        };
        let tls = TlsConnector::new(tls, own.clone());
        let proxy = ProxyConnector::new(proxies, tls.clone());
        let connector = ().chain(TcpConnector::default()).chain(proxy).chain(tls);
        Transport {
            agent: Agent::with_parts(config, connector, resolver),
            own,
            requests: AtomicU64::new(0),
            retries: Retries::default(),
            secrets: Mutex::default(),
        }
    }

    /// How many requests have been sent so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends one request and follows redirects. Any final status is `Ok`.
    pub(super) fn call(&self, target: &Uri, ask: Ask) -> Result<UpstreamResponse> {
        self.follow(target, ask, &mut Hop::to(target))
    }

    /// The same; `hop` has had its turn, and is at last where the response, or none, came from.
    pub(super) fn follow(&self, target: &Uri, ask: Ask, hop: &mut Hop) -> Result<UpstreamResponse> {
        let mut here = target.clone();
        for _ in 0..=MAX_REDIRECTS {
            let is_home = url::origin(&here) == url::origin(target);
            let authorization = ask.authorization.filter(|_| is_home);
            let query = self.shown_query(target).filter(|_| here == *target);
            let query = query.unwrap_or_default();
            let mut response = self.exchange(&here, ask.bearing(authorization), &query)?;
            if !is_home {
                let is_upgrade = url::is_upgrade(target, &here);
                let to = if is_upgrade { "HTTPS" } else { "another host" };
                let told = format!("{}: redirected to {to}", ask.what(target));
                response.away = Some(Away { told, is_upgrade });
            }
            let Some(location) = response.redirect().filter(|_| ask.form.is_none()) else {
                return Ok(response);
            };
            here = check_redirect(&here, &location)?;
            self.retries.answered(hop);
            *hop = self.retries.wait(&here, ask.is_blob, &ask.what(&here))?;
        }
        let why = format!("over {MAX_REDIRECTS} redirects");
        Err(error::protocol(&ask.what(target), why))
    }

    /// The status that `GET url` is answered with, without credentials and without following redirects.
    pub(super) fn touch(&self, target: &Uri) -> Result<u16, ureq::Error> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let request = self.agent.get(target).config();
        let request = request.timeout_connect(Some(CONNECT_OF_PROBE)).build();
        let status = request.call().map(|response| response.status().as_u16());
        count("probe", status.as_ref().ok());
        if let Ok(status) = status {
            log::debug!(operation = "probe", status = status; "{}: {status}", Ask::JSON.what(target));
        }
        status
    }

    /// The query of a request to the registry itself as the log shows it, so that paging can be followed: not
    /// where a redirect leads to, nor if it repeats credentials, as a hostile `Link` may.
    fn shown_query(&self, target: &Uri) -> Option<String> {
        let query = target.query().filter(|_| url::is_at(target, &self.own))?;
        (!lock(&self.secrets).are_in(query)).then(|| format!("?{query}"))
    }

    /// What no message about a request may repeat. Tokens live for a short time, and there may be one for each
    /// repository, so that each counts only where it is sent.
    fn secrets(&self, ask: &Ask) -> Secrets {
        let mut kept = lock(&self.secrets);
        let sent = ask.authorization.unwrap_or_default();
        if sent.starts_with("Basic ") {
            kept.note(sent);
        }
        let mut secrets = kept.clone();
        secrets.note(sent);
        secrets
    }

    fn exchange(&self, here: &Uri, ask: Ask, query: &str) -> Result<UpstreamResponse> {
        let what = ask.what(here);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let secrets = self.secrets(&ask);
        let began = Instant::now();
        let sent = self.send(here, ask);
        let duration = began.elapsed().as_secs_f64();
        let status = sent.as_ref().map(|response| response.status().as_u16());
        count(ask.operation, status.as_ref().ok());
        let response = sent.map_err(|cause| {
            let error = error::transport(&what, url::is_at(here, &self.own), &cause);
            log::debug!(operation = ask.operation, duration = duration; "{error:#}");
            error
        })?;
        let status = response.status().as_u16();
        log::debug!(
            operation = ask.operation, status = status, duration = duration;
            "{what}{query}: {status}"
        );
        Ok(UpstreamResponse {
            what,
            url: here.clone(),
            response,
            authorization: ask.authorization.map(str::to_owned),
            secrets,
            is_blob: ask.is_blob,
            away: None,
        })
    }

    fn send(&self, here: &Uri, ask: Ask) -> Result<Response<Body>, ureq::Error> {
        if let Some(form) = ask.form {
            let request = self.agent.post(here);
            let form_type = "application/x-www-form-urlencoded";
            return request.header("Content-Type", form_type).send(form);
        }
        let mut request = match ask.method {
            "HEAD" => self.agent.head(here),
            _ => self.agent.get(here),
        };
        request = request.header("Accept", ask.accept);
        if ask.start > 0 {
            request = request.header("Range", format!("bytes={}-", ask.start));
        }
        if let Some(value) = ask.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let config = request.config().timeout_recv_response(Some(ask.head));
        let config = config.timeout_recv_body(Some(ask.body));
        // The wait for a head is a read too, so each of the two limits would end it.
        let config = config.timeout_per_read(Some(ask.head.max(STALL)));
        config.build().call()
    }
}

/// Counts a request by the status of its response, or as one without a response.
fn count(operation: &str, status: Option<&u16>) {
    let status = status.map_or_else(|| "none".to_owned(), u16::to_string);
    metrics::REGISTRY_REQUESTS.count(&[operation, &status]);
}

fn check_redirect(from: &Uri, location: &str) -> Result<Uri> {
    let what = Ask::JSON.what(from);
    let target = url::resolve(from, location);
    let target = target.ok_or_else(|| error::protocol(&what, "redirected to an invalid URL"))?;
    if url::is_link_local(&target) {
        let place = url::display(&target);
        let text = format!("{what}: redirected to the link-local address {place}");
        return Err(Error::new(ErrorKind::Refused, text));
    }
    Ok(target)
}
