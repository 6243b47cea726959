//! What is measured.

use crate::failure::Result;

/// Idle connections in addition to the active ones of a crowd.
pub(crate) const MANY: usize = 15_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// CPU time of the server for each frame (or, with churn, connection).
    Speed,
    /// The same, of active connections alongside idle ones.
    Crowd,
    /// Growth of resident memory for each connection.
    Memory,
    /// System calls for each frame.
    Calls,
    /// Round trips of one client alongside these.
    Fairness,
    /// CPU time of the load generator for each frame.
    Generator,
    /// The same with other framings and checks.
    Framings,
    /// The load generator's rate and latencies in the open loop.
    Accuracy(Pace),
    /// Growth of the load generator's resident memory for each connection.
    Footprint,
}

impl Kind {
    /// As the results have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Crowd => "crowd",
            Self::Memory => "memory",
            Self::Calls => "calls",
            Self::Fairness => "fairness",
            Self::Generator => "generator",
            Self::Framings => "framings",
            Self::Accuracy(_) => "accuracy",
            Self::Footprint => "footprint",
        }
    }

    /// Whether it measures a server, and not the load generator.
    pub(crate) fn is_of_servers(self) -> bool {
        !matches!(self, Self::Generator | Self::Framings | Self::Accuracy(_) | Self::Footprint)
    }
}

/// Frames per second, in the open loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    PerSecond(u32),
    /// Of what the load generator reaches in the closed loop.
    Percent(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
    /// These are the options of the load generator.
    pub(crate) mode: &'static str,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) size: &'static str,
    /// Where the length does not follow from the options of the run.
    pub(crate) seconds: Option<f64>,
    /// Frames per second, in a mode that keeps a schedule.
    pub(crate) rate: Option<f64>,
    /// Whether frameloop also takes part with `--spin`.
    pub(crate) spins: bool,
}

const fn echo(name: &'static str, title: &'static str, connections: usize, depth: usize, size: &'static str) -> Row {
    Row {
        name,
        title,
        kind: Kind::Speed,
        mode: "echo",
        connections,
        depth,
        size,
        seconds: None,
        rate: None,
        spins: false,
    }
}

const fn memory(
    name: &'static str,
    title: &'static str,
    mode: &'static str,
    connections: usize,
    size: &'static str,
) -> Row {
    let seconds = Some(15.0);
    Row { name, title, kind: Kind::Memory, mode, connections, depth: 1, size, seconds, rate: None, spins: false }
}

const fn fairness(
    name: &'static str,
    title: &'static str,
    connections: usize,
    depth: usize,
    size: &'static str,
) -> Row {
    Row { kind: Kind::Fairness, ..echo(name, title, connections, depth, size) }
}

const fn generator(
    name: &'static str,
    title: &'static str,
    connections: usize,
    depth: usize,
    size: &'static str,
) -> Row {
    Row { kind: Kind::Generator, seconds: Some(0.4), ..echo(name, title, connections, depth, size) }
}

const fn accuracy(name: &'static str, title: &'static str, connections: usize, pace: Pace) -> Row {
    let row = echo(name, title, connections, 1, "64");
    Row { kind: Kind::Accuracy(pace), mode: "open", seconds: Some(0.6), ..row }
}

const fn footprint(name: &'static str, title: &'static str, mode: &'static str) -> Row {
    Row { kind: Kind::Footprint, ..memory(name, title, mode, 15_000, "64") }
}

