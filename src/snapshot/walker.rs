//! The one who walks: what is known, what is believed of it, and when a snapshot is made of it.

use super::assemble::assemble;
use super::memory::Memory;
use super::progress::Progress;
use super::tag::{self, Which};
use super::walk::{Harvest, Skipped, Walk};
use super::{Options, Snapshot};
use crate::oci::{Reference, RepositoryName};
use crate::storage::{Error, ErrorKind, Revision, Storage};
use std::collections::BTreeSet;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// A storage that hasn't changed is still walked again after this long if the last walk missed
/// something: a blob that was being copied changes no listing when it's complete.
const MISSED_PAUSE: Duration = Duration::from_secs(5);
/// How often a first walk that couldn't ask for everything is made again before it is served with
/// what is lacking: a replica that starts while the registry stumbles must not show less than the
/// others, and one artifact that never answers must not keep it from starting.
const FIRST_ATTEMPTS: u32 = 3;
/// Longer than one walk takes.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// Known tags that are looked at in one go, for each request at a time: a refresh waits for them, so
/// that is a few round trips.
const CHECKED_AT_ONCE: usize = 8;

/// What it remembers from one walk to the next.
pub(super) struct Walker<'a> {
    storage: &'a dyn Storage,
    options: Options,
    trust: Option<Duration>,
    memory: Memory,
    walked: Option<Walked>,
    was_empty: bool,
    /// Since when no check has had an answer, and before when none is made again.
    silent: Option<(Instant, Instant)>,
    /// How many first walks weren't believed, and after how many one is that lacks something.
    attempts: u32,
    tolerant_after: u32,
}

/// The last refresh that ended well.
struct Walked {
    revision: Option<Revision>,
    complete: bool,
    at: Instant,
}

impl Walked {
    /// Whether a walk of a storage in the state `now` would find nothing else.
    fn still_holds(&self, now: Option<Revision>) -> bool {
        now.is_some() && self.revision == now && (self.complete || self.at.elapsed() < MISSED_PAUSE)
    }
}

