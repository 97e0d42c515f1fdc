//! Where a chart of a folder is listed: in the index of each folder above it. Names that no
//! repository can have still have their place.

use std::fs;

use crate::support::daemon::Daemon;
use crate::support::folder::{Folder, packed_chart};
use crate::support::story::Index;

fn charts(daemon: &Daemon, path: &str) -> Vec<String> {
    let answer = daemon.get(path);
    assert_eq!(
        answer.status,
        200,
        "{path}: {}\n{}",
        answer.body_text(),
        daemon.log()
    );
    Index::parse(&answer.body).charts()
}

#[test]
fn a_chart_is_listed_by_every_folder_above_it_and_pulled_from_there() {
    let folder = Folder::new();
    folder.chart("top-1.0.0.tgz", "top", "1.0.0");
    folder.chart("team/b/db.tgz", "db", "0.1.0");
    let web = folder.chart("team/a/any-name.tgz", "web", "1.0.0+build.1");
    let daemon = folder.daemon();
    assert_eq!(
        charts(&daemon, "/index.yaml"),
        ["db 0.1.0", "top 1.0.0", "web 1.0.0+build.1"]
    );
    assert_eq!(
        charts(&daemon, "/team/index.yaml"),
        ["db 0.1.0", "web 1.0.0+build.1"]
    );
    for below in ["/team/a", "/team/a/web"] {
        assert_eq!(
            charts(&daemon, &format!("{below}/index.yaml")),
            ["web 1.0.0+build.1"]
        );
        let pulled = daemon.get(&format!("{below}/charts/web-1.0.0+build.1.tgz"));
        assert!(pulled.status == 200 && pulled.body == web, "{below}");
    }
    assert_eq!(daemon.get("/team/a/charts/db-0.1.0.tgz").status, 404);
}

#[test]
fn names_that_no_repository_can_have_are_listed_by_the_nearest_folder_that_can() {
    let folder = Folder::new();
    folder.chart("team/My Charts/deep/web.tgz", "web", "1.0.0");
    folder.chart("team/upper.tgz", "Upper_Case", "1.0.0");
    folder.chart("TOP/x.tgz", "x", "1.0.0");
    folder.chart("y.tgz", "Why", "1.0.0");
    let daemon = folder.daemon();
    let all = ["Upper_Case 1.0.0", "Why 1.0.0", "web 1.0.0", "x 1.0.0"];
    assert_eq!(charts(&daemon, "/index.yaml"), all);
    assert_eq!(
        charts(&daemon, "/team/index.yaml"),
        ["Upper_Case 1.0.0", "web 1.0.0"]
    );
    assert_eq!(daemon.get("/charts/Upper_Case-1.0.0.tgz").status, 200);
}

#[test]
fn of_two_archives_of_one_version_the_first_by_its_path_is_listed_and_the_other_is_told() {
    let folder = Folder::new();
    let first = folder.chart("a/web.tgz", "web", "1.0.0");
    let chart = b"apiVersion: v2\nname: web\nversion: 1.0.0\nhome: h\n";
    for file in ["a/web-copy.tgz", "b/web.tgz"] {
        folder.file(
            file,
            &crate::support::folder::packed(&[("c/Chart.yaml", chart)]),
        );
    }
    let daemon = folder.daemon();
    assert_eq!(charts(&daemon, "/index.yaml"), ["web 1.0.0"]);
    assert!(
        daemon.get("/charts/web-1.0.0.tgz").body == first
            || charts(&daemon, "/b/index.yaml").len() == 1
    );
    daemon.wait_for_log("web-1.0.0.tgz is shadowed by a/web:1.0.0");
}

#[test]
fn the_date_is_the_files_and_the_bytes_are_the_same_from_every_replica() {
    let folders = [Folder::new(), Folder::new()];
    for (number, folder) in folders.iter().enumerate() {
        let mut files = vec![
            ("a/web.tgz", "web", "1.0.0"),
            ("db.tgz", "db", "1.0.0"),
            ("a/b.tgz", "web", "2.0.0"),
        ];
        if number == 1 {
            files.reverse();
        }
        for (file, name, version) in files {
            folder.chart(file, name, version);
            let date = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_767_225_600_123);
            let file = fs::File::options()
                .append(true)
                .open(folder.join(file))
                .expect("open");
            file.set_modified(date).expect("a date");
        }
    }
    let daemons = folders.each_ref().map(Folder::daemon);
    let bodies = daemons
        .each_ref()
        .map(|daemon| daemon.get("/index.yaml").body_text());
    assert_eq!(bodies[0], bodies[1]);
    let index = Index::of(&daemons[0]);
    assert_eq!(
        index.entry("web", "2.0.0")["created"],
        "2026-01-01T00:00:00Z"
    );
    assert_eq!(index.0["generated"], "2026-01-01T00:00:00Z");
    let before = daemons[0].get("/index.yaml").body_text();
    fs::write(folders[0].join("notes.txt"), "no chart").expect("write");
    assert_eq!(daemons[0].get("/index.yaml").body_text(), before);
    assert!(
        before.contains(
            &oci_chartrepo::oci::Digest::sha256(&packed_chart("db", "1.0.0"))
                .parts()
                .1
        )
    );
}

#[test]
fn an_upload_is_refused_with_the_folder_as_advice() {
    let folder = Folder::new();
    folder.chart("web.tgz", "web", "1.0.0");
    let daemon = folder.daemon();
    for (method, path) in [("POST", "/api/charts"), ("DELETE", "/api/charts/web/1.0.0")] {
        let answer = daemon.request(method, path, &[]);
        let advice = "copy the .tgz file into the directory of --storage-local-rootdir";
        assert!(
            answer.status == 405 && answer.body_text().contains(advice),
            "{}",
            answer.body_text()
        );
    }
    assert_eq!(Index::of(&daemon).charts(), ["web 1.0.0"]);
}
