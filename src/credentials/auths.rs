//! The text of a dockerconfigjson, in all the forms that kubectl, docker, podman and helm write. No secret
//! is ever shown: errors name a position, `Debug` only the kind of a credential.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What proves an identity to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password, for Basic and for token servers.
    Password {
        /// The name; it holds no colon.
        username: String,
        /// The secret.
        password: String,
    },
    /// An OAuth2 refresh token, which a token server exchanges.
    IdentityToken(String),
    /// A Bearer token, ready for the registry itself.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::Password { .. } => "Password(redacted)",
            Credential::IdentityToken(_) => "IdentityToken(redacted)",
            Credential::RegistryToken(_) => "RegistryToken(redacted)",
        })
    }
}

/// The credentials in one dockerconfigjson.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auths {
    entries: Vec<HostEntry>,
    /// Whether the file leaves some registry to an external helper program, which isn't run.
    pub needs_helper: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct HostEntry {
    host: String,
    /// A repository, or a path above it, that the entry is limited to; empty for all.
    path: String,
    credential: Credential,
}

impl Auths {
    /// Reads a file's text: a docker config (`{"auths": {…}}`), the older dockercfg (the map alone),
    /// or nothing at all.
    ///
    /// Errors with a reason that quotes nothing of the text.
    pub fn parse(text: &[u8]) -> Result<Auths, String> {
        if text.trim_ascii().is_empty() {
            return Ok(Auths::default());
        }
        let file: BTreeMap<String, Value> = serde_json::from_slice(text).map_err(position)?;
        let helpers = file.get("credHelpers").and_then(Value::as_object);
        let store = file.get("credsStore").and_then(Value::as_str);
        let needs_helper = helpers.is_some_and(|map| !map.is_empty())
            || store.is_some_and(|name| !name.is_empty());
        let map = match file.get("auths") {
            Some(Value::Object(map)) => map.clone(),
            Some(Value::Null) => Default::default(),
            Some(_) => return Err("\"auths\" is not an object".into()),
            None => file
                .into_iter()
                .filter(|(_, value)| value.is_object())
                .collect(),
        };
        let mut entries: Vec<HostEntry> = map
            .iter()
            .filter_map(|(key, value)| HostEntry::read(key, value))
            .collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.path.len()));
        Ok(Auths {
            entries,
            needs_helper,
        })
    }

    /// The credential for a repository of the registry `host[:port]`, the most specific entry
    /// first; without a repository, the entry for the whole registry.
    pub fn credential(&self, host: &str, repository: Option<&str>) -> Option<&Credential> {
        let host = canonical_host(host);
        let covers = |entry: &&HostEntry| {
            entry.host == host
                && (entry.path.is_empty()
                    || repository.is_some_and(|name| is_below(name, &entry.path)))
        };
        self.entries
            .iter()
            .find(covers)
            .map(|entry| &entry.credential)
    }

    /// The registries that there are entries for, each once, as they are looked up.
    pub(super) fn hosts(&self) -> BTreeSet<&str> {
        self.entries
            .iter()
            .map(|entry| entry.host.as_str())
            .collect()
    }
}

impl HostEntry {
    /// `None` for an entry that holds no credential, as docker leaves behind for its helpers.
    fn read(key: &str, value: &Value) -> Option<HostEntry> {
        let (host, path) = split_key(key);
        let credential = serde_json::from_value::<AuthEntry>(value.clone())
            .ok()?
            .credential()?;
        Some(HostEntry {
            host: canonical_host(host),
            path: path.to_owned(),
            credential,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl AuthEntry {
    fn credential(self) -> Option<Credential> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = given(self.registrytoken) {
            return Some(Credential::RegistryToken(token));
        }
        if let Some(token) = given(self.identitytoken) {
            return Some(Credential::IdentityToken(token));
        }
        if let Some((username, password)) = given(self.auth).and_then(|auth| decode_auth(&auth)) {
            return Some(Credential::Password { username, password });
        }
        // RFC 7617 §2: with a colon it would end there.
        let username = given(self.username).filter(|name| !name.contains(':'))?;
        Some(Credential::Password {
            username,
            password: self.password.unwrap_or_default(),
        })
    }
}

/// `auth` is base64 of `name:password`, split at the first colon. Some writers leave out the
/// padding, use the URL's alphabet, or end the text in NULs.
fn decode_auth(auth: &str) -> Option<(String, String)> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let standard: String = auth
        .trim()
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            c => c,
        })
        .collect();
    let bytes = GeneralPurpose::new(&base64::alphabet::STANDARD, config)
        .decode(standard)
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    let username = username.trim_matches('\0');
    (!username.is_empty()).then(|| (username.to_owned(), password.trim_matches('\0').to_owned()))
}

/// A key's host and path: `https://host:5000/v1/` names the host alone, `host/team` a part of it.
fn split_key(key: &str) -> (&str, &str) {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    match path.trim_matches('/') {
        "v1" | "v2" => (host, ""),
        path => (host, path),
    }
}

