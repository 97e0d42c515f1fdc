//! Tokens that docker-registry believes: JSON Web Tokens with the claims of its token specification
//! (docs/content/spec/auth/jwt.md at v2.8.2), signed by openssl. Who gets one is the token server's
//! business, which is the fake registry's.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::certificates::openssl;
use super::helm::argument;
use super::process::Scratch;

const ISSUER: &str = "charts test tokens";
/// What a token is good for, in seconds: longer than any story.
const LIFE: u64 = 300;

pub struct TokenIssuer {
    scratch: Scratch,
    issued: AtomicU32,
}

impl TokenIssuer {
    pub fn new() -> TokenIssuer {
        let scratch = Scratch::new("token-issuer");
        let (key, certificate) = (scratch.join("key.pem"), scratch.join("certificate.pem"));
        let new = [
            "req",
            "-x509",
            "-days",
            "2",
            "-subj",
            "/CN=charts test tokens",
            "-newkey",
            "rsa:2048",
        ];
        let into = [
            "-nodes",
            "-keyout",
            argument(&key),
            "-out",
            argument(&certificate),
        ];
        openssl(&[&new[..], &into].concat());
        TokenIssuer {
            scratch,
            issued: AtomicU32::new(0),
        }
    }

    /// What docker-registry has to know to send its clients to `realm`, and to believe what they bring.
    pub fn settings(&self, realm: &str, service: &str) -> Value {
        let bundle = self.scratch.join("certificate.pem");
        json!({ "realm": realm, "service": service, "issuer": ISSUER, "rootcertbundle": bundle })
    }

    /// A token for these scopes (docs/content/spec/auth/scope.md).
    pub fn token(&self, service: &str, scopes: &[String]) -> String {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let head = json!({ "typ": "JWT", "alg": "RS256", "x5c": [self.certificate()] });
        let claims = json!({
            "iss": ISSUER, "sub": "", "aud": service, "jti": number.to_string(),
            "iat": now, "nbf": now, "exp": now + LIFE,
            "access": scopes.iter().map(|scope| access(scope)).collect::<Vec<_>>(),
        });
        let [head, claims] =
            [head, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let said = format!("{head}.{claims}");
        format!(
            "{said}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(self.sign(number, &said))
        )
    }

    /// The certificate's lines without their frame: base64, as `x5c` wants it (RFC 7515, 4.1.6).
    fn certificate(&self) -> String {
        let pem =
            std::fs::read_to_string(self.scratch.join("certificate.pem")).expect("a certificate");
        pem.lines().filter(|line| !line.starts_with('-')).collect()
    }

    fn sign(&self, number: u32, said: &str) -> Vec<u8> {
        let (key, signature) = (
            self.scratch.join("key.pem"),
            self.scratch.join(&format!("{number}.sig")),
        );
        let said = self.scratch.file(&format!("{number}.txt"), said);
        let by = ["dgst", "-sha256", "-sign", argument(&key)];
        openssl(&[&by[..], &["-out", argument(&signature), argument(&said)]].concat());
        std::fs::read(signature).expect("a signature")
    }
}

/// `repository:team/web:pull,push`, taken apart.
fn access(scope: &str) -> Value {
    let parts = scope
        .split_once(':')
        .and_then(|(kind, rest)| Some((kind, rest.rsplit_once(':')?)));
    let (kind, (name, actions)) = parts.unwrap_or_else(|| panic!("{scope:?} is no scope"));
    json!({ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() })
}
