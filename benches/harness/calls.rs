//! System calls, counted by strace: those for each frame once everything is
//! connected, and the registrations over the whole life of a connection.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStderr, Command, Stdio};

use crate::child::{Bench, Guard, Priority, Server};
use crate::failure::Result;
use crate::results::{Metric, Outcome, Sample};
use crate::rounds::{self, Contender, Rounds};
use crate::rows::Row;

type Counts = BTreeMap<String, u64>;

pub(crate) fn measure(bench: &Bench, row: &Row) -> Vec<(String, Outcome)> {
    let contenders = bench.entrants(row).map(|peer| Contender::new(peer.name, bench.start(peer, Priority::NONE)));
    rounds::in_turn(contenders.collect(), Rounds::ONE, |server| count(bench, server, row))
}

fn count(bench: &Bench, server: &Server, row: &Row) -> Result<Sample> {
    let mut load = bench.load(server, row, Priority::NONE)?;
    let strace = Strace::attach(server.pid())?;
    let frames = load.go()?.messages as f64;
    let window = strace.detach()?;
    load.stop()?;
    // A second load, from before its first connection to after its last close.
    let strace = Strace::attach(server.pid())?;
    let brief = Row { seconds: Some(0.1), ..row.clone() };
    let mut load = bench.load(server, &brief, Priority::NONE)?;
    load.go()?;
    load.stop()?;
    server.rest()?;
    let life = strace.detach()?;
    let connections = row.connections as f64;
    Ok(vec![
        (Metric::CallsPerMessage, sum(&window, |name| !is_wait(name)) / frames),
        (Metric::WaitsPerMessage, sum(&window, is_wait) / frames),
        (Metric::RegistrationsPerConnection, sum(&life, |name| name == "epoll_ctl") / connections),
        (Metric::OtherCallsPerConnection, sum(&life, is_other) / connections),
    ])
}

/// How often those calls were made whose name is one to keep.
fn sum(counts: &Counts, keep: impl Fn(&str) -> bool) -> f64 {
    counts.iter().filter(|(name, _)| keep(name)).map(|(_, count)| *count as f64).sum()
}

fn is_wait(name: &str) -> bool {
    ["epoll_wait", "epoll_pwait", "epoll_pwait2", "futex", "poll", "ppoll", "select", "pselect6"].contains(&name)
}

fn is_other(name: &str) -> bool {
    const EXCHANGE: [&str; 9] =
        ["read", "write", "readv", "writev", "recvfrom", "sendto", "recvmsg", "sendmsg", "epoll_ctl"];
    !is_wait(name) && !EXCHANGE.contains(&name)
}

/// An strace attached to all threads of a process.
struct Strace {
    guard: Guard,
    stderr: BufReader<ChildStderr>,
}

impl Strace {
    fn attach(pid: u32) -> Result<Self> {
        let mut child =
            Command::new("strace").args(["-f", "-c", "-p", &pid.to_string()]).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let mut strace = Self { guard: Guard(child), stderr: BufReader::new(stderr) };
        let mut line = String::new();
        strace.stderr.read_line(&mut line)?;
        if line.contains("attached") { Ok(strace) } else { Err(format!("strace: {}", line.trim()).into()) }
    }

    /// On SIGINT strace lets go of the process and prints its summary.
    fn detach(mut self) -> Result<Counts> {
        let pid = self.guard.0.id().to_string();
        Command::new("sh").args(["-c", "kill -INT \"$0\"", &pid]).status()?;
        let mut counts = Counts::new();
        for line in self.stderr.by_ref().lines() {
            count_line(&line?, &mut counts);
        }
        Ok(counts)
    }
}

/// A line is: % time, seconds, usecs/call, calls, maybe errors, name.
fn count_line(line: &str, counts: &mut Counts) {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (Some(calls), Some(name)) = (fields.get(3), fields.last()) else {
        return;
    };
    if let (Ok(calls), true) = (calls.parse(), *name != "total") {
        counts.insert((*name).to_owned(), calls);
    }
}
