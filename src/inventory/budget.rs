//! Which config blobs are kept. Any client that may push can push config blobs of a megabyte, and each one
//! that is kept takes memory and stands in the index; so each repository has a bound, and all together
//! have one, of which each repository has an equal share. What counts is how many bytes of an index come of
//! a config blob, for some characters take six there. Pure. [`record`](super::record) applies the plan
//! to what is read and kept, [`known`](super::known) to what is listed.
//!
//! Every replica must make the same plan, also one that has read other config blobs before. Of two replicas
//! one may know that a config blob is no chart's, so that it has no share, and the other may not. So a
//! blob that isn't kept must not influence which others are: each decision depends on what is kept so far,
//! and on nothing else. Once all that a plan keeps is read and is charts', every replica has that plan. What
//! isn't read yet counts its length, which is never more than what comes of it: so a blob that has no room
//! before it is read has none afterwards.

use super::filter::version_of;
use crate::budget::{RENDERED, RENDERED_REPOSITORY};
use crate::helm::Version;
use crate::oci::{Blob, Digest, RepositoryName};
use crate::sorting;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

/// The first share that each repository gets, in bytes: an ordinary config blob. It doubles while there
/// is room.
const FIRST_SHARE: u64 = 1024;

/// The config blobs of one repository that are wanted.
pub(super) struct Demand<'a> {
    pub(super) repository: &'a RepositoryName,
    pub(super) configs: Vec<WantedConfig<'a>>,
}

/// A config blob that is wanted.
#[derive(Clone, Copy)]
pub(super) struct WantedConfig<'a> {
    /// The text of its tag.
    pub(super) tag: &'a str,
    pub(super) digest: &'a Digest,
    /// How many bytes it counts: those that an index takes for it, or its own as long as it isn't read.
    pub(super) weight: u64,
}

impl Demand<'_> {
    /// How many bytes they count; a config blob of several tags counts once.
    pub(super) fn bytes(&self) -> u64 {
        let mut counted = HashSet::new();
        let configs = self.configs.iter();
        let once = configs.filter(|config| counted.insert(config.digest));
        once.map(|config| config.weight).sum()
    }
}

/// The config blobs that are kept, of each repository.
pub(super) struct Plan<'a>(HashMap<&'a RepositoryName, Share<'a>>);

/// What is kept of one repository.
#[derive(Default)]
struct Share<'a> {
    kept: HashSet<&'a Digest>,
    bytes: u64,
    /// What isn't kept yet, newest version first.
    rest: VecDeque<WantedConfig<'a>>,
}

impl<'a> Plan<'a> {
    /// Divides the room for config blobs. All repositories get shares of the same size, which double until
    /// the room is used up; so what one repository doesn't need is left to the others. In a repository the
    /// newest versions come first. `demands` are in the order of names, which decides between repositories
    /// of which as many bytes are kept.
    pub(super) fn new(demands: Vec<Demand<'a>>) -> Plan<'a> {
        let bytes: Vec<u64> = demands.iter().map(Demand::bytes).collect();
        let all_fit = bytes.iter().all(|bytes| *bytes <= RENDERED_REPOSITORY)
            && bytes.iter().sum::<u64>() <= RENDERED;
        let (names, mut shares): (Vec<_>, Vec<_>) = demands
            .into_iter()
            .map(|demand| (demand.repository, Share::new(demand.configs, all_fit)))
            .unzip();
        let (mut left, mut most) = (RENDERED, FIRST_SHARE);
        while most < 2 * RENDERED_REPOSITORY && !all_fit {
            fill(&mut shares, most.min(RENDERED_REPOSITORY), &mut left);
            most *= 2;
        }
        Plan(names.into_iter().zip(shares).collect())
    }

    /// Errors with the reason why a config blob is not kept, the same on every replica.
    pub(super) fn check(&self, repository: &RepositoryName, config: &Blob) -> Result<(), String> {
        let share = self.0.get(repository);
        match share {
            Some(share) if share.kept.contains(&config.digest) => Ok(()),
            Some(share) if share.bytes + config.size > RENDERED_REPOSITORY => Err(format!(
                "over {RENDERED_REPOSITORY} bytes of config blobs in {repository}"
            )),
            _ => Err(format!(
                "over the share of {repository} of {RENDERED} bytes of config blobs in all"
            )),
        }
    }

    /// All that is kept.
    pub(super) fn kept(&self) -> impl Iterator<Item = &'a Digest> {
        self.0.values().flat_map(|share| share.kept.iter().copied())
    }
}

