//! What is known of one tag: what it names, why it couldn't be asked, and when it's to be looked at
//! again. The clock is a parameter.

use super::filter::Filter;
use super::walk::Found;
use crate::oci::{Descriptor, Digest, Reference, RepositoryName};
use crate::storage::{Error, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A tag that gave no answer, or a repository that didn't list its tags, is asked again when that has lasted
/// for twice as long, but not before this: a first walk that failed is made again after as long. So is a tag
/// that is listed, but not there: it may not have come to every replica of the registry.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// And not later than this: what is well again is soon listed, and what never will be costs little. A tag
/// that was deleted may be listed for good (distribution#4324), until it's pushed again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The same for one that was refused, or answered with nonsense: rights are given, policies lifted, but
/// seldom within seconds.
const SHORTEST_REFUSED: Duration = Duration::from_secs(30);
/// And so often known tags are looked at where nobody asked for another interval.
const LONGEST_REFUSED: Duration = Duration::from_secs(300);

/// What is known of a tag, by its repository and its text.
pub(super) struct Tag {
    /// As it's listed, which may be no tag at all. What is found under it shares it.
    pub(super) text: Arc<str>,
    pub(super) known: Option<Known>,
    /// Why it couldn't be asked the last time.
    pub(super) trouble: Option<Box<Trouble>>,
    /// When it's to be looked at again; never, if it isn't worth a request.
    pub(super) due: Option<Instant>,
}

/// What a tag names.
#[derive(Clone)]
pub(super) struct Known {
    /// Its manifest; none for a tag that wasn't asked for.
    pub(super) manifest: Option<Digest>,
    pub(super) verdict: Verdict,
}

/// A chart, or why it's none.
#[derive(Clone)]
pub(super) enum Verdict {
    Chart(Arc<Found>),
    Unkept(Box<Unkept>),
    NoChart(Arc<str>),
}

/// What is a chart by its manifest, but whose config blob isn't kept.
#[derive(Clone)]
pub(super) struct Unkept {
    pub(super) config: Descriptor,
    /// Why it's no chart's, if it was read; otherwise there was no room.
    pub(super) reason: Option<Arc<str>>,
}

/// Why something couldn't be asked.
pub(super) struct Trouble {
    pub(super) kind: ErrorKind,
    pub(super) text: String,
    /// When that began; to refuse an answer is another trouble than to give none, or not to be there.
    since: Instant,
    /// When to ask again.
    pub(super) until: Instant,
}

/// A repository and a tag in it.
pub(super) type Place<'a> = (&'a RepositoryName, &'a str);

/// A tag that is to be looked at.
pub(super) struct Question {
    pub(super) repository: RepositoryName,
    pub(super) reference: Reference,
    /// The manifest that it named the last time.
    pub(super) known: Option<Digest>,
}

impl Question {
    /// The repository and the tag.
    pub(super) fn place(&self) -> Place<'_> {
        (&self.repository, self.reference.as_str())
    }
}

impl Verdict {
    pub(super) fn unkept(config: &Descriptor, reason: Option<Arc<str>>) -> Verdict {
        Verdict::Unkept(Box::new(Unkept {
            config: config.clone(),
            reason,
        }))
    }

    /// The config blob that has a share in the budget. It's the manifest that decides this, whatever is
    /// in the blob: else who has read it would list other charts than who hasn't.
    pub(super) fn config(&self) -> Option<&Descriptor> {
        match self {
            Verdict::Chart(found) => Some(&found.layers.config),
            Verdict::Unkept(unkept) => Some(&unkept.config),
            Verdict::NoChart(_) => None,
        }
    }

    /// The same manifest's verdict, found where `question` asked.
    pub(super) fn under(&self, question: &Question) -> Verdict {
        match self {
            Verdict::Chart(found) => Verdict::Chart(Arc::new(Found {
                repository: question.repository.clone(),
                reference: question.reference.clone(),
                ..Found::clone(found)
            })),
            other => other.clone(),
        }
    }
}

/// Which tags are to be looked at.
#[derive(Clone, Copy)]
pub(super) enum Which {
    /// Those that were never asked; what has failed is left to checks, for it may hang again, and whoever
    /// waits for what is new would wait for it.
    New,
    /// Those of which nothing is known, unless they were refused not long ago: for the first walks,
    /// which are few.
    Unknown,
    /// Those, and all of which something is known.
    All,
    /// Those whose time has come, so many at most.
    Due(usize),
    /// Those whose config blobs can be kept by now.
    Readable,
}

