//! Listings as a whole (distribution-spec v1.1.0, "Listing Tags"): one loop for every listing of a
//! registry, which finds the next page by its link, by its number, or by the last name.
//!
//! `Link` headers point to wrong hosts, to plain http behind TLS, to paths that a proxy has
//! rewritten. So we keep our own scheme, host and path and adopt only the query of the next page,
//! which heals all of these and can't be used to send us elsewhere. A listing that ends before its
//! last page is an error, never a shorter listing.

use super::client::url::encode_query;
use super::client::{Ask, Client, Scope, UpstreamResponse, error};
use crate::budget::{MAX_LISTED_NAMES, MAX_LISTING, MAX_LISTING_PAGE};
use crate::oci::json::{BoundedList, BoundedText};
use crate::oci::reference::{MAX_REPOSITORY_NAME, MAX_TAG};
use crate::storage::{Error, ErrorKind, Result};
use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

/// Most pages of one listing: with 100 names each, ten times the largest registry we aim at.
const MAX_PAGES: usize = 5_000;
/// What a name takes besides its own bytes: its place in a set, and what an allocation costs.
const NAME: usize = 56;
/// Names asked for at a time: the most that distribution (`catalog.maxentries`) and ECR give, then what
/// the others do; then it's left to the registry.
const PAGE_LENGTHS: [usize; 2] = [1000, 100];
/// The same of numbered pages: the most that Harbor gives.
const NUMBERED_LENGTH: usize = 100;

/// A list of names, as much of it as a page may hold.
pub(super) type Names<T> = BoundedList<T, MAX_LISTED_NAMES>;
/// A name in a listing of repositories, and one of tags. What is too long for either is cut off one byte
/// later, so that it counts in its page, names nothing and takes no more memory than others.
pub(super) type RepositoryText = BoundedText<{ MAX_REPOSITORY_NAME + 1 }>;
pub(super) type TagText = BoundedText<{ MAX_TAG + 1 }>;

/// The texts of names; `None` if one of them is no text.
pub(super) fn texts<const MOST: usize>(names: Names<BoundedText<MOST>>) -> Option<Vec<String>> {
    names.0.into_iter().map(|name| name.0).collect()
}

/// A listing that a registry has.
pub(super) struct PagedListing<'a> {
    pub(super) client: &'a Client,
    pub(super) path: &'a str,
    pub(super) scope: Scope<'a>,
    /// Whether its pages are asked for by their number, as Harbor's; else by link or last name.
    pub(super) is_numbered: bool,
    /// The names on a page, or `None` if the body is no such page.
    pub(super) names: fn(&[u8]) -> Option<Vec<String>>,
}

/// What one attempt at a listing has come to.
enum Attempt {
    Whole(BTreeSet<String>),
    /// Fewer names than the registry counts.
    Short(BTreeSet<String>, Error),
    /// A page after the first doesn't exist any more.
    Lost(Error),
}

