//! A Harbor tells its own API what its catalog keeps for administrators, whoever asks is shown his
//! part of it, and nothing that Harbor leaves out by mistake takes charts from the index.

use serde_json::json;

use crate::support::charts_index::push_charts_index;
use crate::support::daemon::Daemon;
use crate::support::fake_registry::{Chart, FakeRegistry, Fault, Harbor, Reply, Request};
use crate::support::process::{DEADLINE, Scratch, wait_until};
use crate::support::story::{
    Index, credentials_flag, ready_daemon, refresh_until_logged, sources_told, starting_daemon,
    wait_for_charts,
};

const ROBOT: &str = "robot$team+reader";
const PASSWORD: &str = "robot-secret-7";

/// A Harbor with the private projects `team` and `other` and the public `library`, and a robot of
/// `team`, whose credentials are in a file.
struct Robot {
    fake: FakeRegistry,
    flag: String,
    _scratch: Scratch,
}

impl Robot {
    fn new() -> Robot {
        Robot::with(|harbor| harbor.add_robot(ROBOT, PASSWORD, &["team"]))
    }

    fn with(account: impl FnOnce(&mut Harbor)) -> Robot {
        let fake = FakeRegistry::start();
        for repository in ["library/pub", "other/hidden", "team/a/db", "team/web"] {
            fake.push(&Chart::new(repository, "1.0.0"));
        }
        fake.harbor(|harbor| {
            harbor.public = vec!["library"];
            account(harbor);
        });
        let scratch = Scratch::new("robot");
        let auths =
            json!({ "auths": { (fake.host()): { "username": ROBOT, "password": PASSWORD } } });
        let flag = credentials_flag(&scratch, auths.to_string());
        Robot {
            fake,
            flag,
            _scratch: scratch,
        }
    }

    fn ready(&self) -> Daemon {
        ready_daemon(&self.fake, &[&self.flag])
    }

    /// The same below a prefix.
    fn ready_below(&self, prefix: &str) -> Daemon {
        let registry = format!("--storage-registry-repo={}/{prefix}", self.fake.url());
        Daemon::start_ready(&[&registry, &self.flag])
    }
}
fn scheme_of(request: &Request) -> &str {
    request
        .header("Authorization")
        .and_then(|value| value.split(' ').next())
        .unwrap_or_default()
}

#[test]
fn a_harbor_shows_a_projects_robot_what_its_catalog_hides() {
    let robot = Robot::new();
    let daemon = robot.ready();

    assert_eq!(
        Index::of(&daemon).charts(),
        ["db 1.0.0", "pub 1.0.0", "web 1.0.0"]
    );
    assert_eq!(sources_told(&daemon).len(), 1, "{}", daemon.log());
    assert!(
        sources_told(&daemon)[0].contains("Harbor's API"),
        "{}",
        daemon.log()
    );
    let asked = robot.fake.requests("GET /v2/_catalog");
    assert_eq!(
        asked.len(),
        1,
        "one question tells a Harbor:\n{}",
        robot.fake.seen()
    );
    assert_eq!(scheme_of(&asked[0]), "", "and it's a stranger's");
    for request in robot.fake.requests("GET /api/*") {
        assert_eq!(
            scheme_of(&request),
            "Basic",
            "a stranger would be shown less: {request}"
        );
        assert_eq!(request.query("page_size"), ["100"], "{request}");
    }
    for request in robot.fake.requests("GET /v2/team/*") {
        assert_ne!(scheme_of(&request), "Basic", "{request}");
    }
    assert!(!daemon.log().contains(PASSWORD));
}

#[test]
fn a_prefix_asks_harbor_for_its_project_alone() {
    let robot = Robot::with(|harbor| {
        harbor.add_robot(ROBOT, PASSWORD, &["team"]);
        harbor.hides_projects_from_robots = true;
    });
    let daemon = robot.ready_below("team");
    assert_eq!(Index::of(&daemon).charts(), ["db 1.0.0", "web 1.0.0"]);
    let daemon = robot.ready_below("team/a");
    assert_eq!(Index::of(&daemon).charts(), ["db 1.0.0"]);
    assert_eq!(robot.fake.count("GET /api/v2.0/projects"), 0);
    assert_eq!(
        robot.fake.count("GET /api/v2.0/projects/team/repositories"),
        2
    );
    assert_eq!(robot.fake.count("GET /api/*"), 2, "{}", robot.fake.seen());
}

