//! One walk: repositories → tags → manifests → config blobs → chart versions, and a reason for
//! everything that is none. It asks only for what isn't known (see [`Memory`]), and what it learns goes
//! there. A failure stays where it happened; only a failure to learn the repositories at all ends the
//! walk.

use super::artifact::{Artifact, Candidate, Look, look};
use super::configs::{Configs, Reading};
use super::defect::contained;
use super::filter::Oldest;
use super::listings;
use super::memory::{MAX_TAGS, Memory};
use super::progress::Progress;
use super::tag::{Answer, Question, Trouble, Verdict, Which};
use crate::helm::{ChartLayers, PackedMetadata};
use crate::oci::{Descriptor, Digest, Reference, RepositoryName, qualified};
use crate::storage::{Error, ErrorKind, Storage};
use crate::sync::in_parallel;
use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// A check asks no more tags when it has lasted so long: as long as a request waits for the refresh that
/// comes after it, if nobody said otherwise. The rest remain due.
const LONGEST_CHECK: Duration = Duration::from_secs(2);

/// A chart version, and the tag it was found under.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it was found.
    pub repository: RepositoryName,
    /// Under which name.
    pub reference: Reference,
    /// The config blob's words.
    pub metadata: PackedMetadata,
    /// The manifest's word on its date.
    pub created: Option<OffsetDateTime>,
    /// The archive and the provenance file.
    pub layers: Box<ChartLayers>,
}

/// Something that isn't listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// `repository`, or `repository:tag`.
    pub reference: String,
    /// Why. Many tags share their reason.
    pub reason: Arc<str>,
    /// What kept it from being read, if that's the reason; which then holds words of the storage's.
    pub unread: Option<ErrorKind>,
    /// When this was first found, in seconds since 1970; not before this process began.
    pub since: i64,
}

impl Skipped {
    /// What was looked at, and is no chart to be listed for that reason; to be dated later.
    pub(super) fn new(reference: String, reason: impl Into<Arc<str>>) -> Skipped {
        Skipped {
            reference,
            reason: reason.into(),
            unread: None,
            since: 0,
        }
    }

    /// In a sentence that names one of many.
    pub(super) fn example(&self) -> String {
        format!("{}: {}", self.reference, self.reason)
    }

    /// The reason as it may be told to everybody: where charts come from, and what is said there, is
    /// for the log alone.
    pub(super) fn told(&self) -> Cow<'_, str> {
        match self.unread {
            None => Cow::Borrowed(&self.reason),
            Some(kind) => Cow::Owned(format!("could not be read: {kind}; see the log")),
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped {}: {}", self.reference, self.reason)
    }
}

/// All that is known after a walk, in an order that doesn't depend on the answers'.
#[derive(Default)]
pub struct Harvest {
    /// Every chart version, aliases included.
    pub found: Vec<Arc<Found>>,
    /// Everything else.
    pub skipped: Vec<Skipped>,
    /// How many repositories and tags couldn't be read, for whatever reason but that they are gone: a
    /// further walk may find more.
    pub missed: usize,
    /// One of them, and why.
    pub example: Option<Skipped>,
    /// How many of them gave no answer: the storage itself is in trouble.
    pub unanswered: usize,
    /// How many of them were refused to us.
    pub refused: usize,
    /// Whether any repository was listed.
    pub answered: bool,
    /// When the walk ended, in seconds since 1970.
    pub walked_at: i64,
}

impl Harvest {
    /// Notes a repository or tag that couldn't be read, and that isn't listed for that reason if `lost`.
    pub(super) fn miss(&mut self, reference: String, trouble: &Trouble, lost: bool) {
        let Trouble { kind, text, .. } = trouble;
        self.missed += usize::from(*kind != ErrorKind::NotFound);
        self.unanswered += usize::from(kind.is_no_answer());
        self.refused += usize::from(*kind == ErrorKind::Refused);
        if lost {
            let skipped = Skipped {
                unread: Some(*kind),
                ..Skipped::new(reference, &**text)
            };
            self.example.get_or_insert_with(|| skipped.clone());
            self.skipped.push(skipped);
        }
    }

    /// Leaves out all but the newest versions of each chart of those that were found from `start` on.
    pub(super) fn leave_old(&mut self, start: usize, most: NonZeroUsize) {
        let of_one = self.found.split_off(start);
        let oldest = Oldest::of(&of_one, most);
        for chart in &of_one {
            if oldest.lists(chart) {
                self.found.push(chart.clone());
            } else {
                let place = qualified(&chart.repository, chart.reference.as_str());
                self.skipped
                    .push(Skipped::new(place, "too old for --max-versions"));
            }
        }
    }
}

/// How to walk.
pub(super) struct Walk<'a> {
    pub(super) storage: &'a dyn Storage,
    /// Requests at a time.
    pub(super) concurrency: usize,
    /// How long what is known needn't be looked at again; none if every walk is to look at everything.
    pub(super) trust: Option<Duration>,
    pub(super) progress: &'a Progress,
}

