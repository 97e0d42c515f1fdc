//! Harbor's own API (`/api/v2.0`; harbor v2.11, api/v2.0/swagger.yaml: `listProjects`,
//! `listRepositories`). Harbor opens its catalog to administrators alone; this API lists to every
//! account what it may see, a project's robot included. It knows Basic and no tokens, and lists what is
//! public to anonymous requests instead of answering a challenge: so credentials are sent unasked, to
//! the registry's own origin and never beyond. No call here has a repository's name in its path, where
//! its slashes would have to be encoded twice.

use super::prefix::Prefix;
use crate::oci::RepositoryName;
use crate::registry::client::challenge::Challenge;
use crate::registry::client::{Ask, Client, Scope, error};
use crate::registry::paging::{Names, PagedListing, RepositoryText};
use crate::storage::{Error, ErrorKind, Result};
use crate::sync::{in_parallel, lock};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Harbor's API.
pub(super) struct Harbor {
    /// How many projects are listed at a time.
    concurrency: usize,
    /// The repositories of each project when it was last listed.
    projects: Mutex<Projects>,
}

type Projects = BTreeMap<String, BTreeSet<String>>;

impl Harbor {
    pub(super) fn new(concurrency: usize) -> Harbor {
        Harbor {
            concurrency,
            projects: Mutex::default(),
        }
    }

    /// The repositories of all projects that we may see; with a prefix, of its project alone, which
    /// needs no listing: older Harbors hide a private project from its own robot there.
    pub(super) fn names(&self, client: &Client, prefix: &Prefix) -> Result<BTreeSet<String>> {
        let last = lock(&self.projects).clone();
        let listed = match &prefix.0 {
            Some(name) => BTreeSet::from_iter(name.as_str().split('/').next().map(str::to_owned)),
            None => projects(client, last.is_empty())?,
        };
        let hidden = last.keys().filter(|project| !listed.contains(*project));
        let projects: Vec<&String> = listed.iter().chain(hidden).collect();
        let answers = in_parallel(&projects, self.concurrency, |project| {
            let path = format!("/api/v2.0/projects/{project}/repositories");
            list(client, &path, prefix.0.as_ref())
        });
        let mut now = Projects::new();
        let mut refusal = None;
        for (project, answer) in projects.into_iter().zip(answers) {
            let is_listed = listed.contains(project);
            match (answer, last.get(project)) {
                (Ok(names), _) => drop(now.insert(project.clone(), names)),
                (Err(error), Some(known)) if is_about_us(&error, is_listed) => {
                    log::warn!(
                        status = error.status();
                        "project {project} could not be listed, keeping its last known repositories: {error:#}"
                    );
                    now.insert(project.clone(), known.clone());
                }
                (Err(error), _) if error::final_answer(&error).is_some() => {
                    log::debug!(status = error.status(); "skipped project {project}: {error:#}");
                    refusal.get_or_insert(error);
                }
                (Err(error), _) => return Err(error),
            }
        }
        if let Some(refusal) = refusal.filter(|_| now.is_empty()) {
            return Err(refusal);
        }
        let names = now.values().flatten().cloned().collect();
        *lock(&self.projects) = now;
        Ok(names)
    }
}

/// Whether the registry is a Harbor: it guards its catalog by this realm, alone among registries and in
/// all its versions (v2.0 to v2.14, src/server/middleware/v2auth/auth.go).
pub(super) fn is_harbor(client: &Client) -> bool {
    let challenge = client.authenticator.challenge(Scope::Catalog);
    matches!(challenge, Some(Challenge::Basic { realm: Some(realm) }) if realm == "harbor")
}

/// Whether the refusal of a known project is about our account: its repositories will tell whether they
/// are still readable. A project that isn't listed any more and is refused has been deleted, unless the
/// request counted as anonymous (401).
fn is_about_us(error: &Error, is_listed: bool) -> bool {
    error.kind() == ErrorKind::Refused && (is_listed || error.status() == Some(401))
}

/// The projects that are listed to us. To Harbor a wrong or expired password is an anonymous request,
/// which it lists less to instead of refusing it: so the password is checked `first`.
fn projects(client: &Client, first: bool) -> Result<BTreeSet<String>> {
    if first {
        check_password(client)?;
    }
    let path = "/api/v2.0/projects";
    let mut projects = list(client, path, None)?;
    // A project's name is one part of a repository's, so it may stand in a path as it is.
    projects.retain(|name| !name.contains('/') && name.parse::<RepositoryName>().is_ok());
    if projects.is_empty() {
        return Err(error::unexpected_body(&format!("GET {path}"), "no project"));
    }
    Ok(projects)
}

/// `GET /v2/` (distribution-spec v1.1.0, end-1), which Harbor answers to accounts that it knows.
fn check_password(client: &Client) -> Result<()> {
    let has_password = client.authenticator.password_generation().is_some();
    if !has_password || client.withholds_credentials() {
        return Ok(());
    }
    client.get("/v2/", Ask::JSON, Scope::Api(None)).map(drop)
}

fn list(client: &Client, path: &str, below: Option<&RepositoryName>) -> Result<BTreeSet<String>> {
    let listing = PagedListing {
        client,
        path,
        scope: Scope::Api(below.map(RepositoryName::as_str)),
        is_numbered: true,
        names: names_on,
    };
    listing.read()
}

/// A project or a repository, of which its name is enough.
#[derive(Deserialize)]
struct Named {
    name: RepositoryText,
}

fn names_on(page: &[u8]) -> Option<Vec<String>> {
    let page: Option<Names<Named>> = serde_json::from_slice(page).ok()?;
    let named = page.unwrap_or_default().0.into_iter();
    named.map(|named| named.name.0).collect()
}
