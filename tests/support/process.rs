//! The binary as a child process, for what can only be seen from outside: signals, limits of descriptors, memory.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{Client, PATIENCE};

/// A running child, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// What became of a process that ended by itself.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Process {
    /// `frameloop serve` on a port of its own, once it listens.
    pub(crate) fn serve(args: &[&str]) -> (Self, SocketAddr) {
        Self::serve_by(Command::new(env!("CARGO_BIN_EXE_frameloop")).args(["serve", "--listen", "127.0.0.1:0"]), args)
    }

    /// The same, with a hard limit on descriptors.
    pub(crate) fn serve_with_descriptors(max: usize, args: &[&str]) -> (Self, SocketAddr) {
        Self::serve_after(&format!("ulimit -n {max}"), args)
    }

    /// The same, in a shell that first runs `setup`, and goes on only if that succeeds.
    pub(crate) fn serve_after(setup: &str, args: &[&str]) -> (Self, SocketAddr) {
        let script = format!("{setup} && exec \"$0\" serve --listen 127.0.0.1:0 \"$@\"");
        Self::serve_by(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_frameloop")]), args)
    }

    fn serve_by(command: &mut Command, args: &[&str]) -> (Self, SocketAddr) {
        // Nothing of the developer's environment that the binary would heed.
        let server = Self::start(command.args(args).env_clear());
        let line = server.stdout_line_with("listening on ");
        let addr = line.strip_prefix("listening on ").unwrap().parse().unwrap();
        (server, addr)
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line of stdout that contains `text`; waits for it.
    #[track_caller]
    pub(crate) fn stdout_line_with(&self, text: &str) -> String {
        self.stdout.first_with(0, text)
    }

    /// Whether there is a line of stdout by now that contains `text`.
    pub(crate) fn has_stdout_line_with(&self, text: &str) -> bool {
        self.stdout.has_line_with(text)
    }

    /// The first line of stderr, behind the first `skipped`, that contains `text`; waits for it.
    #[track_caller]
    pub(crate) fn stderr_line_with(&self, skipped: usize, text: &str) -> String {
        self.stderr.first_with(skipped, text)
    }

    /// How many lines of stderr there are by now.
    pub(crate) fn stderr_len(&self) -> usize {
        self.stderr.count()
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid]).status();
        assert!(status.unwrap().success(), "kill -s {name} {pid}");
    }

    /// The line of counters that SIGUSR1 asks for.
    #[track_caller]
    pub(crate) fn counters(&self) -> String {
        let before = self.stderr_len();
        self.signal("USR1");
        self.stderr_line_with(before, "accepted ")
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The processor time that its threads have taken.
    pub(crate) fn cpu_time(&self) -> CpuTime {
        CpuTime::of(self.id())
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn outcome(mut self) -> Outcome {
        let (stdout, stderr) = (self.stdout.all_to_the_end(), self.stderr.all_to_the_end());
        // Its streams are closed, so it has ended or is about to.
        Outcome { code: self.child.wait().unwrap().code(), stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    /// The numbers of the last line, `drained N connections, cut M (B bytes unsent)`.
    #[track_caller]
    pub(crate) fn drain_report(&self) -> (u64, u64, u64) {
        assert_eq!(self.code, Some(0), "{self:?}");
        let line = self.stdout.last().unwrap();
        let parts: Vec<&str> = line.split(' ').collect();
        let ["drained", drained, "connections,", "cut", cut, unsent, "bytes", "unsent)"] = parts[..] else {
            panic!("{line:?} is not about a drain");
        };
        (drained.parse().unwrap(), cut.parse().unwrap(), unsent.strip_prefix('(').unwrap().parse().unwrap())
    }
}

/// Processor time that a process had taken at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTime {
    taken: Duration,
    at: Instant,
    pid: u32,
}

impl CpuTime {
    fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The name, in brackets, may hold anything; behind it come the fields from the third on (proc_pid_stat(5)).
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Self { taken: Duration::from_millis(ticks * MILLIS_PER_TICK), at: Instant::now(), pid }
    }

    /// The share of one processor that was taken from then to now, in percent.
    pub(crate) fn percent_since(&self) -> f64 {
        let now = Self::of(self.pid);
        100.0 * (now.taken - self.taken).as_secs_f64() / (now.at - self.at).as_secs_f64()
    }
}

/// Linux tells times in hundredths of a second to user space (`USER_HZ`).
const MILLIS_PER_TICK: u64 = 10;

/// A stream's lines, collected by a thread: the child never waits for its reader, and a test that waits in vain fails
/// instead of hanging.
struct Lines(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Default)]
struct Collected {
    lines: Vec<String>,
    has_ended: bool,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<Collected>, Condvar)>::default();
        let lines = Self(Arc::clone(&shared));
        thread::spawn(move || {
            let (collected, changed) = &*shared;
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                collected.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
                changed.notify_all();
            }
            collected.lock().unwrap().has_ended = true;
            changed.notify_all();
        });
        lines
    }

    fn count(&self) -> usize {
        self.0.0.lock().unwrap().lines.len()
    }

    fn has_line_with(&self, text: &str) -> bool {
        self.0.0.lock().unwrap().lines.iter().any(|line| line.contains(text))
    }

    #[track_caller]
    fn first_with(&self, skipped: usize, text: &str) -> String {
        let found = |all: &Collected| all.lines.iter().skip(skipped).find(|line| line.contains(text)).cloned();
        let all = self.wait_until(|all| all.has_ended || found(all).is_some());
        found(&all).unwrap_or_else(|| panic!("no line with {text:?} behind {skipped} in {:?}", all.lines))
    }

    #[track_caller]
    fn all_to_the_end(&self) -> Vec<String> {
        let mut all = self.wait_until(|all| all.has_ended);
        assert!(all.has_ended, "it has not ended within {PATIENCE:?}");
        std::mem::take(&mut all.lines)
    }

    fn wait_until(&self, is_so: impl Fn(&Collected) -> bool) -> std::sync::MutexGuard<'_, Collected> {
        let (collected, changed) = &*self.0;
        changed.wait_timeout_while(collected.lock().unwrap(), PATIENCE, |all| !is_so(all)).unwrap().0
    }
}

/// Pings until a served client has its answer: then the server has taken in what came before.
pub(crate) fn connect_and_ping(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr);
    client.call(b"ping");
    client
}
