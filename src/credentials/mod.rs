//! From a dockerconfigjson to the credential for one registry: [`auths`] reads its text, [`source`] the
//! file, again whenever it changes. No secret is ever shown.

mod auths;
mod source;

pub use auths::{Auths, Credential};
pub use source::{SecretFile, SecretFileError};
