//! What an active connection costs alongside idle ones: of each server two run,
//! one with a few idle connections and one with many, and take turns.

use std::rc::Rc;

use crate::child::{Bench, Load, Priority};
use crate::failure::Result;
use crate::peers::Peer;
use crate::results::{Metric, Outcome, Sample};
use crate::rounds::{self, Contender};
use crate::rows::{self, MANY, Row};
use crate::speed::Lane;

/// Idle connections in addition to the active ones.
pub(crate) const FEW: usize = 100;

pub(crate) fn measure(bench: &Bench, row: &Row) -> Vec<(String, Outcome)> {
    // One server after the other: all of them at once would hold some 400,000 sockets.
    bench
        .entrants(row)
        .flat_map(|peer| {
            let contender = Contender::new(peer.name, Pair::new(bench, peer, row));
            rounds::in_turn(vec![contender], bench.rounds, Pair::window)
        })
        .collect()
}

struct Pair {
    few: Lane,
    many: Lane,
    /// Held, and otherwise silent.
    _idle: [Load; 2],
    is_many_first: bool,
}

impl Pair {
    fn new(bench: &Bench, peer: &Peer, row: &Row) -> Result<Self> {
        let beside = |idle: usize| -> Result<(Lane, Load)> {
            let server = Rc::new(bench.start(peer, Priority::NONE)?);
            let idle = bench.load(&server, &rows::idle(idle), Priority::NONE)?;
            Ok((Lane::new(bench, server, row)?, idle))
        };
        let (few, few_idle) = beside(FEW)?;
        let (many, many_idle) = beside(MANY)?;
        Ok(Self { few, many, _idle: [few_idle, many_idle], is_many_first: false })
    }

    fn window(&mut self) -> Result<Sample> {
        let cpu = |lane: &mut Lane, metric| -> Result<(Metric, f64)> {
            let sample = lane.window()?;
            let cpu = sample.iter().find(|(metric, _)| *metric == Metric::CpuNs);
            Ok((metric, cpu.ok_or("a window without CPU time")?.1))
        };
        self.is_many_first ^= true;
        if self.is_many_first {
            let many = cpu(&mut self.many, Metric::CpuNsManyIdle)?;
            Ok(vec![cpu(&mut self.few, Metric::CpuNsFewIdle)?, many])
        } else {
            Ok(vec![cpu(&mut self.few, Metric::CpuNsFewIdle)?, cpu(&mut self.many, Metric::CpuNsManyIdle)?])
        }
    }
}