#[test]
fn every_page_of_harbors_listings_is_read_whatever_a_proxy_takes_from_them() {
    for (without_links, without_totals) in
        [(false, false), (true, false), (false, true), (true, true)]
    {
        let robot = Robot::new();
        for number in 0..130 {
            robot
                .fake
                .push(&Chart::new(&format!("team/c{number:03}"), "1.0.0"));
        }
        robot.fake.harbor(|harbor| {
            (harbor.without_links, harbor.without_totals) = (without_links, without_totals);
        });
        // Once, however long that takes.
        let daemon = ready_daemon(&robot.fake, &[&robot.flag, "--max-stale=1h"]);
        assert_eq!(
            Index::of(&daemon).charts().len(),
            133,
            "{without_links} {without_totals}"
        );
        assert_eq!(
            robot.fake.count("GET /api/v2.0/projects/team/repositories"),
            2
        );
    }
}

#[test]
fn what_slips_through_between_two_pages_of_harbors_is_found_by_reading_again() {
    let robot = Robot::new();
    // One is deleted behind our back: the page is short of one, and the total says so.
    let short = json!([{ "name": "team/web" }]).to_string();
    let listing = "GET /api/v2.0/projects/team/repositories";
    robot
        .fake
        .spoil(listing)
        .first(1)
        .with(Fault::Body(short.into()));
    let nothing = Fault::Body(b"[]".to_vec());
    robot
        .fake
        .spoil(&format!("{listing}?page=2&*"))
        .first(1)
        .with(nothing);
    let daemon = robot.ready();
    assert_eq!(
        Index::of(&daemon).charts(),
        ["db 1.0.0", "pub 1.0.0", "web 1.0.0"]
    );
    assert_eq!(robot.fake.count(listing), 3, "{}", robot.fake.seen());
}

#[test]
fn a_listing_of_harbors_that_is_short_of_another_name_each_time_is_not_believed() {
    let robot = Robot::new();
    let daemon = robot.ready();
    let first_page = "GET /api/v2.0/projects/team/repositories?page=1&*";
    let short = |name: &str| Fault::Body(json!([{ "name": name }]).to_string().into());
    robot
        .fake
        .spoil(first_page)
        .first(1)
        .with(short("team/web"));
    robot
        .fake
        .spoil(first_page)
        .after(1)
        .first(1)
        .with(short("team/a/db"));
    refresh_until_logged(&daemon, "the listing changes while it's read", 1);
    assert_eq!(
        Index::of(&daemon).charts(),
        ["db 1.0.0", "pub 1.0.0", "web 1.0.0"]
    );
}

#[test]
fn a_total_that_is_wrong_both_times_is_not_waited_for() {
    let robot = Robot::new();
    let wrong = Fault::Header("X-Total-Count", "7".to_owned());
    robot
        .fake
        .spoil("GET /api/v2.0/projects/team/repositories")
        .with(wrong);
    assert_eq!(
        Index::of(&robot.ready()).charts(),
        ["db 1.0.0", "pub 1.0.0", "web 1.0.0"]
    );
}

#[test]
fn the_projects_of_a_harbor_are_listed_at_once_but_no_more_than_concurrency_allows() {
    let robot = Robot::with(|harbor| harbor.add_administrator(ROBOT, PASSWORD));
    for number in 0..20 {
        robot
            .fake
            .push(&Chart::new(&format!("p{number:02}/web"), "1.0.0"));
    }
    let listings = "GET /api/v2.0/projects/*/repositories";
    robot.fake.spoil(listings).with(Fault::Hang);
    let daemon = starting_daemon(&robot.fake, &[&robot.flag, "--concurrency=4"]);
    robot.fake.wait_for(listings, 4);
    robot.fake.heal(listings);
    daemon.wait_ready();
    assert_eq!(robot.fake.count(listings), 23);
    assert_eq!(robot.fake.most_at_once(), 4);
}

