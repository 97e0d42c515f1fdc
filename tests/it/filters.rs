//! What is looked at at all: repositories by their names, tags by theirs. What is left out costs no
//! request, and says why.

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Reply};
use crate::support::story::{Index, ready_daemon, skip_reason, wait_for_charts};

fn three_teams() -> FakeRegistry {
    let fake = FakeRegistry::start();
    for repository in ["web", "team/a/db", "team/b/cache", "team/b/test-cache"] {
        fake.push(&Chart::new(repository, "1.0.0"));
    }
    fake
}

fn charts(daemon: &Daemon) -> Vec<String> {
    Index::of(daemon).charts()
}

#[test]
fn a_repository_that_is_not_included_or_is_excluded_costs_no_request() {
    let stories: [(&[&str], &[&str]); 5] = [
        (
            &["--include=team/**"],
            &["cache 1.0.0", "db 1.0.0", "test-cache 1.0.0"],
        ),
        (
            &["--include=team/*/db", "--include", "web"],
            &["db 1.0.0", "web 1.0.0"],
        ),
        (
            &["--exclude=**/test-*"],
            &["cache 1.0.0", "db 1.0.0", "web 1.0.0"],
        ),
        (&["--include=team/**", "--exclude=team/b/*"], &["db 1.0.0"]),
        (&["--include=nothing"], &[]),
    ];
    for (flags, expected) in stories {
        let fake = three_teams();
        let daemon = ready_daemon(&fake, flags);
        assert_eq!(charts(&daemon), expected, "{flags:?}");
        assert_eq!(
            fake.count("GET /v2/*/tags/list"),
            expected.len(),
            "{flags:?}:\n{}",
            fake.seen()
        );
    }
}

#[test]
fn what_is_left_out_says_which_flag_has_done_it() {
    let fake = three_teams();
    let daemon = ready_daemon(&fake, &["--include=team/**", "--exclude=**/test-*"]);
    assert_eq!(
        skip_reason(&daemon, "team/b/test-cache"),
        "left out by --exclude **/test-*"
    );
    assert_eq!(
        skip_reason(&daemon, "web"),
        "left out: no --include matches"
    );
}

#[test]
fn a_tag_that_is_no_version_is_looked_at_only_with_all_tags() {
    let story = |flags: &[&str]| {
        let fake = FakeRegistry::start();
        fake.push(&Chart::new("web", "1.0.0"));
        fake.push(&Chart::new("web", "2.0.0").tag("latest"));
        fake.push(&Chart::new("web", "3.0.0+build.5"));
        let daemon = ready_daemon(&fake, flags);
        (
            charts(&daemon),
            fake.count("GET /v2/web/manifests/latest"),
            daemon,
        )
    };
    let (listed, asked, daemon) = story(&[]);
    assert_eq!(
        (listed, asked),
        (
            vec!["web 1.0.0".to_owned(), "web 3.0.0+build.5".to_owned()],
            0
        )
    );
    assert_eq!(
        skip_reason(&daemon, "web:latest"),
        "the tag is no version; --all-tags would look at it"
    );
    let (listed, asked, _) = story(&["--all-tags"]);
    assert_eq!((listed.len(), asked), (3, 1));
}

#[test]
fn only_the_newest_versions_of_each_chart_are_listed_however_many_tags_they_have() {
    let fake = FakeRegistry::start();
    for version in ["1.9.0", "1.10.0", "1.10.0-rc.1", "0.1.0"] {
        fake.push(&Chart::new("team/web", version));
    }
    fake.push(&Chart::new("team/web", "1.10.0").tag("latest"));
    fake.push(&Chart::new("team/db", "0.1.0"));
    let daemon = ready_daemon(&fake, &["--max-versions=2", "--all-tags"]);
    assert_eq!(
        charts(&daemon),
        ["db 0.1.0", "web 1.10.0", "web 1.10.0-rc.1"]
    );
    assert_eq!(
        skip_reason(&daemon, "team/web:1.9.0"),
        "too old for --max-versions"
    );
    assert_eq!(daemon.get("/charts/web-1.9.0.tgz").status, 404);
    fake.push(&Chart::new("team/web", "2.0.0"));
    wait_for_charts(&daemon, &["db 0.1.0", "web 1.10.0", "web 2.0.0"]);
}

