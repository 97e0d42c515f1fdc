//! dockerconfigjson: never a panic, never a secret in an error, and no credential for another host
//! than the file names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_chartrepo::credentials::{Auths, Credential};

fuzz_target!(|data: &[u8]| {
    let auths = match Auths::parse(data) {
        Ok(auths) => auths,
        Err(reason) => {
            // Fixed words and numbers: nothing that could have come from the file.
            let words = reason.replace(|c: char| c.is_ascii_digit(), "");
            let known = [
                "not a JSON object (line , column )",
                "\"auths\" is not an object",
                "it is a Secret's manifest; the file must hold what its .dockerconfigjson decodes to",
            ];
            assert!(known.contains(&words.as_str()), "{reason}");
            return;
        }
    };
    assert_eq!(auths.credential("nobody.invalid", Some("a/b")), None);
    for host in [
        "a",
        "h",
        "reg.example:5000",
        "index.docker.io",
        "registry-1.docker.io:443",
    ] {
        let whole = auths.credential(host, None);
        let part = auths.credential(host, Some("team/web"));
        assert!(
            whole.is_none() || part.is_some(),
            "what is good for all is good for a part"
        );
        whole.into_iter().chain(part).for_each(check);
    }
});

fn check(credential: &Credential) {
    match credential {
        Credential::Password { username, .. } => {
            assert!(
                !username.is_empty() && !username.contains(':'),
                "{username:?}"
            );
        }
        Credential::IdentityToken(token) | Credential::RegistryToken(token) => {
            assert!(!token.is_empty())
        }
    }
    assert!(format!("{credential:?}").ends_with("(redacted)"));
}
