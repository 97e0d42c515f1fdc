//! How much a snapshot holds, for the log and for `/readyz`.

use std::fmt;

/// How much a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub charts: usize,
    pub versions: usize,
    pub skipped: usize,
    /// Tags that are not listed because a bound is reached.
    pub over_bound: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            charts,
            versions,
            skipped,
            over_bound,
        } = self;
        let s = |count: &usize| if *count == 1 { "" } else { "s" };
        write!(
            f,
            "{charts} chart{}, {versions} version{}, {skipped} skipped",
            s(charts),
            s(versions)
        )?;
        match over_bound {
            0 => Ok(()),
            _ => write!(
                f,
                "; a bound is reached, {over_bound} tag{} left out",
                if *over_bound == 1 { " is" } else { "s are" }
            ),
        }
    }
}
