//! Responses that wait for what has no deadline: a file on a network file system that hangs. The kernel
//! gives back the thread that reads it only when the file system answers, so nothing here ends the read;
//! it ends the client's wait, and tells of it.

use super::client::ConnectionPhase;
use super::connections::ConnectionTable;
use std::time::{Duration, Instant};

/// After so long without progress a response is stuck: all other waits, for a registry, a client or a
/// refresh, end within a minute or two.
const STUCK: Duration = Duration::from_secs(300);

/// Cuts off the clients whose responses are stuck. A download of theirs counts until its read returns, so
/// that no more than those that may run at a time can hang.
pub(super) fn cut_stuck(table: &ConnectionTable, now: Instant) {
    table.for_each(|one| {
        let (phase, still) = (one.phase(), now.saturating_duration_since(one.last_progress()));
        let is_busy = matches!(phase, ConnectionPhase::Sending | ConnectionPhase::Responding);
        if is_busy && still >= STUCK && one.evict(phase) {
            log::warn!(
                "{}: cut off, because its response has made no progress for {} s; does the file system \
                 hang?",
                one.peer,
                still.as_secs()
            );
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::connections::tests::{enter, table};
    use super::*;

    /// A download of a file on a file system that hung had no deadline: issue 17, 4.
    #[test]
    fn a_client_whose_response_makes_no_progress_for_minutes_is_cut_off() {
        let (table, now) = (table(8), Instant::now());
        let entries = [1, 2, 3].map(|last| enter(&table, last).unwrap());
        let [_waiting, responding, sending] = &entries;
        responding.enter(ConnectionPhase::Responding).unwrap();
        sending.enter(ConnectionPhase::Sending).unwrap();
        let phases = || entries.each_ref().map(|one| one.phase());
        let before = phases();
        cut_stuck(&table, now + STUCK / 2);
        assert_eq!(phases(), before);
        cut_stuck(&table, now + STUCK * 2);
        let cut = ConnectionPhase::Evicted;
        assert_eq!(phases(), [ConnectionPhase::Waiting, cut, cut]);
    }
}
