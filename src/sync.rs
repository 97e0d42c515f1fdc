//! Tools for threads that wait for one another: a bounded number at once ([`Gate`]), one call for all
//! that want its result ([`Once`]), recently used values within a bound ([`Lru`]), and the same work
//! on many things ([`in_parallel`]). Every wait has a deadline, and a panic in one thread never
//! leaves others waiting.

use crate::sorting;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Locks, also after a panic of another thread: every change under these locks is complete in one
/// step, so a panic leaves nothing half done.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `condition` is false, or for `longest`.
pub(crate) fn wait_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    longest: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    let waited = condvar.wait_timeout_while(guard, longest, condition);
    waited.unwrap_or_else(PoisonError::into_inner).0
}

/// Most keys that a [`Gate`] remembers: four for each connection.
const MAX_KEYS: usize = 4096;

/// Bounds of a [`Gate`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateLimits {
    /// Most passes at once.
    pub(crate) at_once: usize,
    /// Most passes at once for one key, such as one client address.
    pub(crate) per_key: usize,
    /// Most callers that wait for a pass; of one key, the same part of them as of the passes.
    pub(crate) waiting: usize,
}

/// Lets a bounded number of callers pass at once; further ones wait in line. The key with the fewest
/// passes is served first, so that the share of each shrinks as more keys come; of those with as few the
/// one that was served the longest time ago, so that keys take turns. A full line refuses the last of the
/// key that has the most in it.
pub(crate) struct Gate<K: Copy + Eq + Hash> {
    limits: GateLimits,
    line: Mutex<Line<K>>,
}

struct Line<K: Copy + Eq + Hash> {
    passed: usize,
    /// What is remembered of each key: all that have a pass, and others as far as there is room.
    keys: HashMap<K, Served>,
    /// None of them can pass now: a [`Pass`] that is given back is handed to the first that can.
    waiting: VecDeque<Waiting<K>>,
    next_ticket: u64,
}

#[derive(Clone, Copy, Default)]
struct Served {
    passed: usize,
    /// The ticket that it was served the last time.
    last: u64,
}

struct Waiting<K: Copy + Eq + Hash> {
    ticket: u64,
    key: K,
    hand_over: SyncSender<Pass<K>>,
}

/// The right to be past a [`Gate`], given back when dropped.
pub(crate) struct Pass<K: Copy + Eq + Hash> {
    gate: Arc<Gate<K>>,
    key: K,
}

impl<K: Copy + Eq + Hash> Gate<K> {
    /// A gate that has not been passed yet.
    pub(crate) fn new(limits: GateLimits) -> Arc<Gate<K>> {
        let line = Line {
            passed: 0,
            keys: HashMap::new(),
            waiting: VecDeque::new(),
            next_ticket: 1,
        };
        Arc::new(Gate {
            limits,
            line: Mutex::new(line),
        })
    }

    /// A pass, at once or within `longest`; `None` when none came free in time, or when too many wait
    /// already.
    pub(crate) fn enter(self: &Arc<Self>, key: K, longest: Duration) -> Option<Pass<K>> {
        let mut line = lock(&self.line);
        if line.has_room(&self.limits, key) {
            line.count(key);
            return Some(self.pass(key));
        }
        if line.is_over_share(&self.limits, key)
            || (line.waiting.len() >= self.limits.waiting && !line.make_room(key))
        {
            return None;
        }
        let (hand_over, handed_over) = sync_channel(1);
        let ticket = line.next_ticket;
        line.next_ticket += 1;
        line.waiting.push_back(Waiting {
            ticket,
            key,
            hand_over,
        });
        drop(line);
        let pass = handed_over.recv_timeout(longest).ok();
        if pass.is_none() {
            lock(&self.line).waiting.retain(|one| one.ticket != ticket);
        }
        // A pass that arrives after the deadline is dropped with `handed_over`, and so handed on.
        pass
    }

    /// How many passes are out.
    pub(crate) fn passed(&self) -> usize {
        lock(&self.line).passed
    }

    /// How many callers wait for a pass.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.line).waiting.len()
    }

    fn pass(self: &Arc<Self>, key: K) -> Pass<K> {
        Pass {
            gate: self.clone(),
            key,
        }
    }
}

impl<K: Copy + Eq + Hash> Line<K> {
    fn has_room(&self, limits: &GateLimits, key: K) -> bool {
        self.passed < limits.at_once && self.served(key).passed < limits.per_key
    }

    fn served(&self, key: K) -> Served {
        self.keys.get(&key).copied().unwrap_or_default()
    }

