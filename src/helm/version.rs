//! Chart versions: the texts that Helm accepts, the order in which Helm sorts them, and the tags that
//! `helm push` gives them.
//!
//! Helm reads versions with Masterminds/semver's `NewVersion`, which accepts more than SemVer 2: a
//! leading `v`, missing minor or patch numbers and leading zeros. The order is SemVer's (§11).

use std::cmp::Ordering;

/// A version that Helm accepts. Ordered as Helm sorts; versions that are equal to Helm (`1.0` and
/// `v1.0.0`, or two that differ in build metadata) are ordered by their text, so that the order is
/// total and the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    order: semver::Version,
    text: String,
}

impl Version {
    /// Reads `text` as Helm does; `None` if Helm would refuse it.
    pub fn parse(text: &str) -> Option<Version> {
        let bare = text.strip_prefix('v').unwrap_or(text);
        let core_end = bare.find(['-', '+']).unwrap_or(bare.len());
        let (core, rest) = bare.split_at(core_end);
        let mut numbers = Vec::with_capacity(3);
        for number in core.split('.') {
            numbers.push(number_of(number)?);
        }
        if numbers.len() > 3 {
            return None;
        }
        numbers.resize(3, 0);
        let strict = format!("{}.{}.{}{rest}", numbers[0], numbers[1], numbers[2]);
        Some(Version {
            order: semver::Version::parse(&strict).ok()?,
            text: text.to_owned(),
        })
    }

    /// Whether it is a prerelease (SemVer 2, §9), which Helm installs only on request.
    pub fn is_prerelease(&self) -> bool {
        !self.order.pre.is_empty()
    }

    /// The tag that `helm push` gives this version: `+`, which a tag can't hold, becomes `_`.
    pub fn tag(&self) -> String {
        self.text.replace('+', "_")
    }
}

fn number_of(digits: &str) -> Option<u64> {
    let only_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if only_digits {
        digits.parse().ok()
    } else {
        None
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        self.order
            .cmp_precedence(&other.order)
            .then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_helm_accepts_beyond_semver_are_accepted() {
        for good in [
            "1.2.3",
            "v1.2.3",
            "1.2",
            "1",
            "01.0.0",
            "20210101",
            "1.2.3-rc.1+build.5",
            "1.2-alpha",
            "0.0.0",
        ] {
            assert!(Version::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "v",
            "latest",
            "1.2.3.4",
            "1..2",
            "V1.0.0",
            "1.0.0-",
            "1.0.0+",
            "1.0.0-01",
            "-1",
            "+1",
            "1.x",
            " 1.0.0",
            "99999999999999999999.0.0",
        ] {
            assert!(Version::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_order_is_semvers() {
        let sorted = [
            "0.9.0",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.9",
            "1.0.0-alpha.10",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-rc.1",
            "1.0",
            "1.0.0",
            "1.0.0+1",
            "v1.0.0",
            "1.2",
            "1.10.0",
            "20210101",
        ];
        let mut shuffled: Vec<_> = sorted
            .iter()
            .rev()
            .map(|text| Version::parse(text).unwrap())
            .collect();
        shuffled.sort();
        assert_eq!(
            shuffled
                .iter()
                .map(|version| version.text.as_str())
                .collect::<Vec<_>>(),
            sorted
        );
    }

    #[test]
    fn a_plus_becomes_an_underscore_in_the_tag() {
        assert_eq!(Version::parse("1.2.3+a.5").unwrap().tag(), "1.2.3_a.5");
    }
}
