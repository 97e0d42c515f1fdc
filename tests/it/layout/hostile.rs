//! Layouts that somebody made to harm: the daemon lives, stays small, says what it refuses, and
//! serves nothing that doesn't verify. The good chart beside the bad one is served all the same,
//! unless the list of both can't be read.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Value, json};

use super::daemon_on;
use crate::support::daemon::Daemon;
use crate::support::helm::argument;
use crate::support::layout::{INDEX_TYPE, Layout, MANIFEST_TYPE, named};
use crate::support::process::Scratch;
use crate::support::story::Index;

/// What the daemon may take at its peak, in KiB: the largest `index.json` it reads, and as much
/// again.
const MOST_MEMORY: u64 = 80 * 1024;
/// Lists a good chart beside what is hostile.
const GOOD: &str = "good:1.0.0";

/// A layout with a good chart, and what lists it.
pub(super) fn layout_with_good(scratch: &Scratch) -> (Layout, Value) {
    let layout = Layout::at(scratch.join("layout"));
    let good = named(&layout.chart("good", "1.0.0").manifest, GOOD);
    (layout, good)
}

/// The good chart is served, and nothing else is.
pub(super) fn assert_only_good(daemon: &mut Daemon) {
    assert_eq!(
        Index::of(daemon).charts(),
        ["good 1.0.0"],
        "{}",
        daemon.log()
    );
    assert_eq!(
        daemon.get("/charts/good-1.0.0.tgz").body_text(),
        "the archive of good 1.0.0"
    );
    assert_alive_and_small(daemon);
}

/// Nothing is served, for what lists the charts can't be read; the log says why.
pub(super) fn assert_nothing_served(daemon: &mut Daemon, why: &[&str]) {
    daemon.wait_for_complaint(why);
    assert_eq!(daemon.get("/index.yaml").status, 503);
    assert_eq!(daemon.get("/readyz").status, 503);
    assert_alive_and_small(daemon);
}

pub(super) fn assert_alive_and_small(daemon: &mut Daemon) {
    assert_eq!(daemon.get("/livez").status, 200);
    assert!(
        daemon.is_running() && !daemon.log().contains("panicked"),
        "{}",
        daemon.log()
    );
    let peak = peak_memory(daemon);
    assert!(
        peak < MOST_MEMORY,
        "{peak} KiB at its peak; the log:\n{}",
        daemon.log()
    );
}

/// What it has taken at its peak, in KiB.
pub fn peak_memory(daemon: &Daemon) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("read its status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("VmHWM");
    let peak = line.trim().trim_end_matches(" kB").parse();
    peak.expect("a number")
}