    fn is_over_share(&self, limits: &GateLimits, key: K) -> bool {
        self.waiting_of(key) >= limits.waiting * limits.per_key / limits.at_once
    }

    fn waiting_of(&self, key: K) -> usize {
        self.waiting.iter().filter(|one| one.key == key).count()
    }

    /// Refuses the last in line of the key that has the most there, if that are more than those of `key`
    /// would be.
    fn make_room(&mut self, key: K) -> bool {
        let counts = self.waiting.iter();
        let counts = counts.map(|one| (self.waiting_of(one.key), one.key));
        let most = counts.max_by_key(|(count, _)| *count);
        let Some((_, greedy)) = most.filter(|(count, _)| *count > self.waiting_of(key) + 1) else {
            return false;
        };
        // Its caller sees that no pass can come any more.
        let last = self.waiting.iter().rposition(|one| one.key == greedy);
        last.is_some_and(|last| self.waiting.remove(last).is_some())
    }

    fn count(&mut self, key: K) {
        if self.keys.len() >= MAX_KEYS {
            self.keys.retain(|_, served| served.passed > 0);
        }
        let served = self.keys.entry(key).or_default();
        served.passed += 1;
        served.last = self.next_ticket;
        self.next_ticket += 1;
        self.passed += 1;
    }

    fn discount(&mut self, key: K) {
        self.passed -= 1;
        if let Some(own) = self.keys.get_mut(&key) {
            own.passed -= 1;
        }
    }

    /// Takes the first in line of the key with the fewest passes out of it, already counted.
    fn next(&mut self, limits: &GateLimits) -> Option<Waiting<K>> {
        let line = self.waiting.iter().enumerate();
        let with_room = line.filter(|(_, one)| self.has_room(limits, one.key));
        let rank = |one: &Waiting<K>| {
            let served = self.served(one.key);
            (served.passed, served.last)
        };
        let (at, _) = with_room.min_by_key(|(_, one)| rank(one))?;
        let next = self.waiting.remove(at)?;
        self.count(next.key);
        Some(next)
    }
}

impl<K: Copy + Eq + Hash> Drop for Pass<K> {
    /// Wakes the next in line and no other: hundreds that are woken together would look in vain.
    fn drop(&mut self) {
        let mut line = lock(&self.gate.line);
        line.discount(self.key);
        let next = line.next(&self.gate.limits);
        drop(line);
        if let Some(Waiting { key, hand_over, .. }) = next {
            // A receiver that has just given up drops the pass here, which hands it on.
            let _ = hand_over.send(self.gate.pass(key));
        }
    }
}

/// One call for all that want its result while it runs. It keeps nothing afterwards.
pub(crate) struct Once<K, V> {
    most_waiting: usize,
    calls: Mutex<Calls<K, V>>,
}

struct Calls<K, V> {
    running: HashMap<K, Arc<Call<V>>>,
    waiting: usize,
}

struct Call<V> {
    state: Mutex<CallState<V>>,
    ended: Condvar,
}

enum CallState<V> {
    Running,
    Ended(V),
    /// It panicked.
    Lost,
}

impl<K: Clone + Eq + Hash, V: Clone> Once<K, V> {
    /// At most `most_waiting` callers wait for results of others.
    pub(crate) fn new(most_waiting: usize) -> Once<K, V> {
        let calls = Calls {
            running: HashMap::new(),
            waiting: 0,
        };
        Once {
            most_waiting,
            calls: Mutex::new(calls),
        }
    }

    /// The result of `make`: of this call, or of the one that runs already for `key`. Failures are
    /// results too, so those that waited for one don't repeat it, one after the other.
    ///
    /// `None` when a result of another call was not to be had: not within `longest`, not at all because
    /// that call panicked, or because too many wait.
    pub(crate) fn get(&self, key: &K, longest: Duration, make: impl FnOnce() -> V) -> Option<V> {
        let mut calls = lock(&self.calls);
        if let Some(call) = calls.running.get(key).cloned() {
            if calls.waiting >= self.most_waiting {
                return None;
            }
            calls.waiting += 1;
            drop(calls);
            let result = call.wait(longest);
            lock(&self.calls).waiting -= 1;
            return result;
        }
        let call = Arc::new(Call {
            state: Mutex::new(CallState::Running),
            ended: Condvar::new(),
        });
        calls.running.insert(key.clone(), call.clone());
        drop(calls);
        let mut ending = Ending {
            once: self,
            key,
            call: &call,
            state: CallState::Lost,
        };
        let result = make();
        ending.state = CallState::Ended(result.clone());
        Some(result)
    }
}

