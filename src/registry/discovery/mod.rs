//! Which repositories a registry holds, from the best source that lists any: those named by a flag,
//! Harbor's own API, the catalog, a charts index, or the prefix itself. No registry has to list anything (the catalog
//! isn't in the OCI spec), and many list nothing, or not to everyone.
//!
//! A lesser source is never asked because a better one fails for a moment: only an answer that would be
//! the same tomorrow, or an empty list, lets the next one be tried. Otherwise a bad minute of the
//! registry would shrink the index to what the lesser source knows.

mod advice;
mod catalog;
mod charts_index;
mod harbor;
mod prefix;

use super::client::{Client, Scope, error};
use super::endpoints::Endpoints;
use crate::oci::RepositoryName;
use crate::storage::{Error, ErrorKind, Result};
use crate::sync::lock;
use advice::advice;
use catalog::Catalog;
use charts_index::ChartsIndex;
use harbor::{Harbor, is_harbor};
use log::Level;
use prefix::Prefix;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

/// The public advice about a refusal; the log says more.
const CREDENTIALS_ADVICE: &str = "check what --storage-registry-config holds for this registry";

/// Of a listing that is empty.
const CACHE_HINT: &str = "a pull-through cache lists only what was pulled through it";

/// Where repositories are listed. In the order in which they're tried, except that the catalog is
/// asked twice: see [`ListingSource::OpenCatalog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListingSource {
    /// The catalog, asked without credentials, as every first request is: a Harbor is recognized by how
    /// it refuses this one, so recognizing it costs nothing.
    OpenCatalog,
    Harbor,
    Catalog,
    ChartsIndex,
    /// The catalog of the prefix's first component, as Artifactory has one for each of its repositories.
    KeyCatalog,
    /// The prefix itself, if it is a repository: where there is no catalog, nothing else may say so.
    Prefix,
}

impl ListingSource {
    const ALL: [ListingSource; 6] = [
        ListingSource::OpenCatalog,
        ListingSource::Harbor,
        ListingSource::Catalog,
        ListingSource::ChartsIndex,
        ListingSource::KeyCatalog,
        ListingSource::Prefix,
    ];

    /// `has_prefix`: whether there is a prefix, below which the catalog may not have looked.
    fn is_worth_asking(self, client: &Client, has_prefix: bool) -> bool {
        let is_challenged = client.authenticator.challenge(Scope::Catalog).is_some();
        match self {
            ListingSource::OpenCatalog => !is_challenged,
            ListingSource::Harbor => is_harbor(client),
            // What was refused to an anonymous request without a challenge is refused to us.
            ListingSource::Catalog => is_challenged,
            ListingSource::ChartsIndex => true,
            ListingSource::KeyCatalog | ListingSource::Prefix => has_prefix,
        }
    }
}

impl fmt::Display for ListingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListingSource::OpenCatalog | ListingSource::Catalog => "the catalog",
            ListingSource::Harbor => "Harbor's API",
            ListingSource::ChartsIndex => "charts-index:latest",
            ListingSource::KeyCatalog => "the catalog of the prefix",
            ListingSource::Prefix => "the prefix, as a repository,",
        })
    }
}

/// What a source lists below the prefix; if it's nothing, a sentence about what the catalog lists elsewhere.
type Listed = (Vec<RepositoryName>, Option<String>);

/// Finds the repositories of one registry, and remembers what earlier scans have taught.
pub(super) struct Discovery {
    prefix: Prefix,
    /// The repositories that are named by flags.
    named: Vec<RepositoryName>,
    catalog: Catalog,
    harbor: Harbor,
    charts_index: ChartsIndex,
    /// The source that has listed something, and will go on doing so.
    proven: Mutex<Option<ListingSource>>,
    /// The last text logged, which isn't logged again.
    last_logged: Mutex<String>,
    /// The status that the last listing of each repository named by a flag has come to.
    statuses: Mutex<BTreeMap<RepositoryName, u16>>,
}

impl Discovery {
    /// For the repositories below `prefix`, or for the `named` ones, unless there are none.
    pub(super) fn new(
        prefix: Option<RepositoryName>,
        named: Vec<RepositoryName>,
        concurrency: usize,
    ) -> Discovery {
        Discovery {
            prefix: Prefix(prefix),
            named,
            catalog: Catalog::default(),
            harbor: Harbor::new(concurrency),
            charts_index: ChartsIndex::default(),
            proven: Mutex::default(),
            last_logged: Mutex::default(),
            statuses: Mutex::default(),
        }
    }

    /// The repositories to scan.
    ///
    /// Errors when no source lists them, now or at all; then in one public sentence, which holds no word
    /// of the registry's but a status and a code.
    pub(super) fn repositories(&self, endpoints: &Endpoints) -> Result<Vec<RepositoryName>> {
        if !self.named.is_empty() {
            self.log_once(Level::Info, "repositories: those named by --repository");
            return Ok(self.named.clone());
        }
        let proven = *lock(&self.proven);
        if let Some(source) = proven {
            match self.ask(source, endpoints) {
                Ok((listed, _)) => {
                    // Whether an empty listing is credible is decided elsewhere; another source may list
                    // something next time.
                    *lock(&self.proven) = proven.filter(|_| !listed.is_empty());
                    return Ok(listed);
                }
                // Unless the source doesn't exist any more, a refusal is about our account, today.
                Err(error) if matches!(error.status(), Some(404 | 405 | 501)) => {
                    log::warn!("{source} lists no repositories any more: {error:#}");
                }
                Err(error) => return Err(error),
            }
        }
        self.search(endpoints)
    }