impl PagedListing<'_> {
    /// All names. If pages don't fit together, the listing is read again, once: a cursor is lost (zot and
    /// Harbor answer 404 and 400 when the name it stood for has been deleted), or a name slips through
    /// between two numbered pages. If the names are the same both times, the registry's count is wrong.
    pub(super) fn read(&self) -> Result<BTreeSet<String>> {
        let first = match self.attempt()? {
            Attempt::Whole(names) => return Ok(names),
            Attempt::Short(names, _) => Some(names),
            Attempt::Lost(_) => None,
        };
        match self.attempt()? {
            Attempt::Whole(names) => Ok(names),
            Attempt::Short(names, _) if first.as_ref() == Some(&names) => Ok(names),
            // The listing exists, only its next page doesn't: this is no final answer.
            Attempt::Short(_, error) | Attempt::Lost(error) => {
                let text = format!("{}; the listing changes while it's read", error.what());
                Err(Error::new(ErrorKind::Unavailable, text))
            }
        }
    }

    fn attempt(&self) -> Result<Attempt> {
        let (mut response, length) = self.first_page()?;
        let mut all = Collected::default();
        let (hasher, mut cursors) = (RandomState::new(), HashSet::new());
        let mut has_links = false;
        for number in 1..=MAX_PAGES {
            let page = self.page(response, number)?;
            // A registry that links at all links to every page.
            has_links |= page.linked.is_some();
            let is_full = length.is_some_and(|length| page.names.len() >= length);
            let last = page.names.last().cloned();
            let is_new = all.add(page.names, &page.what)?;
            let next = if self.is_numbered {
                let are_all = page.total.is_none_or(|total| all.names.len() >= total);
                if !are_all && !is_new {
                    let why = "fewer names than the registry counts";
                    return Ok(Attempt::Short(all.names, error::protocol(&page.what, why)));
                }
                // If a proxy removes both the link and the total, only a full page promises another.
                let is_last = page.linked.is_none() && (page.total.is_some() || !is_full);
                let goes_on = is_new && !(is_last && are_all);
                goes_on.then(|| numbered_query(number + 1))
            } else {
                // Trow goes on after a `last`, but links to nothing.
                let guess = length.zip(last).filter(|_| is_full && is_new && !has_links);
                let guess = guess.map(|(n, last)| format!("n={n}&last={}", encode_query(&last)));
                page.linked.or(guess)
            };
            let Some(next) = next else {
                return Ok(Attempt::Whole(all.names));
            };
            if !cursors.insert(hasher.hash_one(&next)) {
                let why = "links to a page that was read before";
                return Err(error::protocol(&page.what, why));
            }
            response = self.send(&next)?;
            let is_gone = matches!(response.status(), 400 | 404);
            if is_gone && !has_links && !self.is_numbered {
                return Ok(Attempt::Whole(all.names));
            } else if is_gone {
                return Ok(Attempt::Lost(self.client.refusal(response)));
            } else if response.status() != 200 {
                return Err(self.client.refusal(response));
            }
        }
        let what = format!("GET {}", self.path);
        Err(error::protocol(&what, format!("over {MAX_PAGES} pages")))
    }

    /// The first page, with the longest page length that the registry takes; that is remembered, because a
    /// registry that takes none would be asked three times for each listing.
    fn first_page(&self) -> Result<(UpstreamResponse, Option<usize>)> {
        if self.is_numbered {
            let response = self.send(&numbered_query(1))?;
            return self.good(response, Some(NUMBERED_LENGTH));
        }
        let known = self.client.too_long(self.scope);
        let mut too_long = known.unwrap_or(0);
        let mut is_doubtful = false;
        loop {
            let length = PAGE_LENGTHS.get(too_long).copied();
            let response = self.send(&length.map_or_else(String::new, |n| format!("n={n}")))?;
            if response.status() == 200 && is_doubtful {
                // An ingress may have shown a page while the registry restarted.
                let again = self.send(&format!("n={}", PAGE_LENGTHS[0]))?;
                if again.status() == 200 {
                    return self.good(again, Some(PAGE_LENGTHS[0]));
                }
            }
            if response.status() == 200 {
                self.client.note_too_long(self.scope, too_long);
                return Ok((response, length));
            }
            let refusal = self.client.refusal(response);
            match refusal.status() {
                // PAGINATION_NUMBER_INVALID (distribution), UNSUPPORTED (ECR): too long a page.
                Some(400 | 405) if length.is_some() => {}
                // zuul-registry shows a page for each query that it doesn't know.
                Some(404) if length.is_some() && known.is_none() && is_page(&refusal) => {
                    is_doubtful = true;
                }
                _ => return Err(refusal),
            }
            too_long += 1;
        }
    }

    fn good(
        &self,
        response: UpstreamResponse,
        length: Option<usize>,
    ) -> Result<(UpstreamResponse, Option<usize>)> {
        match response.status() {
            200 => Ok((response, length)),
            _ => Err(self.client.refusal(response)),
        }
    }

    fn send(&self, query: &str) -> Result<UpstreamResponse> {
        let ask = match self.scope {
            Scope::Catalog | Scope::OpenCatalog => Ask::CATALOG,
            Scope::Pull(_) => Ask::TAGS,
            Scope::Api(_) => Ask::JSON,
        };
        let path = format!("{}?{query}", self.path);
        self.client
            .send(path.trim_end_matches('?'), ask, self.scope)
    }

    /// One page. If the first is no listing, that is what the server is; a later one is only broken.
    fn page(&self, response: UpstreamResponse, number: usize) -> Result<ListingPage> {
        let what = response.what().to_owned();
        let linked = next_query(&response.texts("link"));
        let total = response.texts("x-total-count");
        let total = total.first().and_then(|total| total.parse().ok());
        let names = match (self.names)(&response.read(MAX_LISTING_PAGE)?) {
            Some(names) if names.len() <= MAX_LISTED_NAMES => names,
            Some(_) => {
                return Err(error::protocol(
                    &what,
                    format!("over {MAX_LISTED_NAMES} names"),
                ));
            }
            None if number == 1 => return Err(error::unexpected_body(&what, "not a listing")),
            None => return Err(error::protocol(&what, "not a listing")),
        };
        Ok(ListingPage {
            what,
            names,
            linked,
            total,
        })
    }
}

