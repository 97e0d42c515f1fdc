//! One HTTP exchange with a registry or its token server: bounded, on kept-alive connections, with
//! a deadline for each phase. Redirects are followed here, because credentials must not follow them:
//! they are dropped on the way to another origin. A link-local address is never connected to, under any
//! name or spelling, unless the registry itself was configured to be there.

use super::response::UpstreamResponse;
use super::timeouts::{BLOB, BODY, CONNECT, HEAD, HEAD_OF_CATALOG, HEAD_OF_CHECK, STALL};
use super::{error, url};
use crate::storage::{Error, ErrorKind, Result};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use ureq::http::header::AUTHORIZATION;
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, ProxyProtocol};

/// Most redirects followed for one call: a load balancer, a storage, and some to spare.
const MAX_REDIRECTS: usize = 5;
/// Buffers of a connection, in bytes; over TLS it has them twice. ureq's own are four times as large, and
/// downloads are many.
const BUFFER: usize = 32 * 1024;

/// Which certificates are trusted.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Trusted besides the bundled roots, in DER.
    pub authorities: Vec<Vec<u8>>,
    /// Accept any certificate.
    pub insecure: bool,
}

/// The certificates in a PEM file, in DER.
///
/// Errors when there's none, or one can't be read: such a file would otherwise only show in handshakes
/// that fail.
pub fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let (mut found, mut roots) = (Vec::new(), rustls::RootCertStore::empty());
    for item in ureq::tls::parse_pem(pem) {
        let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? else {
            return Err("holds more than certificates".into());
        };
        let der = certificate.der().to_vec();
        let added = roots.add(der.clone().into());
        added.map_err(|error| error.to_string())?;
        found.push(der);
    }
    match found.is_empty() {
        true => Err("holds no certificate".into()),
        false => Ok(found),
    }
}

/// The one client that dials.
pub(super) struct Transport {
    agent: Agent,
    /// The registry's own `host[:port]`, in lower case.
    own: String,
    requests: AtomicU64,
}

/// Looks names up as the system does, and refuses what leads to a link-local address: there live the
/// metadata services of clouds, and a name or an odd spelling leads there as well as digits do.
#[derive(Debug)]
struct Resolver {
    own: String,
    system: DefaultResolver,
}

impl ureq::unversioned::resolver::Resolver for Resolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let addresses = self.system.resolve(uri, config, timeout)?;
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
    /// `GET`, `HEAD`, or `POST` of a form.
    method: &'static str,
    /// The types that are accepted.
    accept: &'static str,
    /// Longest waits for the head of the response and for the whole body.
    head: Duration,
    body: Duration,
    /// Whether it's a blob, which may lie in a storage behind the registry.
    is_blob: bool,
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
        head: HEAD_OF_CATALOG,
        ..Ask::JSON
    };
    /// `GET` of bytes that may be many.
    pub(crate) const BLOB: Ask<'static> = Ask {
        accept: "*/*",
        body: BLOB,
        is_blob: true,
        ..Ask::JSON
    };
    /// `HEAD`.
    pub(crate) const CHECK: Ask<'static> = Ask {
        method: "HEAD",
        head: HEAD_OF_CHECK,
        ..Ask::JSON
    };

    /// `POST` of a form that is answered with JSON.
    pub(super) fn post(form: &'a str) -> Ask<'a> {
        Ask {
            method: "POST",
            form: Some(form),
            ..Ask::JSON
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
    pub(super) fn new(tls: &Tls, connections: usize, authority: &str) -> Transport {
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
            .tls_config(tls_config(tls))
            .build();
        let own = authority.to_ascii_lowercase();
        let resolver = Resolver {
            own: own.clone(),
            system: DefaultResolver::default(),
        };
        let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
        log_proxy(&agent);
        Transport {
            agent,
            own,
            requests: AtomicU64::new(0),
        }
    }

    /// How many requests have been sent so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends one request and follows redirects. Any final status is `Ok`.
    pub(super) fn call(&self, target: &Uri, ask: Ask) -> Result<UpstreamResponse> {
        let mut here = target.clone();
        for _ in 0..=MAX_REDIRECTS {
            let is_home = url::origin(&here) == url::origin(target);
            let authorization = ask.authorization.filter(|_| is_home);
            let mut response = self.exchange(&here, ask.bearing(authorization))?;
            if !is_home {
                response.away_from = Some(ask.what(target));
            }
            let Some(location) = response.redirect().filter(|_| ask.form.is_none()) else {
                return Ok(response);
            };
            here = check_redirect(&here, &location)?;
        }
        let why = format!("over {MAX_REDIRECTS} redirects");
        Err(error::protocol(&ask.what(target), why))
    }

    /// Whether anything answers to `GET url`, without credentials and without following redirects.
    pub(super) fn touch(&self, target: &Uri) -> Result<(), ureq::Error> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let status = self.agent.get(target).call()?.status().as_u16();
        log::debug!("{}: {status}", Ask::JSON.what(target));
        Ok(())
    }

    fn exchange(&self, here: &Uri, ask: Ask) -> Result<UpstreamResponse> {
        let what = ask.what(here);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let response = self.send(here, ask).map_err(|cause| {
            let error = error::transport(&what, url::is_at(here, &self.own), &cause);
            log::debug!("{error:#}");
            error
        })?;
        log::debug!("{what}: {}", response.status().as_u16());
        Ok(UpstreamResponse {
            what,
            url: here.clone(),
            response,
            authorization: ask.authorization.map(str::to_owned),
            is_blob: ask.is_blob,
            away_from: None,
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
        if (ask.head, ask.body) == (HEAD, BODY) {
            // With no settings of its own: for a request that has some, ureq doesn't keep what it
            // makes for TLS, and so reads all trusted certificates again for each connection, holds
            // them with it, and never resumes a session.
            return request.call();
        }
        let config = request.config().timeout_recv_response(Some(ask.head));
        let config = config.timeout_recv_body(Some(ask.body));
        // The wait for a head is a read too, so each of the two limits would end it.
        let config = config.timeout_per_read(Some(ask.head.max(STALL)));
        config.build().call()
    }
}

/// Logs the proxy that the environment names (`ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, the first of them
/// for all requests): ureq uses it, and a container may have it by accident.
fn log_proxy(agent: &Agent) {
    let Some(proxy) = agent.config().proxy() else {
        return;
    };
    let (protocol, host, port) = (proxy.protocol(), proxy.host(), proxy.port());
    match protocol {
        ProxyProtocol::Http | ProxyProtocol::Https => {
            log::info!("using proxy {host}:{port}, except for hosts in NO_PROXY");
        }
        _ => log::warn!("not using proxy {host}:{port}: {protocol} is not supported"),
    }
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

fn tls_config(tls: &Tls) -> TlsConfig {
    let bundled = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let bundled = bundled.map(|der| Certificate::from_der(der));
    let own = tls.authorities.iter();
    let own = own.map(|der| Certificate::from_der(der).to_owned());
    let roots: Vec<Certificate<'static>> = bundled.chain(own).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .disable_verification(tls.insecure)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}
