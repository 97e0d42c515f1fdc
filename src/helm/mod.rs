//! Helm's formats: which manifests are charts, what a chart's metadata may hold, how versions are
//! ordered and how an index is written. Pure: no I/O, no clock, no HTTP.

pub mod chart;
mod harbor;
pub mod index;
mod json;
pub mod metadata;
pub mod packed;
pub mod version;
mod yaml;

pub use chart::ChartLayers;
pub use index::{ChartVersion, IndexFile};
pub use metadata::ChartMetadata;
pub use packed::PackedMetadata;
pub use version::Version;
