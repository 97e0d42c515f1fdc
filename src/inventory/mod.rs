//! What the storage holds, as far as it is known. Mutable, and used by one thread: a [`Scan`] asks the
//! storage and records the answers in the [`Inventory`]. Artifacts and config blobs are kept by digest,
//! so that tags that share them share what was read. What could not be read stays as it was; only a
//! definite answer (404, or a listing without it) removes anything.

mod artifact;
mod budget;
mod contents;
mod filter;
mod known;
mod listing;
mod progress;
mod record;
mod scan;
mod tag;

pub use contents::{Contents, Skipped, SkippedList, StoredChart};
pub use filter::{Filter, METADATA_TAG, NameRule, Pattern};
pub(crate) use known::{Inventory, Unread};
pub(crate) use listing::Listings;
pub(crate) use scan::{Scan, contained};
pub(crate) use tag::CheckScope;
