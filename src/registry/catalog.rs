//! The catalog (distribution's API, v2.8.2, docs/content/spec/api.md, "Listing Repositories"), as it
//! is listed to us. Some registries list to a stranger what is public instead of asking who he is
//! (zot with an `anonymousPolicy`, Quay), and what they keep from him would be missed by nobody. So if
//! there's a password for this very host, it's shown unasked, to the registry's own origin; but never
//! over an HTTP that nobody has asked for, where it would be anybody's to hear.

use super::auth::{CATALOG, REPOSITORIES, Scope};
use super::listing::{Names, Page};
use super::probe::Scheme;
use super::{Registry, error};
use crate::storage::Error;
use serde::Deserialize;
use std::collections::BTreeSet;

const PATH: &str = "/v2/_catalog";

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Names>,
}

impl Page for Catalog {
    fn names(self) -> Option<Vec<String>> {
        Some(self.repositories.unwrap_or_default().0)
    }
}

impl Registry {
    /// The names that the catalog lists to us. Only an answer that would be the same tomorrow makes us
    /// content with what a stranger sees.
    pub(super) fn catalog(&self, scope: Scope) -> Result<BTreeSet<String>, Error> {
        let open = self.list::<Catalog>(PATH, scope)?;
        let Some(generation) = self.authenticator.introduction() else {
            return Ok(open);
        };
        if self.options.scheme.is_none() && self.scheme()? == Scheme::Http {
            self.authenticator.withdraw(Some(generation));
            log::warn!(
                "only what strangers may see is listed: {} asks nobody for a password, and none is sent \
                 unasked over HTTP unless --storage-registry-scheme=HTTP says so",
                self.options.authority
            );
            return Ok(open);
        }
        self.authenticator.introduce(CATALOG);
        match self.list::<Catalog>(PATH, Scope::Catalog) {
            Ok(all) => {
                // It knows us, then; and what it keeps from strangers may be a 404 to them.
                if all.len() > open.len() {
                    self.authenticator.introduce(REPOSITORIES);
                }
                Ok(all)
            }
            Err(error) if error::final_answer(&error).is_none() => {
                self.authenticator.withdraw(None);
                Err(error)
            }
            Err(error) => {
                self.authenticator.withdraw(Some(generation));
                log::warn!("only what strangers may see is listed: {error}");
                Ok(open)
            }
        }
    }
}
