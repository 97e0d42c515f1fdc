//! One HTTP exchange with a registry or its token server: bounded, on kept-alive connections, with
//! a deadline for each phase. Follows redirects itself, because credentials must not: they are
//! dropped on the way to another origin. Link-local addresses aren't visited, by whatever name or
//! spelling, unless the registry itself was configured to be there.

use super::answer::{Answer, WHOLE_BLOB, WHOLE_BODY};
use super::{error, url};
use crate::storage::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use ureq::Agent;
use ureq::ProxyProtocol;
use ureq::RequestBuilder;
use ureq::http::Uri;
use ureq::http::header::AUTHORIZATION;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::typestate::WithoutBody;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Longest wait for a connection: a distant registry takes a tenth of this. A name's look-up has
/// the resolver's own deadlines (resolv.conf: 5 s, twice, for each server); ureq would keep ours by
/// starting a thread for each, and panics where the system has none to give.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for the head of an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The same for a `HEAD`, which only asks whether a tag is still what it was, and before which no
/// refresh goes on: whoever hangs is asked again.
const HEAD: Duration = Duration::from_secs(10);
/// The same for the catalog: distribution 2.7 on S3 takes more than a minute to list it
/// (distribution#3678).
const CATALOG: Duration = Duration::from_secs(120);
/// Longest wait for the next bytes of a body, and to hand over a request.
pub(super) const STALL: Duration = Duration::from_secs(30);
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
/// Errors when there's none, or one can't be read: a file of rubbish would otherwise only show in
/// handshakes that fail.
pub fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(pem) {
        match item.map_err(|error| error.to_string())? {
            PemItem::Certificate(certificate) => found.push(certificate.der().to_vec()),
            _ => return Err("holds more than certificates".into()),
        }
    }
    let mut roots = rustls::RootCertStore::empty();
    for der in &found {
        roots
            .add(der.clone().into())
            .map_err(|error| error.to_string())?;
    }
    if found.is_empty() {
        Err("holds no certificate".into())
    } else {
        Ok(found)
    }
}

/// The one client that dials.
pub(super) struct Transport {
    agent: Agent,
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
        let own = uri
            .authority()
            .is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(&self.own));
        if !own
            && addresses
                .iter()
                .any(|address| url::is_link_local_address(address.ip()))
        {
            let text =
                "a link-local address, where nobody but the configured registry is looked for";
            return Err(ureq::Error::Io(io::Error::new(
                io::ErrorKind::PermissionDenied,
                text,
            )));
        }
        Ok(addresses)
    }
}

