//! What is known of the storage, tag by tag, from one walk to the next: the walk asks, this room
//! remembers. It makes no request and reads no clock. Whatever couldn't be asked stays as it was; only
//! a definite answer takes something away. It holds no more than the last listings named.

use super::budget::{Budget, Listing, shares};
use super::filter::Filter;
use super::staying::Staying;
use super::tag::{Answer, Known, Place, Question, Tag, Trouble, Verdict, Which};
use super::walk::{Found, Harvest, Skipped};
use crate::oci::{Descriptor, Digest, Reference, RepositoryName, qualified};
use crate::storage::{Error, ErrorKind};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most tags that are looked at in all: twenty times the largest registry that we aim at.
pub(super) const MAX_TAGS: usize = 1_000_000;
/// A tag is doubted no more often than this: a registry that has lost a blob, but not the manifest,
/// would be asked at each attempt to download it.
const DOUBT_PAUSE: Duration = Duration::from_secs(5);

/// All that is known.
pub(super) struct Memory {
    filter: Filter,
    /// Repositories that the filter leaves out.
    left_out: Vec<Skipped>,
    repositories: BTreeMap<RepositoryName, Repository>,
    staying: Staying,
    /// Tags that were doubted not long ago, and when.
    doubted: BTreeMap<(RepositoryName, Reference), Instant>,
    /// Whether anything has changed since this was last set to `false`.
    pub(super) changed: bool,
}

#[derive(Default)]
struct Repository {
    /// In the order of their texts.
    tags: Vec<Tag>,
    /// Why its tags couldn't be listed.
    trouble: Option<Box<Trouble>>,
}

impl Memory {
    /// Nothing yet, and later what the filter lets pass.
    pub(super) fn new(filter: Filter) -> Memory {
        Memory {
            filter,
            left_out: Vec::new(),
            repositories: BTreeMap::new(),
            staying: Staying::default(),
            doubted: BTreeMap::new(),
            changed: false,
        }
    }

