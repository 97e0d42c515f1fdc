//! The catalog (distribution's API, v2.8.2, docs/content/spec/api.md, "Listing Repositories"). Some
//! registries list what is public to an anonymous request instead of answering a challenge (zot with an
//! `anonymousPolicy`, Quay), and what they hide would be missing without a trace. So if there's a
//! password for this very host, it's sent unasked, to the registry's own origin, and so it is to a registry
//! that refuses the catalog without saying what it wants; but never over an HTTP
//! that no flag asked for, where anyone on the way could read it.

use super::prefix::Prefix;
use crate::registry::client::challenge::Challenge;
use crate::registry::client::{Client, Scope, error};
use crate::registry::paging::{Names, PagedListing, RepositoryText, texts};
use crate::storage::Result;
use crate::sync::lock;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// How the catalog of one registry is listed.
#[derive(Default)]
pub(super) struct Catalog {
    /// The state of the secret file that was refused when it was sent unasked, or withheld.
    refused: Mutex<Option<u64>>,
}

impl Catalog {
    /// The names that the catalog lists. Only an answer that would be the same tomorrow makes the public
    /// ones suffice.
    pub(super) fn names(&self, client: &Client, scope: Scope) -> Result<BTreeSet<String>> {
        let open = read(client, scope);
        let generation = match (&open, self.unasked(client)) {
            (Err(error), _) if !matches!(error.status(), Some(401 | 403 | 404)) => return open,
            (_, None) => return open,
            (_, Some(generation)) => generation,
        };
        let refuse = |why: &str| {
            if open.is_ok() {
                *lock(&self.refused) = Some(generation);
                log::warn!("listing public repositories only: {why}");
            }
        };
        if client.withholds_credentials() {
            let authority = &client.authority;
            refuse(&format!(
                "{authority} did not ask for credentials, and they are not sent unasked over HTTP unless \
                 --storage-registry-scheme=HTTP says so"
            ));
            return open;
        }
        let authenticator = &client.authenticator;
        let unasked = Some(Challenge::Basic { realm: None });
        authenticator.set_challenge(Scope::Catalog, unasked.clone());
        match read(client, Scope::Catalog) {
            Ok(all) => {
                // The password counts, then; and without it a repository of any name may be a 404.
                let any = Scope::Pull("");
                let is_more = open.is_ok_and(|open| all.len() > open.len());
                if is_more && authenticator.challenge(any).is_none() {
                    authenticator.set_challenge(any, unasked);
                }
                Ok(all)
            }
            Err(error) => {
                authenticator.set_challenge(Scope::Catalog, None);
                if error::final_answer(&error).is_none() {
                    return Err(error);
                }
                refuse(&format!("{error:#}"));
                open.map_err(|_| error)
            }
        }
    }

    /// The state of the secret file whose password is worth sending unasked: the catalog has neither asked
    /// for it nor refused it.
    fn unasked(&self, client: &Client) -> Option<u64> {
        let authenticator = &client.authenticator;
        let generation = authenticator.password_generation()?;
        let is_new = *lock(&self.refused) != Some(generation);
        let is_asked = authenticator.challenge(Scope::Catalog).is_some();
        (is_new && !is_asked).then_some(generation)
    }
}

/// The names in the catalog that Artifactory has for each of its own repositories, the key of which is the
/// first component of a path (its "repository path method"). They are listed below the key, or with it.
pub(super) fn names_of_key(client: &Client, prefix: &Prefix) -> Result<BTreeSet<String>> {
    let key = prefix.key();
    let names = read_at(client, &format!("/v2/{key}/_catalog"), Scope::Catalog)?;
    let start = format!("{key}/");
    if names.iter().all(|name| name.starts_with(&start)) {
        return Ok(names);
    }
    Ok(names.iter().map(|name| format!("{start}{name}")).collect())
}

fn read(client: &Client, scope: Scope) -> Result<BTreeSet<String>> {
    read_at(client, "/v2/_catalog", scope)
}

fn read_at(client: &Client, path: &str, scope: Scope) -> Result<BTreeSet<String>> {
    let listing = PagedListing {
        client,
        path,
        scope,
        is_numbered: false,
        names: names_on,
    };
    listing.read()
}

#[derive(Deserialize)]
struct CatalogPage {
    repositories: Option<Names<RepositoryText>>,
}

fn names_on(page: &[u8]) -> Option<Vec<String>> {
    let page: CatalogPage = serde_json::from_slice(page).ok()?;
    texts(page.repositories.unwrap_or_default())
}
