//! Repository names, tags and references, by the grammars of distribution-spec v1.1.0, "Pulling
//! manifests". A value of one of these types is safe as part of a URL path or of a file path: it holds
//! no `..`, no `%`, no control character, and no leading or trailing slash.

use super::digest::Digest;
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest repository name that registries accept, in bytes (distribution's `reference` package; the
/// spec recommends less than 255 with the host name).
pub const MAX_REPOSITORY_NAME: usize = 255;
/// Longest tag, in bytes: the grammar's own bound.
pub const MAX_TAG: usize = 128;

/// A repository's name: lower-case path components joined by `/`. Clones share the text, because each
/// chart of a repository has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    /// The name as text, which fits into a URL path as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `prefix` itself or lies below it.
    pub fn is_below(&self, prefix: &RepositoryName) -> bool {
        let rest = self.0.strip_prefix(&*prefix.0);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for RepositoryName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepositoryName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<RepositoryName, &'static str> {
        match text.len() <= MAX_REPOSITORY_NAME && text.split('/').all(is_component) {
            true => Ok(RepositoryName(text.into())),
            false => {
                Err("not a repository name (lower-case letters, digits and . _ - between slashes)")
            }
        }
    }
}

/// Whether a text may be a component of a repository's name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
pub fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !text.starts_with(alphanumeric) || !text.ends_with(alphanumeric) {
        return false;
    }
    text.split(alphanumeric).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
    })
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag as text, which fits into a URL path as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Tag, &'static str> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let bytes = text.as_bytes();
        let start_fits = bytes.first().is_some_and(|b| word(*b));
        let rest_fits = bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'));
        let fits = start_fits && rest_fits && bytes.len() <= MAX_TAG;
        fits.then(|| Tag(text.to_owned())).ok_or("not a tag")
    }
}

/// The name of a manifest in a request: a tag, which may move, or a digest. A digest holds a colon and
/// a tag never does, so the text is enough to tell them apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference(Arc<str>);

impl TryFrom<Arc<str>> for Reference {
    type Error = &'static str;

    fn try_from(text: Arc<str>) -> Result<Reference, &'static str> {
        if text.parse::<Digest>().is_err() {
            text.parse::<Tag>()?;
        }
        Ok(Reference(text))
    }
}

impl From<&Digest> for Reference {
    fn from(digest: &Digest) -> Reference {
        Reference(digest.to_string().into())
    }
}

impl FromStr for Reference {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Reference, &'static str> {
        Reference::try_from(Arc::from(text))
    }
}

impl Reference {
    /// The reference as text, which fits into a URL path as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A reference with its repository: `repository:tag` or `repository@digest`.
pub fn qualified(repository: &RepositoryName, reference: &str) -> String {
    let separator = if reference.contains(':') { '@' } else { ':' };
    format!("{repository}{separator}{reference}")
}

/// The repository and the reference in what [`qualified`] returned, or in a repository's name alone.
pub fn split(qualified: &str) -> (&str, Option<&str>) {
    match qualified.split_once([':', '@']) {
        Some((repository, reference)) => (repository, Some(reference)),
        None => (qualified, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_follow_the_grammar() {
        for good in ["a", "team/a/web", "a.b_c__d---e", "1_000", "0/1"] {
            assert!(good.parse::<RepositoryName>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "../a", "a/..", "a___b", "a%2fb", "a b",
            "-a", &long,
        ] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_follow_the_grammar() {
        for good in ["1.0.0", "latest", "_x", "1.2.3_build.5", "v1"] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        let long = "a".repeat(129);
        for bad in ["", ".a", "-a", "a+b", "a/b", "a:b", "ä", &long] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_qualified_reference_is_split_where_it_was_joined() {
        let digest = format!("sha256:{:064}", 0);
        for reference in ["1.0.0_b", &digest] {
            let joined = qualified(&"team/a".parse().unwrap(), reference);
            assert_eq!(split(&joined), ("team/a", Some(reference)));
        }
        assert_eq!(split("team/a"), ("team/a", None));
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        assert!(name("team/a").is_below(&name("team")));
        assert!(name("team").is_below(&name("team")));
        assert!(!name("teams/a").is_below(&name("team")));
    }
}
