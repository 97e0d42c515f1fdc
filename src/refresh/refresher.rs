//! One refresh or check at a time: what is scanned, what is believed of it, and when a snapshot is built.

use super::report::{OVER_BOUND, no_chart, report};
use crate::inventory::{CheckScope, Filter, Inventory, Listings, Scan, Unread, contained};
use crate::oci::{Reference, RepositoryName};
use crate::pacing::Backoff;
use crate::snapshot::{IndexStyle, Snapshot};
use crate::storage::{Error, ErrorKind, Former, Revision, Storage};
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// If something could not be read, the storage is scanned again after this time even if its revision is
/// unchanged: the revision doesn't change when a blob has been copied to its end.
const RETRY_UNREAD: Duration = Duration::from_secs(5);
/// How often a first scan in which something gave no answer is repeated before it's served as it is: a
/// replica that starts while the registry stumbles must not show less than the others, and one artifact
/// that never answers must not keep it from starting.
const FIRST_ATTEMPTS: u32 = 3;
/// Pauses between the attempts of [`once`].
const ONCE_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_ONCE_PAUSE: Duration = Duration::from_secs(10);
const LONGER_THAN_A_SCAN: Duration = Duration::from_secs(24 * 3600);
/// Due tags that are checked in one go, for each request at a time: a refresh waits for them, so that is
/// a few round trips.
const CHECKED_AT_ONCE: usize = 8;

/// What to scan, and how the index is written.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests at a time.
    pub concurrency: usize,
    /// Which repositories, tags and versions are asked for.
    pub filter: Filter,
    /// How indexes are written.
    pub style: IndexStyle,
}

/// What it knows from one refresh to the next.
pub(super) struct Refresher<'a> {
    storage: &'a dyn Storage,
    options: Options,
    /// After how long a known tag is checked again; none if each refresh is to check all.
    check_interval: Option<Duration>,
    inventory: Inventory,
    last_scan: Option<LastScan>,
    /// Since when all listings are suspiciously empty.
    empty_since: Option<Instant>,
    /// How many first scans were incomplete.
    incomplete: u32,
    /// Whether an incomplete first scan is never served.
    is_strict: bool,
}

/// The last refresh that succeeded.
struct LastScan {
    revision: Option<Revision>,
    is_complete: bool,
    at: Instant,
}

impl LastScan {
    /// Whether a scan of a storage that is at `revision` now would find nothing else.
    fn still_holds(&self, revision: Option<Revision>) -> bool {
        let is_same = revision.is_some() && self.revision == revision;
        is_same && (self.is_complete || self.at.elapsed() < RETRY_UNREAD)
    }
}

