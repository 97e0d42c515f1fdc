//! Responses that are rendered when they are first asked for (indexes of prefixes, the JSON API), each once
//! however many requests want it, and kept within a bound. One is rendered at a time, so that many
//! requests for different ones never take the memory of them all.

use super::repository::IndexFormat;
use crate::oci::RepositoryName;
use crate::representation::Representation;
use crate::sync::{Gate, GateLimits, Lru, lock};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Most bytes of pages that are kept: the indexes of a registry of 30,000 versions, each team's once.
/// One that is larger is kept alone.
const MAX_KEPT: usize = 32 * 1024 * 1024;
/// What a page counts at least, in bytes. So at most 8,192 are kept: one for each prefix of a tree of 5,000
/// repositories, and few enough to look for the oldest among them all.
const MIN_WEIGHT: usize = 4 * 1024;
/// One page is rendered at a time. Each request that waits holds a connection and its thread, of which
/// there are 1,024.
const RENDERING: GateLimits = GateLimits {
    at_once: 1,
    per_key: 1,
    waiting: 192,
};
/// How long a request waits for pages of others to be rendered first: the largest take a second each.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

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
    /// The index of what lies below a prefix.
    Index(RepositoryName, IndexFormat),
    /// All charts.
    Charts,
    /// All versions of one.
    Chart(String),
    /// One version.
    Version(String, String),
    /// The newest release of one.
    Latest(String),
    /// So many that aren't listed, from one on.
    Skipped(usize, usize),
}

/// The pages of one snapshot.
pub(super) struct Pages {
    kept: Mutex<Lru<PageKey, Arc<Representation>>>,
    /// Shared with the snapshots before and after this one.
    rendering: Arc<Gate<()>>,
}

impl Pages {
    /// None yet. `last` are those of the snapshot before.
    pub(super) fn new(last: Option<&Pages>) -> Pages {
        let rendering = last.map(|last| last.rendering.clone());
        Pages {
            kept: Mutex::new(Lru::new(MAX_KEPT)),
            rendering: rendering.unwrap_or_else(|| Gate::new(RENDERING)),
        }
    }

    /// The page, as `render` makes it.
    ///
    /// Errors as `render` does, or when too many requests wait.
    pub(super) fn get(
        &self,
        key: PageKey,
        render: impl FnOnce() -> Result<Arc<Representation>, PageError>,
    ) -> Result<Arc<Representation>, PageError> {
        if let Some(page) = lock(&self.kept).get(&key) {
            return Ok(page);
        }
        let _pass = self
            .rendering
            .enter((), LONGEST_WAIT)
            .ok_or(PageError::Busy)?;
        // It may have been rendered while this request waited.
        if let Some(page) = lock(&self.kept).get(&key) {
            return Ok(page);
        }
        let page = render()?;
        lock(&self.kept).insert(key, page.clone(), weight(&page));
        Ok(page)
    }
}

/// The compressed form takes a quarter of the bytes at most.
fn weight(page: &Representation) -> usize {
    let bytes = page.identity().bytes.len();
    (bytes + bytes / 4).max(MIN_WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    fn key(number: usize) -> PageKey {
        PageKey::Chart(number.to_string())
    }

    fn page(length: usize) -> Result<Arc<Representation>, PageError> {
        Ok(Arc::new(Representation::new(vec![b'a'; length])))
    }

    #[test]
    fn a_page_that_many_requests_want_is_rendered_once() {
        let (pages, rendered) = (Pages::new(None), AtomicUsize::new(0));
        let render = || {
            rendered.fetch_add(1, Ordering::Relaxed);
            page(10)
        };
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| pages.get(key(1), render).unwrap());
            }
        });
        assert_eq!(rendered.into_inner(), 1);
    }

    #[test]
    fn a_page_that_fails_or_panics_leaves_the_next_request_its_turn() {
        let pages = Pages::new(None);
        let missing = || Err(PageError::NotFound("no such chart".to_owned()));
        assert!(pages.get(key(1), missing).is_err());
        let panic = AssertUnwindSafe(|| pages.get(key(1), || panic!("on purpose")));
        assert!(catch_unwind(panic).is_err());
        assert!(pages.get(key(1), || page(1)).is_ok());
        // The gate is the next snapshot's too.
        assert!(Pages::new(Some(&pages)).get(key(1), || page(1)).is_ok());
    }

    #[test]
    fn small_pages_count_so_much_that_their_number_is_bounded() {
        assert_eq!(weight(&page(1).unwrap()), MIN_WEIGHT);
        assert_eq!(weight(&page(40_000).unwrap()), 50_000);
    }
}
