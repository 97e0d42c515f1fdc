//! Readers of an index, on paper: what Helm and PyYAML make of its bytes, or why they refuse it,
//! without a process for each. They know nothing of how the index was written: the YAML below them
//! is libyaml's, which Go's and Python's readers descend from, and the rules above it are written
//! down from theirs. `paper_and_metal.rs` holds them against real helms and the real PyYAML.

mod scalars;
mod schema;
mod yaml;

use serde_json::Value;

pub use scalars::{Meaning, go, pyyaml};
pub use schema::sanitize;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Helm up to 3.13: strict YAML, also when the bytes are JSON.
    OldHelm,
    /// Helm from 3.14 on: JSON by the rules of JSON, strict YAML otherwise.
    NewHelm,
    /// `yaml.safe_load` of Python: YAML 1.1 to the letter.
    PyYaml,
}

impl Reader {
    pub const ALL: [Reader; 3] = [Reader::OldHelm, Reader::NewHelm, Reader::PyYaml];

    /// The whole index as this reader understands it.
    ///
    /// Errors when it would refuse the index, drop an entry, or read anything but what an index is
    /// made of: strings, booleans, and dates where dates belong.
    pub fn read(self, index: &[u8]) -> Result<Value, String> {
        let value = match (self, serde_json::from_slice(index)) {
            (Reader::NewHelm, Ok(value)) => value,
            (Reader::OldHelm | Reader::NewHelm, _) => yaml::load(index, scalars::go)?,
            (Reader::PyYaml, _) => yaml::load(index, scalars::pyyaml)?,
        };
        schema::check(&value)?;
        Ok(value)
    }
}
