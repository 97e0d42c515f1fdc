//! What is said of what stays as it was because it can't be asked: a registry that goes down may have
//! 50,000 tags, and one reason. It says the first few of each walk, and never decides anything.

use crate::storage::Error;

/// Most that is said in one walk, in lines.
const MAX_TOLD: usize = 10;

/// How many stay as they were in this walk.
#[derive(Default)]
pub(super) struct Staying(usize);

impl Staying {
    /// One more does, for this reason.
    pub(super) fn tell(&mut self, reference: impl FnOnce() -> String, error: &Error) {
        self.0 += 1;
        if self.0 <= MAX_TOLD {
            log::warn!("{} stays as it was: {error:#}", reference());
        }
    }

    /// The walk is over: says how many more there were than was said already.
    pub(super) fn close(&mut self) {
        let Staying(count) = std::mem::take(self);
        match count.saturating_sub(MAX_TOLD) {
            0 => {}
            1 => log::warn!("1 more repository or tag stays as it was"),
            more => log::warn!("{more} more repositories or tags stay as they were"),
        }
    }
}
