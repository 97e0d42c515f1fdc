//! Folders that are made to harm: the daemon lives, stays small, tells what it leaves out, and serves
//! the good chart beside it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::layout::hostile::peak_memory;
use crate::support::daemon::Daemon;
use crate::support::folder::{Folder, gzipped, header, packed, packed_chart, tarred};
use crate::support::process::run_ok;
use crate::support::story::Index;

/// What the daemon may take at its peak, in KiB.
const MOST_MEMORY: u64 = 64 * 1024;
const CHART: &[u8] = b"apiVersion: v2\nname: bad\nversion: 1.0.0\n";

/// The reasons in /api/skipped.
fn skipped(daemon: &Daemon) -> Vec<String> {
    let skipped: Value = serde_json::from_slice(&daemon.get("/api/skipped").body).expect("JSON");
    let all = skipped.as_array().expect("a list").iter();
    let reason = |one: &Value| one["reason"].as_str().expect("a reason").to_owned();
    all.map(reason).collect()
}

/// The good chart is served and nothing else is; each of `told` is in /api/skipped.
fn assert_only_good(folder: &Folder, told: &[(&str, &str)]) -> Daemon {
    folder.chart("good.tgz", "good", "1.0.0");
    let mut daemon = folder.daemon();
    assert_eq!(
        Index::of(&daemon).charts(),
        ["good 1.0.0"],
        "{}",
        daemon.log()
    );
    assert_eq!(
        daemon.get("/charts/good-1.0.0.tgz").body,
        packed_chart("good", "1.0.0")
    );
    let reasons = skipped(&daemon);
    for (file, why) in told {
        let start = format!("could not be read: {file:?}: ");
        let reason = reasons.iter().find(|reason| reason.starts_with(&start));
        let reason = reason.unwrap_or_else(|| panic!("{file}: {reasons:#?}"));
        assert!(reason.contains(why), "{reason} says nothing of {why:?}");
    }
    assert_eq!(reasons.len(), told.len(), "{reasons:#?}");
    assert!(
        daemon.is_running() && !daemon.log().contains("panicked"),
        "{}",
        daemon.log()
    );
    let peak = peak_memory(&daemon);
    assert!(peak < MOST_MEMORY, "{peak} KiB at its peak");
    daemon
}

/// Zeros behind a tar header that says so, which compress a thousandfold.
fn bomb(first: &[u8], megabytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(first).expect("a vector takes all");
    for _ in 0..megabytes {
        encoder
            .write_all(&vec![0; 1 << 20])
            .expect("a vector takes all");
    }
    encoder.finish().expect("a vector takes all")
}

