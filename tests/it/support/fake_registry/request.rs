//! One request as it came over the wire, kept for the test's assertions, and the patterns that
//! stories name requests by.

use std::fmt;
use std::time::Instant;

use super::door::Role;

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query, exactly as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Connections are numbered as they are accepted, from 0.
    pub connection: usize,
    pub role: Role,
    /// When it had been read.
    pub at: Instant,
    /// What it was answered with; 0 while it waits, and for good when it was reset.
    pub status: u16,
}

impl Request {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers_of(name).first().copied()
    }

    pub fn headers_of(&self, name: &str) -> Vec<&str> {
        let named = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Every value of a parameter of the query, percent-decoded.
    pub fn query(&self, name: &str) -> Vec<String> {
        let query = self.target.split_once('?').map_or("", |(_, q)| q);
        form_values(query, name)
    }

    /// Every value of a field of an `application/x-www-form-urlencoded` body.
    pub fn form(&self, name: &str) -> Vec<String> {
        form_values(&String::from_utf8_lossy(&self.body), name)
    }

    /// `METHOD /path` or `METHOD /path?query`, where `*` stands for anything; without a `?` the
    /// pattern speaks of the path alone.
    pub fn matches(&self, pattern: &str) -> bool {
        let (method, target) = pattern
            .split_once(' ')
            .unwrap_or_else(|| panic!("`{pattern}`: a pattern is `METHOD /path`"));
        let seen = if target.contains('?') {
            &self.target
        } else {
            self.path()
        };
        glob(method, &self.method) && glob(target, seen)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (role, number) = (self.role, self.connection);
        let (method, target, status) = (&self.method, &self.target, self.status);
        write!(f, "{role:?}#{number} {method} {target}: {status}")?;
        let scheme = self.header("Authorization").map(|a| a.split(' ').next());
        match scheme {
            Some(scheme) => write!(f, " ({})", scheme.unwrap_or_default()),
            None => Ok(()),
        }
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let starts = rest.char_indices().map(|(i, _)| i);
            starts.chain([rest.len()]).any(|i| glob(after, &rest[i..]))
        }),
    }
}

fn form_values(form: &str, name: &str) -> Vec<String> {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    let values = pairs.filter(|(n, _)| *n == name);
    values.map(|(_, value)| decode(value)).collect()
}

fn decode(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap_or(b'?'), rest.next().unwrap_or(b'?')];
                let digits = std::str::from_utf8(&digits).unwrap_or("??");
                u8::from_str_radix(digits, 16)
                    .unwrap_or_else(|_| panic!("`{value}`: `%{digits}` is no percent code"))
            }
            other => other,
        });
    }
    String::from_utf8(bytes).expect("percent codes of a query are UTF-8")
}
