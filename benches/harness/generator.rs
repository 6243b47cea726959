//! CPU time of the load generator for each frame, next to that of the load
//! written by hand in C: in turn they drive the raw epoll echo loop.

use std::time::Duration;

use crate::child::{Bench, FLOOR, PREVIOUS, Priority, Server, frameloop};
use crate::failure::Result;
use crate::proc;
use crate::results::{Metric, Outcome};
use crate::rounds::{self, Contender};
use crate::rows::{Kind, Row};

/// As long as a window and more: real-time processes may not take all of a second.
const PAUSE: Duration = Duration::from_millis(450);

/// What the results call them.
pub(crate) const BY_HAND: &str = "by hand, in C";
pub(crate) const OWN: &str = "frameloop load";

/// Other framings, and a check that looks at nothing, next to the default.
const FRAMINGS: [(&str, &[&str]); 3] = [
    ("--framing u16be", &["--framing", "u16be"]),
    ("--framing lines", &["--framing", "lines"]),
    ("--check any", &["--check", "any"]),
];

/// What drives the loop in a window.
enum Driver<'a> {
    ByHand,
    /// A build of frameloop, with more options.
    Frameloop(String, &'a [&'a str]),
}

pub(crate) fn measure(bench: &Bench, row: &Row) -> Result<Vec<(String, Outcome)>> {
    let priority = if bench.may_go_first() { Priority::BEFORE } else { Priority::NONE };
    let run = Run { bench, server: bench.start(bench.peer(FLOOR)?, priority)?, row, priority };
    // As many as one had in its window the other is to make; the first round begins with the one by hand.
    let mut frames = 0;
    Ok(rounds::in_turn(contenders(bench, row)?, bench.rounds, |driver| {
        let ns = match driver {
            Driver::ByHand => {
                let (ns, of) = run.by_hand()?;
                frames = of;
                ns
            }
            Driver::Frameloop(binary, args) => run.frameloop(binary, args, frames)?,
        };
        Ok(vec![(Metric::CpuNs, ns)])
    }))
}

fn contenders(bench: &Bench, row: &Row) -> Result<Vec<Contender<Driver<'static>>>> {
    let mut drivers = vec![(BY_HAND, Driver::ByHand), (OWN, Driver::Frameloop(frameloop()?, &[]))];
    if let Some(binary) = bench.peer(PREVIOUS).ok().and_then(|peer| peer.command.first()) {
        drivers.push((PREVIOUS, Driver::Frameloop(binary.clone(), &[])));
    }
    if row.kind == Kind::Framings {
        let binary = frameloop()?;
        drivers.extend(FRAMINGS.map(|(name, args)| (name, Driver::Frameloop(binary.clone(), args))));
    }
    Ok(drivers.into_iter().map(|(name, driver)| Contender::new(name, Ok(driver))).collect())
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
        let mut load = self.bench.load(&self.server, self.row, self.priority)?;
        let before = load.cpu_ns()?;
        let frames = load.go()?.messages;
        let after = load.cpu_ns()?;
        load.stop()?;
        self.rest()?;
        Ok(((after - before) as f64 / frames.max(1) as f64, frames))
    }

    /// It says nothing of when it is connected: what a run of a few frames costs is taken from what a run of many does.
    fn frameloop(&self, binary: &str, args: &[&str], frames: u64) -> Result<f64> {
        let few = (frames / 10).max((self.row.connections * self.row.depth) as u64);
        let start = self.spent(binary, args, few)?;
        let all = self.spent(binary, args, frames + few)?;
        Ok((all as f64 - start as f64) / frames as f64)
    }

    /// CPU time of a whole run of so many frames.
    fn spent(&self, binary: &str, args: &[&str], frames: u64) -> Result<u64> {
        let Row { connections, depth, size, .. } = self.row;
        let (connections, depth, frames) = (connections.to_string(), depth.to_string(), frames.to_string());
        let usual = ["-c", &connections, "--depth", &depth, "-s", size, "-n", &frames, "--warmup", "0s"];
        let args = [&usual, args].concat();
        let before = proc::children_ns()?;
        let mut load = self.bench.generator(binary, &self.server, &args, self.priority)?;
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
