//! Which proxy the environment names for a URL, as Go's programs read it
//! (<https://pkg.go.dev/golang.org/x/net/http/httpproxy>), and how a request goes through it: to `https`
//! by a tunnel (RFC 9110 §9.3.6), to `http` with the whole URL in its first line (RFC 9112 §3.2.2), because
//! Squid as shipped refuses tunnels to other ports than 443. A proxy's password is never shown, and goes to
//! the proxy alone.

use super::tls::TlsConnector;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::{fmt, mem};
use ureq::http::Uri;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, Transport, TransportAdapter,
};
use ureq::{Proxy, ProxyProtocol};

/// Longest head of a proxy's response, in bytes: Squid's holds a few hundred.
const MAX_HEAD: usize = 16 * 1024;

/// The proxies for both schemes, and the hosts that need none.
#[derive(Default)]
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exempt: Vec<Exemption>,
}

/// What an entry of `NO_PROXY` stands for.
#[derive(Debug, PartialEq, Eq)]
enum Exemption {
    All,
    Network(IpAddr, u32),
    /// A host or address, or the names below one (`.example`); and a port, if not all of them.
    Host(String, Option<u16>),
}

impl Proxies {
    /// What the environment says, which is logged, because a container may have it by accident.
    pub(super) fn from_environment() -> Proxies {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let proxies = Proxies::new(variable);
        for (scheme, proxy) in [("http", &proxies.http), ("https", &proxies.https)] {
            if let Some(proxy) = proxy {
                let (host, port) = (proxy.host(), proxy.port());
                log::info!(
                    "using proxy {host}:{port} for {scheme} URLs, except for hosts in NO_PROXY"
                );
            }
        }
        proxies
    }

    fn new(variable: impl Fn(&str) -> Option<String>) -> Proxies {
        let either = |name: &str| variable(name).or_else(|| variable(&name.to_lowercase()));
        let named = |name| {
            let found = either(name).map(|value| (name, value));
            found.or_else(|| either("ALL_PROXY").map(|value| ("ALL_PROXY", value)))
        };
        let proxy = |name| named(name).and_then(|(name, value)| usable(name, &value));
        let exempt = either("NO_PROXY").unwrap_or_default().to_lowercase();
        let entries = exempt
            .split([',', ' ', '\t'])
            .filter(|text| !text.is_empty());
        Proxies {
            http: proxy("HTTP_PROXY"),
            https: proxy("HTTPS_PROXY"),
            exempt: entries.map(Exemption::parse).collect(),
        }
    }

    /// The proxy that requests for `url` go through.
    pub(super) fn of(&self, url: &Uri) -> Option<&Proxy> {
        let (proxy, default) = match url.scheme_str() {
            Some("https") => (&self.https, 443),
            _ => (&self.http, 80),
        };
        let host = url.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
        let port = url.port_u16().unwrap_or(default);
        let is_exempt = |entry: &Exemption| entry.covers(&host, port);
        proxy
            .as_ref()
            .filter(|_| !self.exempt.iter().any(is_exempt))
    }
}

/// The proxy in a variable, unless it is one that can't be spoken to.
fn usable(name: &str, value: &str) -> Option<Proxy> {
    let Ok(proxy) = Proxy::new(value) else {
        // Not quoted: it may hold a password.
        log::warn!("{name} is ignored, because it is not the URL of a proxy");
        return None;
    };
    let (protocol, host, port) = (proxy.protocol(), proxy.host(), proxy.port());
    if !matches!(protocol, ProxyProtocol::Http | ProxyProtocol::Https) {
        log::warn!("not using proxy {host}:{port} of {name}: {protocol} is not supported");
        return None;
    }
    Some(proxy)
}

