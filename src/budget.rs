//! All budgets that bound the memory, in one place: what one client or one pusher can make this program
//! hold. The table in the README's limits tells the same. Whatever counts against a budget is bounded
//! at the point where it enters, never afterwards.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Most characters that are kept of a text that others write, such as a media type in the reason why an
/// artifact is no chart: enough to recognize it by.
pub(crate) const TEXT: usize = 300;
/// Most bytes of what a snapshot holds about what isn't listed: 50,000 tags of images. Beyond it, only
/// their number is kept.
pub(crate) const SKIPPED: usize = 8 * MIB;
/// Most entries of one page of `/api/skipped`: 300 KB at most lengths of names.
pub(crate) const SKIPPED_PAGE: usize = 500;
