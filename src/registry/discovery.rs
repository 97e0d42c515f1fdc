//! Which repositories a registry holds, from the best source that will tell: those named by hand,
//! Harbor's own API, the catalog, or a charts index that somebody has pushed. No registry has to list
//! anything (the catalog isn't in the OCI spec), and many list nothing, or not to everyone.
//!
//! A lesser source is never asked because a better one stumbles: only an answer that would be the
//! same tomorrow, or an empty list, lets the next one be tried. Else a bad minute of the registry
//! would shrink the index to what the lesser source knows.

use super::auth::Scope;
use super::charts_index::Read;
use super::harbor::Projects;
use super::shared::lock;
use super::{CREDENTIALS_ADVICE, HTTPS_ADVICE, Registry, error};
use crate::oci::RepositoryName;
use crate::storage::{Error, ErrorKind};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;

/// Where repositories are listed. In the order in which they're tried, except that the catalog is
/// asked twice: see [`Source::OpenCatalog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The catalog, asked without credentials, as every first question is: a Harbor is known by how
    /// it refuses this one, so knowing it costs nothing.
    OpenCatalog,
    Harbor,
    Catalog,
    ChartsIndex,
}

const SOURCES: [Source; 4] = [
    Source::OpenCatalog,
    Source::Harbor,
    Source::Catalog,
    Source::ChartsIndex,
];

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::OpenCatalog | Source::Catalog => "the catalog",
            Source::Harbor => "Harbor's API",
            Source::ChartsIndex => "charts-index:latest",
        })
    }
}

/// What earlier walks have taught us.
#[derive(Default)]
pub(super) struct Discovery {
    /// The source that has listed something, and will go on doing so.
    proven: Mutex<Option<Source>>,
    said: Mutex<String>,
    /// What the last listing of each repository that was named has come to: a status.
    named: Mutex<BTreeMap<RepositoryName, u16>>,
    pub(super) projects: Mutex<Projects>,
    pub(super) charts_index: Mutex<Option<Read>>,
}

impl Discovery {
    /// Says it in the log, unless it was the last thing said.
    fn say(&self, text: String) {
        if self.is_news(&text) {
            log::info!("{text}");
        }
    }

    /// The same of what looks like a mistake.
    fn warn(&self, text: String) {
        if self.is_news(&text) {
            log::warn!("{text}");
        }
    }

    fn is_news(&self, text: &str) -> bool {
        let mut said = lock(&self.said);
        let is_news = *said != text;
        text.clone_into(&mut said);
        is_news
    }
}

/// What a source has told.
struct Listed {
    /// Below the prefix.
    repositories: Vec<RepositoryName>,
    /// How many it lists elsewhere, if it lists nothing there, and the one that looks most alike.
    elsewhere: Option<(usize, RepositoryName)>,
}

impl From<Vec<RepositoryName>> for Listed {
    fn from(repositories: Vec<RepositoryName>) -> Listed {
        Listed {
            repositories,
            elsewhere: None,
        }
    }
}

impl Registry {
    /// The repositories to walk.
    ///
    /// Errors when that can't be told now, or at all; then in one sentence, which holds no word of the
    /// registry's but a status and a code.
    pub(super) fn discover(&self) -> Result<Vec<RepositoryName>, Error> {
        if !self.options.repositories.is_empty() {
            self.discovery
                .say("repositories: those named by --repository".to_owned());
            return Ok(self.options.repositories.clone());
        }
        let proven = *lock(&self.discovery.proven);
        if let Some(source) = proven {
            match self.ask(source) {
                Ok(listed) if !listed.repositories.is_empty() => return Ok(listed.repositories),
                // Whether that's to be believed is not for us to say, nor what it means tomorrow.
                Ok(none) => {
                    *lock(&self.discovery.proven) = None;
                    return Ok(none.repositories);
                }
                // Unless it's gone for everyone, a refusal is about us, today.
                Err(error) if !matches!(error::status_of(&error), Some(404 | 405 | 501)) => {
                    return Err(error);
                }
                Err(error) => log::warn!("{source} lists no repositories any more: {error}"),
            }
        }
        self.search()
    }

