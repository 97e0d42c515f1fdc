//! What an operator sees. Everything may call in here; nothing here calls out.

pub mod log;
