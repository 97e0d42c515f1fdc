//! Doors for the fuzzer (`make fuzz`, `tests/fuzz`) into parsers that are private to their rooms.
//! Compiled only under `cfg(fuzzing)`, which cargo-fuzz sets. What they let through is plain enough
//! to assert on; the assertions are the fuzzer's.

pub use crate::layout::fuzzing::layout_listing;
pub use crate::registry::fuzzing::{challenge, next_page};
pub use crate::server::fuzzing::{request_head, request_target};

/// Keeps warnings off stderr, where the fuzzer says how it gets on.
pub fn hush() {
    crate::observe::log::silence();
}