impl<'a> Walker<'a> {
    /// Knows nothing yet. `trust` is how long a known tag needn't be looked at again, if at all.
    pub(super) fn new(
        storage: &'a dyn Storage,
        options: Options,
        trust: Option<Duration>,
    ) -> Walker<'a> {
        let memory = Memory::new(options.filter.clone());
        Walker {
            storage,
            options,
            trust,
            memory,
            walked: None,
            was_empty: false,
            silent: None,
            attempts: 0,
            tolerant_after: FIRST_ATTEMPTS,
        }
    }

    /// Lists everything, and looks at what is new: a snapshot, or `None` when the last one still holds.
    ///
    /// Errors when the repositories can't be listed, or what they list can't be believed.
    pub(super) fn refresh(&mut self, last: Option<&Snapshot>) -> Result<Option<Snapshot>, Error> {
        let start = self.start();
        let revision = self.storage.revision();
        if self
            .walked
            .as_ref()
            .is_some_and(|walked| walked.still_holds(revision))
        {
            return Ok(None);
        }
        let repositories = self.storage.repositories()?;
        self.believe_listing(&repositories)?;
        let progress = Progress::new(last.is_none());
        let walk = walk(self.storage, &self.options, self.trust, &progress);
        walk.refresh(&mut self.memory, repositories, last.is_none());
        let harvest = self.memory.harvest();
        if last.is_none() {
            self.believe_first(&harvest)?;
        }
        let complete = harvest.missed == 0;
        if complete && self.walked.as_ref().is_some_and(|walked| !walked.complete) {
            log::info!("every repository and tag can be read again");
        }
        self.walked = Some(Walked {
            revision,
            complete,
            at: Instant::now(),
        });
        Ok(self.snapshot(harvest, last, start))
    }

    /// Looks at some of the tags that are due, and makes those of `doubts` due: a snapshot, if
    /// anything has changed.
    pub(super) fn check(
        &mut self,
        last: Option<&Snapshot>,
        doubts: &BTreeSet<(RepositoryName, Reference)>,
    ) -> Option<Snapshot> {
        let start = self.start();
        doubts
            .iter()
            .for_each(|(repository, tag)| self.memory.doubt(repository, tag, start.0));
        let progress = Progress::new(false);
        let walk = walk(self.storage, &self.options, self.trust, &progress);
        let answered = walk.ask(
            &mut self.memory,
            Which::Due(self.options.concurrency * CHECKED_AT_ONCE),
        );
        self.note_silence(answered, Instant::now());
        last?;
        if self.memory.changed {
            self.snapshot(self.memory.harvest(), last, start)
        } else {
            None
        }
    }

    /// When a walk begins, and how many requests there were before.
    fn start(&self) -> (Instant, u64) {
        (Instant::now(), self.storage.requests())
    }

    /// When the next tag is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.memory
            .next_due()
            .map(|due| self.silent.map_or(due, |(_, until)| due.max(until)))
    }

    /// After tags of which none gave an answer, the others are left alone for a while, too: a registry
    /// that is down is asked politely. Not for long at first, for those may be in trouble alone.
    fn note_silence(&mut self, answered: bool, now: Instant) {
        let since = self.silent.map_or(now, |(since, _)| since);
        let until = now + tag::pause(ErrorKind::TimedOut, now.saturating_duration_since(since));
        self.silent = (!answered).then_some((since, until));
    }

    fn snapshot(
        &mut self,
        mut harvest: Harvest,
        last: Option<&Snapshot>,
        start: (Instant, u64),
    ) -> Option<Snapshot> {
        if last.is_some() && !self.memory.changed {
            return None;
        }
        self.memory.changed = false;
        harvest.walked_at = OffsetDateTime::now_utc().unix_timestamp();
        let snapshot = assemble(harvest, self.options.format, last);
        let (began, before) = start;
        let cost = Cost {
            time: began.elapsed(),
            requests: self.storage.requests() - before,
        };
        report(&snapshot, last, cost);
        Some(snapshot)
    }

    /// Errors when it's likely that more is there than is listed: an index that shrinks takes charts
    /// away from everyone who follows it. A listing that turns empty may mean "not permitted" (ACR, GAR
    /// and Quay answer so): it's believed when the next walk says it again.
    fn believe_listing(&mut self, repositories: &[RepositoryName]) -> Result<(), Error> {
        let suspect = repositories.is_empty() && !self.memory.is_empty();
        if suspect && !std::mem::replace(&mut self.was_empty, suspect) {
            return unbelievable(
                "no repository is listed any more; that is believed when it's said twice",
            );
        }
        self.was_empty = suspect;
        Ok(())
    }

    /// Errors when too much is lacking to begin with.
    fn believe_first(&mut self, harvest: &Harvest) -> Result<(), Error> {
        let lacking = harvest.unanswered > 0 || (harvest.found.is_empty() && harvest.refused > 0);
        let tolerable = harvest.answered && self.attempts + 1 >= self.tolerant_after;
        if !lacking || tolerable {
            return Ok(());
        }
        self.attempts += 1;
        let example = harvest
            .example
            .as_ref()
            .map(|one| format!(", such as {}", one.example()))
            .unwrap_or_default();
        let unread = match harvest.missed {
            1 => "1 repository or tag could not be read".to_owned(),
            many => format!("{many} repositories or tags could not be read"),
        };
        unbelievable(&format!("{unread}{example}"))
            .map_err(|error| error.with_public(format!("{unread}; see the log")))
    }
}

/// One walk, for who wants a snapshot and no service; made again where that may help.
///
/// Errors when the repositories can't be listed, when a repository or tag gives no answer even then, or
/// when there's no chart: who publishes that has most likely mistyped something. What is refused, or
/// makes no sense, is left out.
pub fn once(storage: &dyn Storage, options: Options) -> Result<Snapshot, Error> {
    let walker = Walker::new(storage, options, Some(LONG));
    let mut walker = Walker {
        tolerant_after: u32::MAX,
        ..walker
    };
    let mut pause = Duration::from_secs(1);
    let mut attempt = 1;
    loop {
        match walker.refresh(None) {
            Ok(Some(snapshot)) if snapshot.counts.versions == 0 => return Err(no_chart(&snapshot)),
            Ok(Some(snapshot)) => return Ok(snapshot),
            Ok(None) => {}
            Err(error) if attempt >= FIRST_ATTEMPTS || !error.kind().is_no_answer() => {
                return Err(error);
            }
            Err(error) => log::warn!("{error:#}: tried again in {} s", pause.as_secs()),
        }
        thread::sleep(pause);
        pause *= 2;
        attempt += 1;
    }
}