/// What came of a question.
pub(super) enum Answer {
    /// The tag names what it named before.
    Same,
    /// It names this manifest, which is that.
    Now(Digest, Verdict),
}

impl Tag {
    /// Nothing is known of it yet, unless its text tells.
    pub(super) fn new(text: Arc<str>, filter: &Filter, now: Instant) -> Tag {
        match filter.passes_over(&text) {
            Some(reason) => {
                let known = Known {
                    manifest: None,
                    verdict: Verdict::NoChart(reason),
                };
                Tag {
                    text,
                    known: Some(known),
                    trouble: None,
                    due: None,
                }
            }
            None => Tag {
                text,
                known: None,
                trouble: None,
                due: Some(now),
            },
        }
    }

    /// Whether it's to be looked at; `readable` is whether its config blob isn't kept, but can be.
    pub(super) fn is_asked_for(&self, which: Which, readable: bool, now: Instant) -> bool {
        let Some(due) = self.due else { return false };
        let silent = self
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.kind.is_no_answer());
        let readable = readable && (self.trouble.is_none() || due <= now);
        match which {
            Which::New => self.trouble.is_none() && (readable || self.known.is_none()),
            Which::Unknown => readable || (self.known.is_none() && (due <= now || silent)),
            Which::All => true,
            Which::Due(_) => due <= now,
            Which::Readable => readable,
        }
    }

    pub(super) fn verdict(&self) -> Option<&Verdict> {
        self.known.as_ref().map(|known| &known.verdict)
    }

    /// Whether its config blob wasn't read for want of room.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self.verdict(), Some(Verdict::Unkept(unkept)) if unkept.reason.is_none())
    }

    /// Notes an answer, which holds until it's `due` again. Whether that changes what is listed or
    /// skipped.
    pub(super) fn learn(&mut self, answer: Answer, due: Instant) -> bool {
        self.due = Some(due);
        self.trouble = None;
        let Answer::Now(manifest, verdict) = answer else {
            return false;
        };
        self.known = Some(Known {
            manifest: Some(manifest),
            verdict,
        });
        true
    }

    /// Notes why it couldn't be asked: what was known stays, unless it's definitely gone. Whether that
    /// changes what is listed or skipped.
    pub(super) fn fail(&mut self, error: &Error, now: Instant) -> bool {
        let gone = error.kind() == ErrorKind::NotFound && self.known.take().is_some();
        let news = Trouble::note(&mut self.trouble, error, now);
        self.due = self.trouble.as_ref().map(|trouble| trouble.until);
        gone || (news && (self.known.is_none() || self.is_unread()))
    }
}

impl Trouble {
    /// Notes why something couldn't be asked; whether that is news.
    pub(super) fn note(noted: &mut Option<Box<Trouble>>, error: &Error, now: Instant) -> bool {
        let before = noted.take();
        let sort = |kind: ErrorKind| (kind.is_no_answer(), kind == ErrorKind::NotFound);
        let since = before
            .as_ref()
            .filter(|before| sort(before.kind) == sort(error.kind()));
        let since = since.map_or(now, |before| before.since);
        let until = now + pause(error.kind(), now.saturating_duration_since(since));
        let now = Trouble {
            kind: error.kind(),
            text: format!("{error:#}"),
            since,
            until,
        };
        let news = before.is_none_or(|before| (before.kind, &before.text) != (now.kind, &now.text));
        *noted = Some(Box::new(now));
        news
    }
}

/// How long not to ask again after trouble that has `lasted` so long: as long, within bounds.
pub(super) fn pause(kind: ErrorKind, lasted: Duration) -> Duration {
    match kind {
        ErrorKind::Refused | ErrorKind::Invalid => lasted.clamp(SHORTEST_REFUSED, LONGEST_REFUSED),
        _ => lasted.clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_of_another_kind_begins_anew() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let mut noted = None;
        let mut pause = |kind, at| {
            Trouble::note(&mut noted, &Error::new(kind, "trouble"), at);
            noted.as_ref().unwrap().until - at
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
