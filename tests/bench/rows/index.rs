//! The index and a small chart beside nginx, which has the same bytes as files.

use super::{Comparison, Line, Setting, Table, requests_in_turns};
use crate::charts::Shape;
use crate::children::{Server, address, daemon};
use crate::load::{self, Load};
use crate::synthetic::Synthetic;
use crate::table::{Goal, digits};

/// 1,000 versions, of 50 KB each.
const SHAPE: Shape = Shape {
    archive: Some(50_000),
    ..Shape::new(100, 10)
};
const CONNECTIONS: usize = 32;
/// Of one turn.
const SECONDS: usize = 1;
const INDEX: &str = "/index.yaml";

pub fn play(setting: &Setting, table: &mut Table) {
    let registry = Synthetic::start(SHAPE);
    let daemon = daemon(&setting.daemon, &[&registry.flag()]);
    let ours = address(daemon.port());
    let chart = SHAPE.charts().next().expect("a chart");
    let index = load::get(ours, INDEX, &[]).expect("an answer").body;
    let archive = load::get(ours, &chart.path(), &[]).expect("an answer").body;
    assert!(
        archive == chart.archive(),
        "{} holds other bytes",
        chart.path()
    );
    let nginx = Server::nginx(&[(INDEX, &index), (&chart.path(), &archive)]);
    let measure = |table: &mut Table, case: &Case| {
        let loads = [ours, nginx.address].map(|address| case.load(address));
        loads.iter().for_each(|load| {
            load.assert_answered_with(if case.path == INDEX { &index } else { &archive })
        });
        let speeds = requests_in_turns(&loads.each_ref());
        let Comparison {
            ours,
            theirs,
            ratio,
        } = Comparison::of(&speeds[0], &speeds[1]);
        table.add(&Line {
            what: case.what.clone(),
            ours: format!("{ours} requests a second"),
            beside: format!("nginx {}", digits(theirs.median())),
            measured: ratio,
            unit: "",
            goal: Goal::AtLeast(case.goal),
        });
    };
    let case = |what: String, path: &str, goal| Case {
        what,
        path: path.into(),
        goal,
        keep_alive: true,
        known: false,
    };
    let size = format!("{:.2} MB", index.len() as f64 / 1e6);
    let path = chart.path();
    let whole = case(
        format!("GET /index.yaml (1,000 versions, {size}) ×32"),
        INDEX,
        1.0,
    );
    let new = Case {
        keep_alive: false,
        ..case("the same, a new connection each".into(), INDEX, 0.8)
    };
    let known = Case {
        known: true,
        ..case("304s ×32".into(), INDEX, 0.8)
    };
    let small = case("50 KB chart, cached, ×32".into(), &path, 1.0);
    [whole, new, known, small]
        .iter()
        .for_each(|case| measure(table, case));
}

struct Case {
    what: String,
    path: String,
    goal: f64,
    keep_alive: bool,
    known: bool,
}

impl Case {
    fn load(&self, server: std::net::SocketAddr) -> Load {
        let etag = || {
            let answer = load::get(server, &self.path, &[]).expect("an answer");
            answer
                .header("ETag")
                .expect("each server names its bytes")
                .to_owned()
        };
        let known = self.known.then(etag);
        let load = Load::new(server, &self.path, CONNECTIONS);
        Load {
            keep_alive: self.keep_alive,
            known,
            seconds: SECONDS,
            ..load
        }
    }
}
