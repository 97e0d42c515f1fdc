//! Listings as a whole: the right page length, page after page, to the end.

use super::answer::Answer;
use super::auth::Scope;
use super::transport::Ask;
use super::{Registry, error, page};
use crate::storage::{Error, ErrorKind};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::fmt;

/// Names asked for at a time: the most that distribution (`catalog.maxentries`) and ECR give, then
/// what the others do; then it's left to the registry.
const PAGE_LENGTHS: [u32; 2] = [1000, 100];

impl Registry {
    /// A listing, all pages of it. A cursor that is lost on the way (zot and Harbor answer 404 and 400
    /// when the name it stood for has gone) is a reason to begin again, once.
    pub(super) fn list<P: Page>(
        &self,
        path: &str,
        scope: Scope,
    ) -> Result<BTreeSet<String>, Error> {
        match self.list_once::<P>(path, scope)? {
            Pages::All(names) => Ok(names),
            Pages::Lost(_) => match self.list_once::<P>(path, scope)? {
                Pages::All(names) => Ok(names),
                Pages::Lost(error) => {
                    // Not the listing is gone, only its next page.
                    let text = format!("{error}; the listing changes while it's read");
                    Err(Error::new(ErrorKind::Unavailable, text))
                }
            },
        }
    }

    /// One attempt at a listing. Stops when a page brings nothing new: some registries link in
    /// circles.
    fn list_once<P: Page>(&self, path: &str, scope: Scope) -> Result<Pages, Error> {
        let mut names = BTreeSet::new();
        let mut weight = 0;
        let mut links = false;
        let (mut answer, length) = self.first_page(path, scope)?;
        for _ in 0..page::MAX_PAGES {
            let what = answer.what().to_owned();
            let linked = page::next_query(&answer.texts("link"));
            let body = answer.read(page::MAX_PAGE)?;
            let page = serde_json::from_slice::<P>(&body).ok().and_then(P::names);
            let page = page.ok_or_else(|| match names.is_empty() {
                true => error::unfit(&what, "not a listing"),
                false => error::protocol(&what, "not a listing"),
            })?;
            // Who links at all links to every page there is.
            if page.len() > page::MAX_NAMES {
                return Err(error::protocol(
                    &what,
                    format!("over {} names", page::MAX_NAMES),
                ));
            }
            links |= linked.is_some();
            let next = linked.or_else(|| page::guessed_query(length, &page).filter(|_| !links));
            let known = names.len();
            weight += page::weight(page.iter());
            names.extend(page);
            if weight > page::MAX_LISTING {
                let why = format!("the listing is over {} bytes", page::MAX_LISTING);
                return Err(error::protocol(&what, why));
            }
            let Some(next) = next.filter(|_| names.len() > known) else {
                return Ok(Pages::All(names));
            };
            answer = self.fetch(&format!("{path}?{next}"), how(scope), scope)?;
            match answer.status() {
                200 => {}
                400 | 404 if !links => return Ok(Pages::All(names)),
                400 | 404 => return Ok(Pages::Lost(answer.into_error())),
                _ => return Err(answer.into_error()),
            }
        }
        Err(error::protocol(
            &format!("GET {path}"),
            format!("over {} pages", page::MAX_PAGES),
        ))
    }

    /// The first page, with the longest page length that the registry takes.
    fn first_page(&self, path: &str, scope: Scope) -> Result<(Answer, Option<u32>), Error> {
        let mut lengths = PAGE_LENGTHS.into_iter();
        loop {
            let length = lengths.next();
            let query = length.map_or(String::new(), |length| format!("?n={length}"));
            let answer = self.fetch(&format!("{path}{query}"), how(scope), scope)?;
            match answer.status() {
                200 => return Ok((answer, length)),
                // PAGINATION_NUMBER_INVALID (distribution), UNSUPPORTED (ECR): too long a page.
                400 | 405 if length.is_some() => {}
                _ => return Err(self.refusal(answer)),
            }
        }
    }
}

fn how(scope: Scope) -> Ask<'static> {
    if matches!(scope, Scope::Catalog | Scope::Stranger) {
        Ask::ListCatalog
    } else {
        Ask::List
    }
}

/// What became of a listing.
enum Pages {
    All(BTreeSet<String>),
    /// A page after the first isn't there any more.
    Lost(Error),
}

/// A page of a listing, whose names may be `null`.
pub(super) trait Page: for<'de> Deserialize<'de> {
    /// `None`, if it's no such page.
    fn names(self) -> Option<Vec<String>>;
}

/// A list of names, of which one more is kept than a page may hold: what else a page tells (GCR's
/// describes each image beside its tags) is none of them.
#[derive(Default)]
pub(super) struct Names(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        deserializer.deserialize_seq(Names::default())
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Names, A::Error> {
        while self.0.len() <= page::MAX_NAMES {
            match list.next_element()? {
                Some(name) => self.0.push(name),
                None => return Ok(self),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self)
    }
}

#[derive(Deserialize)]
pub(super) struct TagList {
    name: Option<IgnoredAny>,
    tags: Option<Names>,
}

impl Page for TagList {
    /// A repository that has no tags still has a name; what has neither is a gateway's JSON, and must
    /// not take all tags away.
    fn names(self) -> Option<Vec<String>> {
        match (self.tags, self.name) {
            (None, None) => None,
            (tags, _) => Some(tags.unwrap_or_default().0),
        }
    }
}