    /// Warns of one of several repositories named by hand that isn't there, or not for us: of one that a
    /// source lists, that is no mistake of anybody's. A refusal of what was once open is told by who keeps
    /// it, and of the only one by who finds no chart.
    pub(super) fn note_named(&self, repository: &RepositoryName, listing: Result<(), &Error>) {
        let named = &self.options.repositories;
        if named.len() < 2 || !named.contains(repository) {
            return;
        }
        let status = match listing {
            Ok(()) => Some(200),
            Err(error) if error.kind().is_no_answer() => None,
            Err(error) => error::status_of(error),
        };
        let Some(status) = status else { return };
        let before = lock(&self.discovery.named).insert(repository.clone(), status);
        if let Err(error) = listing
            && before != Some(status)
            && (before != Some(200) || error.kind() == ErrorKind::NotFound)
        {
            log::warn!("nothing is served of --repository {repository}: {error}");
        }
    }

    /// Asks one source after the other, until one lists something.
    fn search(&self) -> Result<Vec<RepositoryName>, Error> {
        let mut answers = Vec::new();
        let mut is_empty = false;
        let mut elsewhere = None;
        for source in SOURCES {
            if !self.is_worth_asking(source) {
                continue;
            }
            let answer = match self.ask(source) {
                Ok(listed) if !listed.repositories.is_empty() => {
                    self.settle(source, &answers);
                    return Ok(listed.repositories);
                }
                Ok(none) => {
                    is_empty = true;
                    let text = none
                        .elsewhere
                        .map(|beside| self.tell_elsewhere(source, beside));
                    elsewhere = elsewhere.or_else(|| text.clone());
                    text.unwrap_or_else(|| format!("{source} lists nothing"))
                }
                // A stranger who is asked who he is hasn't been refused: he asks again, and by name.
                Err(_)
                    if source == Source::OpenCatalog && self.is_worth_asking(Source::Catalog) =>
                {
                    continue;
                }
                Err(error) => error::final_answer(&error).ok_or(error)?,
            };
            if !answers.contains(&answer) {
                answers.push(answer);
            }
        }
        *lock(&self.discovery.proven) = None;
        if let Some(text) = elsewhere {
            self.discovery.warn(text);
            return Ok(Vec::new());
        }
        self.nothing_listed(&answers, is_empty)
    }

    /// The end of a search that has found nothing, or nobody who would tell.
    fn nothing_listed(
        &self,
        answers: &[String],
        is_empty: bool,
    ) -> Result<Vec<RepositoryName>, Error> {
        let text = format!(
            "{} lists no repositories ({})",
            self.options.authority,
            answers.join("; ")
        );
        let advice = |refusal: &str| advice(&self.options.authority, answers, refusal);
        let logged = advice(&self.explain_refusal());
        if is_empty {
            self.discovery
                .say(format!("{text}; should there be any, {logged}"));
            return Ok(Vec::new());
        }
        let told = format!("{text}; {}", advice(CREDENTIALS_ADVICE));
        Err(Error::new(ErrorKind::Refused, format!("{text}; {logged}")).telling(told))
    }

    fn settle(&self, source: Source, answers: &[String]) {
        let lasting = if source == Source::OpenCatalog {
            Source::Catalog
        } else {
            source
        };
        *lock(&self.discovery.proven) = Some(lasting);
        let instead = if answers.is_empty() {
            String::new()
        } else {
            format!(" ({})", answers.join("; "))
        };
        self.discovery
            .say(format!("repositories: those that {source} lists{instead}"));
    }