impl Exemption {
    fn parse(entry: &str) -> Exemption {
        if entry == "*" {
            return Exemption::All;
        }
        if let Some((address, length)) = entry.split_once('/')
            && let (Ok(address), Ok(length)) = (address.parse(), length.parse())
        {
            return Exemption::Network(address, length);
        }
        // An IPv6 address without brackets has no port.
        let port = entry.rsplit_once(':').and_then(|(host, port)| {
            let is_plain = !host.contains(':') || host.ends_with(']');
            port.parse()
                .ok()
                .filter(|_| is_plain)
                .map(|port| (host, port))
        });
        let (host, port) = port.map_or((entry, None), |(host, port)| (host, Some(port)));
        let host = host.strip_prefix('*').unwrap_or(host);
        Exemption::Host(host.trim_matches(['[', ']']).to_owned(), port)
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        match self {
            Exemption::All => true,
            Exemption::Network(network, length) => {
                let address = host.parse::<IpAddr>();
                address.is_ok_and(|address| is_within(address, *network, *length))
            }
            Exemption::Host(name, only) => {
                let below = host.strip_suffix(name.as_str());
                // `.example` covers the names below it; `example` itself, too.
                let is_covered = below.is_some_and(|below| {
                    name.starts_with('.') || below.is_empty() || below.ends_with('.')
                });
                is_covered && only.is_none_or(|only| only == port)
            }
        }
    }
}

/// Whether the first `length` bits of both are the same.
fn is_within(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let bits = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let ((one, width), (other, other_width)) = (bits(address), bits(network));
    let rest = |length| width - length;
    width == other_width
        && length <= width
        && (one ^ other).checked_shr(rest(length)).unwrap_or(0) == 0
}

/// Takes a connection, which leads to the proxy if the URL has one, through it.
pub(super) struct ProxyConnector {
    proxies: Arc<Proxies>,
    tls: TlsConnector,
}

impl ProxyConnector {
    pub(super) fn new(proxies: Arc<Proxies>, tls: TlsConnector) -> ProxyConnector {
        ProxyConnector { proxies, tls }
    }
}

impl<In: Transport> Connector<In> for ProxyConnector {
    type Out = Either<In, Box<dyn Transport>>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        below: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(below) = below else {
            return Ok(None);
        };
        let Some(proxy) = self.proxies.of(details.uri) else {
            return Ok(Some(Either::A(below)));
        };
        let mut below: Box<dyn Transport> = Box::new(below);
        if proxy.protocol() == ProxyProtocol::Https {
            below = Box::new(self.tls.handshake(details, proxy.uri(), below)?);
        }
        Ok(Some(Either::B(match details.needs_tls() {
            true => tunnel(details, proxy, below)?,
            false => Box::new(Forwarded::new(details, proxy, below)),
        })))
    }
}

/// The header field that a proxy with a password wants, or nothing.
fn authorization(proxy: &Proxy) -> String {
    let Some(username) = proxy.username() else {
        return String::new();
    };
    let pair = format!("{username}:{}", proxy.password().unwrap_or_default());
    let encoded = BASE64_STANDARD.encode(pair);
    format!("Proxy-Authorization: Basic {encoded}\r\n")
}

/// Asks the proxy at the other end for a connection to the URL's host.
fn tunnel(
    details: &ConnectionDetails,
    proxy: &Proxy,
    below: Box<dyn Transport>,
) -> Result<Box<dyn Transport>, ureq::Error> {
    let host = details.uri.host().unwrap_or_default();
    let target = format!("{host}:{}", details.uri.port_u16().unwrap_or(443));
    let authorization = authorization(proxy);
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
    let mut stream = TransportAdapter::new(below, details.current_time.clone());
    stream.set_timeout(details.timeout);
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    match String::from_utf8_lossy(status).parse::<u16>() {
        Ok(200..300) => Ok(stream.into_inner()),
        Ok(status) => Err(failed(format!("it answered {status}"))),
        Err(_) => Err(failed("it answered no HTTP".to_owned())),
    }
}

fn failed(why: String) -> ureq::Error {
    ureq::Error::ConnectProxyFailed(why)
}

/// A connection to a proxy that requests are sent over as to a proxy.
struct Forwarded {
    below: Box<dyn Transport>,
    /// Scheme and host of the URLs.
    origin: String,
    authorization: String,
    /// Whether the next bytes to send are the head of a request.
    is_at_head: bool,
}

impl Forwarded {
    fn new(details: &ConnectionDetails, proxy: &Proxy, below: Box<dyn Transport>) -> Forwarded {
        let host = details.uri.authority().map_or("", |host| host.as_str());
        Forwarded {
            below,
            origin: format!("http://{host}"),
            authorization: authorization(proxy),
            is_at_head: true,
        }
    }

