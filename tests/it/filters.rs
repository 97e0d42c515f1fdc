//! What is looked at at all: repositories by their names, tags by theirs. What is left out costs no
//! request, and says why.

use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry};
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
