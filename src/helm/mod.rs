//! The Helm dictionary: what makes a manifest a chart, what a chart's metadata may hold, how
//! versions are ordered and how an index is written. Pure: no I/O, no clock, no HTTP.

pub mod chart;
pub mod index;
pub mod metadata;
pub mod packed;
pub mod version;
pub mod yaml;

pub use chart::{ChartLayers, NotAChart};
pub use index::{ChartVersion, IndexFile};
pub use metadata::ChartMetadata;
pub use packed::PackedMetadata;
pub use version::Version;
