//! The text of a dockerconfigjson, in all the forms that kubectl, docker, podman and helm write. No secret
//! is ever shown: errors name a position, `Debug` only the kind of a credential.

use crate::sorting;
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

impl Credential {
    /// What is likely to be a mistake in it, such as a password from a file that ends with a line break.
    pub(super) fn oddity(&self) -> Option<&'static str> {
        match self {
            Credential::Password { password, .. } if password.is_empty() => {
                Some("its password is empty")
            }
            Credential::Password { password, .. } if password.ends_with(char::is_whitespace) => {
                Some("its password ends with a line break or blank")
            }
            _ => None,
        }
    }
}

/// The credentials in one dockerconfigjson.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auths {
    entries: Vec<HostEntry>,
    /// The registries that have an entry which can't be used, and why: "has …".
    pub(super) unusable: BTreeMap<String, &'static str>,
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
        let file: BTreeMap<String, Value> =
            serde_json::from_slice(text).map_err(|error| match is_base64(text) {
                true => "it is base64; the file must hold what that decodes to".into(),
                false => position(error),
            })?;
        if file.get("kind").is_some_and(|kind| kind == "Secret") {
            return Err(
                "it is a Secret's manifest; the file must hold what its .dockerconfigjson decodes to".into(),
            );
        }
        let helpers = file.get("credHelpers").and_then(Value::as_object);
        let store = file.get("credsStore").and_then(Value::as_str);
        let needs_helper = helpers.is_some_and(|map| !map.is_empty())
            || store.is_some_and(|name| !name.is_empty());
        let is_dockercfg = !file.contains_key("auths");
        let map = match file.get("auths") {
            Some(Value::Object(map)) => map.clone(),
            Some(Value::Null) => Default::default(),
            Some(_) => return Err("\"auths\" is not an object".into()),
            None => file
                .into_iter()
                .filter(|(_, value)| value.is_object())
                .collect(),
        };
        let (mut entries, mut unusable) = (Vec::new(), BTreeMap::new());
        for (key, value) in map {
            let (host, path) = split_key(&key);
            let host = canonical_host(host);
            match read_entry(value) {
                Ok(credential) => entries.push(HostEntry {
                    host,
                    path: path.to_owned(),
                    credential,
                }),
                // Docker leaves such entries behind for its helpers; of a map alone, they are other settings.
                Err(EMPTY) if needs_helper || is_dockercfg => {}
                Err(why) => drop(unusable.insert(host, why)),
            }
        }
        sorting::by_key(&mut entries, |entry| std::cmp::Reverse(entry.path.len()));
        Ok(Auths {
            entries,
            unusable,
            needs_helper,
        })
    }

    /// The credential for a repository of the registry `host[:port]`, the most specific entry
    /// first; without a repository, the entry for the whole registry.
    pub fn credential(&self, host: &str, repository: Option<&str>) -> Option<&Credential> {
        let host = canonical_host(host);
        let covers = |entry: &&HostEntry| entry.host == host && entry.covers(repository);
        let entry = self.entries.iter().find(covers);
        entry.map(|entry| &entry.credential)
    }

    /// The registries that there are entries for, each once, as they are looked up.
    pub(super) fn hosts(&self) -> BTreeSet<&str> {
        let hosts = self.entries.iter().map(|entry| entry.host.as_str());
        hosts.collect()
    }
}

impl HostEntry {
    fn covers(&self, repository: Option<&str>) -> bool {
        let rest = repository.and_then(|name| name.strip_prefix(&self.path));
        self.path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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

/// Whether it's what a Secret's manifest shows in place of the file. JSON begins with a brace.
fn is_base64(text: &[u8]) -> bool {
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\r\n ".contains(byte);
    text.iter().all(is_of_it)
}

/// Why an entry can't be used that holds nothing.
const EMPTY: &str = "has neither auth, nor a username, nor a token";

/// The credential in an entry, or why there is none.
fn read_entry(value: Value) -> Result<Credential, &'static str> {
    let entry = serde_json::from_value::<AuthEntry>(value);
    let entry = entry.map_err(|_| "is not an object whose fields are strings")?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = given(entry.registrytoken) {
        return Ok(Credential::RegistryToken(token));
    }
    if let Some(token) = given(entry.identitytoken) {
        return Ok(Credential::IdentityToken(token));
    }
    let auth = given(entry.auth);
    if let Some(password) = auth.as_deref().and_then(decode_auth) {
        return Ok(password);
    }
    match given(entry.username) {
        // RFC 7617 §2: the username would end at the colon.
        Some(username) if username.contains(':') => Err("has a username with a colon in it"),
        Some(username) => Ok(Credential::Password {
            username,
            password: entry.password.unwrap_or_default(),
        }),
        None if auth.is_some() => Err("has an auth that is not base64 of NAME:PASSWORD"),
        None if entry.password.is_some() => Err("has a password without a username"),
        None => Err(EMPTY),
    }
}

/// `auth` is base64 of `name:password`, split at the first colon. Some writers leave out the
/// padding, use the URL's alphabet, or end the text in NULs.
fn decode_auth(auth: &str) -> Option<Credential> {
    let indifferent = DecodePaddingMode::Indifferent;
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    let standard = auth.trim().replace('-', "+").replace('_', "/");
    let text = String::from_utf8(engine.decode(standard).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    let [username, password] = [username, password].map(|text| text.trim_matches('\0').to_owned());
    (!username.is_empty()).then_some(Credential::Password { username, password })
}

/// A key's host and path: `https://host:5000/v1/` names the host alone, `host/team` a part of it.
fn split_key(key: &str) -> (&str, &str) {
    let bare = ["https://", "http://"]
        .iter()
        .find_map(|scheme| key.strip_prefix(scheme));
    let bare = bare.unwrap_or(key);
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

/// serde_json's messages quote what they stumble over; a position doesn't.
fn position(error: serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    format!("not a JSON object (line {line}, column {column})")
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
            assert_eq!(lookup(text, "a", None), None, "{text}");
        }
    }

    #[test]
    fn an_entry_that_cannot_be_used_is_told_with_the_reason() {
        for (entry, why) in [
            (
                r#"{"auth":"!"}"#,
                Some("has an auth that is not base64 of NAME:PASSWORD"),
            ),
            (
                r#"{"auth":"dXA="}"#,
                Some("has an auth that is not base64 of NAME:PASSWORD"),
            ),
            (
                r#"{"username":"u:v","password":"p"}"#,
                Some("has a username with a colon in it"),
            ),
            (
                r#"{"password":"p"}"#,
                Some("has a password without a username"),
            ),
            (
                r#""dTpw""#,
                Some("is not an object whose fields are strings"),
            ),
            (
                r#"{"auth":1}"#,
                Some("is not an object whose fields are strings"),
            ),
            ("{}", Some(EMPTY)),
            (r#"{"auth":"dTpw"}"#, None),
        ] {
            let text = format!(r#"{{"auths":{{"a":{entry}}}}}"#);
            let auths = Auths::parse(text.as_bytes()).unwrap();
            assert_eq!(auths.unusable.get("a").copied(), why, "{entry}");
        }
        let left_by_docker = r#"{"auths":{"a":{}},"credsStore":"desktop"}"#;
        let auths = Auths::parse(left_by_docker.as_bytes()).unwrap();
        assert!(auths.unusable.is_empty());
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
            r#"{"kind":"Secret","data":{".dockerconfigjson":"hunter2"}}"#,
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
