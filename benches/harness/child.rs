//! The processes of a run. Each is killed when its guard is dropped, and by
//! the kernel (see `leash.c`) when this process dies without dropping it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::compile::{self, Tools};
use crate::options::Options;
use crate::proc;
use crate::rows::Row;
use crate::stats::Figures;

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

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Floor,
    Server,
}

pub(crate) const SIDES: [Side; 2] = [Side::Floor, Side::Server];

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
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) tools: Tools,
    pub(crate) name: String,
    pub(crate) pinned: bool,
    server: Vec<String>,
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
}

impl Bench {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let server = match &options.server {
            Some(command) => command.split_whitespace().map(str::to_owned).collect(),
            None => serve(&frameloop()?),
        };
        let program = server.first().ok_or("--server is empty")?;
        let name = PathBuf::from(program)
            .file_name()
            .map_or_else(|| program.clone(), |name| name.to_string_lossy().into_owned());
        Ok(Self {
            tools: compile::tools()?,
            name,
            pinned: proc::cpus() >= 2,
            server,
            seconds: options.seconds,
            warmup: options.warmup,
        })
    }

    /// A command on its leash, and on one CPU: 0 for servers, 1 for load.
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

    pub(crate) fn start(&self, side: Side) -> Result<Server> {
        self.start_at(side, Priority::NONE)
    }

    pub(crate) fn start_at(&self, side: Side, priority: Priority) -> Result<Server> {
        let mut command = self.leashed("0", priority);
        match side {
            Side::Floor => command.arg(&self.tools.floor).arg("0"),
            Side::Server => command.args(&self.server),
        };
        Server::spawn(command, self.log(side))
    }

    fn log(&self, side: Side) -> PathBuf {
        self.tools.folder.join(format!("{side:?}.log"))
    }

    /// The end of what the measured server wrote to stderr.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log(Side::Server)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(5)..];
        last.iter().map(|line| format!("  {}: {line}\n", self.name)).collect()
    }

    /// A load that is connected, warm, and waiting.
    pub(crate) fn load(&self, server: &Server, row: &Row) -> Result<Load> {
        self.load_at(server, row, Priority::NONE)
    }

    pub(crate) fn load_at(&self, server: &Server, row: &Row, priority: Priority) -> Result<Load> {
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

    /// `frameloop load` with these arguments, on the load's CPU.
    pub(crate) fn generator(&self, server: &Server, args: &[&str], priority: Priority) -> Result<Guard> {
        let mut command = self.leashed("1", priority);
        command.args([&frameloop()?, "load", &server.address, "--source", "127.0.0.0/8"]).args(args);
        Ok(Guard(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    /// This program again, on the load's CPU, as [`crate::paced`].
    pub(crate) fn paced(&self, server: &Server, args: &[&str], priority: Priority) -> Result<Figures> {
        let mut command = self.leashed("1", priority);
        command.arg(std::env::current_exe()?).args([crate::paced::ROLE, &server.address]).args(args);
        let output = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        Figures::parse(&said).ok_or_else(|| {
            let error = String::from_utf8_lossy(&output.stderr);
            format!("the generator ended without figures: {}", error.trim()).into()
        })
    }
}

/// The binary cargo built for this bench, unless the caller names another.
fn frameloop() -> Result<String> {
    let built = option_env!("CARGO_BIN_EXE_frameloop").map(str::to_owned);
    let named = std::env::var("FRAMELOOP_BIN").ok().or(built);
    named.ok_or_else(|| "no frameloop binary: build with the `cli` feature, or set FRAMELOOP_BIN".into())
}

fn serve(binary: &str) -> Vec<String> {
    [binary, "serve", "--listen", "127.0.0.1:0"].map(str::to_owned).to_vec()
}

/// A server that has told its address.
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
        let deadline = Instant::now() + Duration::from_secs(3);
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

/// The load generator between two lines of its dialogue.
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
        let figures = Figures::parse(&self.line()?).ok_or("the load ended without figures")?;
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