    /// Forgets every repository that isn't among `listed`; those that are to be listed, in order.
    pub(super) fn keep(&mut self, mut listed: Vec<RepositoryName>) -> Vec<RepositoryName> {
        listed.sort();
        let mut left_out = Vec::new();
        listed.retain(|name| {
            let reason = self.filter.leaves_out(name);
            let wanted = reason.is_none();
            left_out.extend(reason.map(|reason| Skipped::new(name.to_string(), reason)));
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
        let charts = |tag: &Tag| {
            matches!(
                &tag.known,
                Some(Known {
                    verdict: Verdict::Chart(_),
                    ..
                })
            )
        };
        !self
            .repositories
            .values()
            .flat_map(|repository| &repository.tags)
            .any(charts)
    }

    /// Whether a repository's tags aren't to be listed yet, because that has failed not long ago.
    pub(super) fn rests(&self, name: &RepositoryName, now: Instant) -> bool {
        let trouble = self
            .repositories
            .get(name)
            .and_then(|one| one.trouble.as_ref());
        trouble.is_some_and(|trouble| trouble.kind.is_no_answer() && now < trouble.until)
    }

    /// Notes what a repository lists, if it was asked: new tags are to be looked at, vanished ones are
    /// forgotten. `room` is for how many there still is one.
    pub(super) fn list(
        &mut self,
        name: &RepositoryName,
        listing: Option<Result<Vec<String>, Error>>,
        room: &mut usize,
        now: Instant,
    ) {
        let repository = self.repositories.entry(name.clone()).or_default();
        match listing {
            None => {}
            Some(Ok(tags)) => self.changed |= repository.list(tags, &self.filter, *room, now),
            Some(Err(error)) => {
                let had_trouble = repository.trouble.is_some();
                self.changed |= repository.fail(&error, now);
                if !repository.tags.is_empty() && !had_trouble {
                    self.staying.tell(|| name.to_string(), &error);
                }
            }
        }
        let had_room = *room > 0;
        *room = room.saturating_sub(repository.tags.len());
        if had_room && *room == 0 {
            log::warn!("over {MAX_TAGS} tags in all: those after {name} are left out");
        }
    }

    /// The tags to look at, in the order of their names; if not all that are due, then those that have
    /// waited longest, or some that fail each time would keep the rest waiting for good.
    pub(super) fn questions(&self, which: Which, now: Instant) -> Vec<Question> {
        let readable = self.readable();
        let is_readable = |name: &RepositoryName, tag: &Tag| readable.contains(&(name, &*tag.text));
        let asked_for = self
            .tags()
            .filter(|(name, tag)| tag.is_asked_for(which, is_readable(name, tag), now));
        let mut tags: Vec<(&RepositoryName, &Tag)> = asked_for.collect();
        if let Which::Due(most) = which {
            tags.sort_by_key(|(_, tag)| tag.due);
            tags.truncate(most);
        }
        let question = |(repository, tag): (&RepositoryName, &Tag)| {
            let known = tag.known.as_ref().filter(|_| !is_readable(repository, tag));
            let known = known.and_then(|known| known.manifest.clone());
            Some(Question {
                repository: repository.clone(),
                reference: Reference::try_from(tag.text.clone()).ok()?,
                known,
            })
        };
        tags.into_iter().filter_map(question).collect()
    }

    /// Says how many more stay as they were than was said already.
    pub(super) fn close_walk(&mut self) {
        self.staying.close();
    }

    /// When the next tag is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.tags().filter_map(|(_, tag)| tag.due).min()
    }

    /// Makes a tag due: a blob of what it names has gone. Not the repository's others, which may be
    /// thousands.
    pub(super) fn doubt(&mut self, name: &RepositoryName, reference: &Reference, now: Instant) {
        self.doubted
            .retain(|_, when| now.saturating_duration_since(*when) < DOUBT_PAUSE);
        let place = (name.clone(), reference.clone());
        let tag = self
            .repositories
            .get_mut(name)
            .and_then(|one| one.tag(reference.as_str()));
        let Some(tag) = tag.filter(|_| !self.doubted.contains_key(&place)) else {
            return;
        };
        tag.due = tag.due.map(|due| due.min(now));
        self.doubted.insert(place, now);
    }

    /// Notes what came of a question; what is known now is looked at again after `interval`.
    pub(super) fn settle(
        &mut self,
        question: &Question,
        answer: Result<Answer, Error>,
        now: Instant,
        interval: Duration,
    ) {
        let Question {
            repository: name,
            reference,
            ..
        } = question;
        let repository = self.repositories.get_mut(name);
        let Some(tag) = repository.and_then(|one| one.tag(reference.as_str())) else {
            return;
        };
        match answer {
            Ok(answer) => self.changed |= tag.learn(answer, now + interval),
            Err(error) => {
                let had_trouble = tag.trouble.is_some();
                self.changed |= tag.fail(&error, now);
                if tag.known.is_some() && !had_trouble {
                    self.staying
                        .tell(|| qualified(name, reference.as_str()), &error);
                }
            }
        }
    }

    /// Every manifest that is known, and what it is.
    pub(super) fn verdicts(&self) -> HashMap<&Digest, &Verdict> {
        let known = self.tags().filter_map(|(_, tag)| tag.known.as_ref());
        known
            .filter_map(|known| Some((known.manifest.as_ref()?, &known.verdict)))
            .collect()
    }

    /// Every chart that is known, in the order of repositories and tags.
    pub(super) fn charts(&self) -> impl Iterator<Item = &Arc<Found>> {
        self.tags().filter_map(|(_, tag)| match tag.verdict() {
            Some(Verdict::Chart(found)) => Some(found),
            _ => None,
        })
    }

    /// Every config blob that has a share in the budget, in the same order.
    pub(super) fn configs(&self) -> impl Iterator<Item = (Place<'_>, &Descriptor)> {
        self.tags()
            .filter_map(|(name, tag)| Some(((name, &*tag.text), tag.verdict()?.config()?)))
    }

    /// Where there's room by now for a config blob that wasn't read.
    fn readable(&self) -> HashSet<Place<'_>> {
        if !self.tags().any(|(_, tag)| tag.is_unread()) {
            return HashSet::new();
        }
        let readable = shares(self.tags()).filter(|(_, tag, fits)| *fits && tag.is_unread());
        readable.map(|(place, ..)| place).collect()
    }

