//! The processes of a run. Each is killed when its guard is dropped, and by
//! the kernel (see `leash.c`) when this process dies without dropping it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::compile::{self, Tools};
use crate::failure::Result;
use crate::options::Options;
use crate::peers::Peer;
use crate::proc;
use crate::rounds::Rounds;
use crate::rows::Row;
use crate::stats::Figures;

/// What the results call what is measured.
pub(crate) const FRAMELOOP: &str = "frameloop";
pub(crate) const PREVIOUS: &str = "frameloop-previous";
pub(crate) const SPINNING: &str = "frameloop-spin";
pub(crate) const FLOOR: &str = "floor";

const START: Duration = Duration::from_secs(10);
/// Time for a process to reach its next sleep, so that its CPU time is exact.
const SETTLE: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Either may fail only because the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Among processes on one CPU: a real-time priority, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Priority(u8);

impl Priority {
    pub(crate) const NONE: Self = Self(0);
    /// Before all that have none.
    pub(crate) const BEFORE: Self = Self(10);
    pub(crate) const FIRST: Self = Self(20);
}

/// All that is needed to start a process of this run.
pub(crate) struct Bench {
    tools: Tools,
    peers: Vec<Peer>,
    pub(crate) left_out: Vec<String>,
    pub(crate) pinned: bool,
    pub(crate) rounds: Rounds,
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
    /// How long a server is loaded before it is measured at all: some compile as they run.
    pub(crate) run_in: f64,
}

impl Bench {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let tools = compile::tools()?;
        let mut peers = vec![
            match &options.server {
                Some(command) => peer(FRAMELOOP, "the server given", command, command.split_whitespace()),
                None => serve(FRAMELOOP, "frameloop", &[])?,
            },
            serve(SPINNING, "frameloop --spin 1ms", &["--spin", "1ms"])?,
            peer(FLOOR, "raw epoll loop in C", "", [tools.floor.to_string_lossy().as_ref(), "0"]),
        ];
        if let Some(binary) = &options.previous {
            let command = [binary.as_str(), "serve", "--listen", "127.0.0.1:0"];
            peers.insert(1, peer(PREVIOUS, "frameloop, the previous build", binary, command));
        }
        let mut left_out = Vec::new();
        for name in chosen(options.against.as_deref())? {
            eprintln!("building {name} ...");
            match crate::peers::build(name, &tools.folder) {
                Ok(peer) => peers.push(peer),
                Err(reason) => left_out.push(format!("{name} left out: {reason}")),
            }
        }
        let Options { rounds, seconds, warmup, run_in, .. } = *options;
        Ok(Self { tools, peers, left_out, pinned: proc::cpus() >= 2, rounds, seconds, warmup, run_in })
    }

    /// All servers of this run.
    pub(crate) fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The servers that take part in a row.
    pub(crate) fn entrants(&self, row: &Row) -> impl Iterator<Item = &Peer> {
        let (spins, connections) = (row.spins, row.connections_in_all());
        let takes_part = move |peer: &&Peer| connections <= peer.max_connections && (spins || peer.name != SPINNING);
        self.peers.iter().filter(takes_part)
    }

    pub(crate) fn peer(&self, name: &str) -> Result<&Peer> {
        Ok(self.peers.iter().find(|peer| peer.name == name).ok_or("no such server")?)
    }

    fn leashed(&self, cpu: &str, priority: Priority) -> Command {
        let mut command = Command::new(&self.tools.leash);
        command.arg(if self.pinned { cpu } else { "-" });
        command.arg(priority.0.to_string());
        for (name, _) in std::env::vars_os() {
            // Neither our settings nor the caller's may change what we measure.
            let text = name.to_string_lossy();
            if text.starts_with("FRAMELOOP") || text.starts_with("RUST_LOG") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// Whether processes may be put before all that have no real-time priority.
    pub(crate) fn may_go_first(&self) -> bool {
        let mut command = self.leashed("-", Priority::FIRST);
        command.arg("true").stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    pub(crate) fn start(&self, peer: &Peer, priority: Priority) -> Result<Server> {
        let mut command = self.leashed("0", priority);
        command.args(&peer.command);
        Server::spawn(command, self.log(peer.name))
    }

    /// The end of what a server wrote to stderr.
    pub(crate) fn last_words(&self, name: &str) -> String {
        let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(5)..];
        last.iter().map(|line| format!("  {name}: {line}\n")).collect()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.tools.folder.join(format!("{name}.log"))
    }

    /// A load that is connected, warm, and waiting.
    pub(crate) fn load(&self, server: &Server, row: &Row, priority: Priority) -> Result<Load> {
        let mut command = self.leashed("1", priority);
        command
            .arg(&self.tools.load)
            .arg(&server.address)
            .args(["--mode", row.mode, "--size", row.size])
            .args(["--connections", &row.connections.to_string()])
            .args(["--depth", &row.depth.to_string()])
            .args(["--seconds", &row.seconds.unwrap_or(self.seconds).to_string()])
            .args(["--warmup", &self.warmup.to_string()]);
        if let Some(rate) = row.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        Load::spawn(command)
    }

    /// `load` of a build of frameloop with these arguments, on the load's CPU.
    pub(crate) fn generator(&self, binary: &str, server: &Server, args: &[&str], priority: Priority) -> Result<Guard> {
        let mut command = self.leashed("1", priority);
        command.args([binary, "load", &server.address, "--source", "127.0.0.0/8"]).args(args);
        Ok(Guard(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    /// This program again, on the load's CPU, as [`crate::paced`].
    pub(crate) fn paced(&self, server: &Server, args: &[&str], priority: Priority) -> Result<Figures> {
        let mut command = self.leashed("1", priority);
        command.arg(std::env::current_exe()?).args([crate::paced::ROLE, &server.address]).args(args);
        let output = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&said).map_err(|_| {
            let error = String::from_utf8_lossy(&output.stderr);
            format!("the generator ended without figures: {}", error.trim()).into()
        })
    }
}

/// The peers named; all of them where nothing is said.
fn chosen(names: Option<&[String]>) -> Result<Vec<&'static str>> {
    let known = &crate::peers::NAMES;
    let Some(names) = names.filter(|names| **names != ["none"]) else {
        return Ok(if names.is_none() { known.to_vec() } else { Vec::new() });
    };
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no peer is called {name:?}; `--against list` names them").into());
    }
    Ok(known.iter().copied().filter(|known| names.iter().any(|name| name == known)).collect())
}

/// The binary cargo built for this bench, unless the caller names another.
pub(crate) fn frameloop() -> Result<String> {
    let built = option_env!("CARGO_BIN_EXE_frameloop").map(str::to_owned);
    let named = std::env::var("FRAMELOOP_BIN").ok().or(built);
    named.ok_or_else(|| "no frameloop binary: build with the `cli` feature, or set FRAMELOOP_BIN".into())
}

fn serve(name: &'static str, title: &'static str, more: &[&str]) -> Result<Peer> {
    let binary = frameloop()?;
    let command = [binary.as_str(), "serve", "--listen", "127.0.0.1:0"].into_iter().chain(more.iter().copied());
    Ok(peer(name, title, env!("CARGO_PKG_VERSION"), command))
}

fn peer<'a>(
    name: &'static str,
    title: &'static str,
    version: &str,
    command: impl IntoIterator<Item = &'a str>,
) -> Peer {
    let command = command.into_iter().map(str::to_owned).collect();
    Peer { name, title, version: version.to_owned(), command, max_connections: usize::MAX }
}

