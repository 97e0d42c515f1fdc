//! A layout that somebody is still copying: what isn't whole isn't served, what was good stays,
//! the log says why, and as soon as the rest is there it's served.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::{daemon_on, index};
use crate::support::daemon::Daemon;
use crate::support::helm::argument;
use crate::support::http;
use crate::support::layout::{Chart, Layout, MANIFEST_TYPE, flags, named};
use crate::support::process::{DEADLINE, Scratch, wait_until};
use crate::support::story::{Index, refresh_until_logged};

/// A file that isn't as it will be, with what it will be.
struct Half {
    file: PathBuf,
    whole: Vec<u8>,
}

impl Half {
    /// Removes the file, or puts something else in its place.
    fn of(file: PathBuf, instead: Option<&[u8]>) -> Half {
        let whole = fs::read(&file).expect("a whole file");
        match instead {
            Some(bytes) => fs::write(&file, bytes).expect("write"),
            None => fs::remove_file(&file).expect("remove"),
        }
        Half { file, whole }
    }

    fn complete(&self) {
        fs::write(&self.file, &self.whole).expect("write");
    }
}

#[test]
fn what_is_half_copied_waits_for_its_other_half() {
    let scratch = Scratch::new("layout");
    let layout = Layout::at(scratch.join("layout"));
    let good = layout.chart("good", "1.0.0");
    layout.list(&[named(&good.manifest, "good:1.0.0")]);
    let daemon = daemon_on(layout.flags());
    let before = index(&daemon);

    let kinds = kinds_of_halves(&layout);
    let mut listed = vec![named(&good.manifest, "good:1.0.0")];
    listed.extend(
        kinds
            .iter()
            .map(|(name, chart, _)| named(&chart.manifest, &format!("{name}:1.0.0"))),
    );
    layout.list(&listed);
    assert_eq!(index(&daemon), before);
    for (name, _, half) in &kinds {
        let told = daemon.wait_for_log(&format!("skipped {name}:1.0.0: "));
        assert!(told.contains(file_name(&half.file)), "{told}");
        assert_eq!(daemon.get(&format!("/charts/{name}-1.0.0.tgz")).status, 404);
    }

    kinds.iter().for_each(|(_, _, half)| half.complete());
    let completed = Instant::now();
    let mut expected: Vec<_> = kinds
        .iter()
        .map(|(name, ..)| format!("{name} 1.0.0"))
        .collect();
    expected.push("good 1.0.0".to_owned());
    expected.sort();
    let lacking = || format!("{expected:?}; the log:\n{}", daemon.log());
    wait_until(DEADLINE, lacking, || {
        (Index::of(&daemon).charts() == expected).then_some(())
    });
    println!(
        "served {:?} after the last blob was there",
        completed.elapsed()
    );
    for (name, chart, _) in &kinds {
        assert_eq!(
            daemon.get(&format!("/charts/{name}-1.0.0.tgz")).body,
            chart.archive_bytes
        );
    }
}

