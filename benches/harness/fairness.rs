//! Round trips of one client at a fixed rate, the bystander, beside a flood.

use std::time::Duration;

use crate::Result;
use crate::child::{Bench, Load, Priority, Server};
use crate::results::{Metric, Outcome, Sample};
use crate::rounds::{self, Contender};
use crate::rows::{self, Row};

/// How much earlier the flood begins, and how much later it ends.
const AROUND: Duration = Duration::from_millis(50);
/// As long as a window and more: real-time processes may not take all of a second.
const PAUSE: Duration = Duration::from_millis(500);

/// Servers and flood run before all else on their CPUs, and the bystander
/// before the flood: what it waits for is the server, and not a place among
/// the processes of the machine. Where that is not permitted, they do not.
pub(crate) fn measure(bench: &Bench, row: &Row) -> Vec<(String, Outcome)> {
    let priorities = match bench.may_go_first() {
        true => [Priority::BEFORE, Priority::FIRST],
        false => [Priority::NONE; 2],
    };
    let contenders = bench.entrants(row).map(|peer| {
        let scene = bench.start(peer, priorities[0]).and_then(|server| Scene::new(bench, server, row, priorities));
        Contender::new(peer.name, scene)
    });
    rounds::in_turn(contenders.collect(), bench.rounds, Scene::window)
}

/// A server, a flood and a bystander, all connected.
struct Scene {
    flood: Load,
    bystander: Load,
    _server: Server,
}

impl Scene {
    fn new(bench: &Bench, server: Server, row: &Row, priorities: [Priority; 2]) -> Result<Self> {
        let beside = rows::bystander(row);
        let seconds = beside.seconds.map(|seconds| seconds + 2.0 * AROUND.as_secs_f64());
        let flood = bench.load(&server, &Row { seconds, ..row.clone() }, priorities[0])?;
        std::thread::sleep(PAUSE);
        let bystander = bench.load(&server, &beside, priorities[1])?;
        Ok(Self { flood, bystander, _server: server })
    }

    fn window(&mut self) -> Result<Sample> {
        std::thread::sleep(PAUSE);
        self.flood.begin()?;
        std::thread::sleep(AROUND);
        let waited = self.bystander.go()?;
        let flooded = self.flood.figures()?;
        if flooded.bytes == 0 {
            return Err("the flood was not answered".into());
        }
        Ok(vec![
            (Metric::P50Us, waited.p50_us),
            (Metric::P99Us, waited.p99_us),
            (Metric::MaxUs, waited.max_us),
            (Metric::GbPerSecond, 2.0 * flooded.bytes as f64 / flooded.seconds / 1e9),
        ])
    }
}
