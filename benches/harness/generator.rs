//! CPU time of the load generator for each frame, next to that of the load
//! written by hand in C: in turn they drive the raw epoll echo loop.

use std::time::Duration;

use crate::Result;
use crate::child::{Bench, Priority, Server, Side};
use crate::options::Options;
use crate::proc;
use crate::rows::Row;
use crate::stats::Spread;

/// As long as a window and more: real-time processes may not take all of a second.
const PAUSE: Duration = Duration::from_millis(450);

#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Nanoseconds a frame.
    pub(crate) by_hand: Spread,
    pub(crate) frameloop: Spread,
    /// Frameloop by the other, of neighbouring windows.
    pub(crate) ratio: Spread,
}

pub(crate) fn measure(bench: &Bench, options: &Options, row: &Row) -> Result<Generation> {
    let priority = if bench.may_go_first() { Priority::BEFORE } else { Priority::NONE };
    let server = bench.start_at(Side::Floor, priority)?;
    let run = Run { bench, server, row, priority };
    let (_, frames) = run.by_hand()?;
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..options.rounds {
        for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            samples[side].push(if side == 0 { run.by_hand()?.0 } else { run.frameloop(frames)? });
        }
    }
    let ratio = samples[0].iter().zip(&samples[1]).map(|(by_hand, own)| own / by_hand).collect();
    let [by_hand, frameloop] = samples.map(Spread::of);
    Ok(Generation { name: row.name, title: row.title, by_hand, frameloop, ratio: Spread::of(ratio) })
}

struct Run<'a> {
    bench: &'a Bench,
    server: Server,
    row: &'a Row,
    priority: Priority,
}

impl Run<'_> {
    /// Nanoseconds a frame, and how many frames there were.
    fn by_hand(&self) -> Result<(f64, u64)> {
        let mut load = self.bench.load_at(&self.server, self.row, self.priority)?;
        let before = load.cpu_ns()?;
        let frames = load.go()?.messages;
        let after = load.cpu_ns()?;
        load.stop()?;
        self.rest()?;
        Ok(((after - before) as f64 / frames.max(1) as f64, frames))
    }

    /// It says nothing of when it is connected: what a run of a few frames costs is taken from what a run of many does.
    fn frameloop(&self, frames: u64) -> Result<f64> {
        let few = (frames / 10).max((self.row.connections * self.row.depth) as u64);
        let start = self.spent(few)?;
        let all = self.spent(frames + few)?;
        Ok((all as f64 - start as f64) / frames as f64)
    }

    /// CPU time of a whole run of so many frames.
    fn spent(&self, frames: u64) -> Result<u64> {
        let Row { connections, depth, size, .. } = self.row;
        let (connections, depth, frames) = (connections.to_string(), depth.to_string(), frames.to_string());
        let args = ["-c", &connections, "--depth", &depth, "-s", size, "-n", &frames, "--warmup", "0s"];
        let before = proc::children_ns()?;
        let mut load = self.bench.generator(&self.server, &args, self.priority)?;
        let status = load.0.wait()?;
        let after = proc::children_ns()?;
        self.rest()?;
        if status.success() { Ok(after - before) } else { Err(format!("frameloop load ended with {status}").into()) }
    }

    fn rest(&self) -> Result<()> {
        std::thread::sleep(PAUSE);
        self.server.rest()
    }
}