    /// Forgets what the config blobs said for which those of earlier names have left no room.
    pub(super) fn forget_the_rest(&mut self) {
        if !self.changed {
            return;
        }
        let over = shares(self.tags()).filter(|(_, tag, fits)| !fits && !tag.is_unread());
        let over: Vec<_> = over
            .map(|((name, _), tag, _)| (name.clone(), tag.text.clone()))
            .collect();
        for (name, text) in over {
            let repository = self.repositories.get_mut(&name);
            let known = repository.and_then(|one| one.tag(&text)?.known.as_mut());
            if let Some(known) = known
                && let Some(config) = known.verdict.config()
            {
                known.verdict = Verdict::unkept(config, None);
            }
        }
    }

    fn tags(&self) -> impl Iterator<Item = (&RepositoryName, &Tag)> {
        self.repositories
            .iter()
            .flat_map(|(name, repository)| repository.tags.iter().map(move |tag| (name, tag)))
    }

    /// All of it, in the order of names, which doesn't depend on the order of answers.
    pub(super) fn harvest(&self) -> Harvest {
        let mut harvest = Harvest {
            skipped: self.left_out.clone(),
            ..Harvest::default()
        };
        let mut budget = Budget::default();
        for (name, repository) in &self.repositories {
            let start = harvest.found.len();
            harvest.answered |= repository.trouble.is_none();
            if let Some(trouble) = &repository.trouble {
                harvest.miss(name.to_string(), trouble, repository.tags.is_empty());
            }
            for tag in &repository.tags {
                let reference = || qualified(name, &tag.text);
                let listing = budget.listing(name, tag);
                if let Some(trouble) = &tag.trouble {
                    harvest.miss(reference(), trouble, matches!(listing, Listing::Unknown));
                }
                match listing {
                    Listing::Listed(found) => harvest.found.push(found.clone()),
                    Listing::Skipped(reason) => {
                        harvest.skipped.push(Skipped::new(reference(), reason))
                    }
                    Listing::Unknown => {}
                }
            }
            if let Some(most) = self.filter.max_versions {
                harvest.leave_old(start, most);
            }
        }
        harvest
    }
}

impl Repository {
    fn tag(&mut self, text: &str) -> Option<&mut Tag> {
        let at = self
            .tags
            .binary_search_by(|tag| (*tag.text).cmp(text))
            .ok()?;
        self.tags.get_mut(at)
    }

    /// Adopts a listing, as far as there is room. Whether that changes anything.
    fn list(
        &mut self,
        mut listed: Vec<String>,
        filter: &Filter,
        room: usize,
        now: Instant,
    ) -> bool {
        listed.sort_unstable();
        listed.dedup();
        listed.truncate(room);
        let relieved = self.trouble.take().is_some() && self.tags.is_empty();
        if listed
            .iter()
            .map(|text| &**text)
            .eq(self.tags.iter().map(|tag| &*tag.text))
        {
            return relieved;
        }
        let before = std::mem::take(&mut self.tags).into_iter();
        let mut before: HashMap<Arc<str>, Tag> =
            before.map(|tag| (tag.text.clone(), tag)).collect();
        let tag = |text: String| {
            before
                .remove(&*text)
                .unwrap_or_else(|| Tag::new(text.into(), filter, now))
        };
        self.tags = listed.into_iter().map(tag).collect();
        true
    }

