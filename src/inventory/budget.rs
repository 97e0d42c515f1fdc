//! Which config blobs are kept. Any client that may push can push config blobs of a megabyte, and each one
//! that is kept takes memory and stands in the index; so each repository has a bound, and all together
//! have one, of which each repository has an equal share. Pure. [`record`](super::record) applies the plan
//! to what is read and kept, [`known`](super::known) to what is listed.
//!
//! Every replica must make the same plan, also one that has read other config blobs before. Of two replicas
//! one may know that a config blob is no chart's, so that it has no share, and the other may not. So a
//! blob that isn't kept must not influence which others are: each decision depends on what is kept so far,
//! and on nothing else. Once all that a plan keeps is read and is charts', every replica has that plan.

use super::filter::version_of;
use crate::helm::Version;
use crate::oci::{Descriptor, Digest, RepositoryName};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

/// Most bytes of config blobs in one repository: 5,000 versions of a chart with many words.
pub(super) const MAX_REPOSITORY: u64 = 8 * 1024 * 1024;
/// Most bytes of config blobs in all: 60,000 versions. The snapshot and its index take four times
/// as much while they're made.
pub(super) const MAX_ALL: u64 = 64 * 1024 * 1024;
/// The first share that each repository gets, in bytes: an ordinary config blob. It doubles while there
/// is room.
const FIRST_SHARE: u64 = 1024;

/// The config blobs of one repository that are wanted, each with the text of its tag.
pub(super) struct Demand<'a> {
    pub(super) repository: &'a RepositoryName,
    pub(super) configs: Vec<(&'a str, &'a Descriptor)>,
}

impl Demand<'_> {
    /// How many bytes they have; a config blob of several tags counts once.
    pub(super) fn bytes(&self) -> u64 {
        let mut counted = HashSet::new();
        let configs = self.configs.iter().map(|(_, config)| *config);
        let once = configs.filter(|config| counted.insert(&config.digest));
        once.map(|config| config.size).sum()
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
    rest: VecDeque<&'a Descriptor>,
}

