//! A real helm of one version, with a home of its own, so that tests don't share what it caches.

use std::path::Path;
use std::process::Output;

use super::process::{Scratch, run, text};
use super::tools::tool;

pub struct Helm {
    version: &'static str,
    home: Scratch,
}

impl Helm {
    pub fn new(version: &'static str) -> Helm {
        Helm {
            version,
            home: Scratch::new("helm"),
        }
    }

    pub fn version(&self) -> &'static str {
        self.version
    }

    /// Runs to success and answers stdout.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let failed = || format!("helm {} {arguments:?}:\n{}", self.version, said(&output));
        assert!(output.status.success(), "{}", failed());
        text(&output.stdout)
    }

    /// Runs to a failure and answers what helm said.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let passed = || {
            format!(
                "helm {} {arguments:?} passed:\n{}",
                self.version,
                said(&output)
            )
        };
        assert!(!output.status.success(), "{}", passed());
        said(&output)
    }

    /// A place of this helm's own to pull to.
    pub fn directory(&self, name: &str) -> std::path::PathBuf {
        let path = self.home.join(name);
        std::fs::create_dir_all(&path).expect("mkdir");
        path
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let place = |part: &str| self.home.join(part).display().to_string();
        let environment = [
            ("HOME", place("")),
            ("HELM_CACHE_HOME", place("cache")),
            ("HELM_CONFIG_HOME", place("config")),
            ("HELM_DATA_HOME", place("data")),
            // What 3.5 wants before it talks to a registry; later ones ignore it.
            ("HELM_EXPERIMENTAL_OCI", "1".to_owned()),
        ];
        let environment: Vec<_> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
        run(&self.binary(), arguments, &environment)
    }

    fn binary(&self) -> std::path::PathBuf {
        tool(&format!("helm-{}", self.version))
    }
}

fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// A path as an argument.
pub fn argument(path: &Path) -> &str {
    path.to_str().expect("paths of the tests are UTF-8")
}