    fn tell_elsewhere(&self, source: Source, (count, alike): (usize, RepositoryName)) -> String {
        let prefix = self
            .options
            .prefix
            .as_ref()
            .map_or("", RepositoryName::as_str);
        format!(
            "none of the repositories that {source} lists ({count}, such as {alike}) lies below the prefix \
             {prefix}"
        )
    }

    fn is_worth_asking(&self, source: Source) -> bool {
        match source {
            Source::OpenCatalog => !self.authenticator.has_met(Scope::Catalog),
            Source::Harbor => self.authenticator.has_met_harbor(),
            // What was refused to a stranger without asking for credentials is refused to us.
            Source::Catalog => self.authenticator.has_met(Scope::Catalog),
            Source::ChartsIndex => true,
        }
    }

    fn ask(&self, source: Source) -> Result<Listed, Error> {
        let catalog = |scope| self.catalog(scope).map(|names| self.below(names));
        match source {
            Source::OpenCatalog => catalog(Scope::Stranger),
            Source::Harbor => self.harbor_repositories().map(Listed::from),
            Source::Catalog => catalog(Scope::Catalog),
            Source::ChartsIndex => self.indexed_repositories().map(Listed::from),
        }
    }

    /// What of a whole listing is wanted, or what is there instead.
    fn below(&self, names: BTreeSet<String>) -> Listed {
        let repositories = self.wanted(names.iter().cloned());
        let prefix = self
            .options
            .prefix
            .as_ref()
            .filter(|_| repositories.is_empty());
        let elsewhere = prefix.and_then(|prefix| {
            let mut others: Vec<RepositoryName> =
                names.iter().filter_map(|name| name.parse().ok()).collect();
            others.sort_by_cached_key(|name| Reverse(likeness(name.as_str(), prefix.as_str())));
            Some((others.len(), others.into_iter().next()?))
        });
        Listed {
            repositories,
            elsewhere,
        }
    }

    /// The names that are names, below the prefix.
    pub(super) fn wanted(&self, names: impl IntoIterator<Item = String>) -> Vec<RepositoryName> {
        let parse = |name: String| match name.parse::<RepositoryName>() {
            Ok(name) => Some(name),
            Err(error) => {
                log::debug!("skipped repository {name:?}: {error}");
                None
            }
        };
        let prefix = self.options.prefix.as_ref();
        let is_wanted = |name: &RepositoryName| prefix.is_none_or(|prefix| name.is_below(prefix));
        names
            .into_iter()
            .filter_map(parse)
            .filter(is_wanted)
            .collect()
    }
}

/// How many bytes two names begin with in common.
fn likeness(one: &str, other: &str) -> usize {
    one.bytes()
        .zip(other.bytes())
        .take_while(|(a, b)| a == b)
        .count()
}

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
        "Artifactory has a catalog for each of its repositories, not for all",
    ),
];

/// What may help; `refusal` is about credentials.
fn advice(authority: &str, answers: &[String], refusal: &str) -> String {
    let host = authority
        .split(':')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_of = |domain: &str| {
        host.strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let flag = "name them with --repository";
    if let Some((_, why)) = KNOWN.iter().find(|(domain, _)| is_of(domain)) {
        return format!("{why}: {flag}");
    }
    if answers.iter().any(|answer| answer.contains("/api/v2.0/")) {
        return format!(
            "Harbor lists to a robot that may list repositories, of the project that is the prefix in \
             --storage-registry-repo: give it that right, or {flag}"
        );
    }
    if answers
        .iter()
        .any(|answer| answer.ends_with("/v2/_catalog: not a listing"))
    {
        return format!("{authority} doesn't answer like a registry; check address and port");
    }
    if answers
        .iter()
        .any(|answer| answer.starts_with("GET http:") && answer.contains(": 400"))
    {
        return HTTPS_ADVICE.to_owned();
    }
    if answers
        .iter()
        .any(|answer| answer.contains(": 401") || answer.contains(": 403"))
    {
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
            advice(authority, &answers, CREDENTIALS_ADVICE)
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
