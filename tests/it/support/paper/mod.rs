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
    /// Any other: `YAML.safe_load` of Ruby, SnakeYAML, js-yaml. What each takes a plain scalar for is
    /// not written down here, so an index may hold none but those on which all of them agree.
    Other,
}

impl Reader {
    pub const ALL: [Reader; 4] = [
        Reader::OldHelm,
        Reader::NewHelm,
        Reader::PyYaml,
        Reader::Other,
    ];

    /// The whole index as this reader understands it.
    ///
    /// Errors when it would refuse the index, drop an entry, or read anything but what an index is
    /// made of: strings and booleans.
    pub fn read(self, index: &[u8]) -> Result<Value, String> {
        let value = match (self, serde_json::from_slice(index)) {
            (Reader::NewHelm, Ok(value)) => value,
            (Reader::OldHelm | Reader::NewHelm, _) => yaml::load(index, scalars::go)?,
            (Reader::PyYaml, _) => yaml::load(index, scalars::pyyaml)?,
            (Reader::Other, _) => yaml::load(index, agreed)?,
        };
        schema::check(&value)?;
        Ok(value)
    }
}

/// The plain scalars that mean the same to every reader: `true`, and the field names of an index,
/// which are words of letters and none of YAML's own.
fn agreed(text: &str) -> Meaning {
    match text {
        "true" => Meaning::True,
        _ if schema::is_field(text) => Meaning::Text,
        _ => Meaning::Merge,
    }
}
