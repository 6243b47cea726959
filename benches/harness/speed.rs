//! CPU time for each frame, of two servers in turn.

use crate::Result;
use crate::child::{Bench, SIDES, Server};
use crate::options::Options;
use crate::rows::Row;
use crate::stats::Spread;

/// One measured window of one server.
#[derive(Clone, Copy, Debug)]
struct Sample {
    ns: f64,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

/// One server's side of a row.
#[derive(Debug)]
pub(crate) struct SideSpeed {
    pub(crate) ns: Spread,
    pub(crate) per_second: Spread,
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
}

#[derive(Debug)]
pub(crate) struct Speed {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) floor: SideSpeed,
    pub(crate) server: SideSpeed,
    /// Server by floor, of neighbouring windows: a slow minute of the machine
    /// hits both and cancels.
    pub(crate) ratio: Spread,
}

/// Both servers, alive through all rows.
#[derive(Debug)]
pub(crate) struct Speeds<'a> {
    bench: &'a Bench,
    rounds: usize,
    servers: [Server; 2],
}

impl<'a> Speeds<'a> {
    pub(crate) fn new(bench: &'a Bench, options: &Options) -> Result<Self> {
        let servers = start_both(bench)?;
        Ok(Self { bench, rounds: options.rounds, servers })
    }

    /// All rounds of one row. After a failure both servers start afresh, so
    /// that one row cannot spoil the next.
    pub(crate) fn measure(&mut self, row: &Row) -> Result<Speed> {
        let samples = self.rounds(row);
        if samples.is_err() {
            self.servers = start_both(self.bench)?;
        }
        let [floor, server] = samples?;
        let pairs = floor.iter().zip(&server);
        let ratio = Spread::of(pairs.map(|(a, b)| b.ns / a.ns).collect());
        Ok(Speed { name: row.name, title: row.title, floor: summary(&floor), server: summary(&server), ratio })
    }

    fn rounds(&self, row: &Row) -> Result<[Vec<Sample>; 2]> {
        let mut samples = [Vec::new(), Vec::new()];
        for round in 0..=self.rounds {
            // A B, B A, A B: what drifts through a row favours neither.
            for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                let sample = window(self.bench, &self.servers[side], row)?;
                // The first round only warms caches, pools and the kernel.
                if round > 0 {
                    samples[side].push(sample);
                }
            }
        }
        Ok(samples)
    }
}

fn start_both(bench: &Bench) -> Result<[Server; 2]> {
    let [floor, server] = SIDES.map(|side| bench.start(side));
    Ok([floor?, server?])
}

fn window(bench: &Bench, server: &Server, row: &Row) -> Result<Sample> {
    let mut load = bench.load(server, row)?;
    let before = server.cpu_ns()?;
    let figures = load.go()?;
    let after = server.cpu_ns()?;
    load.stop()?;
    server.rest()?;
    if figures.messages == 0 {
        return Err("no frame came back".into());
    }
    Ok(Sample {
        ns: (after - before) as f64 / figures.messages as f64,
        per_second: figures.messages as f64 / figures.seconds,
        p50_us: figures.p50_us,
        p99_us: figures.p99_us,
    })
}

fn summary(samples: &[Sample]) -> SideSpeed {
    let of = |pick: fn(&Sample) -> f64| Spread::of(samples.iter().map(pick).collect());
    SideSpeed {
        ns: of(|it| it.ns),
        per_second: of(|it| it.per_second),
        p50_us: of(|it| it.p50_us),
        p99_us: of(|it| it.p99_us),
    }
}
