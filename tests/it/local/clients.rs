//! Real helms, oldest to newest, on charts that lie in a folder as `helm package` has left them.

use std::fs;

use crate::layout::clients::every_helm_uses;
use crate::support::daemon::Daemon;
use crate::support::folder::{Folder, flags};
use crate::support::helm::{Helm, argument};
use crate::support::tools::HELM_VERSIONS;
use crate::support::zoo::zoo;

#[test]
fn every_helm_adds_searches_pulls_verifies_and_templates_from_a_folder() {
    let flags = flags(&zoo().plain.archives);
    every_helm_uses(&Daemon::start_ready(&flags.each_ref().map(String::as_str)));
}

#[test]
fn every_helm_updates_dependencies_from_a_folder() {
    let folder = Folder::new();
    let archive = folder.chart("team/a/common-1.2.0.tgz", "common", "1.2.0");
    let daemon = folder.daemon();
    for version in HELM_VERSIONS {
        let helm = Helm::new(version);
        let chart = helm.directory("parent");
        let text = format!(
            "apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies:\n\
             - {{name: common, version: ~1, repository: \"{}/team\"}}\n",
            daemon.url()
        );
        fs::write(chart.join("Chart.yaml"), text).expect("write");
        helm.run(&["dependency", "update", argument(&chart)]);
        let fetched = fs::read(chart.join("charts/common-1.2.0.tgz")).expect("the dependency");
        assert!(fetched == archive, "helm {version}");
    }
}
