//! What an operator sees. Everything may call in here; nothing here calls out.

mod event;
pub mod exposition;
pub mod log;
pub mod metrics;
pub mod process;
