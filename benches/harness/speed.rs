//! CPU time for each frame, of all servers in turn.

use crate::Result;
use crate::child::{Bench, Load, Priority, Server};
use crate::results::{Metric, Outcome, Sample};
use crate::rounds::{self, Contender};
use crate::rows::Row;

pub(crate) fn measure(bench: &Bench, row: &Row) -> Vec<(String, Outcome)> {
    let contenders = bench.entrants(row).map(|peer| {
        let lane = bench.start(peer, Priority::NONE).and_then(|server| Lane::new(bench, server, row));
        Contender::new(peer.name, lane)
    });
    rounds::in_turn(contenders.collect(), bench.rounds, Lane::window)
}

/// A server and a load connected to it.
pub(crate) struct Lane {
    load: Load,
    server: Server,
}

impl Lane {
    pub(crate) fn new(bench: &Bench, server: Server, row: &Row) -> Result<Self> {
        let load = bench.load(&server, row, Priority::NONE)?;
        Ok(Self { load, server })
    }

    pub(crate) fn window(&mut self) -> Result<Sample> {
        self.server.rest()?;
        let before = self.server.cpu_ns()?;
        let figures = self.load.go()?;
        let after = self.server.cpu_ns()?;
        if figures.messages == 0 {
            return Err("no frame came back".into());
        }
        Ok(vec![
            (Metric::CpuNs, (after - before) as f64 / figures.messages as f64),
            (Metric::MessagesPerSecond, figures.messages as f64 / figures.seconds),
            (Metric::P50Us, figures.p50_us),
            (Metric::P99Us, figures.p99_us),
            (Metric::P999Us, figures.p999_us),
        ])
    }
}
