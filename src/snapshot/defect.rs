//! What a defect of this program may cost: a panic costs the one thing that was worked on, or one walk,
//! and never what is served.

use crate::storage::{Error, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does `work`; a panic is an error of it.
pub(super) fn contained<R>(work: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let text = "a defect of this program; please report the panic above";
        Err(Error::new(ErrorKind::Invalid, text))
    })
}
