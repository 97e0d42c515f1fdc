//! Which repositories and tags are worth a request, by their names alone, and which versions are too
//! old to be listed. Pure.

use crate::helm::Version;
use crate::oci::{Reference, RepositoryName, is_component};
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

/// The tag under which Artifact Hub finds its metadata of a repository
/// (artifacthub.io/docs/topics/repositories/helm-charts).
pub const METADATA_TAG: &str = "artifacthub.io";
/// Longest pattern, in bytes: no repository's name is longer.
const MAX_PATTERN: usize = 255;

/// Why a chart isn't listed.
pub(super) static TOO_OLD: LazyLock<Arc<str>> =
    LazyLock::new(|| "too old for --max-versions".into());
/// Why a tag isn't worth a request: each made once, for there may be a million such tags.
static NO_TAG: LazyLock<Arc<str>> = LazyLock::new(|| "not a tag".into());
static COMPANION: LazyLock<Arc<str>> =
    LazyLock::new(|| "the tag names a signature, attestation or other companion".into());
static NO_VERSION: LazyLock<Arc<str>> =
    LazyLock::new(|| "the tag is no version; --all-tags would look at it".into());

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Repositories that match none of these are left out, unless there's none of these.
    pub include: Vec<Pattern>,
    /// Repositories that match one of these are left out.
    pub exclude: Vec<Pattern>,
    /// Also look at tags that are no versions.
    pub all_tags: bool,
    /// Which names charts may have.
    pub names: NameRule,
    /// Read only so many tags of a repository, and list so many versions of each of its charts: the newest,
    /// and the newest release.
    pub max_versions: Option<NonZeroUsize>,
}

/// Which names charts may have.
#[derive(Clone, Copy, Debug, Default)]
pub enum NameRule {
    /// The last component of their repository, where `helm push` puts each chart: so a team that may push to
    /// its own repositories alone can't publish another team's chart.
    #[default]
    OfRepository,
    /// That of any repository, with capitals too. Other characters would make names that look like others.
    OfAnyRepository,
    /// Any name, as in a folder of archives, which has no repositories.
    Any,
}

impl Filter {
    /// Why a repository is left out, if it is.
    pub(super) fn excludes(&self, repository: &RepositoryName) -> Option<String> {
        let name = repository.as_str();
        if let Some(pattern) = self.exclude.iter().find(|pattern| pattern.matches(name)) {
            return Some(format!("left out by --exclude {pattern}"));
        }
        let included =
            self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(name));
        (!included).then(|| "left out: no --include matches".to_owned())
    }

    /// Why a chart of this name isn't listed from a repository, if it isn't.
    pub(super) fn misnamed(&self, repository: &RepositoryName, name: &str) -> Option<String> {
        let last = repository.as_str().rsplit('/').next().unwrap_or_default();
        let why = match self.names {
            NameRule::OfRepository if name != last => {
                "is not the repository's last component; --any-name would list it"
            }
            NameRule::OfAnyRepository if !is_component(&name.to_ascii_lowercase()) => {
                "is of other characters than a repository's"
            }
            _ => return None,
        };
        Some(format!(
            "the chart's name \"{}\" {why}",
            name.escape_default()
        ))
    }

    /// Why a tag isn't worth a request, if it isn't.
    pub(super) fn skips(&self, tag: &str) -> Option<Arc<str>> {
        let reason = match tag.parse::<Reference>() {
            Err(_) => &NO_TAG,
            Ok(_) if is_companion(tag) => &COMPANION,
            // A colon is a digest's: a layout lists what has no tag.
            Ok(_) if self.all_tags || tag.contains(':') || version_of(tag).is_some() => {
                return None;
            }
            Ok(_) => &NO_VERSION,
        };
        Some(Arc::clone(reason))
    }
}

/// Which of many versions are read, or listed, with `--max-versions`.
pub(super) struct Newest {
    oldest: Version,
    /// The newest one that is no prerelease, which Helm takes when it is asked for no version.
    release: Option<Version>,
}

impl Newest {
    /// The newest so many of `versions`, and the newest release. `None` if there are no versions.
    pub(super) fn of(versions: impl IntoIterator<Item = Version>, most: usize) -> Option<Newest> {
        let versions: BTreeSet<Version> = versions.into_iter().collect();
        Some(Newest {
            oldest: versions.iter().rev().take(most).next_back()?.clone(),
            release: versions.into_iter().rfind(|one| !one.is_prerelease()),
        })
    }

    /// Whether a version is among them, or would be if it were one of the versions.
    pub(super) fn includes(&self, version: &Version) -> bool {
        let is_newest_release = || {
            let release = self.release.as_ref();
            !version.is_prerelease() && release.is_none_or(|release| version >= release)
        };
        *version >= self.oldest || is_newest_release()
    }
}

/// The version of which `helm push` may have made this tag.
pub(super) fn version_of(tag: &str) -> Option<Version> {
    tag.parse::<Reference>().ok()?;
    Version::parse(&tag.replace('_', "+"))
}

