//! What the targets share with the tests: the readers on paper, the odd config blobs, and the
//! promise that the former can read what the latter become.

#[path = "../../it/support/odd/mod.rs"]
pub mod odd;
#[path = "../../it/support/paper/mod.rs"]
pub mod paper;

/// The lines of an input, a header each. What isn't UTF-8 never reaches a parser of texts.
pub fn lines(input: &[u8]) -> Vec<String> {
    let texts = str::from_utf8(input).map(|text| text.split('\n').map(str::to_owned).collect());
    texts.unwrap_or_default()
}
