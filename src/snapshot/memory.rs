//! What is known of the storage, tag by tag, from one walk to the next: the walk asks, this room
//! remembers. It makes no request and reads no clock. Whatever couldn't be asked stays as it was; only
//! a definite answer takes something away. It holds no more than the last listings named.

use super::configs::Budget;
use super::filter::Filter;
use super::tag::{Answer, Known, Question, Tag, Trouble, Verdict, Which};
use super::walk::{Found, Harvest, Skipped};
use crate::oci::{Digest, Reference, RepositoryName, qualified};
use crate::storage::{Error, ErrorKind};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most tags that are looked at in all: twenty times the largest registry that we aim at.
pub(super) const MAX_TAGS: usize = 1_000_000;
/// A repository's tags are doubted no more often than this: a registry that has lost a blob, but not
/// the manifest, would be asked at each attempt to download it.
const DOUBT_PAUSE: Duration = Duration::from_secs(5);

/// All that is known.
pub(super) struct Memory {
    filter: Filter,
    /// Repositories that the filter leaves out.
    left_out: Vec<Skipped>,
    repositories: BTreeMap<RepositoryName, Repository>,
    /// Whether anything has changed since this was last set to `false`.
    pub(super) changed: bool,
}

#[derive(Default)]
struct Repository {
    /// In the order of their texts.
    tags: Vec<Tag>,
    /// Why its tags couldn't be listed.
    trouble: Option<Box<Trouble>>,
    doubted: Option<Instant>,
}

impl Memory {
    /// Nothing yet, and later what the filter lets pass.
    pub(super) fn new(filter: Filter) -> Memory {
        Memory { filter, left_out: Vec::new(), repositories: BTreeMap::new(), changed: false }
    }

    /// Forgets every repository that isn't among `listed`; those that are to be listed, in order.
    pub(super) fn keep(&mut self, mut listed: Vec<RepositoryName>) -> Vec<RepositoryName> {
        listed.sort();
        let mut left_out = Vec::new();
        listed.retain(|name| {
            let reason = self.filter.leaves_out(name);
            let wanted = reason.is_none();
            left_out.extend(reason.map(|reason| Skipped { reference: name.to_string(), reason }));
            wanted
        });
        let mut before = std::mem::take(&mut self.repositories);
        let known = |name: &RepositoryName| (name.clone(), before.remove(name).unwrap_or_default());
        self.repositories = listed.iter().map(known).collect();
        self.changed |= !before.is_empty() || left_out != self.left_out;
        self.left_out = left_out;
        listed
    }

    /// Whether no chart is known.
    pub(super) fn is_empty(&self) -> bool {
        let charts = |tag: &Tag| matches!(&tag.known, Some(Known { verdict: Verdict::Chart(_), .. }));
        !self.repositories.values().flat_map(|repository| &repository.tags).any(charts)
    }

    /// Notes what a repository lists: new tags are to be looked at, vanished ones are forgotten. `room`
    /// is for how many there still is one.
    pub(super) fn list(
        &mut self,
        name: &RepositoryName,
        listing: Result<Vec<String>, Error>,
        room: &mut usize,
        now: Instant,
    ) {
        let repository = self.repositories.entry(name.clone()).or_default();
        self.changed |= match listing {
            Ok(tags) => repository.list(tags, &self.filter, *room, now),
            Err(error) => repository.fail(name, &error),
        };
        *room = room.saturating_sub(repository.tags.len());
        if *room == 0 {
            crate::warn!("over {MAX_TAGS} tags in all: those after {name} are left out");
        }
    }

    /// The tags to look at, in the order of their names.
    pub(super) fn questions(&self, which: Which, now: Instant) -> Vec<Question> {
        let most = if let Which::Due(most) = which { most } else { usize::MAX };
        let tags = self.tags().filter(|(_, tag)| tag.is_asked_for(which, now));
        let question = |(repository, tag): (&RepositoryName, &Tag)| {
            let known = tag.known.as_ref().and_then(|known| known.manifest.clone());
            Some(Question {
                repository: repository.clone(),
                reference: Reference::try_from(tag.text.clone()).ok()?,
                known,
            })
        };
        tags.filter_map(question).take(most).collect()
    }

