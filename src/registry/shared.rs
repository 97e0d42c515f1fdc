//! A value that one caller fetches for all who want it at the same time. Its failure is shared too:
//! who waited for a fetch that failed doesn't start the same wait again, or a server that hangs
//! would keep the last of a queue for as many times its deadline as there are callers.

use super::error;
use crate::storage::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(super) struct Shared<T>(Mutex<State<T>>);

struct State<T> {
    value: Option<T>,
    failed: Option<(Instant, Error)>,
}

/// What is locked here is replaced whole, so a panic elsewhere leaves nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared::new(None)
    }
}

impl<T> Shared<T> {
    pub(super) fn new(value: Option<T>) -> Shared<T> {
        Shared(Mutex::new(State {
            value,
            failed: None,
        }))
    }
}

impl<T: Clone> Shared<T> {
    /// The value if it's good, else what `fetch` brings. One fetch at a time.
    pub(super) fn get(
        &self,
        good: impl Fn(&T) -> bool,
        fetch: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let came = Instant::now();
        let mut state = lock(&self.0);
        if let Some(value) = state.value.as_ref().filter(|value| good(value)) {
            return Ok(value.clone());
        }
        if let Some((_, error)) = state.failed.as_ref().filter(|(when, _)| *when > came) {
            return Err(error::copy(error));
        }
        match fetch() {
            Ok(value) => {
                state.value = Some(value.clone());
                Ok(value)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error::copy(&error)));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::ErrorKind;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn who_waited_for_a_failure_shares_it_and_who_comes_later_tries_again() {
        let shared = Shared::<u8>::default();
        let fetches = AtomicUsize::new(0);
        let slow_failure = || {
            fetches.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(50));
            Err(Error::new(ErrorKind::TimedOut, "late"))
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert_eq!(
                        shared.get(|_| true, slow_failure).unwrap_err().kind(),
                        ErrorKind::TimedOut
                    )
                });
            }
        });
        assert!(fetches.load(Ordering::Relaxed) <= 2);
        assert_eq!(shared.get(|_| true, || Ok(7)).unwrap(), 7);
        assert_eq!(shared.get(|value| *value > 7, || Ok(8)).unwrap(), 8);
    }
}
