//! What is known of one repository and of one tag: what the tag names, why it could not be read, and
//! when it is due again. The clock is a parameter.

use super::contents::Skipped;
use super::filter::{Filter, Newest, version_of};
use crate::helm::{ChartLayers, Version};
use crate::oci::{Digest, Reference, RepositoryName};
use crate::pacing::Backoff;
use crate::sorting;
use crate::storage::{Error, ErrorKind};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pauses before a tag or a repository that gave no answer, or that was not found although it is listed,
/// is asked again. The shortest is as long as that of a first scan that failed: not every replica of the
/// registry may have the tag yet. The longest still lists soon what is well again, and costs little for
/// what never will be: a tag that was deleted may stay listed until it's pushed again
/// (distribution#4324).
const NO_ANSWER_PAUSES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// Pauses after an answer that denied access or made no sense: rights are given and policies lifted, but
/// seldom within seconds. The longest is the default interval at which known tags are checked.
const DENIED_PAUSES: RangeInclusive<Duration> = Duration::from_secs(30)..=Duration::from_secs(300);

/// A repository, and its tags in the order of their texts.
#[derive(Default)]
pub(super) struct Repository {
    pub(super) tags: Vec<KnownTag>,
    /// Why its tags could not be listed the last time.
    pub(super) failure: Option<Box<Failure>>,
}

/// A tag as it's listed; the text may break the grammar of tags.
pub(super) struct KnownTag {
    pub(super) text: Arc<str>,
    /// The manifest that is listed for it.
    pub(super) manifest: Option<Digest>,
    /// The manifest that it names by now, while its config blob is still to be read.
    pub(super) seen: Option<Box<Digest>>,
    /// Why it could not be read the last time.
    pub(super) failure: Option<Box<Failure>>,
    /// When it is to be checked again; never, if the filter skips it, or it is too old.
    pub(super) due: Option<Instant>,
}

/// Why something could not be read, since when, and until when it is left alone.
pub(super) struct Failure {
    error: Error,
    backoff: Backoff,
}

/// Which tags are checked.
#[derive(Clone, Copy)]
pub(crate) enum CheckScope {
    /// Those that were never asked for. Those that failed are left to later checks, for they may hang again,
    /// and requests for the index would wait for them.
    New,
    /// Those of which nothing is known, unless access was denied not long ago: for first scans, which are
    /// few.
    First,
    /// All.
    All,
    /// Those that are due, so many at most.
    Due(usize),
}

/// A tag to check, and the manifest that it named the last time.
pub(super) struct TagCheck {
    pub(super) repository: RepositoryName,
    pub(super) reference: Reference,
    pub(super) expected: Option<Digest>,
}

/// A tag whose manifest was read, but not all that its chart needs.
pub(super) struct PendingTag {
    pub(super) repository: RepositoryName,
    pub(super) text: Arc<str>,
    /// The chart, if its config blob is to be read: that is unknown, and within the budget.
    pub(super) chart: Option<Arc<ChartLayers>>,
}

/// A config blob of a repository.
pub(super) type ConfigKey = (RepositoryName, Digest);

impl Repository {
    pub(super) fn tag(&mut self, text: &str) -> Option<&mut KnownTag> {
        let at = self.place(text)?;
        self.tags.get_mut(at)
    }

    /// Whether it lists a tag.
    pub(super) fn lists(&self, text: &str) -> bool {
        self.place(text).is_some()
    }

    fn place(&self, text: &str) -> Option<usize> {
        let compare = |tag: &KnownTag| (*tag.text).cmp(text);
        self.tags.binary_search_by(compare).ok()
    }

    /// The reason to report for the whole repository if the listing of its tags failed and no tag of it is
    /// known.
    pub(super) fn skipped(&self, name: &RepositoryName) -> Option<Skipped> {
        let failure = self.failure.as_ref().filter(|_| self.tags.is_empty())?;
        Some(failure.skipped(name.to_string()))
    }

