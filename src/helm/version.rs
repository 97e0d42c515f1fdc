//! Chart versions: the texts that Helm accepts, the order in which Helm sorts them, and the tags that
//! `helm push` gives them.
//!
//! Helm reads versions with Masterminds/semver's `NewVersion`, which accepts more than SemVer 2: a
//! leading `v`, missing minor or patch numbers and leading zeros. The order is SemVer's (§11).

use std::cmp::Ordering;

/// A version that Helm accepts. Ordered as Helm sorts; of versions that are equal to Helm, build
/// metadata decides, number by number, and then the text (`1.0` and `v1.0.0`), so that the order is
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
        let mut numbers = core.split('.');
        let first = number_of(numbers.next()?)?;
        let mut next = || numbers.next().map_or(Some(0), number_of);
        let (second, third) = (next()?, next()?);
        if numbers.next().is_some() {
            return None;
        }
        let strict = format!("{first}.{second}.{third}{rest}");
        Some(Version {
            order: semver::Version::parse(&strict).ok()?,
            text: text.to_owned(),
        })
    }

    /// Whether it is a prerelease (SemVer 2, §9), which Helm installs only on request.
    pub fn is_prerelease(&self) -> bool {
        !self.order.pre.is_empty()
    }

    /// What Helm sorts by: two versions that differ in build metadata are equal (SemVer 2, §10).
    pub(super) fn precedence(&self) -> semver::Version {
        semver::Version {
            build: semver::BuildMetadata::EMPTY,
            ..self.order.clone()
        }
    }

    /// The tag that `helm push` gives this version: `+`, which a tag can't hold, becomes `_`.
    pub fn tag(&self) -> String {
        self.text.replace('+', "_")
    }
}

fn number_of(digits: &str) -> Option<u64> {
    let only_digits = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| only_digits)
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        let order = self.order.cmp(&other.order);
        order.then_with(|| self.text.cmp(&other.text))
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
            "v1.0.0",
            "1.0.0+9",
            "1.0.0+11",
            "1.0.0+11.a",
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
