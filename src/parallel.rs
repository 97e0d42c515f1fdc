//! The same work on many things, a few at a time, with results in the order of the things: who answers
//! first decides nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// `work` on every one of `all`, `concurrency` at a time; results in the order of `all`.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    all: &[T],
    concurrency: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(at) else { return done };
            done.push((at, work(one)));
        }
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let helpers = concurrency.min(all.len()).saturating_sub(1);
        // A thread that can't be started leaves its share to the others.
        let spawn = |_| {
            thread::Builder::new()
                .name("walk".into())
                .spawn_scoped(scope, worker)
                .ok()
        };
        let handles: Vec<_> = (0..helpers).filter_map(spawn).collect();
        let mut results = worker();
        for handle in handles {
            results.extend(
                handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        results
    });
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_work() {
        let all: Vec<usize> = (0..100).collect();
        for concurrency in [1, 8, 1000] {
            assert_eq!(
                in_parallel(&all, concurrency, |n| n * 2),
                (0..200).step_by(2).collect::<Vec<_>>()
            );
        }
        assert!(in_parallel(&[] as &[usize], 8, |n| *n).is_empty());
    }
}