impl<'a> Plan<'a> {
    /// Divides the room for config blobs. All repositories get shares of the same size, which double until
    /// the room is used up; so what one repository doesn't need is left to the others. In a repository the
    /// newest versions come first. `demands` are in the order of names, which decides between repositories
    /// of which as many bytes are kept.
    pub(super) fn new(demands: Vec<Demand<'a>>) -> Plan<'a> {
        let bytes: Vec<u64> = demands.iter().map(Demand::bytes).collect();
        let all_fit = bytes.iter().all(|bytes| *bytes <= MAX_REPOSITORY)
            && bytes.iter().sum::<u64>() <= MAX_ALL;
        let (names, mut shares): (Vec<_>, Vec<_>) = demands
            .into_iter()
            .map(|demand| (demand.repository, Share::new(demand.configs, all_fit)))
            .unzip();
        let (mut left, mut most) = (MAX_ALL, FIRST_SHARE);
        while most <= MAX_REPOSITORY && !all_fit {
            fill(&mut shares, most, &mut left);
            most *= 2;
        }
        Plan(names.into_iter().zip(shares).collect())
    }

    /// Errors with the reason why a config blob is not kept.
    pub(super) fn check(
        &self,
        repository: &RepositoryName,
        config: &Descriptor,
    ) -> Result<(), String> {
        let share = self.0.get(repository);
        match share {
            Some(share) if share.kept.contains(&config.digest) => Ok(()),
            Some(share) if share.bytes + config.size > MAX_REPOSITORY => Err(format!(
                "over {MAX_REPOSITORY} bytes of config blobs in {repository}"
            )),
            _ => Err(format!(
                "over the share of {repository} of {MAX_ALL} bytes of config blobs in all"
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
    fn new(mut configs: Vec<(&'a str, &'a Descriptor)>, all_fit: bool) -> Share<'a> {
        if all_fit {
            let kept = configs.iter().map(|(_, config)| &config.digest).collect();
            return Share {
                kept,
                ..Share::default()
            };
        }
        configs.sort_by_cached_key(|(tag, _)| -> Reverse<Option<Version>> {
            Reverse(version_of(tag))
        });
        Share {
            rest: configs.into_iter().map(|(_, config)| config).collect(),
            ..Share::default()
        }
    }

    /// Keeps the newest of the rest that fits into `room`, and moves what doesn't to `passed`.
    fn keep_next(&mut self, room: u64, passed: &mut VecDeque<&'a Descriptor>) -> Option<u64> {
        while let Some(config) = self.rest.pop_front() {
            if self.kept.contains(&config.digest) {
                continue;
            }
            if config.size <= room {
                self.kept.insert(&config.digest);
                self.bytes += config.size;
                return Some(config.size);
            }
            passed.push_back(config);
        }
        None
    }
}

/// Fills each share up to `most` bytes while there are bytes `left`. The repository of which the fewest
/// bytes are kept is always next. A blob that doesn't fit leaves no trace.
fn fill(shares: &mut [Share], most: u64, left: &mut u64) {
    let mut passed: Vec<VecDeque<&Descriptor>> = shares.iter().map(|_| VecDeque::new()).collect();
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
    use crate::oci::MediaType;

    const MIB: u64 = 1024 * 1024;

    /// A repository's config blobs, `1.0.0` the oldest, by their sizes.
    type Blobs = (RepositoryName, Vec<(String, Descriptor)>);

    fn blobs(name: &str, sizes: &[u64]) -> Blobs {
        let blob = |(minor, size): (usize, &u64)| {
            let descriptor = Descriptor {
                media_type: MediaType::default(),
                digest: Digest::sha256(format!("{name} {minor}").as_bytes()),
                size: *size,
            };
            (format!("1.{minor}.0"), descriptor)
        };
        let name = name.parse().unwrap();
        (name, sizes.iter().enumerate().map(blob).collect())
    }

    /// What is kept, but for what is `unwanted`: `REPOSITORY:TAG`.
    fn kept(all: &[Blobs], unwanted: &HashSet<String>) -> Vec<String> {
        let text = |name: &RepositoryName, tag: &String| format!("{name}:{tag}");
        let demand = |(name, configs): &'_ Blobs| -> Vec<(String, Descriptor)> {
            let configs = configs.iter();
            configs
                .filter(|(tag, _)| !unwanted.contains(&text(name, tag)))
                .cloned()
                .collect()
        };
        let wanted: Vec<_> = all.iter().map(demand).collect();
        let demands = all
            .iter()
            .zip(&wanted)
            .map(|((repository, _), configs)| Demand {
                repository,
                configs: configs
                    .iter()
                    .map(|(tag, config)| (&**tag, config))
                    .collect(),
            });
        let plan = Plan::new(demands.collect());
        let mut kept = Vec::new();
        for ((name, _), configs) in all.iter().zip(&wanted) {
            let of_it = configs
                .iter()
                .filter(|(_, config)| plan.check(name, config).is_ok());
            let bytes: u64 = of_it.clone().map(|(_, config)| config.size).sum();
            assert!(bytes <= MAX_REPOSITORY, "{bytes}");
            kept.extend(of_it.map(|(tag, _)| text(name, tag)));
        }
        kept
    }

    #[test]
    fn large_config_blobs_that_sort_first_take_nothing_from_small_ones() {
        let mut all: Vec<Blobs> = (0..100)
            .map(|n| blobs(&format!("a{n:03}"), &[MIB]))
            .collect();
        all.extend((0..40).map(|n| blobs(&format!("team{n}/web"), &[5000; 3])));
        let kept = kept(&all, &HashSet::new());
        let of_teams = kept.iter().filter(|one| one.starts_with("team")).count();
        assert_eq!(of_teams, 120);
        assert_eq!(kept.len(), 120 + 63, "the rest of the room is used");
    }

    #[test]
    fn what_one_repository_does_not_need_is_left_to_the_others_and_the_newest_come_first() {
        let all: Vec<Blobs> = (0..20)
            .map(|n| blobs(&format!("a{n:02}"), &[MIB; 9]))
            .collect();
        let kept = kept(&all, &HashSet::new());
        assert_eq!(kept.len(), 64);
        for n in 0..20 {
            let own = format!("a{n:02}:");
            let own: Vec<_> = kept.iter().filter(|one| one.starts_with(&own)).collect();
            assert!((3..=4).contains(&own.len()), "{own:?}");
            assert!(own.last().unwrap().ends_with(":1.8.0"), "{own:?}");
        }
        let alone = [blobs("a", &[MIB; 9]), blobs("b", &[10])];
        let kept = super::tests::kept(&alone, &HashSet::new());
        assert_eq!(kept.len(), 9);
        assert!(
            !kept.contains(&"a:1.0.0".to_owned()),
            "the oldest has no room"
        );
    }

    /// Contract C2: a replica learns that a blob is no chart's only when it reads it.
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
                    let sizes: Vec<u64> = (0..any(20)).map(|_| MIB >> any(12)).collect();
                    blobs(&format!("r{n}"), &sizes)
                })
                .collect();
            let names = all.iter().flat_map(|(name, configs)| {
                configs.iter().map(move |(tag, _)| format!("{name}:{tag}"))
            });
            let no_charts: HashSet<String> = names.filter(|_| any(2) == 0).collect();
            let truth = kept(&all, &no_charts);
            for _ in 0..3 {
                let known = no_charts.iter().filter(|_| any(3) == 0).cloned();
                let mut known: HashSet<String> = known.collect();
                let plan = loop {
                    let plan = kept(&all, &known);
                    let read = plan.iter().filter(|one| no_charts.contains(*one));
                    let before = known.len();
                    known.extend(read.cloned());
                    if known.len() == before {
                        break plan;
                    }
                };
                assert_eq!(plan, truth, "seed {seed}");
            }
        }
    }
}