impl<V: Clone> Call<V> {
    fn wait(&self, longest: Duration) -> Option<V> {
        let is_running = |state: &mut CallState<V>| matches!(state, CallState::Running);
        let state = wait_while(&self.ended, lock(&self.state), longest, is_running);
        match &*state {
            CallState::Ended(result) => Some(result.clone()),
            CallState::Running | CallState::Lost => None,
        }
    }
}

/// Publishes how a call ended when it's dropped, so also after a panic.
struct Ending<'a, K: Eq + Hash, V> {
    once: &'a Once<K, V>,
    key: &'a K,
    call: &'a Call<V>,
    state: CallState<V>,
}

impl<K: Eq + Hash, V> Drop for Ending<'_, K, V> {
    fn drop(&mut self) {
        lock(&self.once.calls).running.remove(self.key);
        *lock(&self.call.state) = std::mem::replace(&mut self.state, CallState::Lost);
        self.call.ended.notify_all();
    }
}

/// Values by key, each with a weight; the least recently used ones make room for new ones.
pub(crate) struct Lru<K, V> {
    most: usize,
    weight: usize,
    entries: HashMap<K, Entry<V>>,
    /// Counts the uses.
    clock: u64,
}

struct Entry<V> {
    value: V,
    weight: usize,
    used: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Lru<K, V> {
    /// Holds at most `most` in the sum of weights, or one value that is heavier alone.
    pub(crate) fn new(most: usize) -> Lru<K, V> {
        Lru {
            most,
            weight: 0,
            entries: HashMap::new(),
            clock: 0,
        }
    }

    /// The value of `key`, which is now the most recently used one.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.value.clone())
    }

    /// Adds or replaces a value; others are evicted as far as it needs room.
    pub(crate) fn insert(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        let over = (self.weight + weight).saturating_sub(self.most);
        if !self.evict(over, |_| true) {
            self.entries.clear();
            self.weight = 0;
        }
        self.clock += 1;
        self.weight += weight;
        let used = self.clock;
        let entry = Entry {
            value,
            weight,
            used,
        };
        self.entries.insert(key, entry);
    }

    /// Evicts values that `may_go`, least recently used first, until their weights sum up to at least
    /// `wanted`; none at all, and `false`, if they don't.
    pub(crate) fn evict(&mut self, wanted: usize, may_go: impl Fn(&V) -> bool) -> bool {
        if wanted == 0 {
            return true;
        }
        let mut free: Vec<(u64, K, usize)> = Vec::new();
        for (key, entry) in self
            .entries
            .iter()
            .filter(|(_, entry)| may_go(&entry.value))
        {
            free.push((entry.used, key.clone(), entry.weight));
        }
        if free.iter().map(|(_, _, weight)| weight).sum::<usize>() < wanted {
            return false;
        }
        sorting::by_key(&mut free, |(used, ..)| *used);
        let mut evicted = 0;
        for (_, key, weight) in free {
            if evicted >= wanted {
                break;
            }
            self.remove(&key);
            evicted += weight;
        }
        true
    }

    fn remove(&mut self, key: &K) {
        self.weight -= self.entries.remove(key).map_or(0, |entry| entry.weight);
    }
}

