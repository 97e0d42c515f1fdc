//! The zoo served twice, as YAML and as JSON, to one helm that has added both repositories.

use super::daemon::Daemon;
use super::helm::Helm;
use super::tools::HELM_VERSIONS;
use super::zoo::{Part, Specimen, zoo};

pub struct Shop {
    pub helm: Helm,
    plain: Daemon,
    traps: Daemon,
}

impl Shop {
    pub fn open(version: &'static str) -> Shop {
        let serve = |part: &Part| {
            let storage = part.storage(&zoo().registry);
            Daemon::start_ready(&["--storage-registry-repo", &storage])
        };
        let shop = Shop {
            helm: Helm::new(version),
            plain: serve(&zoo().plain),
            traps: serve(&zoo().traps),
        };
        for part in parts() {
            shop.helm
                .run(&["repo", "add", part.prefix, &shop.url(part)]);
        }
        shop
    }

    pub fn url(&self, part: &Part) -> String {
        let daemon = if part.prefix == zoo().plain.prefix {
            &self.plain
        } else {
            &self.traps
        };
        daemon.url()
    }
}

/// Tells the story once with each helm, all at a time.
pub fn with_each_helm(story: impl Fn(&Shop) + Sync) {
    zoo();
    std::thread::scope(|scope| {
        let story = &story;
        let told = HELM_VERSIONS.map(|version| scope.spawn(move || story(&Shop::open(version))));
        let failed = told
            .into_iter()
            .zip(HELM_VERSIONS)
            .filter_map(|(one, version)| one.join().err().map(|_| version));
        let failed: Vec<_> = failed.collect();
        assert!(failed.is_empty(), "see above for what helm {failed:?} did");
    });
}

pub fn parts() -> [&'static Part; 2] {
    [&zoo().plain, &zoo().traps]
}

/// What helm calls a chart of a part.
pub fn reference(part: &Part, specimen: &Specimen) -> String {
    format!("{}/{}", part.prefix, specimen.name())
}
