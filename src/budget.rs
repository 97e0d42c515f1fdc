//! All budgets that bound the memory, in one place: what one client or one pusher can make this program
//! hold. The table in the README's limits tells the same. Whatever counts against a budget is bounded
//! at the point where it enters, never afterwards.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Largest config blob that is read, in bytes: a hundred times the largest Chart.yaml in the wild. It
/// is bounded because its content is kept in memory and repeated in the index.
pub const MAX_CONFIG: u64 = MIB as u64;
/// Largest manifest that is read: 4 MiB, the size that distribution-spec v1.1.0 ("Pushing
/// Manifests") asks registries to take at least.
pub const MAX_MANIFEST: u64 = 4 * MIB as u64;
/// Most values of a manifest or a config blob, as [`holds_over`](crate::oci::json::holds_over) counts: a
/// hundred times as many as an ordinary chart has, and at most three megabytes of memory when they are
/// parsed.
pub const MAX_VALUES: usize = 8 * KIB;
/// Most tags in all: twenty times the largest registry that we aim at.
pub(crate) const MAX_TAGS: usize = 1_000_000;
/// Largest page of a listing, in bytes: some registries list 10,000s of tags in one.
pub(crate) const MAX_LISTING_PAGE: u64 = 16 * MIB as u64;
/// Most names on one page: of 80 bytes each, they fill it. A hostile one of shorter names would take
/// twenty times its length in memory.
pub(crate) const MAX_LISTED_NAMES: usize = 200_000;
/// Longest listing, in bytes as it's held: a million names of forty bytes.
pub(crate) const MAX_LISTING: usize = 96 * MIB;
/// Largest charts-index that is read, in bytes: it takes 350 for a version, and Bitnami has 20,000 of 150
/// charts.
pub(crate) const MAX_CHARTS_INDEX: u64 = 32 * MIB as u64;
/// Most charts of a charts-index that are listed: with a repository each, ten times the largest registry that
/// we aim at.
pub(crate) const MAX_CHARTS: usize = 50_000;
/// Largest `index.json` of a layout, in bytes: some 100,000 manifests.
pub(crate) const MAX_LAYOUT_INDEX: u64 = 32 * MIB as u64;
/// Most bytes of log lines that wait, and as many may be on their way: the debug lines of a walk of 10,000
/// tags, which a busy reader of stderr may take late.
pub(crate) const MAX_QUEUED: usize = 2 * MIB;
/// Most characters that are kept of a text that others write, such as a media type in the reason why an
/// artifact is no chart: enough to recognize it by.
pub(crate) const TEXT: usize = 300;
/// Most bytes of what a snapshot holds about what isn't listed: 50,000 tags of images. Beyond it, only
/// their number is kept.
pub(crate) const SKIPPED: usize = 8 * MIB;
/// Most entries of one page of `/api/skipped`: 300 KB at most lengths of names.
pub(crate) const SKIPPED_PAGE: usize = 500;
/// Largest `artifacthub-repo.yml`, in bytes: an id and some owners take a hundredth.
pub const MAX_METADATA_FILE: u64 = 64 * KIB as u64;
/// Most of them that are kept in memory: one mebibyte.
pub(crate) const METADATA_FILES: usize = 16;
/// Most bytes of one response that is kept in memory: an index of 10,000 versions. A larger one is written
/// anew for each client, from the charts' metadata, which takes a tenth of the time in which Helm reads it.
pub(crate) const WHOLE: usize = 8 * MIB;
/// The same of JSON, which is written as fast as it would be copied.
pub(crate) const WHOLE_JSON: usize = 64 * KIB;
/// Most bytes of responses that are kept beside the index: the indexes of prefixes, and small pages.
pub(crate) const PAGES: usize = 16 * MIB;
/// Most bytes of an index that come of one config blob: a quarter more than of a mebibyte of plain text.
/// Beyond that, a version isn't listed.
pub(crate) const RENDERED_VERSION: u64 = 5 * MIB as u64 / 4;
/// The same of those of one repository: 5,000 versions of a chart with many words.
pub(crate) const RENDERED_REPOSITORY: u64 = 8 * MIB as u64;
/// The same of all: 60,000 versions.
pub(crate) const RENDERED: u64 = 64 * MIB as u64;
/// Most bytes of metadata of one that a config blob has, once every field that Helm always writes is
/// written. An honest config at most doubles; but an empty dependency, two bytes, becomes 28.
pub(crate) const METADATA_GROWTH: u64 = 4;
/// Most bytes of config blobs that are read before it is decided again which others have room.
pub(crate) const CONFIGS_AT_ONCE: u64 = 2 * MIB as u64;
/// Config blobs of more bytes are read one at a time: parsing one takes several times as much.
pub(crate) const SMALL_CONFIG: u64 = 64 * KIB as u64;
/// Most bytes of all bodies together that are being sent and are held for it, other than archives.
pub(crate) const IN_FLIGHT: usize = 16 * MIB;
/// A body from this size on counts, in bytes: a thousand smaller ones take no more.
pub(crate) const LEAST_IN_FLIGHT: usize = 16 * KIB;

/// A text of more bytes is a large one.
const LARGE: usize = 64 * KIB;
/// glibc takes pieces of more than 32 MiB from the system and gives them back at once, and only the pages that
/// are written take memory. Of smaller pieces, the arena of each thread keeps twice the largest for later.
const RETURNED: usize = 33 * MIB;

/// Makes room in `bytes` for `length` of them, so that the memory of a large text is the system's again when
/// it is dropped, whichever thread that does. Measured for pages of 1.8 MB on 56 threads: 74 MiB instead of
/// 528.
pub(crate) fn make_room(bytes: &mut Vec<u8>, length: usize) {
    if length > LARGE && bytes.capacity() < RETURNED {
        // If the system refuses it, the text grows as usual.
        let _ = bytes.try_reserve_exact(RETURNED - bytes.len());
    }
}