/// Docker Hub goes by three names, and `:443` is what https means anyway.
pub(super) fn canonical_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.strip_suffix(":443").unwrap_or(&host) {
        "docker.io" | "registry-1.docker.io" => "index.docker.io".to_owned(),
        host => host.to_owned(),
    }
}

fn is_below(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// serde_json's messages quote what they stumble over; a position doesn't.
fn position(error: serde_json::Error) -> String {
    format!(
        "not a JSON object (line {}, column {})",
        error.line(),
        error.column()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(name: &str, secret: &str) -> Credential {
        Credential::Password {
            username: name.into(),
            password: secret.into(),
        }
    }

    fn lookup(text: &str, host: &str, repository: Option<&str>) -> Option<Credential> {
        Auths::parse(text.as_bytes())
            .unwrap()
            .credential(host, repository)
            .cloned()
    }

    #[test]
    fn every_form_of_a_credential_is_read() {
        for (entry, expected) in [
            (r#"{"username":"u","password":"p:q"}"#, password("u", "p:q")),
            (r#"{"auth":"dTpwOnE="}"#, password("u", "p:q")),
            (r#"{"auth":"dTpwOnE"}"#, password("u", "p:q")),
            (r#"{"auth":"dTo_Pz8"}"#, password("u", "???")),
            (
                r#"{"auth":"dTpwOnE=","username":"x","password":"y"}"#,
                password("u", "p:q"),
            ),
            (
                r#"{"auth":"","username":"x","password":"y"}"#,
                password("x", "y"),
            ),
            (
                r#"{"username":"<token>","identitytoken":"t"}"#,
                Credential::IdentityToken("t".into()),
            ),
            (
                r#"{"registrytoken":"t"}"#,
                Credential::RegistryToken("t".into()),
            ),
        ] {
            let text = format!(r#"{{"auths":{{"reg.example":{entry}}}}}"#);
            assert_eq!(
                lookup(&text, "reg.example", None),
                Some(expected),
                "{entry}"
            );
        }
    }

    #[test]
    fn keys_with_scheme_path_or_port_name_the_same_registry() {
        for (key, host) in [
            ("reg.example", "reg.example"),
            ("https://reg.example", "reg.example:443"),
            ("http://REG.example/v1/", "reg.example"),
            ("reg.example:5000/v2/", "reg.example:5000"),
            ("https://index.docker.io/v1/", "registry-1.docker.io"),
            ("docker.io", "index.docker.io"),
        ] {
            let text = format!(r#"{{"auths":{{"{key}":{{"auth":"dTpw"}}}}}}"#);
            assert_eq!(lookup(&text, host, None), Some(password("u", "p")), "{key}");
        }
        let other_port = r#"{"auths":{"reg.example:5000":{"auth":"dTpw"}}}"#;
        assert_eq!(lookup(other_port, "reg.example", None), None);
    }

    #[test]
    fn the_most_specific_path_wins() {
        let text = r#"{"auths":{"reg.example":{"username":"all"},"reg.example/team":{"username":"team"},
            "reg.example/team/a":{"username":"a"}}}"#;
        for (repository, name) in [
            (None, "all"),
            (Some("teams"), "all"),
            (Some("team/b"), "team"),
            (Some("team/a/web"), "a"),
        ] {
            assert_eq!(
                lookup(text, "reg.example", repository),
                Some(password(name, ""))
            );
        }
    }

    #[test]
    fn a_file_without_credentials_holds_none() {
        for text in [
            "",
            " \n",
            "{}",
            r#"{"auths":{}}"#,
            r#"{"auths":null}"#,
            r#"{"auths":{"a":{}}}"#,
            r#"{"auths":{"a":{"auth":"!"}}}"#,
            r#"{"auths":{"a":{"username":"u:v","password":"p"}}}"#,
        ] {
            assert_eq!(
                Auths::parse(text.as_bytes()).unwrap(),
                Auths::default(),
                "{text}"
            );
        }
    }

    #[test]
    fn the_older_dockercfg_is_the_map_alone() {
        assert_eq!(
            lookup(r#"{"reg.example":{"auth":"dTpw"}}"#, "reg.example", None),
            Some(password("u", "p"))
        );
    }

    #[test]
    fn helpers_are_noticed() {
        for text in [
            r#"{"credsStore":"osxkeychain"}"#,
            r#"{"auths":{},"credHelpers":{"a":"ecr-login"}}"#,
        ] {
            assert!(
                Auths::parse(text.as_bytes()).unwrap().needs_helper,
                "{text}"
            );
        }
        assert!(
            !Auths::parse(br#"{"credsStore":"","credHelpers":{}}"#)
                .unwrap()
                .needs_helper
        );
    }

    #[test]
    fn an_error_quotes_nothing() {
        for text in [
            "hunter2",
            r#"["hunter2"]"#,
            r#"{"auths":"hunter2"}"#,
            r#"{"auths":{"a":{"password":"hunter2"}"#,
        ] {
            let reason = Auths::parse(text.as_bytes()).unwrap_err();
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let auths = Auths::parse(
            br#"{"auths":{"a":{"username":"u","password":"hunter2"},"b":{"identitytoken":"hunter2"}}}"#,
        );
        assert!(!format!("{auths:?}").contains("hunter2"));
    }
}