/// A server that has printed its address.
#[derive(Debug)]
pub(crate) struct Server {
    guard: Guard,
    address: String,
}

impl Server {
    fn spawn(mut command: Command, log: PathBuf) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut guard = Guard(command.spawn()?);
        let stdout = guard.0.stdout.take().ok_or("no stdout")?;
        let address = address_from(stdout).recv_timeout(START).map_err(|_| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("the server did not say where it listens; it said: {said}")
        })?;
        Ok(Self { guard, address })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.address.parse()?)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.guard.0.id()
    }

    /// CPU time, once the server has come to rest.
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        std::thread::sleep(SETTLE);
        proc::cpu_ns(self.pid())
    }

    /// Waits while the server still tidies up: closing ten thousand
    /// connections takes CPU time the next measurement must not meet.
    pub(crate) fn rest(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut before = self.cpu_ns()?;
        while Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            let after = self.cpu_ns()?;
            if after - before < 50_000 {
                break;
            }
            before = after;
        }
        Ok(())
    }
}

/// Sends the address as soon as it is printed, and reads on so that the
/// server never blocks on its output.
fn address_from(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
            if let Some(address) = line.trim().strip_prefix("listening on ") {
                // The receiver is gone after the first; later lines are its business.
                let _ = sender.send(address.to_owned());
            }
        }
    });
    receiver
}

/// The load generator between two lines of its output.
#[derive(Debug)]
pub(crate) struct Load {
    guard: Guard,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Load {
    fn spawn(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guard = Guard(command.spawn()?);
        let stdin = guard.0.stdin.take().ok_or("no stdin")?;
        let stdout = BufReader::new(guard.0.stdout.take().ok_or("no stdout")?);
        let mut load = Self { guard, stdin, stdout };
        match load.line()?.as_str() {
            "ready" => Ok(load),
            _ => Err("the load ended before it was ready".into()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// CPU time, once it has come to rest.
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        std::thread::sleep(SETTLE);
        proc::cpu_ns(self.guard.0.id())
    }

    /// Runs the window; the connections stay until `stop`.
    pub(crate) fn go(&mut self) -> Result<Figures> {
        self.begin()?;
        self.figures()
    }

    /// Begins the window, whose `figures` can be had at its end.
    pub(crate) fn begin(&mut self) -> Result<()> {
        Ok(self.stdin.write_all(b"go\n")?)
    }

    pub(crate) fn figures(&mut self) -> Result<Figures> {
        let figures: Figures = serde_json::from_str(&self.line()?).map_err(|_| "the load ended without figures")?;
        if figures.errors > 0 {
            return Err(format!("the load counted {} errors", figures.errors).into());
        }
        Ok(figures)
    }

    pub(crate) fn stop(mut self) -> Result<()> {
        self.stdin.write_all(b"stop\n")?;
        self.guard.0.wait()?;
        Ok(())
    }
}