/// A name with blanks: `*` stands for any part of one component, `**` for any part at all, `?` for one
/// character of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        // For each beginning of the pattern: which beginnings of the name it matches. Unlike attempts
        // with a way back, that is never slow.
        let name = name.as_bytes();
        let mut reached = vec![false; name.len() + 1];
        reached[0] = true;
        let mut rest = self.0.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            let (any, after) = match (first, after.strip_prefix(b"*")) {
                (b'*', Some(after)) => (Some(true), after),
                (b'*', None) => (Some(false), after),
                _ => (None, after),
            };
            match any {
                Some(across) => spread(&mut reached, name, across),
                None => step(&mut reached, name, *first),
            }
            rest = after;
        }
        reached[name.len()]
    }
}

/// Any number of characters more.
fn spread(reached: &mut [bool], name: &[u8], across: bool) {
    for at in 0..name.len() {
        reached[at + 1] |= reached[at] && (across || name[at] != b'/');
    }
}

/// Exactly one more.
fn step(reached: &mut [bool], name: &[u8], wanted: u8) {
    for at in (0..name.len()).rev() {
        let fits = name[at] == wanted || (wanted == b'?' && name[at] != b'/');
        reached[at + 1] = reached[at] && fits;
    }
    reached[0] = false;
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Pattern, &'static str> {
        let may_stand =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/*?".contains(&b);
        if text.is_empty() || text.len() > MAX_PATTERN || !text.bytes().all(may_stand) {
            return Err("not a repository name with *, ** or ? in it");
        }
        Ok(Pattern(text.to_owned()))
    }
}

/// Tags that by convention belong to another artifact: cosign's `sha256-….sig`, `.att` and `.sbom`,
/// the referrers tag schema (distribution-spec v1.1.0), and Artifact Hub's metadata. They outnumber
/// charts where everything is signed, and aren't worth a request each.
fn is_companion(tag: &str) -> bool {
    let of_digest = ["sha256-", "sha512-"]
        .iter()
        .find_map(|algorithm| tag.strip_prefix(algorithm));
    let hex = of_digest.map_or("", |rest| rest.split('.').next().unwrap_or_default());
    tag == METADATA_TAG || (hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Filter {
            include: patterns(include),
            exclude: patterns(exclude),
            ..Filter::default()
        }
    }

    #[test]
    fn companions_and_what_is_no_tag_are_known_by_their_text() {
        let hex = "0".repeat(64);
        let all = Filter {
            all_tags: true,
            ..Filter::default()
        };
        for tag in [
            format!("sha256-{hex}"),
            format!("sha256-{hex}.sig"),
            format!("sha512-{hex}.att"),
            "artifacthub.io".into(),
            "a/b".into(),
        ] {
            assert!(all.skips(&tag).is_some(), "{tag}");
        }
        for tag in ["1.0.0", "sha256-abc", "latest", "sha256-1.0.0"] {
            assert_eq!(all.skips(tag), None, "{tag}");
        }
    }

    #[test]
    fn a_tag_is_looked_at_when_it_may_be_a_version() {
        let filter = Filter::default();
        let digest = format!("sha256:{:064}", 0);
        for tag in [
            "1.0.0",
            "v1.2",
            "7",
            "1.0.0-rc.1",
            "1.0.0_build.5",
            "1.0.0-a_b",
            &digest,
        ] {
            assert_eq!(filter.skips(tag), None, "{tag}");
        }
        for tag in ["latest", "main", "sha-abc123", "1.2.3.4", "release-1.0.0"] {
            let [one, other] = [tag, "latest"].map(|tag| filter.skips(tag).unwrap());
            assert!(
                Arc::ptr_eq(&one, &other),
                "{tag}: a million such tags need one reason"
            );
        }
    }

    #[test]
    fn a_pattern_has_blanks_within_components_and_across() {
        for (pattern, good, bad) in [
            (
                "team/web",
                vec!["team/web"],
                vec!["team/webs", "a/team/web", "team"],
            ),
            (
                "team/*",
                vec!["team/a", "team/web"],
                vec!["team", "team/a/b", "teams/a"],
            ),
            (
                "team/**",
                vec!["team/a", "team/a/b"],
                vec!["team", "teams/a"],
            ),
            ("**/web", vec!["a/web", "a/b/web"], vec!["web", "a/webs"]),
            (
                "*-?",
                vec!["chart-1", "a-b-c"],
                vec!["chart-", "a/b-1", "chart-10"],
            ),
            ("**", vec!["a", "a/b"], vec![]),
            ("*a*b*", vec!["ab", "xaxbx"], vec!["ba", "a/b"]),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            good.iter()
                .for_each(|name| assert!(pattern.matches(name), "{pattern} {name}"));
            bad.iter()
                .for_each(|name| assert!(!pattern.matches(name), "{pattern} {name}"));
        }
        let evil: Pattern = "*a".repeat(120).parse().unwrap();
        assert!(!evil.matches(&"a".repeat(119)));
        for bad in ["", "Team", "a b", &"a".repeat(256)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_excluded_is_left_out_even_if_it_is_included() {
        let name = |text: &str| text.parse().unwrap();
        let filter = filter(&["team/**", "web"], &["**/test-*"]);
        assert_eq!(filter.excludes(&name("team/a")), None);
        assert_eq!(filter.excludes(&name("web")), None);
        assert_eq!(
            filter.excludes(&name("team/test-a")).unwrap(),
            "left out by --exclude **/test-*"
        );
        assert_eq!(
            filter.excludes(&name("other")).unwrap(),
            "left out: no --include matches"
        );
    }
}