    /// Warns of a repository named by a flag that doesn't exist or is refused, one of several: the same of
    /// a repository that a source lists is no mistake of the operator's. A refusal of what was readable
    /// before is logged where its charts are kept, and that of the only repository where no chart is found.
    pub(super) fn note_listing<T>(&self, repository: &RepositoryName, listing: &Result<T>) {
        if self.named.len() < 2 || !self.named.contains(repository) {
            return;
        }
        let error = listing.as_ref().err();
        if error.is_some_and(|error| error.kind().is_no_answer()) {
            return;
        }
        let Some(status) = error.map_or(Some(200), Error::status) else {
            return;
        };
        let before = lock(&self.statuses).insert(repository.clone(), status);
        if let Some(error) = error
            && before != Some(status)
            && (before != Some(200) || error.kind() == ErrorKind::NotFound)
        {
            log::warn!(
                repository = repository.as_str(), status = status;
                "--repository {repository}: no charts served: {error:#}"
            );
        }
    }

    /// Asks one source after the other, until one lists something.
    fn search(&self, endpoints: &Endpoints) -> Result<Vec<RepositoryName>> {
        let client = &endpoints.client;
        let mut answers: Vec<String> = Vec::new();
        let (mut is_empty, mut elsewhere) = (false, None);
        for source in ListingSource::ALL {
            let has_prefix = self.prefix.0.is_some() && elsewhere.is_none();
            if !source.is_worth_asking(client, has_prefix) {
                continue;
            }
            let answer = match self.ask(source, endpoints) {
                Ok((listed, _)) if !listed.is_empty() => {
                    self.settle(source, &answers);
                    return Ok(listed);
                }
                Ok((_, others)) => {
                    is_empty = true;
                    elsewhere = elsewhere.or(others.clone());
                    others.unwrap_or_else(|| format!("{source} lists nothing"))
                }
                Err(error) => {
                    let is_open = source == ListingSource::OpenCatalog;
                    if is_open && ListingSource::Catalog.is_worth_asking(client, has_prefix) {
                        // A 401 to the anonymous request is not final: the next has credentials.
                        continue;
                    }
                    let Some(answer) = error::final_answer(&error) else {
                        return Err(after(&client.authority, &answers, source, error));
                    };
                    answer.to_owned()
                }
            };
            if !answers.contains(&answer) {
                answers.push(answer);
            }
        }
        *lock(&self.proven) = None;
        if let Some(text) = elsewhere {
            self.log_once(Level::Warn, &text);
            return Ok(Vec::new());
        }
        self.nothing_listed(client, &answers, is_empty)
    }

    /// The end of a search without a listing.
    fn nothing_listed(
        &self,
        client: &Client,
        answers: &[String],
        is_empty: bool,
    ) -> Result<Vec<RepositoryName>> {
        let authority = &client.authority;
        let what = if advice::all_want_credentials(answers) {
            "asks for credentials"
        } else if advice::all_refuse_http(answers) {
            "takes no requests over plain HTTP"
        } else {
            "lists no repositories"
        };
        let text = format!("{authority} {what} ({})", answers.join("; "));
        let logged = advice(authority, answers, &client.explain_refusal());
        if is_empty {
            let text = format!("{text}; if there should be any: {logged}; {CACHE_HINT}");
            self.log_once(Level::Warn, &text);
            return Ok(Vec::new());
        }
        let public = advice(authority, answers, CREDENTIALS_ADVICE);
        Err(Error::new(ErrorKind::Refused, &*text)
            .with_detail(format_args!("; {logged}"))
            .with_public(format!("{text}; {public}")))
    }

    fn settle(&self, source: ListingSource, answers: &[String]) {
        *lock(&self.proven) = Some(match source {
            ListingSource::OpenCatalog => ListingSource::Catalog,
            source => source,
        });
        let mut text = format!("repositories: those that {source} lists");
        if !answers.is_empty() {
            text.push_str(&format!(" ({})", answers.join("; ")));
        }
        self.log_once(Level::Info, &text);
    }

    fn ask(&self, source: ListingSource, endpoints: &Endpoints) -> Result<Listed> {
        let (client, prefix) = (&endpoints.client, &self.prefix);
        let names = match source {
            ListingSource::Harbor => self.harbor.names(client, prefix)?,
            ListingSource::ChartsIndex => self.charts_index.names(endpoints, prefix)?,
            ListingSource::OpenCatalog => self.catalog.names(client, Scope::OpenCatalog)?,
            ListingSource::Catalog => self.catalog.names(client, Scope::Catalog)?,
            ListingSource::KeyCatalog => catalog::names_of_key(client, prefix)?,
            ListingSource::Prefix => prefix.as_repository(endpoints)?,
        };
        let wanted = prefix.wanted(&names);
        // The others are asked for what lies below the prefix alone.
        let is_catalog = matches!(source, ListingSource::OpenCatalog | ListingSource::Catalog);
        match wanted.is_empty() && is_catalog {
            true => Ok((wanted, prefix.elsewhere(&names))),
            false => Ok((wanted, None)),
        }
    }

    /// Logs a text, unless it was the last one logged.
    fn log_once(&self, level: Level, text: &str) {
        let mut last = lock(&self.last_logged);
        if *last != text {
            text.clone_into(&mut last);
            log::log!(level, "{text}");
        }
    }
}

/// The failure of a source, for now, with what the others have answered before, and what helps against that.
fn after(authority: &str, answers: &[String], source: ListingSource, error: Error) -> Error {
    if answers.is_empty() {
        return error;
    }
    let before = format!("{authority} lists no repositories ({})", answers.join("; "));
    let public = format!("{before}; {source}: {}", error.kind());
    let advice = advice(authority, answers, CREDENTIALS_ADVICE);
    let error = error.in_context(&before).with_public(public);
    error.advise(advice)
}