    /// Adopts a listing: adds new tags, and forgets vanished ones. Returns whether the contents have
    /// changed.
    pub(super) fn list(&mut self, mut listed: Vec<String>, filter: &Filter, now: Instant) -> bool {
        sorting::ascending(&mut listed);
        listed.dedup();
        let was_skipped = self.failure.take().is_some() && self.tags.is_empty();
        if listed
            .iter()
            .map(|text| &**text)
            .eq(self.tags.iter().map(|tag| &*tag.text))
        {
            return was_skipped;
        }
        let before = std::mem::take(&mut self.tags).into_iter();
        let mut before: HashMap<Arc<str>, KnownTag> =
            before.map(|tag| (tag.text.clone(), tag)).collect();
        let tag = |text: String| {
            before
                .remove(&*text)
                .unwrap_or_else(|| KnownTag::new(text.into(), filter, now))
        };
        self.tags = listed.into_iter().map(tag).collect();
        true
    }

    /// With `--max-versions`: makes those tags due that may be among the newest `most`, or are, and no
    /// others. A tag counts if it names a chart that no newer tag names, or was not read yet. What is
    /// listed doesn't depend on tags that were not read, so that they take nothing from the index.
    pub(super) fn select(&mut self, most: usize, is_chart: impl Fn(&Digest) -> bool, now: Instant) {
        let tags = self.tags.iter().enumerate();
        let versions = tags.filter_map(|(at, tag)| Some((version_of(&tag.text)?, at)));
        let mut versions: Vec<(Version, usize)> = versions.collect();
        sorting::by(&mut versions, &|one, other| other.cmp(one));
        let (mut listed, mut unread, mut others) = (Vec::new(), Vec::new(), 0);
        let mut counted = HashSet::new();
        for (version, at) in &versions {
            let tag = &self.tags[*at];
            match &tag.manifest {
                Some(digest) if is_chart(digest) && counted.insert(digest) => {
                    listed.push(version.clone());
                }
                Some(_) => others += 1,
                None if tag.failure.is_none() => unread.push(version.clone()),
                None => {}
            }
        }
        // As many as were read in vain: so a thousand images are read in a few rounds.
        let at_once = most.max(if listed.is_empty() { others } else { 0 });
        unread.extend_from_slice(&listed);
        let (listed, unread) = (Newest::of(listed, most), Newest::of(unread, at_once));
        for (version, at) in versions {
            let tag = &mut self.tags[at];
            let newest = tag.manifest.as_ref().map_or(&unread, |_| &listed).as_ref();
            let is_newest = newest.is_none_or(|newest| newest.includes(&version));
            tag.due = is_newest.then(|| tag.due.unwrap_or(now));
        }
    }

    /// Notes why it could not be listed: what was known stays, unless it's gone. Returns whether
    /// the contents have changed.
    pub(super) fn fail(&mut self, error: Error, now: Instant) -> bool {
        let is_gone = error.kind() == ErrorKind::NotFound && !self.tags.is_empty();
        if is_gone {
            self.tags.clear();
        }
        let is_news = Failure::note(&mut self.failure, error, now);
        is_gone || (self.tags.is_empty() && is_news)
    }

    /// Whether its tags are not to be listed yet, because the last attempt gave no answer.
    pub(super) fn is_backing_off(&self, now: Instant) -> bool {
        let failure = self.failure.as_ref();
        failure
            .is_some_and(|failure| failure.kind().is_no_answer() && now < failure.backoff.retry_at)
    }
}

impl KnownTag {
    fn new(text: Arc<str>, filter: &Filter, now: Instant) -> KnownTag {
        let due = filter.skips(&text).is_none().then_some(now);
        KnownTag {
            text,
            manifest: None,
            seen: None,
            failure: None,
            due,
        }
    }

    /// The manifest that it named when it was last read.
    pub(super) fn target(&self) -> Option<&Digest> {
        self.seen.as_deref().or(self.manifest.as_ref())
    }

    /// Whether it's to be checked.
    pub(super) fn is_in(&self, scope: CheckScope, now: Instant) -> bool {
        let Some(due) = self.due else { return false };
        match scope {
            CheckScope::New => self.failure.is_none() && self.target().is_none(),
            CheckScope::First => self.target().is_none() && self.may_be_read(scope, now),
            CheckScope::All => true,
            CheckScope::Due(_) => due <= now,
        }
    }

    /// Whether its last failure, if any, is no reason to leave it alone.
    pub(super) fn may_be_read(&self, scope: CheckScope, now: Instant) -> bool {
        let Some(failure) = &self.failure else {
            return true;
        };
        let is_due = self.due.is_some_and(|due| due <= now);
        match scope {
            CheckScope::New => false,
            CheckScope::First => is_due || failure.kind().is_no_answer(),
            CheckScope::All | CheckScope::Due(_) => is_due,
        }
    }