    /// Notes why it couldn't be listed: what was known stays, unless it's definitely gone. Whether that
    /// changes what is listed or skipped.
    fn fail(&mut self, error: &Error, now: Instant) -> bool {
        let gone = error.kind() == ErrorKind::NotFound && !self.tags.is_empty();
        if gone {
            self.tags.clear();
        }
        let news = Trouble::note(&mut self.trouble, error, now);
        gone || (self.tags.is_empty() && news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helm::{ChartLayers, ChartMetadata};
    use crate::oci::{Descriptor, MediaType};

    const S: Duration = Duration::from_secs(1);
    const INTERVAL: Duration = Duration::from_secs(300);

    fn memory(listing: &[(&str, &[&str])], now: Instant) -> Memory {
        let mut memory = Memory::new(Filter::default());
        let names = listing
            .iter()
            .map(|(name, _)| name.parse().unwrap())
            .collect();
        let mut room = MAX_TAGS;
        for (name, (_, tags)) in memory.keep(names).iter().zip(listing) {
            memory.list(
                name,
                Some(Ok(tags.iter().map(|tag| (*tag).to_owned()).collect())),
                &mut room,
                now,
            );
        }
        memory
    }

    /// The chart that a question has found, with a config blob of so many bytes.
    fn chart(question: &Question, size: u64) -> Answer {
        let (name, version) = question.place();
        let config =
            serde_json::json!({"name": name.as_str().replace('/', "-"), "version": version});
        let blob = |text: &str| Descriptor {
            media_type: MediaType::default(),
            digest: Digest::sha256(format!("{text} of {config}").as_bytes()),
            size,
        };
        let layers = ChartLayers {
            config: blob("config"),
            archive: blob("archive"),
            provenance: None,
        };
        let found = Found {
            repository: name.clone(),
            reference: question.reference.clone(),
            metadata: ChartMetadata::parse(config.to_string().as_bytes())
                .unwrap()
                .into(),
            created: None,
            layers: Box::new(layers),
        };
        Answer::Now(blob("manifest").digest, Verdict::Chart(Arc::new(found)))
    }

    /// Looks at everything new, and finds charts of that size.
    fn look(memory: &mut Memory, size: u64, now: Instant) {
        for question in memory.questions(Which::New, now) {
            let answer = chart(&question, size);
            memory.settle(&question, Ok(answer), now, INTERVAL);
        }
    }

    fn asked(memory: &Memory, which: Which, now: Instant) -> Vec<String> {
        let questions = memory.questions(which, now).into_iter();
        questions
            .map(|question| qualified(&question.repository, question.reference.as_str()))
            .collect()
    }

    fn fail(memory: &mut Memory, which: Which, kind: ErrorKind, now: Instant) {
        for question in memory.questions(which, now) {
            memory.settle(&question, Err(Error::new(kind, "a reason")), now, INTERVAL);
        }
    }

    #[test]
    fn a_tag_is_asked_for_when_it_is_new_and_then_when_it_is_due() {
        let now = Instant::now();
        let mut memory = memory(&[("a", &["1.0.0", "latest"]), ("b", &["2.0.0"])], now);
        assert_eq!(asked(&memory, Which::New, now), ["a:1.0.0", "b:2.0.0"]);
        look(&mut memory, 9, now);
        assert_eq!(memory.next_due(), Some(now + INTERVAL));
        assert_eq!(asked(&memory, Which::New, now + INTERVAL), [""; 0]);
        assert_eq!(asked(&memory, Which::Due(1), now + INTERVAL), ["a:1.0.0"]);
        assert_eq!(asked(&memory, Which::All, now), ["a:1.0.0", "b:2.0.0"]);
        assert_eq!(memory.harvest().found.len(), 2);
    }

    #[test]
    fn what_gives_no_answer_or_is_not_there_yet_is_asked_again_soon_and_what_is_refused_later() {
        for (kind, soon) in [
            (ErrorKind::TimedOut, true),
            (ErrorKind::NotFound, true),
            (ErrorKind::Refused, false),
        ] {
            let now = Instant::now();
            let mut memory = memory(&[("a", &["1.0.0"])], now);
            fail(&mut memory, Which::New, kind, now);
            assert_eq!(
                asked(&memory, Which::Unknown, now + S).is_empty(),
                !soon,
                "{kind:?}"
            );
            assert_eq!(
                asked(&memory, Which::Unknown, now + 31 * S),
                ["a:1.0.0"],
                "{kind:?}"
            );
            assert_eq!(
                memory.harvest().skipped[0].to_string(),
                "skipped a:1.0.0: a reason"
            );
        }
    }

    #[test]
    fn a_new_tag_that_fails_is_asked_less_and_less_and_its_trouble_seems_no_longer_than_twice_as_long()
     {
        for (kind, longest, most) in [
            (ErrorKind::Unavailable, 60, 70),
            (ErrorKind::NotFound, 60, 70),
            (ErrorKind::Refused, 300, 20),
        ] {
            let began = Instant::now();
            let mut memory = memory(&[("a", &["1.0.0"])], began);
            let mut last = began;
            let mut times = 0;
            // A check each second.
            for now in (0..3600).map(|second| began + second * S) {
                if !asked(&memory, Which::Due(9), now).is_empty() {
                    let pause = (last - began).clamp(30 * S, longest * S);
                    assert!(
                        now - last <= pause + S,
                        "{kind:?}: asked after {:?}",
                        now - last
                    );
                    fail(&mut memory, Which::Due(9), kind, now);
                    assert_eq!(memory.harvest().skipped.len(), 1);
                    (last, times) = (now, times + 1);
                }
                assert_eq!(
                    asked(&memory, Which::New, now),
                    [""; 0],
                    "a refresh waits for nothing known to fail"
                );
            }
            assert!(
                (10..=most).contains(&times),
                "{kind:?}: {times} times in an hour"
            );
            // A new one isn't delayed by it.
            let tags = ["1.0.0", "2.0.0"].map(str::to_owned);
            memory.list(
                &"a".parse().unwrap(),
                Some(Ok(tags.to_vec())),
                &mut MAX_TAGS.clone(),
                last,
            );
            assert_eq!(asked(&memory, Which::New, last), ["a:2.0.0"]);
        }
    }

    #[test]
    fn a_repository_that_does_not_list_its_tags_is_asked_less_and_less_unless_it_says_why() {
        let began = Instant::now();
        let name: RepositoryName = "a".parse().unwrap();
        for (kind, most) in [(ErrorKind::TimedOut, 70), (ErrorKind::NotFound, 3600)] {
            let mut memory = memory(&[("a", &["1.0.0"])], began);
            look(&mut memory, 9, began);
            let mut list = |listing: Option<_>, now| {
                memory.list(&name, listing, &mut MAX_TAGS.clone(), now);
                (memory.rests(&name, now), memory.rests(&name, now + 60 * S))
            };
            let (mut times, mut rests) = (0, false);
            for now in (0..3600).map(|second| began + second * S) {
                let listing = (!rests).then(|| Err(Error::new(kind, "a reason")));
                times += usize::from(listing.is_some());
                let (soon, later) = list(listing, now + S);
                assert!(!later, "{kind:?}: never for longer than a minute");
                rests = soon;
            }
            assert!(
                (10..=most).contains(&times),
                "{kind:?}: {times} times in an hour"
            );
            assert_eq!(list(Some(Ok(vec!["1.0.0".into()])), began), (false, false));
        }
    }

    #[test]
    fn a_repository_that_is_long_empty_and_then_stumbles_once_rests_for_a_moment() {
        let began = Instant::now();
        let mut memory = memory(&[("a", &[])], began);
        let name: RepositoryName = "a".parse().unwrap();
        for (kind, now) in [
            (ErrorKind::NotFound, began),
            (ErrorKind::NotFound, began + 3600 * S),
            (ErrorKind::TimedOut, began + 3605 * S),
        ] {
            memory.list(
                &name,
                Some(Err(Error::new(kind, "a reason"))),
                &mut MAX_TAGS.clone(),
                now,
            );
        }
        assert!(memory.rests(&name, began + 3605 * S) && !memory.rests(&name, began + 3606 * S));
    }

    #[test]
    fn a_first_walk_asks_again_for_what_gave_no_answer_however_long_that_took() {
        for (kind, again) in [
            (ErrorKind::TimedOut, &["a:1.0.0"][..]),
            (ErrorKind::Refused, &[]),
        ] {
            let began = Instant::now();
            let mut memory = memory(&[("a", &["1.0.0"])], began);
            for after in [0, 30] {
                fail(&mut memory, Which::Unknown, kind, began + after * S);
            }
            assert_eq!(
                asked(&memory, Which::Unknown, began + 31 * S),
                again,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_asked_stays_as_it_was_and_only_what_is_gone_goes() {
        let now = Instant::now();
        let mut memory = memory(&[("a", &["1.0.0"])], now);
        look(&mut memory, 9, now);
        for (kind, left) in [
            (ErrorKind::Refused, 1),
            (ErrorKind::Unavailable, 1),
            (ErrorKind::NotFound, 0),
        ] {
            fail(&mut memory, Which::All, kind, now);
            let name = "a".parse().unwrap();
            assert_eq!(memory.harvest().found.len(), left, "{kind:?}");
            if kind != ErrorKind::NotFound {
                memory.list(
                    &name,
                    Some(Err(Error::new(kind, "a reason"))),
                    &mut MAX_TAGS.clone(),
                    now,
                );
                assert_eq!(memory.harvest().found.len(), left, "{kind:?}");
            }
        }
    }

    #[test]
    fn tags_that_fail_each_time_do_not_keep_others_that_are_due_from_being_asked() {
        let mut now = Instant::now();
        let mut memory = memory(&[("a", &["1.0.0", "2.0.0"]), ("b", &["1.0.0"])], now);
        look(&mut memory, 9, now);
        now += INTERVAL;
        fail(&mut memory, Which::Due(2), ErrorKind::Unavailable, now);
        now += 30 * S;
        assert_eq!(asked(&memory, Which::Due(2), now), ["b:1.0.0", "a:1.0.0"]);
    }

    #[test]
    fn a_tag_is_doubted_now_but_not_all_the_time_and_not_its_neighbours() {
        let now = Instant::now();
        let mut memory = memory(&[("a", &["1.0.0", "2.0.0"])], now);
        look(&mut memory, 9, now);
        let (name, tag) = ("a".parse().unwrap(), "1.0.0".parse().unwrap());
        memory.doubt(&name, &tag, now + S);
        assert_eq!(asked(&memory, Which::Due(9), now + S), ["a:1.0.0"]);
        for question in memory.questions(Which::Due(9), now + S) {
            memory.settle(&question, Ok(Answer::Same), now + S, INTERVAL);
        }
        memory.doubt(&name, &tag, now + 2 * S);
        assert_eq!(asked(&memory, Which::Due(9), now + 2 * S), [""; 0]);
        memory.doubt(&name, &tag, now + 6 * S);
        assert_eq!(asked(&memory, Which::Due(9), now + 6 * S), ["a:1.0.0"]);
    }

    #[test]
    fn what_is_beyond_the_budget_is_decided_by_names_whatever_came_first() {
        const HALF: u64 = 4 * 1024 * 1024;
        let now = Instant::now();
        let left = |first: &[&str], then: &[&str]| {
            let mut memory = memory(&[("a", first), ("b", &["1.0.0"])], now);
            look(&mut memory, HALF, now);
            memory.list(
                &"a".parse().unwrap(),
                Some(Ok(then.iter().map(|tag| (*tag).to_owned()).collect())),
                &mut MAX_TAGS.clone(),
                now,
            );
            look(&mut memory, HALF, now);
            memory.forget_the_rest();
            let harvest = memory.harvest();
            assert_eq!(
                memory.charts().count(),
                harvest.found.len(),
                "what isn't listed isn't kept"
            );
            let place = |found: &Arc<Found>| qualified(&found.repository, found.reference.as_str());
            (
                harvest.found.iter().map(place).collect::<Vec<_>>(),
                harvest.skipped,
            )
        };
        let all = ["1.0.0", "2.0.0", "3.0.0"];
        let (found, skipped) = left(&["2.0.0", "3.0.0"], &all);
        assert_eq!(found, ["a:1.0.0", "a:2.0.0", "b:1.0.0"]);
        assert_eq!(
            skipped[0].to_string(),
            "skipped a:3.0.0: over 8388608 bytes of config blobs in a"
        );
        assert_eq!((found, skipped), left(&all, &all));
    }
}
