//! Harbor's own API (`/api/v2.0`; harbor v2.11, api/v2.0/swagger.yaml: `listProjects`,
//! `listRepositories`). Harbor opens its catalog to administrators alone; this lists to anyone what
//! he may see, a project's robot included. It knows Basic and no tokens, and tells strangers what
//! is public instead of asking who they are: so credentials are sent unasked, to the registry's own
//! origin and never beyond. No call here has a repository's name in its path, where its slashes
//! would have to be encoded twice.

use super::auth::Scope;
use super::shared::lock;
use super::transport::Ask;
use super::{Registry, error, page};
use crate::oci::RepositoryName;
use crate::oci::json::holds_over;
use crate::storage::{Error, ErrorKind};
use crate::sync::in_parallel;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Names asked for at a time: the most that Harbor gives.
const PAGE_SIZE: usize = 100;

/// What each project held when it was last listed.
pub(super) type Projects = BTreeMap<String, Vec<RepositoryName>>;

/// A project or a repository, of which its name is enough.
#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Registry {
    /// The repositories of all projects that we may see; with a prefix, of its project alone, which
    /// needs no listing: older Harbors hide a private project from its own robot there.
    pub(super) fn harbor_repositories(&self) -> Result<Vec<RepositoryName>, Error> {
        let last = lock(&self.discovery.projects).clone();
        let listed = match &self.options.prefix {
            Some(prefix) => prefix
                .as_str()
                .split('/')
                .next()
                .map(str::to_owned)
                .into_iter()
                .collect(),
            None => self.projects(last.is_empty())?,
        };
        let hidden = last.keys().filter(|project| !listed.contains(*project));
        let projects: Vec<&String> = listed.iter().chain(hidden).collect();
        let answers = in_parallel(&projects, self.options.connections, |project| {
            self.project(project, last.get(*project), listed.contains(*project))
        });
        let mut now = Projects::new();
        let mut refusal = None;
        for (project, answer) in projects.into_iter().zip(answers) {
            match answer {
                Ok(repositories) => drop(now.insert(project.clone(), repositories)),
                Err(error) if error::final_answer(&error).is_some() => {
                    log::debug!("skipped project {project}: {error}");
                    refusal.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(refusal) = refusal.filter(|_| now.is_empty()) {
            return Err(refusal);
        }
        let repositories = now.values().flatten().cloned().collect();
        *lock(&self.discovery.projects) = now;
        Ok(repositories)
    }

    /// The projects that are listed to us. Harbor takes whoever shows a wrong or an expired password
    /// for a stranger and lists less to him, where others refuse: so that's found out `first`.
    fn projects(&self, first: bool) -> Result<BTreeSet<String>, Error> {
        if first {
            self.check_password()?;
        }
        let path = "/api/v2.0/projects";
        let mut projects = self.api_list(path)?;
        // A project's name is one part of a repository's, so it may stand in a path as it is.
        projects.retain(|name| !name.contains('/') && name.parse::<RepositoryName>().is_ok());
        if projects.is_empty() {
            return Err(error::unfit(&format!("GET {path}"), "no project"));
        }
        Ok(projects)
    }

    /// `GET /v2/` (distribution-spec v1.1.0, end-1), which Harbor answers to those it knows.
    fn check_password(&self) -> Result<(), Error> {
        let scope = Scope::Api(None);
        if self.authenticator.known(&self.transport, scope)?.is_none() {
            return Ok(());
        }
        self.get(
            "/v2/",
            Ask::Get {
                accept: "application/json",
            },
            scope,
        )
        .map(drop)
    }

    /// The repositories of one project, of which these were known.
    fn project(
        &self,
        project: &str,
        known: Option<&Vec<RepositoryName>>,
        is_listed: bool,
    ) -> Result<Vec<RepositoryName>, Error> {
        let names = self.api_list(&format!("/api/v2.0/projects/{project}/repositories"));
        match (names, known) {
            (Ok(names), _) => Ok(self.wanted(names)),
            // It was ours to see: whether it still is, its repositories will tell. A project that isn't
            // listed any more and is refused to us has gone, unless we're strangers (401).
            (Err(error), Some(known))
                if error.kind() == ErrorKind::Refused
                    && (is_listed || error::status_of(&error) == Some(401)) =>
            {
                log::warn!("project {project} stays as it was: {error}");
                Ok(known.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// One listing, all pages of it. Pages are numbered, so when something is deleted meanwhile,
    /// something else slips through between two of them. Then the total isn't reached, and the listing
    /// is read again: what is the same both times is all there is.
    fn api_list(&self, path: &str) -> Result<BTreeSet<String>, Error> {
        let (names, is_complete) = self.api_list_once(path)?;
        if is_complete {
            return Ok(names);
        }
        let (again, is_complete) = self.api_list_once(path)?;
        if is_complete || again == names {
            return Ok(again);
        }
        let text =
            format!("GET {path}: fewer names than it counts; the listing changes while it's read");
        Err(Error::new(ErrorKind::Unavailable, text))
    }

    /// All pages, and whether they hold as many names as there are.
    fn api_list_once(&self, path: &str) -> Result<(BTreeSet<String>, bool), Error> {
        let scope = Scope::Api(self.options.prefix.as_ref());
        let mut names = BTreeSet::new();
        let mut weight = 0;
        for number in 1..=page::MAX_PAGES {
            let query = format!("page={number}&page_size={PAGE_SIZE}");
            let answer = self.fetch(&format!("{path}?{query}"), Ask::List, scope)?;
            if answer.status() != 200 {
                return Err(answer.into_error());
            }
            let what = answer.what().to_owned();
            let is_linked = page::next_query(&answer.texts("link")).is_some();
            let total = answer
                .texts("x-total-count")
                .first()
                .and_then(|total| total.parse::<usize>().ok());
            let body = answer.read(page::MAX_PAGE)?;
            if holds_over(page::MAX_NAMES, &body) {
                return Err(error::protocol(
                    &what,
                    format!("over {} names", page::MAX_NAMES),
                ));
            }
            let page = serde_json::from_slice::<Option<Vec<Named>>>(&body);
            let page = page.map_err(|_| match names.is_empty() {
                true => error::unfit(&what, "not a listing"),
                false => error::protocol(&what, "not a listing"),
            })?;
            let page = page.unwrap_or_default();
            // Of a proxy that lets neither the link nor the total pass, a full page is all we hear.
            let is_last = !is_linked && (total.is_some() || page.len() < PAGE_SIZE);
            let known = names.len();
            weight += page::weight(page.iter().map(|named| &named.name));
            names.extend(page.into_iter().map(|named| named.name));
            if weight > page::MAX_LISTING {
                return Err(error::protocol(
                    &what,
                    format!("the listing is over {} bytes", page::MAX_LISTING),
                ));
            }
            let are_all = total.is_none_or(|total| names.len() >= total);
            if (is_last && are_all) || names.len() == known {
                return Ok((names, are_all));
            }
        }
        Err(error::protocol(
            &format!("GET {path}"),
            format!("over {} pages", page::MAX_PAGES),
        ))
    }
}
