//! Growth of resident memory for each connection, on a fresh server each
//! time: what an earlier row freed would hide what this one takes.

use std::time::Duration;

use crate::child::{Bench, Priority};
use crate::failure::Result;
use crate::peers::Peer;
use crate::proc;
use crate::results::{Metric, Outcome, Sample};
use crate::rounds::{self, Contender, Rounds};
use crate::rows::{self, Row};

pub(crate) fn measure(bench: &Bench, row: &Row) -> Vec<(String, Outcome)> {
    let contenders = bench.entrants(row).map(|peer| Contender::new(peer.name, Ok(peer)));
    rounds::in_turn(contenders.collect(), Rounds::ONE, |peer| growth(bench, peer, row))
}

fn growth(bench: &Bench, peer: &Peer, row: &Row) -> Result<Sample> {
    let server = bench.start(peer, Priority::NONE)?;
    let mut first = bench.load(&server, &rows::first_touch(), Priority::NONE)?;
    first.go()?;
    first.stop()?;
    server.rest()?;
    let before = proc::resident_bytes(server.pid())?;
    let mut load = bench.load(&server, row, Priority::NONE)?;
    std::thread::sleep(Duration::from_millis(250));
    let after = proc::resident_bytes(server.pid())?;
    let figures = load.go()?;
    load.stop()?;
    let each = |total: f64| total / row.connections as f64;
    let mut sample =
        vec![(Metric::ResidentBytes, each(after as f64 - before as f64)), (Metric::Closed, figures.closed as f64)];
    if row.mode == "deaf" {
        sample.push((Metric::TakenBytes, each(figures.bytes as f64)));
    }
    Ok(sample)
}