static ROWS: [Row; 30] = [
    Row { spins: true, ..echo("64b-1", "64 B, 1 connection", 1, 1, "64") },
    echo("64b-50", "64 B, 50 connections", 50, 1, "64"),
    echo("64b-1k", "64 B, 1,000 connections", 1_000, 1, "64"),
    echo("64b-10k", "64 B, 10,000 connections", 10_000, 1, "64"),
    echo("32b-deep", "32 B, 50 connections, 64 in flight", 50, 64, "32"),
    echo("4k-50", "4 KiB, 50 connections", 50, 1, "4096"),
    echo("64k-64", "64 KiB, 64 connections", 64, 1, "65536"),
    echo("1m-8", "1 MiB, 8 connections", 8, 1, "1048576"),
    Row { mode: "churn", ..echo("churn", "connect, 64 B, close; 50 at a time", 50, 1, "64") },
    memory("idle-100b", "idle after 100 B, 10,000 connections", "idle", 10_000, "100"),
    memory("idle-16k", "idle after 16 KiB, 10,000 connections", "idle", 10_000, "16384"),
    Row { kind: Kind::Crowd, ..echo("crowd", "64 B, 50 connections, beside 100 and beside 15,000 idle", 50, 1, "64") },
    memory("deaf", "sends without reading, 100 connections", "deaf", 100, "64-16384"),
    memory("announce", "announces 8 MiB, 200 connections", "announce", 200, "64"),
    Row { kind: Kind::Calls, seconds: Some(0.5), ..echo("calls", "64 B, 50 connections", 50, 1, "64") },
    fairness("fair-64b", "64 B, 64 connections, 128 in flight", 64, 128, "64"),
    fairness("fair-64k", "64 KiB, 16 connections, 8 in flight", 16, 8, "65536"),
    fairness("fair-4m", "4 MB, 4 connections, 4 in flight", 4, 4, "4000000"),
    fairness("fair-many", "64 KiB, 64 connections, 8 in flight", 64, 8, "65536"),
    generator("gen-64b-50", "64 B, 50 connections", 50, 1, "64"),
    generator("gen-64b-1k", "64 B, 1,000 connections", 1_000, 1, "64"),
    generator("gen-64b-10k", "64 B, 10,000 connections", 10_000, 1, "64"),
    generator("gen-32b-deep", "32 B, 50 connections, 64 in flight", 50, 64, "32"),
    Row { kind: Kind::Framings, ..generator("gen-framings", "64 B, 50 connections, other framings", 50, 1, "64") },
    accuracy("open-2k", "50 connections, 2,000/s", 50, Pace::PerSecond(2_000)),
    accuracy("open-half", "50 connections, half of its most", 50, Pace::Percent(50)),
    accuracy("open-70", "50 connections, 70 % of its most", 50, Pace::Percent(70)),
    accuracy("open-70-1k", "1,000 connections, 70 % of its most", 1_000, Pace::Percent(70)),
    footprint("gen-idle", "15,000 idle beside 1 active", "idle"),
    footprint("gen-open", "15,000 active, a frame each 5 s", "open"),
];

/// What is not part of the quick run.
const BESIDE: [&str; 3] = ["deaf", "announce", "fair-many"];

/// The rows named, alone or by their group, in the table's order.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Row>> {
    if let Some(name) = names.iter().find(|name| !ROWS.iter().any(|row| row.is_called(name))) {
        return Err(format!("no row is called {name:?}; `--rows list` names them").into());
    }
    Ok(ROWS.iter().filter(|row| names.iter().any(|name| row.is_called(name))).cloned().collect())
}

impl Row {
    /// Of one server, at once.
    pub(crate) fn connections_in_all(&self) -> usize {
        let idle = if self.kind == Kind::Crowd { MANY } else { 0 };
        self.connections + idle
    }

    fn is_called(&self, name: &str) -> bool {
        match name {
            "all" => true,
            "main" => self.kind.is_of_servers() && !BESIDE.contains(&self.name),
            "server" => self.kind.is_of_servers(),
            "generator" => !self.kind.is_of_servers(),
            name => self.name == name,
        }
    }
}

pub(crate) fn print_names() {
    for row in &ROWS {
        println!("{:<12} {:?}: {}", row.name, row.kind, row.title);
    }
}

/// One client that sends 64 B 500 times per second, alongside others.
pub(crate) fn bystander(beside: &Row) -> Row {
    Row { mode: "bystander", ..fairness(beside.name, beside.title, 1, 1, "64") }
}

/// What a server is loaded with before it is measured at all.
pub(crate) fn run_in(seconds: f64) -> Row {
    Row { seconds: Some(seconds), ..echo("run-in", "run-in", 50, 8, "64-1024") }
}

/// One exchange of 64 B, to touch what a server touches only once.
pub(crate) fn first_touch() -> Row {
    Row { seconds: Some(0.01), ..echo("touch", "first touch", 1, 1, "64") }
}

/// Connections that are silent after one frame.
pub(crate) fn idle(connections: usize) -> Row {
    memory("beside", "idle beside active ones", "idle", connections, "64")
}