/// Every way in which a chart can lack something, each with the file at fault.
fn kinds_of_halves(layout: &Layout) -> Vec<(&'static str, Chart, Half)> {
    let half = |name, part: fn(&Chart) -> &serde_json::Value, instead: Option<&[u8]>| {
        let chart = layout.chart(name, "1.0.0");
        let half = Half::of(layout.place(part(&chart)), instead);
        (name, chart, half)
    };
    let same_length = |text: &str| "x".repeat(text.len());
    let config = same_length(r#"{"apiVersion":"v2","name":"config-wrong","version":"1.0.0"}"#);
    vec![
        half("manifest-missing", |chart| &chart.manifest, None),
        half("manifest-empty", |chart| &chart.manifest, Some(b"")),
        half(
            "manifest-short",
            |chart| &chart.manifest,
            Some(br#"{"schemaVersion":2,"#),
        ),
        half("config-missing", |chart| &chart.config, None),
        half(
            "config-short",
            |chart| &chart.config,
            Some(br#"{"apiVersion":"#),
        ),
        half(
            "config-wrong",
            |chart| &chart.config,
            Some(config.as_bytes()),
        ),
        half("archive-missing", |chart| &chart.archive, None),
        half("archive-empty", |chart| &chart.archive, Some(b"")),
        half(
            "archive-short",
            |chart| &chart.archive,
            Some(b"the archive"),
        ),
        half("archive-long", |chart| &chart.archive, Some(&[b'x'; 1000])),
        signed_half(layout),
    ]
}

/// A signed chart whose provenance file is missing.
fn signed_half(layout: &Layout) -> (&'static str, Chart, Half) {
    let mut chart = layout.chart("provenance-missing", "1.0.0");
    let provenance = layout.blob("application/vnd.cncf.helm.chart.provenance.v1.prov", b"PGP");
    let layers = [&chart.archive, &provenance];
    let manifest =
        json!({"schemaVersion": 2, "config": chart.config, "layers": layers}).to_string();
    chart.manifest = layout.blob(MANIFEST_TYPE, manifest.as_bytes());
    let half = Half::of(layout.place(&provenance), None);
    ("provenance-missing", chart, half)
}

#[test]
fn a_tag_that_moves_to_a_half_copied_chart_keeps_the_last_good_one() {
    let scratch = Scratch::new("layout");
    let layout = Layout::with(scratch.join("layout"), &[("web", "1.0.0")]);
    let daemon = daemon_on(layout.flags());
    let before = index(&daemon);
    let next = layout.chart_with("web", "1.0.0", b"the next archive");
    let half = Half::of(layout.place(&next.archive), Some(b"the next"));
    layout.list(&[named(&next.manifest, "web:1.0.0")]);
    assert_eq!(index(&daemon), before);
    let told =
        daemon.wait_for_complaint(&["web:1.0.0: could not be read, keeping its last known charts"]);
    assert!(told.contains(file_name(&half.file)), "{told}");
    assert_eq!(
        daemon.get("/charts/web-1.0.0.tgz").body_text(),
        "the archive of web 1.0.0"
    );
    half.complete();
    let lacking = || format!("the next archive; the log:\n{}", daemon.log());
    let moved = || (index(&daemon) != before).then_some(());
    wait_until(DEADLINE, lacking, moved);
    assert_eq!(
        daemon.get("/charts/web-1.0.0.tgz").body_text(),
        "the next archive"
    );
}

#[test]
fn an_index_json_that_is_half_written_or_missing_changes_nothing_yet() {
    let halves = [
        Some(&br#"{"schemaVersion":2,"manifests":[{"mediaType"#[..]),
        Some(b""),
        None,
    ];
    std::thread::scope(|scope| {
        for instead in halves {
            // The one layout there is, and one of two.
            scope.spawn(move || without_an_index("layout", "layout", instead));
            scope.spawn(move || without_an_index("tree", "tree/web", instead));
        }
    });
}

fn without_an_index(directory: &str, layout: &str, instead: Option<&[u8]>) {
    let scratch = Scratch::new("layout");
    let layout = Layout::with(scratch.join(layout), &[("web", "1.0.0")]);
    if directory == "tree" {
        Layout::with(scratch.join("tree/db"), &[("db", "1.0.0")]);
    }
    let daemon = daemon_on(flags(&scratch.join(directory)));
    let before = index(&daemon);
    let half = Half::of(layout.index(), instead);
    assert_eq!(index(&daemon), before, "{instead:?}");
    // Twice, for an empty listing would be believed the second time.
    refresh_until_logged(&daemon, &format!(": {}", layout.index().display()), 2);
    assert_eq!(index(&daemon), before, "{instead:?}");
    daemon.wait_for_complaint(&["last", argument(&layout.index())]);
    assert_eq!(daemon.get("/charts/web-1.0.0.tgz").status, 200);
    half.complete();
    layout.list(&[named(&layout.chart("web", "2.0.0").manifest, "web:2.0.0")]);
    let lacking = || format!("what came after {instead:?}; the log:\n{}", daemon.log());
    let seen = || {
        Index::of(&daemon)
            .charts()
            .contains(&"web 2.0.0".to_owned())
            .then_some(())
    };
    wait_until(DEADLINE, lacking, seen);
}

#[test]
fn a_nested_index_that_is_missing_changes_nothing_yet() {
    let scratch = Scratch::new("layout");
    let layout = Layout::at(scratch.join("layout"));
    let web = named(&layout.chart("web", "1.0.0").manifest, "web:1.0.0");
    let group = layout.nested(std::slice::from_ref(&web));
    layout.list(std::slice::from_ref(&group));
    let daemon = daemon_on(layout.flags());
    let before = index(&daemon);
    let wider = layout.nested(&[
        web,
        named(&layout.chart("db", "1.0.0").manifest, "db:1.0.0"),
    ]);
    let half = Half::of(layout.place(&wider), None);
    layout.list(&[wider]);
    assert_eq!(index(&daemon), before);
    daemon.wait_for_complaint(&[file_name(&half.file)]);
    half.complete();
    let lacking = || format!("both charts; the log:\n{}", daemon.log());
    let seen = || (Index::of(&daemon).charts() == ["db 1.0.0", "web 1.0.0"]).then_some(());
    wait_until(DEADLINE, lacking, seen);
}

#[test]
fn a_layout_that_is_empty_at_the_start_is_filled_under_our_eyes() {
    let scratch = Scratch::new("layout");
    let directory = scratch.join("layout");
    fs::create_dir(&directory).expect("mkdir");
    let daemon = daemon_on(flags(&directory));
    assert!(Index::of(&daemon).charts().is_empty());
    Layout::with(&directory, &[("web", "1.0.0")]);
    let lacking = || format!("the chart; the log:\n{}", daemon.log());
    let seen = || (Index::of(&daemon).charts() == ["web 1.0.0"]).then_some(());
    wait_until(DEADLINE, lacking, seen);
}

#[test]
fn an_archive_with_wrong_bytes_is_never_handed_out_whole() {
    let scratch = Scratch::new("layout");
    let layout = Layout::at(scratch.join("layout"));
    // Larger than one buffer, so that some bytes are under way before the last ones are seen.
    let archive: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let chart = layout.chart_with("web", "1.0.0", &archive);
    layout.list(&[named(&chart.manifest, "web:1.0.0")]);
    let mut wrong = archive.clone();
    *wrong.last_mut().expect("a last byte") ^= 1;
    let half = Half::of(layout.place(&chart.archive), Some(&wrong));
    let daemon = daemon_on(layout.flags());
    assert_eq!(
        Index::of(&daemon).charts(),
        ["web 1.0.0"],
        "an archive of the right length is listed"
    );
    for _ in 0..3 {
        assert_never_whole(&daemon, &archive);
    }
    let told = daemon.wait_for_complaint(&["web-1.0.0.tgz"]);
    assert!(told.contains("turned out to hash to"), "{told}");
    // Shorter than listed, after it was listed.
    fs::write(&half.file, &archive[..1000]).expect("write");
    assert_never_whole(&daemon, &archive);
    fs::remove_file(&half.file).expect("remove");
    assert_never_whole(&daemon, &archive);
    half.complete();
    assert!(daemon.get("/charts/web-1.0.0.tgz").body == archive);
}

fn assert_never_whole(daemon: &Daemon, archive: &[u8]) {
    match http::request(daemon.port(), "GET", "/charts/web-1.0.0.tgz", &[]) {
        Ok(answer) if answer.status == 200 => {
            assert!(!answer.complete && answer.body.len() < archive.len());
        }
        Ok(answer) => assert_eq!(answer.status, 502, "{}", answer.body_text()),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
    }
}

fn file_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .expect("a name")
}
