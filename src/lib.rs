//! Serves the Helm charts of an OCI registry as a classic chart repository.
pub mod helm;
pub mod oci;