impl Walk<'_> {
    /// Lists the tags of `repositories`, which are all there are, and looks at what is new; in a first
    /// walk also at what has failed before.
    pub(super) fn refresh(
        &self,
        memory: &mut Memory,
        repositories: Vec<RepositoryName>,
        is_first: bool,
    ) {
        let repositories = memory.keep(repositories);
        let began = Instant::now();
        let may_rest = self.trust.is_some() && !is_first;
        let rests = |name: &RepositoryName| may_rest && memory.rests(name, began);
        let listings = listings::list(
            self.storage,
            self.concurrency,
            &repositories,
            rests,
            self.progress,
        );
        let (mut room, now) = (MAX_TAGS, Instant::now());
        for (repository, listing) in repositories.iter().zip(listings) {
            memory.list(repository, listing, &mut room, now);
        }
        let which = match self.trust {
            None => Which::All,
            Some(_) if is_first => Which::Unknown,
            Some(_) => Which::New,
        };
        self.ask(memory, which);
    }

    /// Looks at those tags, and at what they have left room for. Whether any gave an answer, if any was
    /// asked.
    pub(super) fn ask(&self, memory: &mut Memory, which: Which) -> bool {
        let answered = self.look(memory, which);
        self.look(memory, Which::Readable);
        memory.close_walk();
        answered
    }

    fn look(&self, memory: &mut Memory, which: Which) -> bool {
        let questions = memory.questions(which, Instant::now());
        if questions.is_empty() {
            return true;
        }
        self.progress.expect_looks(questions.len());
        let last_call = matches!(which, Which::Due(_)).then(|| Instant::now() + LONGEST_CHECK);
        let answers = self.answers(memory, questions, last_call);
        let is_answer = |(_, answer): &(_, Result<_, Error>)| {
            answer
                .as_ref()
                .err()
                .is_none_or(|error| !error.kind().is_no_answer())
        };
        let answered = answers.iter().any(is_answer);
        let now = Instant::now();
        for (question, answer) in answers {
            memory.settle(&question, answer, now, self.trust.unwrap_or_default());
        }
        memory.forget_the_rest();
        answered
    }

    /// What came of `questions`; those that aren't asked before the last call remain open.
    fn answers(
        &self,
        memory: &Memory,
        questions: Vec<Question>,
        last_call: Option<Instant>,
    ) -> Vec<(Question, Result<Answer, Error>)> {
        // Made only if a tag has moved to a manifest that was already there.
        let verdicts = OnceLock::new();
        let verdict = |digest: &Digest| {
            verdicts
                .get_or_init(|| memory.verdicts())
                .get(digest)
                .copied()
        };
        let looks = in_parallel(&questions, self.concurrency, |question| {
            let in_time = last_call.is_none_or(|last_call| Instant::now() < last_call);
            let is_known = |digest: &Digest| verdict(digest).is_some();
            let look = in_time.then(|| contained(|| look(self.storage, question, is_known)));
            self.progress.looked(self.storage);
            look
        });
        let asked = questions
            .into_iter()
            .zip(looks)
            .filter_map(|(question, look)| Some((question, look?)));
        let (questions, looks): (Vec<Question>, Vec<_>) = asked.unzip();
        let readings = self.read_configs(memory, &questions, &looks);
        let answer = |question: &Question, look, reading| match look {
            Look::Same => Ok(Answer::Same),
            Look::Known(digest) => {
                let verdict = verdict(&digest).map(|verdict| verdict.under(question));
                Ok(verdict.map_or(Answer::Same, |verdict| Answer::Now(digest, verdict)))
            }
            Look::Read(digest, Artifact::NoChart(reason)) => {
                Ok(Answer::Now(digest, Verdict::NoChart(reason.into())))
            }
            Look::Read(digest, Artifact::Chart(candidate)) => {
                chart(question, digest, candidate, reading)
            }
        };
        let answers = looks.into_iter().zip(readings).zip(&questions);
        let answers = answers.map(|((look, reading), question)| answer(question, look?, reading));
        let answers: Vec<_> = answers.collect();
        questions.into_iter().zip(answers).collect()
    }

    /// What the config blobs of new charts say, for each of `questions`.
    fn read_configs(
        &self,
        memory: &Memory,
        questions: &[Question],
        looks: &[Result<Look, Error>],
    ) -> Vec<Reading> {
        let config = |look: &'_ Result<Look, Error>| match look {
            Ok(Look::Read(_, Artifact::Chart(candidate))) => Some(candidate.layers.config.clone()),
            _ => None,
        };
        let configs: Vec<Option<Descriptor>> = looks.iter().map(config).collect();
        let wanted = questions.iter().zip(&configs);
        let wanted =
            wanted.filter_map(|(question, config)| Some((question.place(), config.as_ref()?)));
        let read = Configs::read(
            self.storage,
            self.concurrency,
            memory,
            &wanted.collect(),
            self.progress,
        );
        let places = questions.iter().zip(&configs);
        places
            .map(|(question, config)| read.get(&question.repository, config.as_ref()))
            .collect()
    }
}

fn chart(
    question: &Question,
    manifest: Digest,
    candidate: Candidate,
    reading: Reading,
) -> Result<Answer, Error> {
    let verdict = match reading {
        Reading::Metadata(metadata) => Verdict::Chart(Arc::new(Found {
            repository: question.repository.clone(),
            reference: question.reference.clone(),
            metadata,
            created: candidate.created,
            layers: candidate.layers,
        })),
        Reading::NotAChart(reason) => {
            Verdict::unkept(&candidate.layers.config, Some(reason.into()))
        }
        Reading::NoRoom => Verdict::unkept(&candidate.layers.config, None),
        Reading::Failed(kind, text) => return Err(Error::new(kind, text)),
    };
    Ok(Answer::Now(manifest, verdict))
}
