//! The parts that stories are played with: the daemon under test, real helms, a real registry,
//! and the charts. Nothing here asserts a promise; that is what the modules beside it are for.

pub mod daemon;
pub mod http;
pub mod process;
pub mod tools;