impl<'a> Refresher<'a> {
    /// Knows nothing yet.
    pub(super) fn new(
        storage: &'a dyn Storage,
        options: Options,
        check_interval: Option<Duration>,
    ) -> Refresher<'a> {
        let inventory = Inventory::new(options.filter.clone());
        Refresher {
            storage,
            options,
            check_interval,
            inventory,
            last_scan: None,
            empty_since: None,
            incomplete: 0,
            is_strict: false,
        }
    }

    /// A snapshot of what former scans have left on disk, and as of when, if they have left charts.
    pub(super) fn restore(&mut self) -> Option<(Snapshot, String)> {
        let start = Start::now(self.storage);
        let Former { storage, as_of } = self.storage.former()?;
        let scan = Scan::new(
            &*storage,
            self.options.concurrency,
            self.check_interval,
            false,
        );
        if let Err(error) = contained(|| scan.restore(&mut self.inventory)) {
            log::warn!("what former scans have left can't be read: {error:#}");
        }
        if !self.inventory.has_charts() {
            return None;
        }
        self.inventory.take_changed();
        Some((self.build(None, start), as_of))
    }

    /// Lists everything, and reads what is new: a snapshot, or `None` when the last one still holds.
    ///
    /// Errors when nothing can be listed, or when the result is not credible.
    pub(super) fn refresh(&mut self, last: Option<&Snapshot>) -> Result<Option<Snapshot>, Error> {
        let start = Start::now(self.storage);
        let revision = self.storage.revision();
        if self
            .last_scan
            .as_ref()
            .is_some_and(|scan| scan.still_holds(revision))
        {
            return Ok(None);
        }
        let scope = match self.check_interval {
            None => CheckScope::All,
            Some(_) if last.is_none() => CheckScope::First,
            Some(_) => CheckScope::New,
        };
        let scan = self.scan(last.is_none());
        let listings = self.storage.repositories().and_then(|repositories| {
            let listings = scan.list(&self.inventory, repositories, scope);
            listings.failure().cloned().map_or(Ok(listings), Err)
        });
        let listings = self.credible(listings)?;
        scan.refresh(&mut self.inventory, listings, scope);
        let unread = self.inventory.unread();
        if last.is_none() {
            self.keep(true);
            self.check_first_scan_is_complete(&unread)?;
        }
        let is_complete = unread.count == 0;
        if is_complete
            && self
                .last_scan
                .as_ref()
                .is_some_and(|scan| !scan.is_complete)
        {
            log::info!("every repository and tag can be read again");
        }
        self.last_scan = Some(LastScan {
            revision,
            is_complete,
            at: Instant::now(),
        });
        Ok(self.snapshot(last, start))
    }

    /// Checks some of the tags that are due, and of those to `recheck`: a snapshot, if anything has changed.
    /// None while listings are suspiciously empty: the tags' 404 would then empty the index one by one.
    pub(super) fn check(
        &mut self,
        last: Option<&Snapshot>,
        rechecks: &BTreeSet<(RepositoryName, Reference)>,
    ) -> Option<Snapshot> {
        if self.empty_since.is_some() {
            return None;
        }
        let start = Start::now(self.storage);
        for (repository, tag) in rechecks {
            self.inventory.recheck(repository, tag, start.time);
        }
        let most = self.options.concurrency * CHECKED_AT_ONCE;
        self.scan(false)
            .check(&mut self.inventory, CheckScope::Due(most));
        last.and_then(|last| self.snapshot(Some(last), start))
    }

    /// When the next tag is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        match self.empty_since {
            None => self.inventory.next_due(),
            Some(_) => None,
        }
    }

    /// How many repositories and tags gave no answer, or were not asked for yet.
    pub(super) fn unread(&self) -> usize {
        self.inventory.unread().unanswered
    }

    fn scan(&self, is_first: bool) -> Scan<'a> {
        Scan::new(
            self.storage,
            self.options.concurrency,
            self.check_interval,
            is_first,
        )
    }

    /// A snapshot, if there is none yet or the inventory has changed.
    fn snapshot(&mut self, last: Option<&Snapshot>, start: Start) -> Option<Snapshot> {
        let has_changed = self.inventory.take_changed();
        self.keep(has_changed);
        (has_changed || last.is_none()).then(|| self.build(last, start))
    }

    fn build(&self, last: Option<&Snapshot>, start: Start) -> Snapshot {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let snapshot = Snapshot::build(self.inventory.contents(), &self.options.style, now, last);
        report(&snapshot, last, start.cost(self.storage));
        snapshot
    }

    /// Tells the storage what is known, so that it can be kept for the next start.
    fn keep(&self, has_changed: bool) {
        self.storage.keep(has_changed, &|| self.inventory.kept());
    }

    /// Errors when it's likely that more is there than is listed: an index that shrinks takes charts
    /// away from all its clients. Listings that turn empty may mean "not permitted" (ACR, GAR and Quay
    /// answer so), or a volume that isn't mounted. Those of a registry are believed when they have stood
    /// for the interval at which known tags are checked, others the second time.
    fn credible(&mut self, listings: Result<Listings, Error>) -> Result<Listings, Error> {
        let before = self.empty_since.take();
        let listings = listings?;
        if !listings.are_empty() || !self.inventory.has_charts() {
            return Ok(listings);
        }
        let since = before.unwrap_or_else(Instant::now);
        let interval = self.check_interval.unwrap_or_default();
        if before.is_some() && since.elapsed() >= interval {
            return Ok(listings);
        }
        self.empty_since = Some(since);
        let when = match interval.as_secs() {
            0 => "it's listed so twice".to_owned(),
            seconds => format!("it has been so for {seconds} s (--refresh-interval)"),
        };
        let text = format!("nothing is listed any more; that is believed when {when}");
        Err(not_credible(&text).with_public(text))
    }

    /// Errors when too much could not be read to serve it as the first index.
    fn check_first_scan_is_complete(&mut self, unread: &Unread) -> Result<(), Error> {
        let has_charts = self.inventory.has_charts();
        if unread.unanswered == 0 && (has_charts || unread.denied == 0) {
            return Ok(());
        }
        self.incomplete += 1;
        let has_learnt = has_charts || unread.unanswered == 0;
        let text = match unread.count {
            1 => "1 repository or tag could not be read".to_owned(),
            many => format!("{many} repositories or tags could not be read"),
        };
        let skipped = self.inventory.contents().skipped.kept;
        let example = skipped.iter().find(|skipped| skipped.public.is_some());
        let example =
            example.map_or_else(String::new, |one| format!(", such as {}", one.example()));
        // Nor does a further attempt help soon when the registry has asked for a pause.
        let is_last = self.incomplete >= FIRST_ATTEMPTS || self.inventory.is_paused(Instant::now());
        if has_learnt && !self.is_strict && is_last {
            log::warn!("the first index is served although {text}{example}");
            return Ok(());
        }
        Err(not_credible(&format!("{text}{example}")).with_public(text))
    }
}

