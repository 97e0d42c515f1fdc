//! What helps when a registry lists no repositories: it depends on whose registry it is, and on what
//! its sources answered.

use crate::registry::client::{HTTPS_ADVICE, UPGRADE_ADVICE};

/// Registries that are known by their host, and why they may list nothing.
const KNOWN: [(&str, &str); 7] = [
    ("docker.io", "Docker Hub has no catalog"),
    ("ghcr.io", "GHCR has no catalog"),
    ("pkg.dev", "Artifact Registry's catalog is empty"),
    (
        "azurecr.io",
        "ACR lists nothing to a token that is limited by a scope map",
    ),
    ("gitlab.com", "GitLab's catalog is for its administrators"),
    ("quay.io", "Quay lists what the account may read"),
    (
        "jfrog.io",
        "Artifactory has a catalog for each of its repositories (append the key of one to \
         --storage-registry-repo), not for all",
    ),
];

/// Whether each source was closed to these credentials, or to none: to name repositories wouldn't help.
pub(super) fn all_want_credentials(answers: &[String]) -> bool {
    !answers.is_empty() && answers.iter().all(|answer| answer.contains(": 401"))
}

/// Whether a server has most likely answered that its port speaks TLS.
fn is_refusal_of_http(answer: &str) -> bool {
    answer.starts_with("GET http:") && answer.contains(": 400")
}

/// Whether each source has answered so.
pub(super) fn all_refuse_http(answers: &[String]) -> bool {
    !answers.is_empty() && answers.iter().all(|answer| is_refusal_of_http(answer))
}

/// What may help; `refusal` is about credentials.
pub(super) fn advice(authority: &str, answers: &[String], refusal: &str) -> String {
    let host = authority.split(':').next().unwrap_or_default();
    let host = host.to_ascii_lowercase();
    let is_of = |domain: &str| {
        let rest = host.strip_suffix(domain);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let is_answer = |test: &dyn Fn(&str) -> bool| answers.iter().any(|answer| test(answer));
    let flag = "name them with --repository";
    if let Some((_, why)) = KNOWN.iter().find(|(domain, _)| is_of(domain)) {
        return format!("{why}: {flag}");
    }
    if is_answer(&|answer| answer.contains("/api/v2.0/")) {
        return format!(
            "Harbor lists to a robot that may list repositories, of the project that is the prefix in \
             --storage-registry-repo: give it that right, or {flag}"
        );
    }
    if is_answer(&|answer| answer.ends_with("/v2/_catalog: not a listing")) {
        return format!("{authority} doesn't answer like a registry; check address and port");
    }
    if is_answer(&|answer| answer.contains(": redirected to HTTPS: ")) {
        return UPGRADE_ADVICE.to_owned();
    }
    if is_answer(&is_refusal_of_http) {
        return HTTPS_ADVICE.to_owned();
    }
    if all_want_credentials(answers) {
        return refusal.to_owned();
    }
    if is_answer(&|answer| answer.contains(": 401") || answer.contains(": 403")) {
        return format!("{refusal}; or {flag}");
    }
    flag.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_depends_on_whose_registry_it_is() {
        let of = |authority: &str, answers: &[&str]| {
            let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
            advice(authority, &answers, "check --storage-registry-config")
        };
        for host in ["docker.io", "registry-1.docker.io", "INDEX.docker.io:443"] {
            assert_eq!(
                of(host, &[]),
                "Docker Hub has no catalog: name them with --repository"
            );
        }
        assert!(of("ghcr.io", &[]).starts_with("GHCR has no catalog"));
        assert!(of("team.azurecr.io", &[]).contains("scope map"));
        assert_eq!(of("notghcr.io", &[]), "name them with --repository");
        assert!(
            of("reg:5000", &["GET http://reg:5000/v2/_catalog: 401"])
                .contains("--storage-registry-config")
        );
        let closed = [
            "GET http://reg/v2/_catalog: 401",
            "GET http://reg/v2/c: 401",
        ];
        assert_eq!(of("reg", &closed), "check --storage-registry-config");
        let partly = [
            "GET http://reg/v2/_catalog: 403",
            "GET http://reg/v2/c: 401",
        ];
        assert!(of("reg", &partly).ends_with("or name them with --repository"));
        assert_eq!(
            of("reg:81", &["GET http://reg:81/v2/_catalog: not a listing"]),
            "reg:81 doesn't answer like a registry; check address and port"
        );
        assert_eq!(
            of("reg", &["GET http://reg/v2/_catalog: 400"]),
            HTTPS_ADVICE
        );
        assert!(of("reg", &["GET https://reg/v2/_catalog: 400"]).contains("--repository"));
        let harbor = of(
            "reg",
            &[
                "GET https://reg/v2/_catalog: 401",
                "GET https://reg/api/v2.0/projects: 403",
            ],
        );
        assert!(
            harbor.starts_with("Harbor") && harbor.ends_with("--repository"),
            "{harbor}"
        );
    }
}