/// One page of a listing.
struct ListingPage {
    /// Method and URL, for messages.
    what: String,
    names: Vec<String>,
    /// The query of the next page, if the registry links to it.
    linked: Option<String>,
    /// How many names the whole listing has, if the registry says.
    total: Option<usize>,
}

/// The names of all pages so far, and what they take in bytes.
#[derive(Default)]
struct Collected {
    names: BTreeSet<String>,
    weight: usize,
}

impl Collected {
    /// Adds the names of a page; whether any of them is new.
    fn add(&mut self, page: Vec<String>, what: &str) -> Result<bool> {
        let before = self.names.len();
        self.weight += page.iter().map(|name| name.len() + NAME).sum::<usize>();
        if self.weight > MAX_LISTING {
            let why = format!("the listing is over {MAX_LISTING} bytes");
            return Err(error::protocol(what, why));
        }
        self.names.extend(page);
        Ok(self.names.len() > before)
    }
}

/// Whether the refusal is a page that no registry answers: its 404 says nothing about what was asked for.
fn is_page(refusal: &Error) -> bool {
    refusal.kind() == ErrorKind::Unavailable
}

fn numbered_query(number: usize) -> String {
    format!("page={number}&page_size={NUMBERED_LENGTH}")
}

/// The query of the next page, if one of the `Link` headers (RFC 8288) names one.
pub(super) fn next_query(headers: &[String]) -> Option<String> {
    let mut links = headers.iter().flat_map(|header| links(header));
    let (target, _) = links.find(|(_, parameters)| is_next(parameters))?;
    let query = target.split_once('?')?.1;
    let query = query.split('#').next()?.trim_end_matches('&');
    let is_plain = query.bytes().all(|b| b.is_ascii_graphic());
    (is_plain && !query.is_empty()).then(|| query.to_owned())
}

/// The links of one header as (target, parameters). A target ends at its `>`, so it may hold commas; one
/// without angle brackets, as Cloudflare's serverless registry writes it, ends at the first semicolon.
fn links(header: &str) -> Vec<(&str, &str)> {
    if !header.contains('<') {
        return header.split_once(';').into_iter().collect();
    }
    let mut links = Vec::new();
    let mut rest = header;
    while let Some((_, link)) = rest.split_once('<')
        && let Some((target, after)) = link.split_once('>')
    {
        let end = after.find('<').unwrap_or(after.len());
        links.push((target, &after[..end]));
        rest = &after[end..];
    }
    links
}

/// Whether `; rel=next` is among the parameters, with or without quotes.
fn is_next(parameters: &str) -> bool {
    parameters.split([';', ',']).any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
        let is_next = relations.any(|relation| relation.eq_ignore_ascii_case("next"));
        is_next && name.trim().eq_ignore_ascii_case("rel")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(header: &str) -> Option<String> {
        next_query(&[header.to_owned()])
    }

    #[test]
    fn the_query_of_the_next_page_is_found_in_every_spelling() {
        for header in [
            r#"</v2/_catalog?last=b&n=2>; rel="next""#,
            r#"<http://elsewhere/wrong/path?last=b&n=2>; rel="next""#,
            r#"<?last=b&n=2>;rel=next"#,
            r#"</x?last=a>; rel="prev", </x?last=b&n=2>; REL = "next""#,
            r#"</x?last=b&n=2&>; title="a, b"; rel="last next""#,
            r#"</x?last=b&n=2#f>; rel="next""#,
            "http://h/v2/x/tags/list?last=b&n=2; rel=next",
        ] {
            assert_eq!(next(header).as_deref(), Some("last=b&n=2"), "{header}");
        }
    }

    #[test]
    fn a_header_without_a_next_page_gives_no_query() {
        for header in [
            "",
            "nonsense",
            r#"</x?last=a>; rel="prev""#,
            r#"</x>; rel="next""#,
            r#"</x?>; rel="next""#,
            "</x?a b>; rel=next",
            "<x",
        ] {
            assert_eq!(next(header), None, "{header}");
        }
    }
}
