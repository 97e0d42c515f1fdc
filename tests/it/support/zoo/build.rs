//! From tables to a registry: directories, archives, pushes. Helm takes many charts in one call
//! to package them, but a push takes a process each, so those run some at a time.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::specimen::{Packing, Specimen};
use super::{Part, Zoo, plain, traps};
use crate::support::docker_registry::DockerRegistry;
use crate::support::helm::{Helm, argument};
use crate::support::keyring::Keyring;
use crate::support::process::run_ok;
use crate::support::tools::{HELM_VERSIONS, LEGACY_HELM, NEWEST_HELM};

/// Pushes at a time: each waits for the registry's disk as much as for a processor.
const PUSHERS: usize = 4;
const SIGNER: &str = "zookeeper";

pub fn zoo() -> Zoo {
    let registry = DockerRegistry::plain();
    // All within the registry's directory, for that one goes when the test process goes.
    let keyring = Keyring::new(registry.directory().join("gpg"), SIGNER);
    let part = |prefix, specimens| {
        let archives = registry.directory().join(prefix);
        Part {
            prefix,
            specimens,
            archives,
        }
    };
    let plain = part("plain", plain::specimens());
    let traps = part("traps", traps::specimens());
    for part in [&plain, &traps] {
        let builder = Builder::new(part, &registry, &keyring);
        builder.package();
        builder.push();
    }
    Zoo {
        registry,
        plain,
        traps,
        keyring,
    }
}

struct Builder<'a> {
    part: &'a Part,
    registry: &'a DockerRegistry,
    keyring: &'a Keyring,
    helms: [Helm; HELM_VERSIONS.len()],
    directories: PathBuf,
}

impl<'a> Builder<'a> {
    fn new(part: &'a Part, registry: &'a DockerRegistry, keyring: &'a Keyring) -> Builder<'a> {
        let directories = registry.directory().join(format!("{}-charts", part.prefix));
        std::fs::create_dir_all(&part.archives).expect("mkdir");
        Builder {
            part,
            registry,
            keyring,
            helms: HELM_VERSIONS.map(Helm::new),
            directories,
        }
    }

    /// Each chart as a directory, then as an archive, but for the legacy ones, whose archive
    /// is made by the push.
    fn package(&self) {
        for (number, specimen) in self.part.specimens.iter().enumerate() {
            specimen.write_to(&self.directory(number));
        }
        for version in HELM_VERSIONS {
            self.package_by(version, Packing::Helm, &[]);
            let secret = self.keyring.secret();
            let sign = ["--sign", "--key", SIGNER, "--keyring", argument(&secret)];
            self.package_by(version, Packing::Signed, &sign);
        }
        for (number, specimen) in self.packed(NEWEST_HELM, Packing::Tar) {
            let archive = self.part.archives.join(specimen.archive_name());
            let from = self.directory(number);
            let from = from.parent().expect("a directory's parent");
            let what = ["-C", argument(from), specimen.name()];
            let tar = [&["-czf", argument(&archive)][..], &what].concat();
            run_ok(Path::new("tar"), &tar, &[]);
        }
    }

    fn package_by(&self, version: &str, packing: Packing, more: &[&str]) {
        let charts = self.packed(version, packing);
        let directories: Vec<_> = charts.map(|(number, _)| self.directory(number)).collect();
        if directories.is_empty() {
            return;
        }
        let mut arguments = vec!["package", "--destination", argument(&self.part.archives)];
        arguments.extend(more);
        arguments.extend(directories.iter().map(|directory| argument(directory)));
        self.helm(version).run(&arguments);
    }

    fn push(&self) {
        let queue = Mutex::new(self.part.specimens.iter().enumerate());
        let legacy = self.packed(LEGACY_HELM, Packing::Legacy);
        std::thread::scope(|scope| {
            // One after another: they share a cache of charts saved.
            scope.spawn(|| legacy.for_each(|(number, chart)| self.push_legacy(number, chart)));
            for _ in 0..PUSHERS {
                scope.spawn(|| {
                    while let Some((_, chart)) = next(&queue) {
                        if chart.packing != Packing::Legacy {
                            self.push_archive(chart);
                        }
                    }
                });
            }
        });
    }

    fn push_archive(&self, specimen: &Specimen) {
        let archive = self.part.archives.join(specimen.archive_name());
        let repository = format!("{}/{}", self.part.prefix, specimen.repository);
        let parent = repository.strip_suffix(&format!("/{}", specimen.name()));
        let parent = parent.expect("helm push names the repository after the chart");
        let target = format!("oci://{}/{parent}", self.registry.host());
        let mut arguments = vec!["push", argument(&archive), &target];
        if specimen.helm == NEWEST_HELM {
            arguments.push("--plain-http");
        }
        self.helm(specimen.helm).run(&arguments);
        for alias in specimen.aliases {
            self.registry.alias(&repository, &specimen.tag, alias);
        }
    }

    /// Saves and pushes a directory, then fetches the archive that was made of it.
    fn push_legacy(&self, number: usize, specimen: &Specimen) {
        let repository = format!("{}/{}", self.part.prefix, specimen.repository);
        let target = format!("{}/{repository}:{}", self.registry.host(), specimen.tag);
        let helm = self.helm(specimen.helm);
        helm.run(&["chart", "save", argument(&self.directory(number)), &target]);
        helm.run(&["chart", "push", &target]);
        let manifest = self.registry.manifest(&repository, &specimen.tag);
        let layer = &manifest["layers"][0];
        assert_eq!(
            layer["mediaType"], "application/tar+gzip",
            "the legacy layer"
        );
        let digest = layer["digest"].as_str().expect("a digest");
        let archive = self.part.archives.join(specimen.archive_name());
        std::fs::write(archive, self.registry.blob(&repository, digest)).expect("write");
    }

    fn packed(&self, helm: &str, packing: Packing) -> impl Iterator<Item = (usize, &'a Specimen)> {
        let wanted = move |chart: &Specimen| chart.helm == helm && chart.packing == packing;
        self.part
            .specimens
            .iter()
            .enumerate()
            .filter(move |(_, chart)| wanted(chart))
    }

    /// Named as the chart, which helm wants, below a number, for versions share a name.
    fn directory(&self, number: usize) -> PathBuf {
        let name = self.part.specimens[number].name();
        self.directories.join(number.to_string()).join(name)
    }

    fn helm(&self, version: &str) -> &Helm {
        let mut helms = self.helms.iter();
        helms
            .find(|helm| helm.version() == version)
            .expect("a fetched helm")
    }
}

fn next<T>(queue: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    queue
        .lock()
        .expect("no pusher panicked holding the queue")
        .next()
}
