//! OCI's formats: names, digests and manifests as the distribution-spec and the image-spec (both
//! v1.1.0) define them. Pure: no I/O except from a `Read` that the caller passes, no clock, no Helm.

pub mod digest;
pub mod json;
pub mod manifest;
pub mod reference;
pub mod text;

pub use digest::{Digest, Hashing, Verifying};
pub use manifest::{
    Blob, Descriptor, ImageIndex, ImageManifest, ListedManifest, Manifest, MediaType,
};
pub use reference::{Reference, RepositoryName, Tag, is_component, qualified, split};
pub use text::{excerpt, percent_encoded, start_of};