    /// When the next tag is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.tags().filter_map(|(_, tag)| tag.due).min()
    }

    /// Makes all tags of a repository due: one of its blobs has gone. Whether they weren't already.
    pub(super) fn doubt(&mut self, name: &RepositoryName, now: Instant) {
        let Some(repository) = self.repositories.get_mut(name) else { return };
        if repository.doubted.is_some_and(|when| now.saturating_duration_since(when) < DOUBT_PAUSE) {
            return;
        }
        repository.doubted = Some(now);
        for tag in &mut repository.tags {
            tag.due = tag.due.map(|due| due.min(now));
        }
    }

    /// Notes what came of a question; what is known now is looked at again after `interval`.
    pub(super) fn settle(
        &mut self,
        question: &Question,
        answer: Result<Answer, Error>,
        now: Instant,
        interval: Duration,
    ) {
        let Question { repository: name, reference, .. } = question;
        let repository = self.repositories.get_mut(name);
        let Some(tag) = repository.and_then(|one| one.tag(reference.as_str())) else { return };
        self.changed |= match answer {
            Ok(answer) => tag.learn(answer, now + interval),
            Err(error) => tag.fail(&qualified(name, reference.as_str()), &error, now),
        };
    }

    /// Every manifest that is known, and what it is.
    pub(super) fn verdicts(&self) -> HashMap<&Digest, &Verdict> {
        let known = self.tags().filter_map(|(_, tag)| tag.known.as_ref());
        known.filter_map(|known| Some((known.manifest.as_ref()?, &known.verdict))).collect()
    }

    /// Every chart that is known, in the order of repositories and tags.
    pub(super) fn charts(&self) -> impl Iterator<Item = &Arc<Found>> {
        self.tags().filter_map(|(_, tag)| match tag.known.as_ref().map(|known| &known.verdict) {
            Some(Verdict::Chart(found)) => Some(found),
            _ => None,
        })
    }

    fn tags(&self) -> impl Iterator<Item = (&RepositoryName, &Tag)> {
        self.repositories
            .iter()
            .flat_map(|(name, repository)| repository.tags.iter().map(move |tag| (name, tag)))
    }

    /// All of it, in the order of names, which doesn't depend on the order of answers.
    pub(super) fn harvest(&self) -> Harvest {
        let mut harvest = Harvest { skipped: self.left_out.clone(), ..Harvest::default() };
        let mut budget = Budget::default();
        for (name, repository) in &self.repositories {
            if let Some(trouble) = &repository.trouble {
                harvest.miss(name.to_string(), trouble, repository.tags.is_empty());
            }
            for tag in &repository.tags {
                let reference = || qualified(name, &tag.text);
                if let Some(trouble) = &tag.trouble {
                    harvest.miss(reference(), trouble, tag.known.is_none());
                }
                let skip = |reason: &str| Skipped { reference: reference(), reason: reason.to_owned() };
                match tag.known.as_ref().map(|known| &known.verdict) {
                    Some(Verdict::Chart(found)) => match budget.spend(name, &found.layers.config) {
                        Ok(()) => harvest.found.push(found.clone()),
                        Err(reason) => harvest.skipped.push(skip(&reason)),
                    },
                    Some(Verdict::NoChart(reason)) => harvest.skipped.push(skip(reason)),
                    None => {}
                }
            }
        }
        harvest
    }
}

impl Repository {
    fn tag(&mut self, text: &str) -> Option<&mut Tag> {
        let at = self.tags.binary_search_by(|tag| (*tag.text).cmp(text)).ok()?;
        self.tags.get_mut(at)
    }

    /// Adopts a listing, as far as there is room. Whether that changes anything.
    fn list(&mut self, mut listed: Vec<String>, filter: &Filter, room: usize, now: Instant) -> bool {
        listed.sort_unstable();
        listed.dedup();
        listed.truncate(room);
        let relieved = self.trouble.take().is_some();
        if listed.iter().map(|text| &**text).eq(self.tags.iter().map(|tag| &*tag.text)) {
            return relieved;
        }
        let before = std::mem::take(&mut self.tags).into_iter();
        let mut before: HashMap<Arc<str>, Tag> = before.map(|tag| (tag.text.clone(), tag)).collect();
        let tag = |text: String| before.remove(&*text).unwrap_or_else(|| Tag::new(text.into(), filter, now));
        self.tags = listed.into_iter().map(tag).collect();
        true
    }

    /// Notes why it couldn't be listed: what was known stays, unless it's definitely gone. Whether that
    /// changes anything.
    fn fail(&mut self, name: &RepositoryName, error: &Error) -> bool {
        let gone = error.kind() == ErrorKind::NotFound;
        let changed = self.trouble != Some(Trouble::of(error)) || (gone && !self.tags.is_empty());
        if gone {
            self.tags.clear();
        }
        if self.trouble.is_none() && !self.tags.is_empty() {
            crate::warn!("{name} stays as it was: {error}");
        }
        self.trouble = Some(Trouble::of(error));
        changed
    }
}
