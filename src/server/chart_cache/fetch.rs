//! One fetch for all who ask for an archive while it's under way: one leads, the others wait for
//! what comes of it. However it ends, be it by a panic, they are told.

use super::{Buffer, ChartCache};
use crate::oci::{Descriptor, Verifying};
use crate::storage::{Error, ErrorKind};
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an archive is waited for from its first byte on: then the client is sent what has come of
/// it so far. Ingresses hang up on who says nothing for a minute, and people before that.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the others wait for the one who leads. Its own deadlines, for a connection and an answer,
/// end before.
const WAIT: Duration = Duration::from_secs(60);

/// What came of a fetch.
#[derive(Clone)]
pub(in crate::server) enum Outcome {
    /// It's here.
    Fetched(Arc<Buffer>),
    /// It comes, but too slowly to be waited for.
    Slow,
    /// It doesn't come.
    Failed(Arc<Error>),
}

/// What the one who leads has got.
pub(in crate::server) enum Obtained {
    /// All of it, verified.
    Whole(Arc<Buffer>),
    /// Verified as it comes.
    Stream(Box<dyn Read + Send>),
}

/// A fetch under way.
#[derive(Default)]
pub(super) struct Fetch {
    outcome: Mutex<Option<Outcome>>,
    ended: Condvar,
}

/// Who waits for a fetch.
pub(in crate::server) struct Waiter<'a> {
    cache: &'a ChartCache,
    fetch: Arc<Fetch>,
}

impl<'a> Waiter<'a> {
    /// The caller has counted it.
    pub(super) fn new(cache: &'a ChartCache, fetch: Arc<Fetch>) -> Waiter<'a> {
        Waiter { cache, fetch }
    }

    /// What comes of it.
    pub(in crate::server) fn wait(self) -> Outcome {
        let outcome = self
            .fetch
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .fetch
            .ended
            .wait_timeout_while(outcome, WAIT, |outcome| outcome.is_none());
        let outcome = waited.unwrap_or_else(PoisonError::into_inner).0.clone();
        outcome.unwrap_or_else(|| {
            let text = format!("whoever fetched it has not got it within {WAIT:?}");
            Outcome::Failed(Arc::new(Error::new(ErrorKind::TimedOut, text)))
        })
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.cache.lock().waiting -= 1;
    }
}

/// Who fetches, for all.
pub(in crate::server) struct Lead<'a> {
    cache: &'a ChartCache,
    blob: Descriptor,
    fetch: Arc<Fetch>,
    buffer: Option<Buffer>,
    patience: Duration,
    ended: bool,
}

impl<'a> Lead<'a> {
    pub(super) fn new(
        cache: &'a ChartCache,
        blob: Descriptor,
        fetch: Arc<Fetch>,
        buffer: Buffer,
    ) -> Lead<'a> {
        Lead {
            cache,
            blob,
            fetch,
            buffer: Some(buffer),
            patience: PATIENCE,
            ended: false,
        }
    }

    /// Reads all of `source` and keeps it, unless that takes too long.
    ///
    /// Errors when it ends early, fails, or isn't what the digest names.
    pub(in crate::server) fn read(
        mut self,
        source: Box<dyn Read + Send>,
    ) -> Result<Obtained, Arc<Error>> {
        let mut source = Verifying::new(source, &self.blob.digest, self.blob.size);
        let mut buffer = self.buffer.take().expect("it's taken here alone");
        let deadline = Instant::now() + self.patience;
        loop {
            match buffer.fill(&mut source) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(read_failed(error))),
            }
            if buffer.is_full() {
                break;
            }
            if Instant::now() >= deadline {
                self.end(Outcome::Slow);
                return Ok(Obtained::Stream(Box::new(
                    buffer.into_reader().chain(source),
                )));
            }
        }
        let archive = Arc::new(buffer);
        self.end(Outcome::Fetched(archive.clone()));
        // Lets the connection be used again.
        let _ = source.read(&mut []);
        Ok(Obtained::Whole(archive))
    }

    /// There's nothing to be read.
    pub(in crate::server) fn fail(mut self, error: Error) -> Arc<Error> {
        let error = Arc::new(error);
        self.end(Outcome::Failed(error.clone()));
        error
    }

    /// Keeps what was fetched, and tells who waits.
    fn end(&mut self, outcome: Outcome) {
        let mut state = self.cache.lock();
        state.fetches.remove(&self.blob.digest);
        if let Outcome::Fetched(archive) = &outcome {
            state.keep(self.blob.digest.clone(), archive.clone());
        }
        drop(state);
        *self
            .fetch
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.fetch.ended.notify_all();
        self.ended = true;
    }

    #[cfg(test)]
    pub(super) fn impatiently(mut self) -> Self {
        self.patience = Duration::ZERO;
        self
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let text = "whoever fetched it has met a defect of this program";
            self.end(Outcome::Failed(Arc::new(Error::new(
                ErrorKind::Unavailable,
                text,
            ))));
        }
    }
}

fn read_failed(error: io::Error) -> Error {
    Error::new(ErrorKind::from(&error), error.to_string())
}