fn walk<'a>(
    storage: &'a dyn Storage,
    options: &Options,
    trust: Option<Duration>,
    progress: &'a Progress,
) -> Walk<'a> {
    Walk {
        storage,
        concurrency: options.concurrency,
        trust,
        progress,
    }
}

/// A mistyped prefix, name or filter looks like this.
fn no_chart(snapshot: &Snapshot) -> Error {
    let example = match snapshot.skipped.first() {
        Some(skipped) => format!(
            "; {} skipped, such as {}",
            snapshot.skipped.len(),
            skipped.example()
        ),
        None => String::new(),
    };
    Error::new(ErrorKind::NotFound, format!("no chart was found{example}"))
}

fn unbelievable(text: &str) -> Result<(), Error> {
    Err(Error::new(ErrorKind::Unavailable, text))
}

/// What a walk has cost. Downloads that were under way count in.
struct Cost {
    time: Duration,
    requests: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.time.as_millis() {
            0 => f.write_str("walked in under 1 ms")?,
            short @ ..1000 => write!(f, "walked in {short} ms")?,
            _ => write!(f, "walked in {:.1} s", self.time.as_secs_f32())?,
        }
        match self.requests {
            0 => Ok(()),
            1 => write!(f, ", 1 request"),
            many => write!(f, ", {many} requests"),
        }
    }
}

/// Those that are new, or have changed.
fn report_verdicts(snapshot: &Snapshot, last: Option<&Snapshot>) {
    fn key(skipped: &Skipped) -> (&str, &str) {
        (&skipped.reference, &skipped.reason)
    }
    let before = last.map_or(&[][..], |last| &last.skipped);
    for skipped in &snapshot.skipped {
        if before
            .binary_search_by(|known| key(known).cmp(&key(skipped)))
            .is_err()
        {
            log::debug!("{skipped}");
        }
    }
}

fn report(snapshot: &Snapshot, last: Option<&Snapshot>, cost: Cost) {
    if log::log_enabled!(log::Level::Debug) {
        report_verdicts(snapshot, last);
    }
    snapshot.report_size(last);
    let changed = last.is_none_or(|last| {
        last.index().identity().etag != snapshot.index().identity().etag
            || last.counts != snapshot.counts
    });
    if changed {
        log::info!("snapshot: {} ({cost})", snapshot.counts);
    }
    if changed && snapshot.counts.versions == 0 {
        log::warn!("{:#}", no_chart(snapshot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Descriptor;
    use crate::snapshot::{Filter, IndexFormat};
    use std::io::{Cursor, Read};

    #[test]
    fn what_a_walk_has_cost_is_told_in_fitting_units_and_numbers() {
        let cost = |millis, requests| {
            Cost {
                time: Duration::from_millis(millis),
                requests,
            }
            .to_string()
        };
        assert_eq!(cost(3, 1), "walked in 3 ms, 1 request");
        assert_eq!(cost(1260, 340), "walked in 1.3 s, 340 requests");
        assert_eq!(cost(0, 0), "walked in under 1 ms");
    }

    /// A chart, and two with which we can't cope.
    struct Shelf;

    const CONFIG: &[u8] = br#"{"apiVersion":"v2","name":"web","version":"1.0.0"}"#;

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
            let config = blob("application/vnd.cncf.helm.config.v1+json", CONFIG);
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
            _: &Descriptor,
        ) -> Result<Box<dyn Read + Send>, Error> {
            assert_ne!(repository.as_str(), "blob", "a defect");
            Ok(Box::new(Cursor::new(CONFIG)))
        }
    }

    #[test]
    fn a_defect_of_ours_costs_the_artifact_that_has_shown_it_and_no_other() {
        let options = Options {
            concurrency: 2,
            filter: Filter::default(),
            format: IndexFormat::Yaml,
        };
        let snapshot = once(&Shelf, options).unwrap();
        assert_eq!(snapshot.found.len(), 1, "{:?}", snapshot.skipped);
        let skipped: Vec<String> = snapshot.skipped.iter().map(Skipped::to_string).collect();
        let told = |tag| {
            format!("skipped {tag}:1.0.0: a defect of this program; please report the panic above")
        };
        assert_eq!(skipped, ["blob", "manifest"].map(told));
    }
}
