//! Round trips of one client at a fixed rate, the bystander, alongside a flood.

use std::time::Duration;

use crate::child::{Bench, Load, Priority, Server};
use crate::failure::Result;
use crate::results::{Metric, Outcome, Sample};
use crate::rounds::{self, Contender};
use crate::rows::{self, Row};

/// How much earlier the flood begins, and how much later it ends.
const AROUND: Duration = Duration::from_millis(50);
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
    pause: Duration,
}

impl Scene {
    fn new(bench: &Bench, server: Server, row: &Row, priorities: [Priority; 2]) -> Result<Self> {
        let beside = rows::bystander(row);
        // So short that a real-time process is done before the kernel would stop it for the sake of others (95 % of each
        // second, `sched(7)`).
        let beside = Row { seconds: Some(bench.seconds.min(0.4)), ..beside };
        let seconds = beside.seconds.map(|seconds| seconds + 2.0 * AROUND.as_secs_f64());
        let pause = Duration::from_secs_f64(seconds.unwrap_or_default() / 4.0);
        let flood = bench.load(&server, &Row { seconds, ..row.clone() }, priorities[0])?;
        std::thread::sleep(pause);
        let bystander = bench.load(&server, &beside, priorities[1])?;
        Ok(Self { flood, bystander, _server: server, pause })
    }

    fn window(&mut self) -> Result<Sample> {
        // Real-time processes may not take all of a second.
        std::thread::sleep(self.pause);
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
