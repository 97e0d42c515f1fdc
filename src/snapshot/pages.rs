//! Responses that are rendered when they are first asked for (indexes of prefixes, the JSON API), each once
//! however many requests want it, and kept within a bound. One is rendered at a time, so that many
//! requests for different ones never take the memory of them all.

use super::api::ChartsQuery;
use super::list::ChartList;
use super::repository::IndexFormat;
use crate::budget::PAGES;
use crate::oci::RepositoryName;
use crate::representation::Representation;
use crate::sync::{Gate, GateLimits, Lru, Pass, lock};
use core::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a page counts at least, in bytes. So at most 4,096 are kept: few enough to look for the oldest among
/// them all.
const MIN_WEIGHT: usize = 4 * 1024;
/// One large page is rendered at a time, and a small one beside it. Each request that waits holds a
/// connection and its thread, of which there are 1,024.
const RENDERING: GateLimits = GateLimits {
    at_once: 1,
    per_key: 1,
    waiting: 96,
};
/// A page that is expected to have more bytes than this is a large one: it takes some milliseconds.
const LARGE: usize = 1024 * 1024;
/// How long a request waits for pages of others to be rendered first: the largest take a second each.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The turn to render something.
pub(crate) type Turn = Pass<IpAddr>;

/// Why there is no page.
#[derive(Debug, PartialEq, Eq)]
pub enum PageError {
    /// Nothing of that name is listed; a sentence that says so.
    NotFound(String),
    /// Too many requests wait for pages.
    Busy,
}

/// What is rendered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum PageKey {
    /// The index of what lies below a prefix, or of all.
    Index(Option<RepositoryName>, IndexFormat),
    /// Charts for programs.
    Charts(ChartsQuery),
    /// So many that aren't listed, from one on.
    Skipped(usize, usize),
    /// A page for people, by a name of its own.
    Html(String),
    /// What is listed below a prefix: no page, but what pages for people are made of.
    ChartList(RepositoryName),
}

/// What is kept of one.
#[derive(Clone)]
enum Rendered {
    Page(Arc<Representation>),
    ChartList(Arc<ChartList>),
}

/// The pages of one snapshot.
pub(super) struct Pages {
    kept: Mutex<Lru<PageKey, Rendered>>,
    /// For small pages and for large ones. Shared with the snapshots before and after this one.
    rendering: [Arc<Gate<IpAddr>>; 2],
}

impl Pages {
    /// None yet. `last` are those of the snapshot before.
    pub(super) fn new(last: Option<&Pages>) -> Pages {
        let gates = || [Gate::new(RENDERING), Gate::new(RENDERING)];
        Pages {
            kept: Mutex::new(Lru::new(PAGES)),
            rendering: last.map_or_else(gates, |last| last.rendering.clone()),
        }
    }

    /// The turn to make something of so many bytes. No client waits for all that another one asks for.
    pub(super) fn turn(&self, client: IpAddr, expected: usize) -> Option<Turn> {
        let gate = &self.rendering[usize::from(expected > LARGE)];
        gate.enter(client, LONGEST_WAIT)
    }

    /// The page, if it is there already.
    pub(super) fn kept(&self, key: &PageKey) -> Option<Arc<Representation>> {
        match lock(&self.kept).get(key)? {
            Rendered::Page(page) => Some(page),
            Rendered::ChartList(_) => None,
        }
    }

    /// What is listed below a prefix, as `make` finds it.
    ///
    /// Errors when too many requests wait.
    pub(super) fn listing(
        &self,
        prefix: RepositoryName,
        client: IpAddr,
        make: impl FnOnce() -> ChartList,
    ) -> Result<Arc<ChartList>, PageError> {
        // To sort thousands of charts takes as long as to render a large page.
        let make = || Ok(Rendered::ChartList(Arc::new(make())));
        match self.get_boxed(
            PageKey::ChartList(prefix),
            client,
            LARGE + 1,
            Box::new(make),
        )? {
            Rendered::ChartList(listing) => Ok(listing),
            Rendered::Page(_) => Err(PageError::Busy),
        }
    }

    /// The page, as `render` makes it, of about so many bytes.
    ///
    /// Errors as `render` does, and when too many requests wait.
    pub(super) fn get(
        &self,
        key: PageKey,
        client: IpAddr,
        expected: usize,
        render: impl FnOnce() -> Result<Arc<Representation>, PageError>,
    ) -> Result<Arc<Representation>, PageError> {
        let make = || render().map(Rendered::Page);
        match self.get_boxed(key, client, expected, Box::new(make))? {
            Rendered::Page(page) => Ok(page),
            Rendered::ChartList(_) => Err(PageError::Busy),
        }
    }

    fn get_boxed(
        &self,
        key: PageKey,
        client: IpAddr,
        expected: usize,
        make: Box<dyn FnOnce() -> Result<Rendered, PageError> + '_>,
    ) -> Result<Rendered, PageError> {
        let kept = || lock(&self.kept).get(&key);
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        let _turn = self.turn(client, expected).ok_or(PageError::Busy)?;
        // It may have been made while this request waited.
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        let made = make()?;
        let weight = match &made {
            Rendered::Page(page) => page.weight(),
            Rendered::ChartList(list) => list.weight(),
        };
        lock(&self.kept).insert(key, made.clone(), weight.max(MIN_WEIGHT));
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::tests::CLIENT;
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    fn key(number: usize) -> PageKey {
        PageKey::Skipped(number, 0)
    }

    fn page(length: usize) -> Arc<Representation> {
        Arc::new(Representation::new(vec![b'a'; length]))
    }

    #[test]
    fn a_page_that_many_requests_want_is_rendered_once() {
        let (pages, rendered) = (Pages::new(None), AtomicUsize::new(0));
        let render = || {
            rendered.fetch_add(1, Ordering::Relaxed);
            Ok(page(10))
        };
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| pages.get(key(1), CLIENT, 10, render).unwrap());
            }
        });
        assert_eq!(rendered.into_inner(), 1);
    }

    #[test]
    fn a_page_that_panics_leaves_the_next_request_its_turn() {
        let pages = Pages::new(None);
        let panic = AssertUnwindSafe(|| pages.get(key(1), CLIENT, 1, || panic!("on purpose")));
        assert!(catch_unwind(panic).is_err());
        assert!(pages.get(key(1), CLIENT, 1, || Ok(page(1))).is_ok());
        // The gate is the next snapshot's too.
        let next = Pages::new(Some(&pages));
        assert!(next.get(key(1), CLIENT, 1, || Ok(page(1))).is_ok());
    }

    #[test]
    fn a_small_page_does_not_wait_for_large_ones() {
        let pages = Pages::new(None);
        let other = [127, 0, 0, 2].into();
        let _turn = pages.turn(CLIENT, LARGE + 1);
        assert!(pages.get(key(1), other, LARGE, || Ok(page(1))).is_ok());
    }
}
