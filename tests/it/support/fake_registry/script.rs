//! The script: faults that stand in front of the good answers, each for one pattern of requests.
//! Several faults may meet one request; they are applied in the order they were written.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::reply::Reply;
use super::request::Request;

#[derive(Clone)]
pub enum Fault {
    /// Answers this instead.
    Answer(Reply),
    /// The good answer's head with another body, and that body's length.
    Body(Vec<u8>),
    /// The good answer, this much later.
    Wait(Duration),
    /// No answer until the fault is healed or the fake closes.
    Hang,
    /// A TCP reset instead of an answer.
    Reset,
    /// The good answer's whole length is promised, so many bytes of its body come, then the end.
    Cut(usize),
    /// One bit of the body flips at this offset.
    Flip(usize),
    /// The body comes in pieces of so many bytes, with a pause after each.
    Drip(usize, Duration),
    /// A header is replaced or added.
    Header(&'static str, String),
    /// A header is left out.
    NoHeader(&'static str),
    /// `Transfer-Encoding: chunked`, no length.
    Chunked,
}

/// A fault being written: `fake.spoil("GET /v2/").first(2).with(Fault::Reset)`.
pub struct Spoil<'a> {
    shared: &'a Arc<Shared>,
    pattern: String,
    skip: usize,
    times: usize,
}

#[derive(Default)]
pub(super) struct Script {
    lines: Vec<Line>,
}

struct Line {
    pattern: String,
    fault: Fault,
    /// Requests that still get the good answer first.
    skip: usize,
    /// Requests left to be spoiled.
    times: usize,
    met: bool,
    healed: bool,
}

impl<'a> Spoil<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, pattern: &str) -> Spoil<'a> {
        Spoil {
            shared,
            pattern: pattern.to_owned(),
            skip: 0,
            times: usize::MAX,
        }
    }

    /// Only the first so many requests are spoiled.
    pub fn first(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// So many requests get the good answer first.
    pub fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    pub fn with(self, fault: Fault) {
        self.shared.state().script.lines.push(Line {
            pattern: self.pattern,
            fault,
            skip: self.skip,
            times: self.times,
            met: false,
            healed: false,
        });
    }
}

impl Script {
    /// The faults this request meets, in the order written; each meeting is counted.
    pub(super) fn meet(&mut self, request: &Request) -> Vec<Fault> {
        let mut faults = Vec::new();
        for line in self.lines.iter_mut().filter(|line| !line.healed) {
            if !request.matches(&line.pattern) {
                continue;
            }
            if line.skip > 0 {
                line.skip -= 1;
            } else if line.times > 0 {
                line.times -= 1;
                line.met = true;
                faults.push(line.fault.clone());
            }
        }
        faults
    }

    /// Whether a request that met `Fault::Hang` still has to wait.
    pub(super) fn hangs(&self, request: &Request) -> bool {
        let hang = |line: &&Line| matches!(line.fault, Fault::Hang) && !line.healed;
        let mut hanging = self.lines.iter().filter(hang);
        hanging.any(|line| request.matches(&line.pattern))
    }

    pub(super) fn heal(&mut self, pattern: &str) {
        let mut healed = 0;
        for line in self.lines.iter_mut().filter(|l| l.pattern == pattern) {
            line.healed = true;
            healed += 1;
        }
        assert!(healed > 0, "no fault was written for `{pattern}`");
    }

    pub(super) fn never_met(&self) -> Vec<&str> {
        let idle = self.lines.iter().filter(|line| !line.met);
        idle.map(|line| line.pattern.as_str()).collect()
    }
}

impl Fault {
    /// Spoils the answer. `Hang` is the connection's own business: it waits before it delivers.
    pub(super) fn apply(self, reply: &mut Reply) {
        match self {
            Fault::Answer(other) => *reply = other,
            Fault::Body(body) => reply.body = Arc::new(body),
            Fault::Wait(time) => reply.delivery.wait += time,
            Fault::Hang => {}
            Fault::Reset => reply.delivery.reset = true,
            Fault::Cut(bytes) => reply.delivery.cut_after = Some(bytes),
            Fault::Flip(at) => Arc::make_mut(&mut reply.body)[at] ^= 1,
            Fault::Drip(bytes, pause) => reply.delivery.drip = Some((bytes, pause)),
            Fault::Header(name, value) => {
                reply.without_header(name);
                reply.headers.push((name.to_owned(), value));
            }
            Fault::NoHeader(name) => reply.without_header(name),
            Fault::Chunked => reply.delivery.chunked = true,
        }
    }
}
