//! The address at which a client reaches this program, for the lines that a person pastes elsewhere. It
//! decides nothing else: no redirect and no URL of an index is made of it, because a client may claim
//! any. Of what a client or a proxy claims, only plain hosts, schemes and paths are used. Pure.

/// Longest host with its port that is used, in bytes: a name of DNS has 253.
const MAX_HOST: usize = 260;
/// Longest field that is kept, in bytes: a longer one is no address.
const MAX_FIELD: usize = 1024;
/// Stands for a host that isn't known.
const UNKNOWN_HOST: &str = "THIS-ADDRESS";

/// What is known of the public address beforehand.
#[derive(Default)]
pub struct Addressing {
    /// Where clients find `/index.yaml`, without a `/` at the end, if the flags say so.
    pub external_url: Option<String>,
    /// Whether a proxy in front says by header fields how the client called it. Without one, a client could
    /// claim so itself.
    pub trusts_forwarded: bool,
    /// What precedes all paths: empty, or `/PATH`.
    pub context_path: String,
}

impl Addressing {
    /// The URL of `/`, without a `/` at the end: as the proxy in front was called, if it's trusted and says
    /// so; else as configured; else as this program was called.
    pub(super) fn of(&self, own_host: Option<&str>, forwarded: &ForwardedFields) -> String {
        let claimed = self.trusts_forwarded.then(|| Claim::read(forwarded));
        let claimed = claimed.unwrap_or_default();
        let says_nothing = claimed.host.is_none() && claimed.scheme.is_none();
        if let Some(url) = self.external_url.as_ref().filter(|_| says_nothing) {
            return url.clone();
        }
        let own_host = || own_host.filter(|host| is_host(host));
        let host = claimed.host.or_else(own_host).unwrap_or(UNKNOWN_HOST);
        let scheme = claimed.scheme.unwrap_or("http");
        let (prefix, context) = (claimed.prefix.unwrap_or_default(), &*self.context_path);
        // A proxy that says which prefix it serves, but leaves it in place, means the same path.
        let context = match prefix.ends_with(context) {
            true => "",
            false => context,
        };
        format!("{scheme}://{host}{prefix}{context}")
    }

    /// What a page differs by, besides the `Host` that is a part of its URL.
    pub(super) fn varies_by(&self) -> &'static str {
        match self.trusts_forwarded {
            true => "Accept, Forwarded, X-Forwarded-Host, X-Forwarded-Prefix, X-Forwarded-Proto",
            false => "Accept",
        }
    }
}

/// The header fields by which a proxy may say how it was called.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ForwardedFields {
    /// `Forwarded` itself (RFC 7239).
    standard: Option<String>,
    host: Option<String>,
    prefix: Option<String>,
    proto: Option<String>,
}

impl ForwardedFields {
    /// Keeps a field, by its name in lower case, if it's one of these. Of several proxies' fields, the first is
    /// what the client called.
    pub(super) fn note(&mut self, name: &str, value: &str) {
        let field = match name {
            "forwarded" => &mut self.standard,
            "x-forwarded-host" => &mut self.host,
            "x-forwarded-prefix" => &mut self.prefix,
            "x-forwarded-proto" => &mut self.proto,
            _ => return,
        };
        if field.is_none() && value.len() <= MAX_FIELD {
            *field = Some(value.to_owned());
        }
    }

    /// How many bytes are kept.
    pub(super) fn size(&self) -> usize {
        let fields = [&self.standard, &self.host, &self.prefix, &self.proto];
        fields.into_iter().flatten().map(String::len).sum()
    }
}

/// How a proxy says that it was called.
#[derive(Default)]
struct Claim<'a> {
    scheme: Option<&'static str>,
    host: Option<&'a str>,
    /// What it has cut off of the path: empty, or `/PATH`.
    prefix: Option<&'a str>,
}

impl Claim<'_> {
    /// Where there were several proxies, the first one is what the client called, and it stands first.
    /// `X-Forwarded-…` goes first, because a proxy that sets it passes a client's `Forwarded` on.
    fn read(fields: &ForwardedFields) -> Claim<'_> {
        let standard = |name| forwarded(fields.standard.as_deref()?, name);
        let host = first(&fields.host).filter(|host| is_host(host));
        let proto = first(&fields.proto).and_then(scheme);
        Claim {
            scheme: proto.or_else(|| scheme(standard("proto")?)),
            host: host.or_else(|| standard("host").filter(|host| is_host(host))),
            prefix: first(&fields.prefix).and_then(prefix),
        }
    }
}

fn first(list: &Option<String>) -> Option<&str> {
    Some(list.as_deref()?.split(',').next()?.trim())
}