/// One scan and its snapshot; repeated where that may help.
///
/// Errors when the repositories can't be listed, when a repository or tag gives no answer even then, or
/// when there is no chart: the flags are then most likely mistyped; or when a bound takes charts from the
/// index. What was denied or is invalid is left out.
pub fn once(storage: &dyn Storage, options: Options) -> Result<Snapshot, Error> {
    // Known tags are not checked again in so short a life, unless they come from a former one.
    let mut refresher = Refresher::new(storage, options, Some(LONGER_THAN_A_SCAN));
    refresher.is_strict = true;
    if refresher.restore().is_some() {
        refresher.check_interval = None;
    }
    let (mut attempt, mut backoff) = (1, None);
    loop {
        match refresher.refresh(None) {
            Ok(Some(snapshot)) if snapshot.counts.versions == 0 => return Err(no_chart(&snapshot)),
            Ok(Some(snapshot)) if snapshot.counts.over_bound > 0 => {
                let text = format!(
                    "the index would lack charts: {}; {OVER_BOUND}",
                    snapshot.counts
                );
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            Ok(Some(snapshot)) => return Ok(snapshot),
            Ok(None) => {}
            Err(error) if attempt >= FIRST_ATTEMPTS || !error.kind().is_no_answer() => {
                return Err(error);
            }
            Err(error) => {
                log::warn!(status = error.status(); "{error:#}: will be tried again");
            }
        }
        let now = Instant::now();
        let next = Backoff::after(backoff, ONCE_PAUSE..=LONGEST_ONCE_PAUSE, now);
        thread::sleep(next.retry_at - now);
        (attempt, backoff) = (attempt + 1, Some(next));
    }
}

fn not_credible(text: &str) -> Error {
    Error::new(ErrorKind::Unavailable, text)
}

/// When a scan began, and how many requests had been made before.
struct Start {
    time: Instant,
    requests: u64,
}

impl Start {
    fn now(storage: &dyn Storage) -> Start {
        Start {
            time: Instant::now(),
            requests: storage.requests(),
        }
    }

    /// What the scan has cost. Requests for downloads that were under way are counted too.
    fn cost(&self, storage: &dyn Storage) -> (Duration, u64) {
        (self.time.elapsed(), storage.requests() - self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Skipped;
    use crate::oci::Blob;
    use std::io::{Cursor, Read};

    /// A chart, and two that make this program panic.
    struct Shelf;

    fn config(repository: &RepositoryName) -> Vec<u8> {
        let config = serde_json::json!({"apiVersion": "v2", "name": repository.as_str(), "version": "1.0.0"});
        config.to_string().into_bytes()
    }

    impl Storage for Shelf {
        fn repositories(&self) -> Result<Vec<RepositoryName>, Error> {
            Ok(["blob", "good", "manifest"]
                .map(|name| name.parse().unwrap())
                .into())
        }

        fn tags(&self, _: &RepositoryName) -> Result<Vec<String>, Error> {
            Ok(vec!["1.0.0".to_owned()])
        }

        fn manifest(&self, repository: &RepositoryName, _: &Reference) -> Result<Vec<u8>, Error> {
            assert_ne!(repository.as_str(), "manifest", "a defect");
            let blob = |kind: &str, bytes: &[u8]| {
                let digest = crate::oci::Digest::sha256(bytes).to_string();
                serde_json::json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
            };
            let config = blob(
                "application/vnd.cncf.helm.config.v1+json",
                &config(repository),
            );
            let archive = blob(
                "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                b"archive",
            );
            let manifest =
                serde_json::json!({"schemaVersion": 2, "config": config, "layers": [archive]});
            Ok(manifest.to_string().into_bytes())
        }

        fn blob(
            &self,
            repository: &RepositoryName,
            _: &Blob,
        ) -> Result<Box<dyn Read + Send>, Error> {
            assert_ne!(repository.as_str(), "blob", "a defect");
            Ok(Box::new(Cursor::new(config(repository))))
        }
    }

    #[test]
    fn a_panic_costs_the_artifact_that_was_read_and_no_other() {
        let options = Options {
            concurrency: 2,
            filter: Filter::default(),
            style: IndexStyle::default(),
        };
        let snapshot = once(&Shelf, options).unwrap();
        assert_eq!(snapshot.counts.versions, 1, "{:?}", snapshot.skipped);
        let skipped: Vec<String> = snapshot.skipped.iter().map(Skipped::to_string).collect();
        let told = |tag| {
            format!("skipped {tag}:1.0.0: internal error (panic); please report the message above")
        };
        assert_eq!(skipped, ["blob", "manifest"].map(told));
    }
}