/// What a call asks for.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    /// `GET`, accepting these types.
    Get { accept: &'a str },
    /// `GET` of bytes that may be many.
    GetBlob,
    /// `HEAD`, accepting these types.
    Head { accept: &'a str },
    /// `GET` of JSON.
    List,
    /// The same of the catalog, which may take its time.
    ListCatalog,
    /// `POST` of a form, already encoded.
    Post { form: &'a str },
}

impl Ask<'_> {
    /// A form holds a secret, which goes to the host it's meant for or nowhere.
    fn may_be_redirected(&self) -> bool {
        !matches!(self, Ask::Post { .. })
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
            .timeout_recv_response(Some(ANSWER))
            .timeout_recv_body(Some(WHOLE_BODY))
            .timeout_per_read(Some(STALL))
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER / 2)
            .tls_config(tls_config(tls))
            .build();
        let resolver = Resolver {
            own: authority.to_ascii_lowercase(),
            system: DefaultResolver::default(),
        };
        let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
        tell_proxy(&agent);
        Transport {
            agent,
            requests: AtomicU64::new(0),
        }
    }

    /// How many requests have been sent so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends one request and follows where it leads. `authorization` goes to `target`'s origin and
    /// nowhere else. Any final status is `Ok`.
    pub(super) fn call(
        &self,
        target: &Uri,
        ask: Ask,
        authorization: Option<&str>,
    ) -> Result<Answer, Error> {
        let mut here = target.clone();
        for _ in 0..=MAX_REDIRECTS {
            let bound = authorization.filter(|_| url::origin(&here) == url::origin(target));
            let answer = self.exchange(&here, ask, bound)?;
            let Some(location) = answer.redirect().filter(|_| ask.may_be_redirected()) else {
                return Ok(answer);
            };
            here = check_redirect(&here, &location)?;
        }
        Err(error::protocol(
            &what(ask, target),
            format!("over {MAX_REDIRECTS} redirects"),
        ))
    }

    /// Whether anything answers to `GET url`, without credentials and without following.
    pub(super) fn touch(&self, target: &Uri) -> Result<(), ureq::Error> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let result = self.agent.get(target).call();
        if let Ok(response) = &result {
            log::debug!(
                "GET {}: {}",
                url::display(target),
                response.status().as_u16()
            );
        }
        result.map(drop)
    }

    fn exchange(&self, here: &Uri, ask: Ask, authorization: Option<&str>) -> Result<Answer, Error> {
        let what = what(ask, here);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let whole = if matches!(ask, Ask::GetBlob) {
            WHOLE_BLOB
        } else {
            WHOLE_BODY
        };
        let send = |request: RequestBuilder<WithoutBody>, accept, longest| {
            let mut request = request.header("Accept", accept);
            if let Some(value) = authorization {
                request = request.header(AUTHORIZATION, value);
            }
            if (longest, whole) == (ANSWER, WHOLE_BODY) {
                // With no settings of its own: for a request that has some, ureq doesn't keep what it
                // makes for TLS, and so reads all trusted certificates again for each connection, holds
                // them with it, and never resumes a session.
                return request.call();
            }
            // The wait for a head is a read too, so each of the two would end it.
            let config = request
                .config()
                .timeout_recv_response(Some(longest))
                .timeout_recv_body(Some(whole));
            config
                .timeout_per_read(Some(longest.max(STALL)))
                .build()
                .call()
        };
        let result = match ask {
            Ask::Get { accept } => send(self.agent.get(here), accept, ANSWER),
            Ask::GetBlob => send(self.agent.get(here), "*/*", ANSWER),
            Ask::Head { accept } => send(self.agent.head(here), accept, HEAD),
            Ask::List => send(self.agent.get(here), "application/json", ANSWER),
            Ask::ListCatalog => send(self.agent.get(here), "application/json", CATALOG),
            Ask::Post { form } => self
                .agent
                .post(here)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .send(form),
        };
        match result {
            Ok(response) => {
                log::debug!("{what}: {}", response.status().as_u16());
                Ok(Answer::new(what, here.clone(), response, authorization))
            }
            Err(cause) => {
                let error = error::transport(&what, cause);
                log::debug!("{error}");
                Err(error)
            }
        }
    }
}

/// Which proxy the environment names: ureq goes by it (`ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, the
/// first of them for all), and a container may have it without anybody's doing.
fn tell_proxy(agent: &Agent) {
    let Some(proxy) = agent.config().proxy() else {
        return;
    };
    let (protocol, host, port) = (proxy.protocol(), proxy.host(), proxy.port());
    match protocol {
        ProxyProtocol::Http | ProxyProtocol::Https => {
            log::info!("all but what NO_PROXY names is asked through the proxy {host}:{port}");
        }
        _ => log::warn!("the proxy {host}:{port} isn't used: {protocol} isn't spoken here"),
    }
}

/// Method and URL, for messages.
pub(super) fn what(ask: Ask, target: &Uri) -> String {
    let method = match ask {
        Ask::Get { .. } | Ask::GetBlob | Ask::List | Ask::ListCatalog => "GET",
        Ask::Head { .. } => "HEAD",
        Ask::Post { .. } => "POST",
    };
    format!("{method} {}", url::display(target))
}

fn check_redirect(from: &Uri, location: &str) -> Result<Uri, Error> {
    let what = format!("GET {}", url::display(from));
    let Some(target) = url::resolve(from, location) else {
        return Err(error::protocol(&what, "redirected to what is no URL"));
    };
    if url::is_link_local(&target) {
        return Err(error::refused(
            &what,
            format!(
                "redirected to the link-local address {}",
                url::display(&target)
            ),
        ));
    }
    Ok(target)
}

fn tls_config(tls: &Tls) -> TlsConfig {
    let bundled = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|der| Certificate::from_der(der));
    let own = tls
        .authorities
        .iter()
        .map(|der| Certificate::from_der(der).to_owned());
    let roots: Vec<Certificate<'static>> = bundled.chain(own).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .disable_verification(tls.insecure)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}