#[test]
fn bombs_are_not_unpacked_beyond_a_bound_and_never_held() {
    let folder = Folder::new();
    let of_chart = tarred(&[("c/Chart.yaml", CHART)]);
    let of_chart = &of_chart[..1024];
    let declared = |name: &str, size: usize| header(name, size).as_bytes().to_vec();
    let special = |kind, size| {
        let mut header = header("long", size);
        header.set_entry_type(kind);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    folder.file(
        "large.tgz",
        &bomb(&[of_chart, &declared("c/x", 1 << 30)].concat(), 110),
    );
    folder.file("behind.tgz", &bomb(of_chart, 110));
    let file = [declared("c/x", 4 << 20), vec![0; 4 << 20]].concat();
    folder.file("sum.tgz", &gzipped(&[of_chart, &file.repeat(30)].concat()));
    folder.file("yaml.tgz", &bomb(&declared("c/Chart.yaml", 200 << 20), 10));
    let long_name = special(tar::EntryType::GNULongName, 90 << 20);
    folder.file("name.tgz", &bomb(&long_name, 10));
    folder.file(
        "pax.tgz",
        &bomb(&special(tar::EntryType::XHeader, 90 << 20), 10),
    );
    let aliases = (0..9).map(|n| {
        let before = format!("*a{n}, ").repeat(10);
        format!("a{}: &a{} [{before}]\n", n + 1, n + 1)
    });
    let aliases = format!(
        "a0: &a0 [x]\n{}keywords: *a9\n",
        aliases.collect::<String>()
    );
    let text = "x".repeat(500_000);
    let copies = format!(
        "x: &x {text}\nannotations: {{{}}}\n",
        (0..1000).map(|n| format!("a{n}: *x, ")).collect::<String>()
    );
    let merges = format!(
        "m: &m {{{}}}\nx: {{<<: [{}]}}\n",
        (0..5000).map(|n| format!("a{n}: b, ")).collect::<String>(),
        "*m, ".repeat(50_000)
    );
    let nested = format!("x: {}\n", "[".repeat(900_000));
    let values = format!("x: [{}]\n", "a,".repeat(450_000));
    for (name, more) in [
        ("aliases", aliases),
        ("copies", copies),
        ("merges", merges),
        ("nested", nested),
        ("values", values),
    ] {
        folder.file(
            &format!("{name}.tgz"),
            &packed(&[("c/Chart.yaml", &[CHART, more.as_bytes()].concat())]),
        );
    }
    assert_only_good(
        &folder,
        &[
            ("large.tgz", "unpacks to over 104857600 bytes"),
            ("behind.tgz", "unpacks to over 104857600 bytes"),
            ("sum.tgz", "unpacks to over 104857600 bytes"),
            ("yaml.tgz", "Chart.yaml is over 1048576 bytes"),
            ("name.tgz", "a header of over 1048576 bytes"),
            ("pax.tgz", "a header of over 1048576 bytes"),
            ("aliases.tgz", "keywords"),
            ("copies.tgz", "unfolds to over 1048576 bytes"),
            ("merges.tgz", "over 50000 values"),
            ("nested.tgz", "nested more than 250 deep"),
            ("values.tgz", "over 50000 values"),
        ],
    );
}

#[test]
fn an_archive_of_100_000_files_is_read_in_passing() {
    let folder = Folder::new();
    let empty: Vec<String> = (0..100_000).map(|number| format!("c/{number}")).collect();
    let mut files: Vec<(&str, &[u8])> =
        empty.iter().map(|name| (name.as_str(), &b""[..])).collect();
    files.push((
        "c/Chart.yaml",
        b"apiVersion: v2\nname: many\nversion: 1.0.0\n",
    ));
    folder.file("many.tgz", &packed(&files));
    let daemon = folder.daemon();
    assert_eq!(
        Index::of(&daemon).charts(),
        ["many 1.0.0"],
        "{}",
        daemon.log()
    );
    assert!(peak_memory(&daemon) < MOST_MEMORY);
}

#[test]
fn a_gigabyte_of_zeros_is_not_read() {
    let folder = Folder::new();
    let zeros = folder.file("zeros.tgz", b"");
    File::options()
        .append(true)
        .open(zeros)
        .expect("open")
        .set_len(1 << 30)
        .expect("a sparse file");
    let behind = folder.file("behind.tgz", &packed_chart("bad", "1.0.0"));
    File::options()
        .append(true)
        .open(behind)
        .expect("open")
        .set_len(1 << 30)
        .expect("a sparse file");
    let signature = folder.file("good.tgz.prov", b"");
    File::options()
        .append(true)
        .open(signature)
        .expect("open")
        .set_len(1 << 30)
        .expect("a sparse file");
    let daemon = assert_only_good(
        &folder,
        &[
            ("zeros.tgz", "1073741824 bytes, over 104857600"),
            ("behind.tgz", "1073741824 bytes, over 104857600"),
        ],
    );
    assert_eq!(daemon.get("/charts/good-1.0.0.tgz.prov").status, 404);
}

#[test]
fn what_is_no_file_is_not_opened_and_links_that_lead_out_are_not_followed() {
    let folder = Folder::new();
    let outside = Folder::new();
    outside.chart("secret.tgz", "secret", "1.0.0");
    outside.file("secret.prov", b"secret");
    symlink(outside.join("secret.tgz"), folder.join("file.tgz")).expect("link");
    symlink(outside.path(), folder.join("folder")).expect("link");
    symlink("/dev/zero", folder.join("zero.tgz")).expect("link");
    symlink("/proc/self/fd/0", folder.join("stdin.tgz")).expect("link");
    symlink(outside.join("secret.prov"), folder.join("good.tgz.prov")).expect("link");
    symlink("nowhere", folder.join("dangling.tgz")).expect("link");
    symlink("circle.tgz", folder.join("circle.tgz")).expect("link");
    fs::create_dir_all(folder.join("deep/down")).expect("mkdir");
    symlink("../..", folder.join("deep/down/up")).expect("link");
    symlink("../../good.tgz", folder.join("deep/down/inside.tgz")).expect("link");
    run_ok(
        Path::new("mkfifo"),
        &[folder.join("fifo.tgz").to_str().expect("UTF-8")],
        &[],
    );
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket.tgz"));
    let daemon = assert_only_good(
        &folder,
        &[
            ("file.tgz", "leads out"),
            ("folder", "leads out"),
            ("zero.tgz", "leads out"),
            ("stdin.tgz", "leads out"),
            ("good.tgz.prov", "leads out"),
            ("fifo.tgz", "not a regular file"),
            ("socket.tgz", "not a regular file"),
        ],
    );
    assert_eq!(daemon.get("/charts/good-1.0.0.tgz.prov").status, 404);
    assert!(!daemon.get("/index.yaml").body_text().contains("secret"));
}

#[test]
fn names_of_files_and_folders_do_no_harm() {
    let folder = Folder::new();
    let names: [&[u8]; 5] = [
        b"a\n2026-01-01T00:00:00Z ERROR forged.tgz",
        b"\xff\xfe.tgz",
        b"-rf.tgz",
        b"%2e%2e.tgz",
        b"a b\t'\"$(x).tgz",
    ];
    for name in names {
        fs::write(folder.path().join(OsStr::from_bytes(name)), "nothing").expect("write");
    }
    let folder_name = folder.path().join(OsStr::from_bytes(b"dir\n\xff"));
    fs::create_dir(&folder_name).expect("mkdir");
    fs::write(folder_name.join("x.tgz"), "nothing").expect("write");
    fs::create_dir_all(folder.join(&"d/".repeat(30))).expect("mkdir");
    folder.chart(&format!("{}deep.tgz", "d/".repeat(30)), "deep", "1.0.0");
    folder.chart(".hidden.tgz", "hidden", "1.0.0");
    folder.chart("good.tgz.part", "partial", "1.0.0");
    folder.chart("good.tgz", "good", "1.0.0");
    let daemon = folder.daemon();
    assert_eq!(Index::of(&daemon).charts(), ["good 1.0.0"]);
    let reasons = skipped(&daemon);
    let is_deep = |reason: &String| reason.contains("nested too deep");
    assert!(reasons.iter().any(is_deep), "{reasons:#?}");
    assert!(
        !daemon.log().contains("\n2026-01-01T00:00:00Z ERROR forged"),
        "{}",
        daemon.log()
    );
    assert_eq!(reasons.len(), 7, "{reasons:#?}");
}

#[test]
fn names_of_charts_and_versions_do_no_harm() {
    let folder = Folder::new();
    for (number, (name, version)) in [
        ("../../x", "1.0.0"),
        ("..", "1.0.0"),
        ("a", "../1"),
        ("x\\u0000", "1/2"),
        ("", "1.0.0"),
    ]
    .into_iter()
    .enumerate()
    {
        let chart = format!("apiVersion: v2\nname: \"{name}\"\nversion: \"{version}\"\n");
        folder.file(
            &format!("{number}.tgz"),
            &packed(&[("c/Chart.yaml", chart.as_bytes())]),
        );
    }
    let told = ["0", "1", "2", "3", "4"].map(|number| format!("{number}.tgz"));
    let told: Vec<(&str, &str)> = told.iter().map(|file| (file.as_str(), "chart ")).collect();
    assert_only_good(&folder, &told);
}

/// Helm lists some of these; they are no charts that can be used, or no whole files.
#[test]
fn where_we_differ_from_helm_on_purpose() {
    let folder = Folder::new();
    let bad = packed(&[("c/Chart.yaml", CHART)]);
    let mut checksum = bad.clone();
    let at = checksum.len() - 8;
    checksum[at] ^= 1;
    folder.file("checksum.tgz", &checksum);
    folder.file("cut.tgz", &bad[..bad.len() - 8]);
    folder.file(
        "garbage.tgz",
        &[&bad[..], &b"garbage, of 20 bytes"[..]].concat(),
    );
    let comment = format!("#{}\n", "x".repeat(1 << 20));
    folder.file(
        "long.tgz",
        &packed(&[("c/Chart.yaml", &[CHART, comment.as_bytes()].concat())]),
    );
    folder.file(
        "sparse.tgz",
        &gzipped(&{
            let mut header = header("c/x", 0);
            header.set_entry_type(tar::EntryType::GNUSparse);
            header.set_cksum();
            [
                header.as_bytes().to_vec(),
                tarred(&[("c/Chart.yaml", CHART)]),
            ]
            .concat()
        }),
    );
    assert_only_good(
        &folder,
        &[
            ("checksum.tgz", "checksum"),
            ("cut.tgz", "ends early"),
            ("garbage.tgz", "no whole .tgz"),
            ("long.tgz", "Chart.yaml is over 1048576 bytes"),
            ("sparse.tgz", "a sparse file"),
        ],
    );
}

#[test]
fn files_and_folders_that_may_not_be_read_are_told_and_cost_no_other() {
    let folder = Folder::new();
    let file = folder.file("file.tgz", &packed_chart("bad", "1.0.0"));
    folder.chart("locked/web.tgz", "web", "1.0.0");
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod")
    };
    set(&file, 0);
    set(&folder.join("locked"), 0);
    let privileged = File::open(&file).is_ok();
    if !privileged {
        assert_only_good(
            &folder,
            &[("file.tgz", "denied"), ("locked", "may not be listed")],
        );
    }
    set(&folder.join("locked"), 0o755);
}

#[test]
fn a_hundred_charts_that_say_a_megabyte_each_are_not_held_at_once() {
    let folder = Folder::new();
    let annotation = format!("annotations: {{a: {}}}\n", "x".repeat(1_000_000));
    for number in 0..100 {
        let chart = format!("apiVersion: v2\nname: wordy-{number}\nversion: 1.0.0\n{annotation}");
        let archive = packed(&[("c/Chart.yaml", chart.as_bytes())]);
        folder.file(&format!("{number}.tgz"), &archive);
    }
    let flags = folder.flags();
    let [storage, directory] = flags.each_ref().map(String::as_str);
    // What the walk and the index hold of config blobs is another bound.
    let daemon = Daemon::start_ready(&[storage, directory, "--exclude=**"]);
    assert!(Index::of(&daemon).charts().is_empty());
    let peak = peak_memory(&daemon);
    assert!(peak < MOST_MEMORY, "{peak} KiB at its peak");
}
