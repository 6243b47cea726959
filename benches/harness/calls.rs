//! System calls, counted by strace: those for each frame once everything is
//! connected, and the registrations over the whole life of a connection.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStderr, Command, Stdio};

use crate::Result;
use crate::child::{Bench, Guard, SIDES, Server};
use crate::rows::Row;

/// One line of the table, for both servers.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) title: String,
    pub(crate) floor: f64,
    pub(crate) server: f64,
    /// Which calls these are, by name.
    pub(crate) details: [String; 2],
}

type Counts = BTreeMap<String, u64>;

/// What strace saw of one server.
struct Seen {
    frames: f64,
    window: Counts,
    connections: f64,
    life: Counts,
}

pub(crate) fn measure(bench: &Bench, row: &Row) -> Result<Vec<Calls>> {
    let [floor, server] = SIDES.map(|side| seen(bench, &bench.start(side)?, row));
    let both = [floor?, server?];
    let line = |title: &str, pick: fn(&Seen) -> Counts, by: fn(&Seen) -> f64| {
        let rate = |seen: &Seen| pick(seen).values().sum::<u64>() as f64 / by(seen);
        Calls {
            title: format!("{title}, {}", row.title),
            floor: rate(&both[0]),
            server: rate(&both[1]),
            details: [0, 1].map(|side| describe(&pick(&both[side]), by(&both[side]))),
        }
    };
    Ok(vec![
        line("calls a frame without waits", |it| only(&it.window, |n| !is_wait(n)), |it| it.frames),
        line("waits a frame", |it| only(&it.window, is_wait), |it| it.frames),
        line("epoll_ctl a connection", |it| only(&it.life, |n| n == "epoll_ctl"), |it| it.connections),
        line("other calls a connection", |it| only(&it.life, is_other), |it| it.connections),
    ])
}

fn seen(bench: &Bench, server: &Server, row: &Row) -> Result<Seen> {
    let mut load = bench.load(server, row)?;
    let strace = Strace::attach(server.pid())?;
    let frames = load.go()?.messages as f64;
    let window = strace.detach()?;
    load.stop()?;
    // A second load, from before its first connection to after its last close.
    let strace = Strace::attach(server.pid())?;
    let brief = Row { seconds: Some(0.1), ..row.clone() };
    let mut load = bench.load(server, &brief)?;
    load.go()?;
    load.stop()?;
    server.rest()?;
    let life = strace.detach()?;
    Ok(Seen { frames, window, connections: row.connections as f64, life })
}

fn is_wait(name: &str) -> bool {
    name.starts_with("epoll_wait") || name.starts_with("epoll_pwait")
}

fn is_other(name: &str) -> bool {
    const EXCHANGE: [&str; 9] =
        ["read", "write", "readv", "writev", "recvfrom", "sendto", "recvmsg", "sendmsg", "epoll_ctl"];
    !is_wait(name) && !EXCHANGE.contains(&name)
}

fn only(counts: &Counts, keep: impl Fn(&str) -> bool) -> Counts {
    let kept = counts.iter().filter(|(name, _)| keep(name));
    kept.map(|(name, count)| (name.clone(), *count)).collect()
}

fn describe(counts: &Counts, by: f64) -> String {
    let parts = counts.iter().filter(|(_, count)| **count as f64 / by >= 0.005);
    let parts: Vec<_> = parts.map(|(name, count)| format!("{name} {:.2}", *count as f64 / by)).collect();
    parts.join(", ")
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