impl<'a> Share<'a> {
    /// Keeps nothing yet, unless all fit.
    fn new(mut configs: Vec<WantedConfig<'a>>, all_fit: bool) -> Share<'a> {
        if all_fit {
            let kept = configs.iter().map(|config| config.digest).collect();
            return Share {
                kept,
                ..Share::default()
            };
        }
        sorting::by_key(&mut configs, |config| -> Reverse<Option<Version>> {
            Reverse(version_of(config.tag))
        });
        Share {
            rest: configs.into(),
            ..Share::default()
        }
    }

    /// Keeps the newest of the rest that fits into `room`, and moves what doesn't to `passed`.
    fn keep_next(&mut self, room: u64, passed: &mut VecDeque<WantedConfig<'a>>) -> Option<u64> {
        while let Some(config) = self.rest.pop_front() {
            if self.kept.contains(config.digest) {
                continue;
            }
            if config.weight <= room {
                self.kept.insert(config.digest);
                self.bytes += config.weight;
                return Some(config.weight);
            }
            passed.push_back(config);
        }
        None
    }
}

/// Fills each share up to `most` bytes while there are bytes `left`. The repository of which the fewest
/// bytes are kept is always next. A blob that doesn't fit leaves no trace.
fn fill(shares: &mut [Share], most: u64, left: &mut u64) {
    let mut passed: Vec<VecDeque<WantedConfig>> = shares.iter().map(|_| VecDeque::new()).collect();
    let turns = shares.iter().enumerate();
    let mut turns: BinaryHeap<Reverse<(u64, usize)>> = turns
        .map(|(at, share)| Reverse((share.bytes, at)))
        .collect();
    while let Some(Reverse((bytes, at))) = turns.pop() {
        let room = (most - bytes).min(*left);
        if let Some(size) = shares[at].keep_next(room, &mut passed[at]) {
            *left -= size;
            turns.push(Reverse((bytes + size, at)));
        }
    }
    for (share, passed) in shares.iter_mut().zip(passed) {
        share.rest = passed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// A repository's config blobs by their lengths, `1.0.0` the oldest.
    type Blobs = (RepositoryName, Vec<(String, Digest, u64)>);

    fn blobs(name: &str, lengths: &[u64]) -> Blobs {
        let blob = |(minor, length): (usize, &u64)| {
            let digest = Digest::sha256(format!("{name} {minor}").as_bytes());
            (format!("1.{minor}.0"), digest, *length)
        };
        let name = name.parse().unwrap();
        (name, lengths.iter().enumerate().map(blob).collect())
    }

    fn text(name: &RepositoryName, tag: &str) -> String {
        format!("{name}:{tag}")
    }

    /// What is kept, as `REPOSITORY:TAG`, of what has a `weight`.
    fn kept_of(all: &[Blobs], weight: impl Fn(&str, u64) -> Option<u64>) -> Vec<String> {
        let demands = all.iter().map(|(repository, blobs)| {
            let configs = blobs.iter().filter_map(|(tag, digest, length)| {
                let weight = weight(&text(repository, tag), *length)?;
                Some(WantedConfig {
                    tag,
                    digest,
                    weight,
                })
            });
            Demand {
                repository,
                configs: configs.collect(),
            }
        });
        let plan = Plan::new(demands.collect());
        let mut kept = Vec::new();
        for (name, blobs) in all {
            let mut bytes = 0;
            for (tag, digest, length) in blobs {
                let weight = weight(&text(name, tag), *length).unwrap_or_default();
                if plan.0[name].kept.contains(digest) {
                    bytes += weight;
                    kept.push(text(name, tag));
                }
            }
            assert!(bytes <= RENDERED_REPOSITORY, "{bytes}");
        }
        kept
    }

    fn kept(all: &[Blobs]) -> Vec<String> {
        kept_of(all, |_, length| Some(length))
    }

    #[test]
    fn large_config_blobs_that_sort_first_take_nothing_from_small_ones() {
        let mut all: Vec<Blobs> = (0..100)
            .map(|n| blobs(&format!("a{n:03}"), &[MIB]))
            .collect();
        all.extend((0..40).map(|n| blobs(&format!("team{n}/web"), &[5000; 3])));
        let kept = kept(&all);
        let of_teams = kept.iter().filter(|one| one.starts_with("team")).count();
        assert_eq!(of_teams, 120);
        assert_eq!(kept.len(), 120 + 63, "the rest of the room is used");
    }

    #[test]
    fn what_one_repository_does_not_need_is_left_to_the_others_and_the_newest_come_first() {
        let all: Vec<Blobs> = (0..20)
            .map(|n| blobs(&format!("a{n:02}"), &[MIB; 9]))
            .collect();
        let kept = kept(&all);
        assert_eq!(kept.len(), 64);
        for n in 0..20 {
            let own = format!("a{n:02}:");
            let own: Vec<_> = kept.iter().filter(|one| one.starts_with(&own)).collect();
            assert!((3..=4).contains(&own.len()), "{own:?}");
            assert!(own.last().unwrap().ends_with(":1.8.0"), "{own:?}");
        }
        let alone = [blobs("a", &[MIB; 9]), blobs("b", &[10])];
        let kept = super::tests::kept(&alone);
        assert_eq!(kept.len(), 9);
        assert!(
            !kept.contains(&"a:1.0.0".to_owned()),
            "the oldest has no room"
        );
    }

    /// Contract C2: a replica learns only when it reads a blob that it is no chart's, or what comes of it.
    #[test]
    fn replicas_that_have_read_different_blobs_come_to_the_same_plan() {
        for seed in 0..10 {
            let mut state: u64 = seed;
            let mut any = |most: u64| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % most
            };
            let all: Vec<Blobs> = (0..30)
                .map(|n| {
                    let lengths: Vec<u64> = (0..any(20)).map(|_| MIB >> any(12)).collect();
                    blobs(&format!("r{n}"), &lengths)
                })
                .collect();
            let mut truth = HashMap::new();
            for (name, blobs) in &all {
                for (tag, _, length) in blobs {
                    let weight = (any(3) > 0).then(|| (length * (1 + any(6))).min(MIB));
                    truth.insert(text(name, tag), weight);
                }
            }
            let expected = kept_of(&all, |one, _| truth[one]);
            for _ in 0..3 {
                let read = truth.keys().filter(|_| any(3) == 0).cloned();
                let mut read: HashSet<String> = read.collect();
                let plan = loop {
                    let plan = kept_of(&all, |one, length| match read.contains(one) {
                        true => truth[one],
                        false => Some(length),
                    });
                    let before = read.len();
                    read.extend(plan.iter().cloned());
                    if read.len() == before {
                        break plan;
                    }
                };
                assert_eq!(plan, expected, "seed {seed}");
            }
        }
    }
}
