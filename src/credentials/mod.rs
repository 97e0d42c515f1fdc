//! From a dockerconfigjson to the credential for one registry: [`auths`] reads its text, [`source`] the
//! file. [`watched`] reads files again whenever they change, the certificates of `registry/` too. No
//! secret is ever shown.

mod auths;
mod source;
mod watched;

pub use auths::{Auths, Credential};
pub use source::SecretFile;
pub use watched::{NamedFile, WatchedFiles};