    /// Puts the origin in front of the path, and the proxy's password behind the first line. Returns how
    /// many bytes the output holds then.
    fn rewrite(&mut self, amount: usize) -> io::Result<usize> {
        let output = self.below.buffers().output();
        let head = &output[..amount];
        let path = head.iter().position(|byte| *byte == b'/').unwrap_or(0);
        let line = head
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let rewritten = [
            &head[..path],
            self.origin.as_bytes(),
            &head[path..line.max(path)],
            self.authorization.as_bytes(),
            &head[line.max(path)..],
        ]
        .concat();
        let too_long =
            || io::Error::new(io::ErrorKind::InvalidInput, "a head too long for a proxy");
        let place = output.get_mut(..rewritten.len()).ok_or_else(too_long)?;
        place.copy_from_slice(&rewritten);
        Ok(rewritten.len())
    }
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.below.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let amount = match mem::take(&mut self.is_at_head) {
            true => self.rewrite(amount)?,
            false => amount,
        };
        self.below.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        // After a response comes the next request.
        self.is_at_head = true;
        self.below.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.below.is_open()
    }
}

impl fmt::Debug for ProxyConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyConnector")
    }
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarded")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(environment: &[(&str, &str)]) -> Proxies {
        Proxies::new(|name| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn port(proxies: &Proxies, url: &str) -> Option<u16> {
        proxies.of(&url.parse().unwrap()).map(Proxy::port)
    }

    #[test]
    fn each_scheme_has_its_own_proxy_and_all_proxy_stands_in() {
        let both = [("HTTP_PROXY", "http://p:1"), ("https_proxy", "p:2")];
        assert_eq!(port(&proxies(&both), "http://h/"), Some(1));
        assert_eq!(port(&proxies(&both), "https://h/"), Some(2));
        let one = proxies(&[("HTTPS_PROXY", "http://p:1")]);
        assert_eq!(port(&one, "http://h/"), None);
        let all = proxies(&[("ALL_PROXY", "http://p:3"), ("HTTP_PROXY", "http://p:1")]);
        assert_eq!(port(&all, "http://h/"), Some(1));
        assert_eq!(port(&all, "https://h/"), Some(3));
        let unusable = proxies(&[("ALL_PROXY", "socks5://p:3"), ("HTTP_PROXY", "http://")]);
        assert_eq!(port(&unusable, "http://h/"), None);
        assert_eq!(port(&unusable, "https://h/"), None);
    }

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (entries, exempt, others) in [
            ("*", &["http://h/", "https://10.0.0.1/"][..], &[][..]),
            (
                "10.0.0.0/8, fd00::/8",
                &["http://10.9.8.7/", "http://[fd12::1]:5000/"],
                &[
                    "http://11.0.0.1/",
                    "http://[fe00::1]/",
                    "http://ten.example/",
                ],
            ),
            ("0.0.0.0/0", &["http://1.2.3.4/"], &["http://[::1]/"]),
            (
                " reg.example ,, .inner , *.wild ",
                &[
                    "http://reg.example/",
                    "http://a.REG.example:81/",
                    "http://x.inner/",
                    "http://x.wild/",
                ],
                &["http://notreg.example/", "http://inner/", "http://wild/"],
            ),
            (
                "reg.example:5000,1.2.3.4:443,[::1]:80",
                &[
                    "http://reg.example:5000/",
                    "https://1.2.3.4/",
                    "http://[::1]/",
                ],
                &["http://reg.example/", "http://1.2.3.4/", "http://[::1]:81/"],
            ),
            (
                "1.2.3.4,::1",
                &["http://1.2.3.4:9/", "http://[::1]:9/"],
                &["http://1.2.3.5/"],
            ),
            ("10.0.0.0/99", &[], &["http://10.0.0.0/"]),
        ] {
            let proxies = proxies(&[("ALL_PROXY", "http://p:3"), ("NO_PROXY", entries)]);
            for url in exempt {
                assert_eq!(port(&proxies, url), None, "{url} in {entries}");
            }
            for url in others {
                assert_eq!(port(&proxies, url), Some(3), "{url} not in {entries}");
            }
        }
    }
}