/// The value of a parameter in the first element of `Forwarded` (RFC 7239 §4).
fn forwarded<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    let element = outside_quotes(field, ',').next()?;
    outside_quotes(element, ';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let quoted = value.trim().strip_prefix('"');
        let value = match quoted {
            Some(rest) => rest.strip_suffix('"')?,
            None => value.trim(),
        };
        key.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

/// The parts of a list. A quoted string that holds an escaped quote is no value that is used here.
fn outside_quotes(list: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    list.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    })
}

fn scheme(name: &str) -> Option<&'static str> {
    let known = ["http", "https"].into_iter();
    let mut known = known.filter(|known| known.eq_ignore_ascii_case(name));
    known.next()
}

/// Whether it can only be a host, perhaps with a port.
fn is_host(host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_[]".contains(&byte);
    (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(is_plain)
}

/// A plain path without the `/` at its end.
fn prefix(path: &str) -> Option<&str> {
    let path = path.trim_end_matches('/');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
    let mut segments = path.split('/');
    (segments.next() == Some("") && segments.all(is_segment)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By a request to `own` with these fields, by short names: `host`, `proto`, `prefix` (of `X-Forwarded-`),
    /// `forwarded`.
    fn called(by: &Addressing, own: &str, fields: &[(&str, &str)]) -> String {
        let mut forwarded = ForwardedFields::default();
        for (name, value) in fields {
            let name = match *name {
                "forwarded" => "forwarded".to_owned(),
                short => format!("x-forwarded-{short}"),
            };
            forwarded.note(&name, value);
        }
        by.of(Some(own), &forwarded)
    }

    fn trusting(context_path: &str) -> Addressing {
        Addressing {
            external_url: None,
            trusts_forwarded: true,
            context_path: context_path.to_owned(),
        }
    }

    #[test]
    fn a_proxy_says_how_it_was_called_by_either_kind_of_header_fields() {
        for (fields, address) in [
            (&[][..], "http://own:8080"),
            (&[("proto", "https")], "https://own:8080"),
            (&[("host", "h:8443"), ("proto", "HTTPS")], "https://h:8443"),
            (
                &[("host", "first, second"), ("proto", "https,http")],
                "https://first",
            ),
            (
                &[("host", "h"), ("prefix", "/a/b_1/, /c")],
                "http://h/a/b_1",
            ),
            (&[("prefix", "/")], "http://own:8080"),
            (
                &[("forwarded", "for=1.2.3.4;Proto=https;host=\"h:1\", host=x")],
                "https://h:1",
            ),
            (
                &[("forwarded", "for=\"[::1]:1,;\" ; host=h;proto=https")],
                "https://h",
            ),
            (
                &[("host", "h"), ("forwarded", "host=x;proto=https")],
                "https://h",
            ),
        ] {
            assert_eq!(
                called(&trusting(""), "own:8080", fields),
                address,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn what_is_not_plain_is_not_used() {
        let long = "h".repeat(MAX_HOST + 1);
        for fields in [
            ("host", "a b"),
            ("host", ""),
            ("host", "h/path"),
            ("host", "user@h"),
            ("host", "$(reboot)"),
            ("host", "\"><b>"),
            ("host", &long),
            ("proto", "javascript"),
            ("prefix", "a"),
            ("prefix", "//evil.example"),
            ("prefix", "/a/../b"),
            ("prefix", "/a;b"),
            ("prefix", "/a b"),
            ("forwarded", "host=\"h"),
            ("forwarded", "host=\"h\\\"x\""),
            ("forwarded", "host=\"a,b\""),
            ("forwarded", "host"),
            ("forwarded", "for=x, host=second"),
        ] {
            let address = called(&trusting(""), "own:8080", &[fields]);
            assert_eq!(address, "http://own:8080", "{fields:?}");
        }
        let own = called(&trusting("/a"), "h$(reboot)", &[]);
        assert_eq!(own, "http://THIS-ADDRESS/a");
    }

    #[test]
    fn a_context_path_follows_the_prefix_that_was_cut_off_and_is_not_repeated() {
        let address = |prefix| called(&trusting("/helm"), "own:8080", &[("prefix", prefix)]);
        assert_eq!(address("/outer"), "http://own:8080/outer/helm");
        assert_eq!(address("/outer/helm"), "http://own:8080/outer/helm");
        assert_eq!(address("/"), "http://own:8080/helm");
    }

    #[test]
    fn a_configured_url_is_used_unless_a_trusted_proxy_says_another() {
        let mut addressing = trusting("/helm");
        addressing.external_url = Some("https://charts.example/x".to_owned());
        let claim = [("host", "h")];
        let of = |by: &Addressing, fields: &[_]| called(by, "own:8080", fields);
        assert_eq!(of(&addressing, &claim), "http://h/helm");
        assert_eq!(of(&addressing, &[]), "https://charts.example/x");
        addressing.trusts_forwarded = false;
        assert_eq!(of(&addressing, &claim), "https://charts.example/x");
        addressing.external_url = None;
        assert_eq!(of(&addressing, &claim), "http://own:8080/helm");
    }
}
