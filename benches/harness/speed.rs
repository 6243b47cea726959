//! CPU time for each frame, of all servers in turn.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::child::{Bench, Load, Priority, Server};
use crate::failure::Result;
use crate::peers::Peer;
use crate::results::{Metric, Outcome, Sample};
use crate::rounds::{self, Contender};
use crate::rows::{self, Row};

/// The servers, alive from row to row: some compile as they run, and are not what they are to be at once.
pub(crate) struct Running<'a> {
    bench: &'a Bench,
    servers: BTreeMap<&'static str, Rc<Server>>,
}

impl<'a> Running<'a> {
    pub(crate) fn new(bench: &'a Bench) -> Self {
        Self { bench, servers: BTreeMap::new() }
    }

    pub(crate) fn measure(&mut self, row: &Row) -> Vec<(String, Outcome)> {
        let bench = self.bench;
        let contenders: Vec<_> = bench
            .entrants(row)
            .map(|peer| {
                let lane = self.server(peer).and_then(|server| Lane::new(bench, server, row));
                Contender::new(peer.name, lane)
            })
            .collect();
        let of = rounds::in_turn(contenders, bench.rounds, Lane::window);
        // One that has failed starts afresh, so that one row cannot spoil the next.
        self.servers.retain(|name, _| !of.iter().any(|(failed, outcome)| failed == name && outcome.is_failed()));
        of
    }

    fn server(&mut self, peer: &Peer) -> Result<Rc<Server>> {
        if let Some(server) = self.servers.get(peer.name) {
            return Ok(Rc::clone(server));
        }
        let server = Rc::new(self.bench.start(peer, Priority::NONE)?);
        let mut load = self.bench.load(&server, &rows::run_in(self.bench.run_in), Priority::NONE)?;
        load.go()?;
        load.stop()?;
        self.servers.insert(peer.name, Rc::clone(&server));
        Ok(server)
    }
}

/// A server and a load connected to it.
pub(crate) struct Lane {
    load: Load,
    server: Rc<Server>,
}

impl Lane {
    pub(crate) fn new(bench: &Bench, server: Rc<Server>, row: &Row) -> Result<Self> {
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