/// Does `work` on each of `all`, on at most `concurrency` threads at a time. The results have the order
/// of `all`, so that the order of answers decides nothing.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    all: &[T],
    concurrency: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let results: Vec<Mutex<Option<R>>> = all.iter().map(|_| Mutex::default()).collect();
    at_each(all.len(), concurrency, &|at| {
        let result = work(&all[at]);
        *lock(&results[at]) = Some(result);
    });
    let results = results.into_iter();
    results
        .filter_map(|one| one.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// Does `work` at each position up to `count`. Not generic, or the threads' code would be compiled for each
/// kind of work: 33 KB of a binary for seven.
fn at_each(count: usize, concurrency: usize, work: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let worker = || {
        let positions = iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        positions.take_while(|at| *at < count).for_each(work);
    };
    thread::scope(|scope| {
        let helpers = concurrency.min(count).saturating_sub(1);
        // If a thread can't be started, the others do its share.
        let spawn = |_| {
            let builder = thread::Builder::new().name("scan".into());
            builder.spawn_scoped(scope, worker).ok()
        };
        let handles: Vec<_> = (0..helpers).filter_map(spawn).collect();
        worker();
        for handle in handles {
            handle
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const SOON: Duration = Duration::from_millis(10);
    /// Longer than any test takes, so that a wait for this long is one that was ended.
    const LONG: Duration = Duration::from_secs(60);

    fn gate(at_once: usize, per_key: usize, waiting: usize) -> Arc<Gate<u8>> {
        Gate::new(GateLimits {
            at_once,
            per_key,
            waiting,
        })
    }

    fn wait_for(condition: impl Fn() -> bool) {
        while !condition() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_gate_lets_as_many_pass_as_its_limits_say_and_no_more_of_one_key() {
        let gate = gate(3, 2, 9);
        let passes: Vec<_> = [1, 1].map(|key| gate.enter(key, SOON)).into();
        assert!(passes.iter().all(Option::is_some));
        assert!(gate.enter(1, SOON).is_none(), "the share of one key");
        let other = gate.enter(2, SOON);
        assert!(other.is_some());
        assert!(gate.enter(3, SOON).is_none(), "all passes are taken");
        drop(other);
        assert!(gate.enter(3, SOON).is_some());
    }

    #[test]
    fn a_pass_is_handed_to_the_first_in_line_whose_key_has_room() {
        let gate = gate(2, 1, 9);
        let (one, two) = (gate.enter(1, SOON), gate.enter(2, SOON));
        let waiting = |length| lock(&gate.line).waiting.len() == length;
        thread::scope(|scope| {
            let again = scope.spawn(|| gate.enter(1, LONG).map(drop));
            wait_for(|| waiting(1));
            let third = scope.spawn(|| gate.enter(3, LONG));
            wait_for(|| waiting(2));
            drop(two);
            assert!(third.join().unwrap().is_some());
            assert!(waiting(1), "key 1 still has its share");
            drop(one);
            assert!(again.join().unwrap().is_some());
        });
        assert_eq!(lock(&gate.line).passed, 0);
    }

    #[test]
    fn a_key_with_fewer_passes_is_served_before_those_that_came_first() {
        let gate = gate(3, 2, 9);
        let mut passes: Vec<_> = [1, 1, 2].map(|key| gate.enter(key, SOON)).into();
        let waiting = |length| lock(&gate.line).waiting.len() == length;
        thread::scope(|scope| {
            let crowd = scope.spawn(|| gate.enter(2, LONG));
            wait_for(|| waiting(1));
            let single = scope.spawn(|| gate.enter(3, LONG));
            wait_for(|| waiting(2));
            drop(passes.remove(0));
            assert!(single.join().unwrap().is_some());
            drop(passes);
            assert!(crowd.join().unwrap().is_some());
        });
    }

    #[test]
    fn one_key_does_not_fill_the_line() {
        let gate = gate(2, 1, 2);
        let _passes = [1, 2].map(|key| gate.enter(key, SOON));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(1, SOON * 10).is_none());
            wait_for(|| lock(&gate.line).waiting.len() == 1);
            assert!(lock(&gate.line).is_over_share(&gate.limits, 1));
            assert!(!lock(&gate.line).is_over_share(&gate.limits, 3));
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn keys_take_turns_however_many_wait_of_one() {
        let gate = gate(1, 1, 9);
        let pass = gate.enter(1, SOON);
        let served = Mutex::new(Vec::new());
        let wait = |key| {
            let _pass = gate.enter(key, LONG).expect("its turn comes");
            lock(&served).push(key);
        };
        thread::scope(|scope| {
            for (count, key) in [1, 1, 1, 2, 1, 2, 3].into_iter().enumerate() {
                scope.spawn(move || wait(key));
                wait_for(|| lock(&gate.line).waiting.len() == count + 1);
            }
            drop(pass);
        });
        assert_eq!(*lock(&served), [2, 3, 1, 2, 1, 1, 1]);
    }

    #[test]
    fn a_full_line_refuses_the_last_of_the_key_with_the_most_in_it() {
        let gate = gate(1, 1, 2);
        let _pass = gate.enter(1, SOON);
        thread::scope(|scope| {
            let first = scope.spawn(|| gate.enter(1, LONG).is_some());
            wait_for(|| lock(&gate.line).waiting.len() == 1);
            let last = scope.spawn(|| gate.enter(1, LONG).is_some());
            wait_for(|| lock(&gate.line).waiting.len() == 2);
            let other = scope.spawn(|| gate.enter(2, LONG).is_some());
            assert!(!last.join().unwrap(), "it made room");
            wait_for(|| lock(&gate.line).waiting.len() == 2);
            assert!(gate.enter(3, LONG).is_none(), "no key has more than one");
            drop(_pass);
            assert!(first.join().unwrap() && other.join().unwrap());
        });
    }

    #[test]
    fn a_line_that_is_full_refuses_at_once_and_one_that_gave_up_leaves_it() {
        let gate = gate(1, 1, 1);
        let pass = gate.enter(1, SOON);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(2, LONG).map(drop));
            wait_for(|| lock(&gate.line).waiting.len() == 1);
            assert!(gate.enter(3, LONG).is_none());
            drop(pass);
            assert!(waiting.join().unwrap().is_some());
        });
        let _pass = gate.enter(1, SOON);
        assert!(gate.enter(2, SOON).is_none());
        assert!(lock(&gate.line).waiting.is_empty());
    }

    #[test]
    fn callers_that_want_the_same_at_the_same_time_share_one_call() {
        let once = Once::new(9);
        let waiting = |count| lock(&once.calls).waiting == count;
        thread::scope(|scope| {
            let lead = scope.spawn(|| {
                once.get(&1, LONG, || {
                    wait_for(|| waiting(2));
                    "first"
                })
            });
            wait_for(|| !lock(&once.calls).running.is_empty());
            let follow = || once.get(&1, LONG, || "second");
            let followers = [scope.spawn(follow), scope.spawn(follow)];
            assert_eq!(once.get(&2, LONG, || "other key"), Some("other key"));
            for follower in followers {
                assert_eq!(follower.join().unwrap(), Some("first"));
            }
            assert_eq!(lead.join().unwrap(), Some("first"));
        });
        assert_eq!(once.get(&1, LONG, || "later"), Some("later"));
    }

    #[test]
    fn callers_that_wait_for_a_call_that_panics_are_released() {
        let once = Once::new(9);
        thread::scope(|scope| {
            let lead = || {
                once.get(&1, LONG, || {
                    wait_for(|| lock(&once.calls).waiting == 1);
                    panic!("on purpose")
                })
            };
            let lead = scope.spawn(move || catch_unwind(AssertUnwindSafe(lead)));
            wait_for(|| !lock(&once.calls).running.is_empty());
            assert_eq!(once.get(&1, LONG, || 2), None);
            assert!(lead.join().unwrap().is_err());
        });
        assert_eq!(once.get(&1, LONG, || 3), Some(3));
    }

    #[test]
    fn no_more_callers_wait_than_allowed_and_none_longer_than_it_said() {
        let once = Once::new(1);
        let (started, start) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                once.get(&1, LONG, || {
                    started.store(1, Ordering::Release);
                    wait_for(|| start.load(Ordering::Acquire) == 1);
                })
            });
            wait_for(|| started.load(Ordering::Acquire) == 1);
            assert_eq!(once.get(&1, SOON, || ()), None, "its own deadline");
            scope.spawn(|| once.get(&1, LONG, || ()));
            wait_for(|| lock(&once.calls).waiting == 1);
            assert_eq!(once.get(&1, LONG, || ()), None, "too many wait");
            start.store(1, Ordering::Release);
        });
    }

    #[test]
    fn the_least_recently_used_make_room_and_only_those_that_may_go() {
        let mut lru = Lru::new(10);
        for (key, weight) in [("a", 4), ("b", 3), ("c", 3)] {
            lru.insert(key, key, weight);
        }
        assert_eq!(lru.get(&"a"), Some("a"));
        lru.insert("d", "d", 2);
        assert_eq!(
            ["a", "b", "c", "d"].map(|key| lru.get(&key).is_some()),
            [true, false, true, true]
        );
        assert!(
            !lru.evict(6, |value| *value != "a"),
            "c and d weigh 5 together"
        );
        assert_eq!(lru.entries.len(), 3);
        assert!(lru.evict(4, |value| *value != "a"));
        assert_eq!((lru.entries.len(), lru.weight), (1, 4));
    }

    #[test]
    fn a_value_that_is_too_heavy_is_held_alone() {
        let mut lru = Lru::new(10);
        lru.insert("a", 1, 4);
        lru.insert("b", 2, 40);
        assert_eq!((lru.get(&"a"), lru.get(&"b")), (None, Some(2)));
        lru.insert("b", 3, 4);
        lru.insert("c", 4, 4);
        assert_eq!(
            (lru.get(&"b"), lru.get(&"c"), lru.weight),
            (Some(3), Some(4), 8)
        );
    }

    #[test]
    fn results_have_the_order_of_the_work() {
        let all: Vec<usize> = (0..100).collect();
        for concurrency in [1, 8, 1000] {
            let results = in_parallel(&all, concurrency, |n| n * 2);
            assert_eq!(results, (0..200).step_by(2).collect::<Vec<_>>());
        }
        assert!(in_parallel(&[] as &[usize], 8, |n| *n).is_empty());
    }
}
