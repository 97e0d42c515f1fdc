//! One HTTP exchange with a registry or its token server: bounded, on kept-alive connections, with
//! a deadline for each phase. Follows redirects itself, because credentials must not: they are
//! dropped on the way to another origin, and link-local addresses aren't visited at all.

use super::{error, url};
use crate::storage::Error;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::header::{AUTHORIZATION, HeaderMap, LOCATION};
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Longest wait for a connection: a distant registry takes a tenth of this. A name's look-up has
/// the resolver's own deadlines (resolv.conf: 5 s, twice, for each server); ureq would keep ours by
/// starting a thread for each, and panics where the system has none to give.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for the head of an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The same for a listing: distribution 2.7 on S3 takes more than a minute to list a catalog
/// (distribution#3678).
const LISTING: Duration = Duration::from_secs(120);
/// Longest wait for the next bytes of a body, and to hand over a request.
const STALL: Duration = Duration::from_secs(30);
/// Longest time to read a manifest, config or listing whole.
const WHOLE_BODY: Duration = Duration::from_secs(120);
/// Most redirects followed for one call: a load balancer, a storage, and some to spare.
const MAX_REDIRECTS: usize = 5;
/// Least pace of a blob that is passed on, in bytes per second, after [`STALL`]: what drips more
/// slowly only holds a connection on either side.
const PACE: u64 = 1024;
/// Buffers of a connection, in bytes. ureq's own are four times as large, and downloads are many.
const BUFFER: usize = 32 * 1024;
/// Most of an error's body that is read, in bytes: enough for the spec's list of errors.
const MAX_ERROR_BODY: u64 = 8 * 1024;

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
        roots.add(der.clone().into()).map_err(|error| error.to_string())?;
    }
    if found.is_empty() { Err("holds no certificate".into()) } else { Ok(found) }
}

/// The one client that dials.
pub(super) struct Transport {
    agent: Agent,
}

/// What a call asks for.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    /// `GET`, accepting these types.
    Get { accept: &'a str },
    /// `GET` of a page of a listing, which may take its time.
    List,
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
    /// A client that keeps up to `connections` alive.
    pub(super) fn new(tls: &Tls, connections: usize) -> Transport {
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
            .timeout_per_read(Some(STALL))
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER / 2)
            .tls_config(tls_config(tls))
            .build();
        Transport { agent: config.into() }
    }

    /// Sends one request and follows where it leads. `authorization` goes to `target`'s origin and
    /// nowhere else. Any final status is `Ok`.
    pub(super) fn call(&self, target: &Uri, ask: Ask, authorization: Option<&str>) -> Result<Answer, Error> {
        let mut here = target.clone();
        for _ in 0..=MAX_REDIRECTS {
            let bound = authorization.filter(|_| url::origin(&here) == url::origin(target));
            let answer = self.exchange(&here, ask, bound)?;
            let Some(location) = answer.redirect().filter(|_| ask.may_be_redirected()) else {
                return Ok(answer);
            };
            here = check_redirect(&here, &location)?;
        }
        Err(error::protocol(&what(ask, target), format!("over {MAX_REDIRECTS} redirects")))
    }

    /// Whether anything answers to `GET url`, without credentials and without following.
    pub(super) fn touch(&self, target: &Uri) -> Result<(), ureq::Error> {
        self.agent.get(target).call().map(drop)
    }

    fn exchange(&self, here: &Uri, ask: Ask, authorization: Option<&str>) -> Result<Answer, Error> {
        let what = what(ask, here);
        let get = |accept, longest| {
            let mut request = self.agent.get(here).header("Accept", accept);
            if let Some(value) = authorization {
                request = request.header(AUTHORIZATION, value);
            }
            request.config().timeout_recv_response(Some(longest)).build().call()
        };
        let result = match ask {
            Ask::Get { accept } => get(accept, ANSWER),
            Ask::List => get("application/json", LISTING),
            Ask::Post { form } => {
                self.agent.post(here).header("Content-Type", "application/x-www-form-urlencoded").send(form)
            }
        };
        match result {
            Ok(response) => {
                crate::debug!("{what}: {}", response.status().as_u16());
                Ok(Answer { what, url: here.clone(), response })
            }
            Err(cause) => {
                let error = error::transport(&what, cause);
                crate::debug!("{error}");
                Err(error)
            }
        }
    }
}

fn what(ask: Ask, target: &Uri) -> String {
    let method = match ask {
        Ask::Get { .. } | Ask::List => "GET",
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
            format!("redirected to the link-local address {}", url::display(&target)),
        ));
    }
    Ok(target)
}

fn tls_config(tls: &Tls) -> TlsConfig {
    let bundled = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Certificate::from_der(der));
    let own = tls.authorities.iter().map(|der| Certificate::from_der(der).to_owned());
    let roots: Vec<Certificate<'static>> = bundled.chain(own).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .disable_verification(tls.insecure)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

/// The head of an answer, its body still to be read.
pub(super) struct Answer {
    what: String,
    url: Uri,
    response: Response<Body>,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Method and URL, for a message.
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    /// Where the answer came from, after redirects.
    pub(super) fn url(&self) -> &Uri {
        &self.url
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header's values, what isn't text in them replaced.
    pub(super) fn texts(&self, name: &'static str) -> Vec<String> {
        let values = self.headers().get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    /// `Location`, when the status asks to go there.
    fn redirect(&self) -> Option<String> {
        let moved = matches!(self.status(), 301 | 302 | 303 | 307 | 308);
        let location = self.headers().get(LOCATION).filter(|_| moved)?;
        location.to_str().ok().map(str::to_owned)
    }

    /// The error that this answer is.
    pub(super) fn into_error(self) -> Error {
        let status = self.status();
        let mut body = Vec::new();
        let _ = self
            .response
            .into_body()
            .into_with_config()
            .limit(MAX_ERROR_BODY)
            .reader()
            .read_to_end(&mut body);
        error::status(&self.what, status, &body)
    }

    /// The whole body, of at most `limit` bytes.
    pub(super) fn read(self, limit: u64) -> Result<Vec<u8>, Error> {
        let what = self.what.clone();
        let mut bytes = Vec::new();
        let deadline = Instant::now() + WHOLE_BODY;
        let mut reader = self.into_reader().take(limit + 1);
        let mut chunk = [0; 16 * 1024];
        loop {
            let count = reader.read(&mut chunk).map_err(|cause| error::body(&what, cause))?;
            bytes.extend_from_slice(&chunk[..count]);
            if bytes.len() as u64 > limit {
                return Err(error::protocol(&what, format!("the answer is over {limit} bytes")));
            }
            if count == 0 {
                return Ok(bytes);
            }
            if Instant::now() > deadline {
                let late = io::Error::new(io::ErrorKind::TimedOut, "it took too long");
                return Err(error::body(&what, late));
            }
        }
    }

    /// The body as it arrives, if it arrives at a reasonable pace.
    pub(super) fn into_reader(self) -> impl Read + Send + use<> {
        let source = self.response.into_body().into_with_config().limit(u64::MAX).reader();
        Paced { source, waited: Duration::ZERO, count: 0 }
    }
}

/// A body that is given up when it drips. Only time spent on it counts, not the reader's own.
struct Paced<R> {
    source: R,
    waited: Duration,
    count: u64,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let asked = Instant::now();
        let count = self.source.read(buffer)?;
        self.waited += asked.elapsed();
        self.count += count as u64;
        if self.waited > STALL && count > 0 && self.count / self.waited.as_secs().max(1) < PACE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the registry sends too slowly"));
        }
        Ok(count)
    }
}