#[test]
fn a_digest_never_becomes_a_path_before_it_is_one() {
    let scratch = Scratch::new("layout");
    let (layout, good) = layout_with_good(&scratch);
    // Where the digests below would lead, from blobs/sha256.
    let secret = scratch.file("secret", r#"{"schemaVersion":2}"#);
    let zeros = "0".repeat(58);
    let digests = [
        "sha256:../../../secret",
        "sha256:..%2f..%2f..%2fsecret",
        &format!("sha256:{}", argument(&secret)),
        &format!("sha256:../../{zeros}"),
        "../secret:sha256",
        "sha256:",
        "",
        "secret",
        &format!("SHA256:{zeros}000000"),
        &format!("sha1:{zeros}"),
    ];
    let entry = |digest: &&str| json!({"mediaType": MANIFEST_TYPE, "digest": digest, "size": 19});
    let mut listed: Vec<_> = digests.iter().map(entry).collect();
    listed.extend(
        digests
            .iter()
            .map(|digest| named(&entry(digest), "bad:1.0.0")),
    );
    listed.push(good);
    // And one step further in: in manifests that are good themselves.
    for (number, digest) in digests.iter().enumerate() {
        for part in ["config", "layers"] {
            let name = format!("{part}-{number}");
            let chart = layout.chart(&name, "1.0.0");
            let (mut config, mut layer) = (chart.config, chart.archive);
            let bad = if part == "config" {
                &mut config
            } else {
                &mut layer
            };
            bad["digest"] = json!(digest);
            let manifest =
                json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string();
            let manifest = layout.blob(MANIFEST_TYPE, manifest.as_bytes());
            listed.push(named(&manifest, &format!("{name}:1.0.0")));
        }
    }
    layout.list(&listed);
    let mut daemon = daemon_on(layout.flags());
    assert_only_good(&mut daemon);
    daemon.wait_for_log("skipped bad:\"secret\": not a tag");
    daemon.wait_for_log(
        "skipped config-0:1.0.0: manifest can't be read: not a sha256 or sha512 digest",
    );
    daemon.wait_for_log("skipped layers-9:1.0.0: no layer is a chart archive");
}

#[test]
fn a_gigabyte_is_not_read_where_little_is_expected() {
    const GIGABYTE: u64 = 1 << 30;
    let grow = |path: &Path| {
        let file = File::options().append(true).open(path).expect("open");
        file.set_len(GIGABYTE).expect("a sparse file");
    };
    let scratch = Scratch::new("layout");
    let (layout, good) = layout_with_good(&scratch);
    let blown_up = layout.chart("manifest", "1.0.0").manifest;
    grow(&layout.place(&blown_up));
    let chart = layout.chart("config", "1.0.0");
    grow(&layout.place(&chart.config));
    let mut config = chart.config.clone();
    config["size"] = json!(GIGABYTE);
    let manifest =
        json!({"schemaVersion": 2, "config": config, "layers": [chart.archive]}).to_string();
    let honest_about_it = layout.blob(MANIFEST_TYPE, manifest.as_bytes());
    layout.list(&[
        named(&blown_up, "manifest:1.0.0"),
        named(&honest_about_it, "config:1.0.0"),
        good,
    ]);
    let mut daemon = daemon_on(layout.flags());
    assert_only_good(&mut daemon);
    daemon.wait_for_log("skipped manifest:1.0.0: ");
    daemon.wait_for_log("skipped config:1.0.0: config blob of 1073741824 bytes is over");

    grow(&layout.index());
    assert_only_good(&mut daemon);
    daemon.wait_for_complaint(&[
        "last good index stays",
        argument(&layout.index()),
        "1073741824 bytes, over",
    ]);
    let mut daemon = Daemon::start(&layout.flags().each_ref().map(String::as_str));
    assert_nothing_served(
        &mut daemon,
        &[argument(&layout.index()), "1073741824 bytes, over"],
    );
}

#[test]
fn an_index_of_millions_of_entries_or_annotations_takes_no_more_memory_than_its_file() {
    const ROOM: usize = 30 << 20;
    let entries = vec![r#"{"digest":""}"#; ROOM / 14].join(",");
    let annotations = (0..ROOM / 12)
        .map(|number| format!(r#""{number:x}":0"#))
        .collect::<Vec<_>>()
        .join(",");
    let annotated = format!(r#"{{"digest":"","annotations":{{{annotations}}}}}"#);
    for (manifests, why) in [(entries, Some("over 100000 manifests")), (annotated, None)] {
        let scratch = Scratch::new("layout");
        let (layout, _) = layout_with_good(&scratch);
        fs::write(layout.index(), format!(r#"{{"manifests":[{manifests}]}}"#)).expect("write");
        let mut daemon = Daemon::start(&layout.flags().each_ref().map(String::as_str));
        match why {
            Some(why) => assert_nothing_served(&mut daemon, &[argument(&layout.index()), why]),
            None => {
                daemon.wait_ready();
                assert!(Index::of(&daemon).charts().is_empty());
                assert_alive_and_small(&mut daemon);
            }
        }
    }
}

#[test]
fn image_indexes_in_circles_in_heaps_and_without_end_come_to_an_end() {
    let scratch = Scratch::new("layout");
    let (layout, good) = layout_with_good(&scratch);
    // Each lists the one before a thousand times: unguarded, that is 10^12 of the first.
    let mut heap = layout.nested(std::slice::from_ref(
        &layout.chart("deepest", "1.0.0").manifest,
    ));
    for _ in 0..4 {
        heap = layout.nested(&vec![heap; 1000]);
    }
    let mut chain = layout.nested(std::slice::from_ref(&layout.chart("far", "1.0.0").manifest));
    for _ in 0..100 {
        chain = layout.nested(&[chain]);
    }
    layout.list(&[heap, chain, good.clone()]);
    let mut daemon = daemon_on(layout.flags());
    assert_only_good(&mut daemon);

    // A circle can't be made of true digests, so one of them lies.
    let digest = format!("sha256:{}", "c".repeat(64));
    let circle = json!({"mediaType": INDEX_TYPE, "digest": digest, "size": 1});
    let text = json!({"schemaVersion": 2, "manifests": [circle, named(&good, "circle:1.0.0")]});
    fs::write(layout.place(&circle), text.to_string()).expect("write");
    layout.list(&[circle, good]);
    assert_only_good(&mut daemon);
    daemon.wait_for_complaint(&["last good index stays", "turned out to hash to"]);
}

#[test]
fn names_that_are_none_of_ours_are_no_way_out_and_no_harm() {
    let scratch = Scratch::new("layout");
    let (layout, good) = layout_with_good(&scratch);
    let names = [
        "../../x:1",
        "/etc/passwd",
        "a//b:1",
        ":",
        "@",
        "a:b:c",
        "A/B:1",
        "x\n2026 ERROR forged",
        "\u{0}",
        &"a".repeat(100_000),
    ];
    let entry = |(number, name): (usize, &&str)| {
        named(
            &layout.blob("text/plain", format!("nothing {number}").as_bytes()),
            name,
        )
    };
    let mut listed: Vec<_> = names.iter().enumerate().map(entry).collect();
    listed.push(good);
    layout.list(&listed);
    let mut daemon = daemon_on(layout.flags());
    assert_only_good(&mut daemon);
    let log = daemon.log();
    assert!(
        !log.contains("\n2026 ERROR forged") && log.lines().all(|line| line.len() < 1000),
        "{log}"
    );
}

#[test]
fn what_is_no_index_json_at_all_is_told_as_that() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"manifests":null}"#,
        r#"{"manifests":{}}"#,
        r#"{"manifests":[1]}"#,
        "\u{0}\u{0}",
    ] {
        let scratch = Scratch::new("layout");
        let (layout, _) = layout_with_good(&scratch);
        fs::write(layout.index(), text).expect("write");
        let mut daemon = Daemon::start(&layout.flags().each_ref().map(String::as_str));
        assert_nothing_served(
            &mut daemon,
            &[argument(&layout.index()), "not an image index"],
        );
    }
}