#[test]
fn an_administrator_of_a_harbor_sees_every_project() {
    let robot = Robot::with(|harbor| harbor.add_administrator(ROBOT, PASSWORD));
    let daemon = robot.ready();
    assert_eq!(
        Index::of(&daemon).charts(),
        ["db 1.0.0", "hidden 1.0.0", "pub 1.0.0", "web 1.0.0"]
    );
}

#[test]
fn a_stranger_sees_what_is_public_on_a_harbor() {
    let robot = Robot::new();
    robot.fake.tokens(|tokens| tokens.anonymous = true);
    let daemon = ready_daemon(&robot.fake, &[]);
    assert_eq!(Index::of(&daemon).charts(), ["pub 1.0.0"]);
    assert!(
        robot
            .fake
            .requests("* *")
            .iter()
            .all(|request| scheme_of(request) != "Basic")
    );
}

/// Asks for the index until so many requests of this pattern have come.
fn refresh_until_asked(daemon: &Daemon, fake: &FakeRegistry, pattern: &str, count: usize) {
    let lacking = || format!("{count} × {pattern}, but:\n{}", fake.seen());
    wait_until(DEADLINE, lacking, || {
        daemon.get("/index.yaml");
        (fake.count(pattern) >= count).then_some(())
    });
}

#[test]
fn a_refresh_of_an_unchanged_harbor_costs_its_listings_and_asks_no_other_source() {
    let robot = Robot::new();
    let daemon = robot.ready();
    let before = robot.fake.requests("* *").len();
    let listings = robot.fake.count("GET /v2/*/tags/list");
    refresh_until_asked(&daemon, &robot.fake, "GET /v2/*/tags/list", listings + 3);
    let since = &robot.fake.requests("* *")[before..];
    let of = |what: &str| since.iter().filter(|request| request.matches(what)).count();
    assert_eq!(of("GET /v2/_catalog"), 0, "{}", robot.fake.seen());
    assert_eq!(
        (
            of("GET /api/v2.0/projects"),
            of("GET /api/v2.0/projects/*/repositories")
        ),
        (1, 2)
    );
    assert_eq!(
        (of("GET /v2/*/tags/list"), of("* /v2/charts-index/*")),
        (3, 0)
    );
    assert_eq!(
        sources_told(&daemon).len(),
        1,
        "said once:\n{}",
        daemon.log()
    );
}

#[test]
fn a_project_that_a_harbor_stops_listing_keeps_its_charts() {
    let robot = Robot::new();
    let daemon = robot.ready();
    let refused = Reply::error(403, "FORBIDDEN", "forbidden");
    robot
        .fake
        .spoil("GET /api/v2.0/projects/team/repositories")
        .with(Fault::Answer(refused));
    robot.fake.push(&Chart::new("library/pub", "2.0.0"));
    wait_for_charts(
        &daemon,
        &["db 1.0.0", "pub 1.0.0", "pub 2.0.0", "web 1.0.0"],
    );
    let told = daemon.wait_for_log(
        " WARN project team could not be listed, keeping its last known repositories",
    );
    assert!(told.contains("403 FORBIDDEN"), "{told}");
}

#[test]
fn a_robot_that_expires_loses_no_charts_though_harbor_takes_it_for_a_stranger() {
    let robot = Robot::new();
    let daemon = robot.ready();
    robot.fake.harbor(|harbor| harbor.expire(ROBOT));
    refresh_until_logged(
        &daemon,
        " WARN project team could not be listed, keeping its last known repositories",
        2,
    );
    assert_eq!(
        Index::of(&daemon).charts(),
        ["db 1.0.0", "pub 1.0.0", "web 1.0.0"]
    );
}

#[test]
fn a_wrong_password_is_told_though_harbor_takes_its_bearer_for_a_stranger() {
    let robot = Robot::with(|harbor| harbor.add_robot(ROBOT, "another", &["team"]));
    let daemon = starting_daemon(&robot.fake, &[&robot.flag]);
    let told = daemon.wait_for_log(" ERROR first scan failed");
    assert!(
        told.contains("/v2/: 401 UNAUTHORIZED") && told.contains("--storage-registry-config"),
        "{told}"
    );
    assert_eq!(daemon.get("/index.yaml").status, 503);
    assert!(!daemon.log().contains(PASSWORD));
}

