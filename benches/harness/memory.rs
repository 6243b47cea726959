//! Growth of resident memory for each connection, on a fresh server each
//! time: what an earlier row freed would hide what this one takes.

use std::time::Duration;

use crate::Result;
use crate::child::{Bench, Side};
use crate::proc;
use crate::rows::{self, Row};

/// One server's side of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    pub(crate) bytes: f64,
    /// Connections the server had closed by then: they cost it nothing.
    pub(crate) closed: u64,
    /// Bytes it (and the kernel) took from each; zero but for deaf peers.
    pub(crate) taken: f64,
}

#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) floor: Growth,
    pub(crate) server: Growth,
}

pub(crate) fn measure(bench: &Bench, row: &Row) -> Result<Memory> {
    Ok(Memory {
        name: row.name,
        title: row.title,
        floor: growth(bench, Side::Floor, row)?,
        server: growth(bench, Side::Server, row)?,
    })
}

fn growth(bench: &Bench, side: Side, row: &Row) -> Result<Growth> {
    let server = bench.start(side)?;
    let mut first = bench.load(&server, &rows::first_touch())?;
    first.go()?;
    first.stop()?;
    server.rest()?;
    let before = proc::resident_bytes(server.pid())?;
    let mut load = bench.load(&server, row)?;
    std::thread::sleep(Duration::from_millis(250));
    let after = proc::resident_bytes(server.pid())?;
    let figures = load.go()?;
    load.stop()?;
    let each = |total: f64| total / row.connections as f64;
    Ok(Growth {
        bytes: each(after as f64 - before as f64),
        closed: figures.closed,
        taken: if row.mode == "deaf" { each(figures.bytes as f64) } else { 0.0 },
    })
}
