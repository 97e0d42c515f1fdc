//! Odd charts: config blobs as nobody in their right mind pushes them, made from a string of
//! choices, so that a seed of a test and the input of a fuzzer both name one; and the promise that
//! our index keeps whatever they hold.

mod choices;
mod config;
mod promise;
mod traps;

pub use choices::Choices;
pub use config::{config, proper_config};
pub use promise::{index_of, keeps_the_promise};
pub use traps::{awkward_characters, scalars};