/// 360 manifests were read to list 15: issue 11, A5.
#[test]
fn tags_that_cannot_be_among_the_newest_versions_are_not_read() {
    let fake = FakeRegistry::start();
    let repositories = ["team/cache", "team/db", "team/web"];
    for repository in repositories {
        for minor in 0..120 {
            fake.push(&Chart::new(repository, &format!("1.{minor}.0")));
        }
    }
    let daemon = ready_daemon(&fake, &["--max-versions=5"]);
    let newest = |minors: [usize; 5]| -> Vec<String> {
        let of = |name| minors.map(|minor| format!("{name} 1.{minor}.0"));
        ["cache", "db", "web"].into_iter().flat_map(of).collect()
    };
    assert_eq!(charts(&daemon), newest([115, 116, 117, 118, 119]));
    assert_eq!(fake.count("* /v2/*/manifests/*"), 15, "{}", fake.seen());
    assert_eq!(
        skip_reason(&daemon, "team/web:1.114.0"),
        "too old for --max-versions"
    );
    let ready = daemon.get("/readyz").body_text();
    assert!(
        ready.starts_with("ready: 3 charts, 15 versions, 345 skipped"),
        "{ready}"
    );
    assert!(!ready.contains("could not be read"), "{ready}");
    // One that goes makes room for another.
    for repository in repositories {
        fake.delete_tag(repository, "1.118.0");
    }
    let expected = newest([114, 115, 116, 117, 119]);
    let expected: Vec<&str> = expected.iter().map(|chart| &**chart).collect();
    wait_for_charts(&daemon, &expected);
    assert_eq!(fake.count("GET /v2/*/manifests/*"), 18, "{}", fake.seen());
}

/// With one release and eight newer pre-releases, `helm search repo` and `helm pull` without `--devel` found
/// nothing: issue 11, A5 (jupyterhub/helm-chart#143).
#[test]
fn the_newest_release_is_always_listed_however_many_newer_prereleases_there_are() {
    let fake = FakeRegistry::start();
    for version in ["0.9.0", "1.0.0"] {
        fake.push(&Chart::new("web", version));
    }
    for number in 1..=8 {
        fake.push(&Chart::new("web", &format!("2.0.0-rc.{number}")));
    }
    let daemon = ready_daemon(&fake, &["--max-versions=2"]);
    assert_eq!(
        charts(&daemon),
        ["web 1.0.0", "web 2.0.0-rc.7", "web 2.0.0-rc.8"]
    );
    assert_eq!(fake.count("GET /v2/*/manifests/*"), 3, "{}", fake.seen());
}

/// The same report: only charts count, and of tags that name one chart the newest.
#[test]
fn tags_that_turn_out_to_be_no_charts_or_aliases_do_not_count_for_max_versions() {
    let fake = FakeRegistry::start();
    for version in ["1.0.0", "2.0.0+9", "2.0.0+11"] {
        fake.push(&Chart::new("web", version));
    }
    fake.push(&Chart::new("web", "2.0.0+11").tag("3"));
    fake.push_image("web", "10.0.0");
    for number in 0..40 {
        fake.push_image("images/app", &format!("1.0.{number}"));
    }
    fake.push(&Chart::new("images/app", "0.1.0"));
    let daemon = ready_daemon(&fake, &["--max-versions=2"]);
    assert_eq!(
        charts(&daemon),
        ["app 0.1.0", "web 2.0.0+11", "web 2.0.0+9"]
    );
    assert_eq!(fake.count("GET /v2/web/manifests/*"), 4, "{}", fake.seen());
    assert_eq!(fake.count("GET /v2/images/app/manifests/*"), 41);
}

/// The same report: a version that can't be read takes no chart that is listed out of the index.
#[test]
fn a_newer_tag_that_cannot_be_read_makes_no_listed_version_too_old() {
    let fake = FakeRegistry::start();
    fake.push(&Chart::new("web", "1.0.0"));
    fake.push(&Chart::new("db", "1.0.0"));
    let daemon = ready_daemon(&fake, &["--max-versions=1"]);
    let fails = Fault::Answer(Reply::error(500, "UNKNOWN", "unknown error"));
    fake.spoil("* /v2/web/manifests/2.0.0").with(fails);
    fake.push(&Chart::new("web", "2.0.0"));
    fake.push(&Chart::new("db", "2.0.0"));
    wait_for_charts(&daemon, &["db 2.0.0", "web 1.0.0"]);
    fake.heal("* /v2/web/manifests/2.0.0");
    wait_for_charts(&daemon, &["db 2.0.0", "web 2.0.0"]);
}