    /// Notes that what it names was read; it's due again then. Returns whether the contents have changed.
    pub(super) fn complete(&mut self, due: Instant) -> bool {
        self.due = Some(due);
        self.failure = None;
        let seen = self.seen.take();
        let has_changed = seen.is_some();
        self.manifest = seen.map(|seen| *seen).or(self.manifest.take());
        has_changed
    }

    /// Records why this tag could not be read. The manifest that is listed for it is kept, unless the error
    /// is `NotFound`. `is_decided` is whether it is known what that manifest stands for. Returns whether
    /// the contents have changed.
    pub(super) fn fail(&mut self, error: Error, is_decided: bool, now: Instant) -> bool {
        let is_gone = error.kind() == ErrorKind::NotFound;
        if is_gone {
            self.seen = None;
        }
        let was_listed = is_gone && self.manifest.take().is_some();
        let is_news = Failure::note(&mut self.failure, error, now);
        self.due = self
            .failure
            .as_ref()
            .map(|failure| failure.backoff.retry_at);
        was_listed || (is_news && !is_decided)
    }
}

impl Failure {
    pub(super) fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    /// What isn't listed for that reason.
    pub(super) fn skipped(&self, reference: String) -> Skipped {
        Skipped {
            public: Some(format!("could not be read: {}", self.error).into()),
            ..Skipped::new(reference, format!("{:#}", self.error))
        }
    }

    /// Notes a failure; whether it's another one than before. A failure of another sort begins a new row
    /// of them: to deny access is another one than to give no answer, or not to be there.
    fn note(noted: &mut Option<Box<Failure>>, error: Error, now: Instant) -> bool {
        let sort = |kind: ErrorKind| (kind.is_no_answer(), kind == ErrorKind::NotFound);
        let before = noted.take();
        let same = before
            .as_ref()
            .filter(|before| sort(before.kind()) == sort(error.kind()));
        let pauses = match error.kind() {
            ErrorKind::Refused | ErrorKind::Invalid => DENIED_PAUSES,
            _ => NO_ANSWER_PAUSES,
        };
        let backoff = Backoff::after(same.map(|same| same.backoff), pauses, now);
        let text = |error: &Error| (error.kind(), format!("{error:#}"));
        let is_news = before.is_none_or(|before| text(&before.error) != text(&error));
        *noted = Some(Box::new(Failure { error, backoff }));
        is_news
    }
}

/// The order in which tags are read. A tag that was never read gets its position among the unread tags of
/// its repository, newest version first: 0, 1, 2 and so on. If a scan is cut short, the newest versions of
/// all repositories have then been read. Tags that were read before get 0.
pub(super) fn rank<'a>(
    tags: Vec<(&'a RepositoryName, &'a KnownTag)>,
) -> Vec<(usize, &'a RepositoryName, &'a KnownTag)> {
    let mut ranked = Vec::with_capacity(tags.len());
    for of_repository in tags.chunk_by(|one, other| one.0 == other.0) {
        let mut unread = Vec::new();
        for (name, tag) in of_repository {
            match tag.target() {
                Some(_) => ranked.push((0, *name, *tag)),
                None => unread.push(*tag),
            }
        }
        sorting::by_key(&mut unread, |tag| Reverse(version_of(&tag.text)));
        let name = of_repository[0].0;
        ranked.extend(
            unread
                .into_iter()
                .enumerate()
                .map(|(rank, tag)| (rank, name, tag)),
        );
    }
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_another_sort_begins_a_new_row() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let mut noted = None;
        let mut pause = |kind, at| {
            Failure::note(&mut noted, Error::new(kind, "failure"), at);
            noted.as_ref().unwrap().backoff.retry_at - at
        };
        assert_eq!(pause(ErrorKind::NotFound, began), second);
        assert_eq!(
            pause(ErrorKind::NotFound, began + 7200 * second),
            60 * second
        );
        assert_eq!(
            pause(ErrorKind::Refused, began + 7260 * second),
            30 * second
        );
        assert_eq!(pause(ErrorKind::Unavailable, began + 7290 * second), second);
    }
}
