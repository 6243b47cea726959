//! Round trips of one client at a fixed rate, the bystander, beside a flood.

use std::time::Duration;

use crate::Result;
use crate::child::{Bench, Priority, SIDES, Server};
use crate::options::Options;
use crate::rows::{self, Row};
use crate::stats::Spread;

/// How much earlier the flood begins, and how much later it ends.
const AROUND: Duration = Duration::from_millis(50);
/// As long as a window and more: real-time processes may not take all of a second.
const PAUSE: Duration = Duration::from_millis(500);

/// One measured window of one server.
#[derive(Clone, Copy, Debug)]
struct Sample {
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    gb_per_second: f64,
}

/// One server's side of a row.
#[derive(Debug)]
pub(crate) struct SideFairness {
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
    pub(crate) max_us: Spread,
    /// What the flood sent and what came back, together.
    pub(crate) gb_per_second: Spread,
}

#[derive(Debug)]
pub(crate) struct Fairness {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) floor: SideFairness,
    pub(crate) server: SideFairness,
}

/// Servers and flood run before all else on their CPUs, and the bystander
/// before the flood: what it waits for is the server, and not a place among
/// the processes of the machine. Where that is not permitted, they do not.
pub(crate) fn measure(bench: &Bench, options: &Options, row: &Row) -> Result<Fairness> {
    let priorities = match bench.may_go_first() {
        true => [Priority::BEFORE, Priority::FIRST],
        false => [Priority::NONE; 2],
    };
    let [floor, server] = SIDES.map(|side| bench.start_at(side, priorities[0]));
    let servers = [floor?, server?];
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..=options.rounds {
        for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let sample = window(bench, &servers[side], row, priorities)?;
            // The first round only warms caches, pools and the kernel.
            if round > 0 {
                samples[side].push(sample);
            }
        }
    }
    let [floor, server] = samples.map(|samples| summary(&samples));
    Ok(Fairness { name: row.name, title: row.title, floor, server })
}

fn window(bench: &Bench, server: &Server, row: &Row, priorities: [Priority; 2]) -> Result<Sample> {
    let beside = rows::bystander(row);
    let seconds = beside.seconds.map(|seconds| seconds + 2.0 * AROUND.as_secs_f64());
    let mut flood = bench.load_at(server, &Row { seconds, ..row.clone() }, priorities[0])?;
    let mut bystander = bench.load_at(server, &beside, priorities[1])?;
    flood.begin()?;
    std::thread::sleep(AROUND);
    let waited = bystander.go()?;
    let flooded = flood.figures()?;
    bystander.stop()?;
    flood.stop()?;
    std::thread::sleep(PAUSE);
    if flooded.bytes == 0 {
        return Err("the flood was not answered".into());
    }
    Ok(Sample {
        p50_us: waited.p50_us,
        p99_us: waited.p99_us,
        max_us: waited.max_us,
        gb_per_second: 2.0 * flooded.bytes as f64 / flooded.seconds / 1e9,
    })
}

fn summary(samples: &[Sample]) -> SideFairness {
    let of = |pick: fn(&Sample) -> f64| Spread::of(samples.iter().map(pick).collect());
    SideFairness {
        p50_us: of(|it| it.p50_us),
        p99_us: of(|it| it.p99_us),
        max_us: of(|it| it.max_us),
        gb_per_second: of(|it| it.gb_per_second),
    }
}