#[test]
fn a_project_that_is_deleted_takes_its_charts_along() {
    let robot = Robot::new();
    let daemon = robot.ready();
    robot.fake.delete_repository("team/web");
    robot.fake.delete_repository("team/a/db");
    wait_for_charts(&daemon, &["pub 1.0.0"]);
}

#[test]
fn a_harbor_that_stumbles_is_asked_again_and_no_lesser_source_is() {
    let robot = Robot::with(|harbor| harbor.add_administrator(ROBOT, PASSWORD));
    push_charts_index(&robot.fake, "charts-index", &["library/pub"]);
    let daemon = robot.ready();
    let all = ["db 1.0.0", "hidden 1.0.0", "pub 1.0.0", "web 1.0.0"];
    assert_eq!(Index::of(&daemon).charts(), all);
    let stumble = Fault::Answer(Reply::new(503));
    robot
        .fake
        .spoil("GET /api/v2.0/projects/team/repositories")
        .with(stumble);
    refresh_until_logged(&daemon, " WARN refresh failed", 1);
    assert_eq!(Index::of(&daemon).charts(), all);
    assert_eq!(
        robot.fake.count("GET /v2/_catalog"),
        1,
        "{}",
        robot.fake.seen()
    );
    robot.fake.heal("GET /api/v2.0/projects/team/repositories");
    robot.fake.push(&Chart::new("team/web", "2.0.0"));
    wait_for_charts(
        &daemon,
        &[
            "db 1.0.0",
            "hidden 1.0.0",
            "pub 1.0.0",
            "web 1.0.0",
            "web 2.0.0",
        ],
    );
}

#[test]
fn a_harbor_whose_api_is_walled_off_is_read_by_its_catalog() {
    let robot = Robot::with(|harbor| harbor.add_administrator(ROBOT, PASSWORD));
    // An ingress that passes /v2/ and answers the rest itself, with an error or with a portal.
    let wall = [
        Reply::new(404).body("default backend - 404"),
        Reply::new(200).body("<html>welcome</html>"),
    ];
    for reply in wall {
        let wall = Fault::Answer(reply);
        robot.fake.spoil("GET /api/v2.0/projects").with(wall);
        let daemon = robot.ready();
        assert_eq!(Index::of(&daemon).charts().len(), 4, "{}", daemon.log());
        let told = &sources_told(&daemon)[0];
        assert!(
            told.contains("the catalog") && told.contains("/api/v2.0/projects: "),
            "{told}"
        );
        robot.fake.heal("GET /api/v2.0/projects");
    }
}

#[test]
fn a_robot_that_may_list_nothing_is_told_which_right_it_lacks() {
    let robot = Robot::with(|harbor| harbor.add_puller(ROBOT, PASSWORD));
    let registry = format!("--storage-registry-repo={}/team", robot.fake.url());
    let daemon = Daemon::start(&[&registry, &robot.flag]);
    let told = daemon.wait_for_log(" ERROR first scan failed");
    for words in [
        "/v2/_catalog: 401 UNAUTHORIZED",
        "/api/v2.0/projects/team/repositories: 403 FORBIDDEN",
        "/v2/team/charts-index/manifests/latest: 404 ",
        "give it that right",
        "--repository",
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
    assert_eq!(told.matches("/v2/_catalog").count(), 1, "{told}");
    assert!(
        !told.contains("forbidden") && !told.contains("authentication required"),
        "{told}"
    );
    assert_eq!(daemon.get("/index.yaml").status, 503);
}

#[test]
fn the_password_for_harbors_api_goes_to_the_registrys_own_origin_only() {
    let robot = Robot::new();
    let elsewhere = FakeRegistry::start_on("127.0.0.2");
    let projects = elsewhere.url() + "/projects";
    elsewhere.page(
        "/projects",
        Reply::json(200, &json!([{ "name": "library" }])),
    );
    robot
        .fake
        .spoil("GET /api/v2.0/projects")
        .with(Fault::Answer(Reply::redirect(307, &projects)));
    let daemon = robot.ready();
    assert_eq!(Index::of(&daemon).charts(), ["pub 1.0.0"]);
    let asked = elsewhere.requests("* *");
    assert!(
        !asked.is_empty() && asked.iter().all(|request| scheme_of(request).is_empty()),
        "{asked:?}"
    );
}
