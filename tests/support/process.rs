//! Child processes: their lines are waited for, and they do not outlive their test.

use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use procfs_core::FromRead;
use procfs_core::process::Status;

pub(crate) use super::PATIENCE;

/// The binary, with nothing of the developer's environment that it would read.
pub(crate) fn frameloop(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frameloop"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

/// A running child, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
}

/// What became of a process that ended by itself, with the output that was not taken before.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn outcome(command: &mut Command) -> Outcome {
    Process::start(command).outcome()
}

/// Runs a command to its end, with something on its stdin.
pub(crate) fn outcome_with_input(command: &mut Command, input: &[u8]) -> Outcome {
    let mut process = Process::start(command.stdin(Stdio::piped()));
    // A process that has ended reads no more.
    let _ = process.stdin().write_all(input);
    process.close_stdin();
    process.outcome()
}

impl Process {
    /// `frameloop serve` on a port of its own, once it listens.
    pub(crate) fn serve(args: &[&str]) -> (Self, SocketAddr) {
        Self::serve_by(frameloop(&["serve", "--listen", "127.0.0.1:0"]).args(args))
    }

    /// The same, with a hard limit on descriptors.
    pub(crate) fn serve_with_descriptors(max: usize, args: &[&str]) -> (Self, SocketAddr) {
        Self::serve_after(&format!("ulimit -n {max}"), args)
    }

    /// The same, in a shell that first runs `setup`, and goes on only if that succeeds.
    pub(crate) fn serve_after(setup: &str, args: &[&str]) -> (Self, SocketAddr) {
        let script = format!("{setup} && exec \"$0\" serve --listen 127.0.0.1:0 \"$@\"");
        let mut command = Command::new("/bin/sh");
        Self::serve_by(command.args(["-c", &script, env!("CARGO_BIN_EXE_frameloop")]).args(args).env_clear())
    }

    /// A server and the address that it prints.
    pub(crate) fn serve_by(command: &mut Command) -> (Self, SocketAddr) {
        let server = Self::start(command);
        let addr = server.listening_on().parse().unwrap();
        (server, addr)
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_onto(Stdio::piped(), command)
    }

    /// Starts a child whose stdout is something else than a pipe to this test.
    pub(crate) fn start_onto(stdout: impl Into<Stdio>, command: &mut Command) -> Self {
        Self::spawn(command.stdout(stdout).stderr(Stdio::piped())).unwrap()
    }

    /// Starts a child with the streams that the command has.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let (stdout, stderr) = (child.stdout.take().map(Stream::of), child.stderr.take().map(Stream::of));
        Ok(Self { child, stdout, stderr })
    }

    /// The address of the next line of stdout, `listening on ADDRESS`.
    #[track_caller]
    pub(crate) fn listening_on(&self) -> String {
        let line = self.stdout_line();
        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("no address in {line:?}")).to_owned()
    }

    /// The next line of stdout.
    #[track_caller]
    pub(crate) fn stdout_line(&self) -> String {
        self.stdout_up_to("\n")
    }

    /// What stdout shows before the next `end`.
    #[track_caller]
    pub(crate) fn stdout_up_to(&self, end: &str) -> String {
        self.stdout.as_ref().unwrap().up_to(end)
    }

    /// The next line of stdout that contains `text`.
    #[track_caller]
    pub(crate) fn stdout_line_with(&self, text: &str) -> String {
        self.stdout.as_ref().unwrap().line_with(text)
    }

    /// The next line of stderr that contains `text`.
    #[track_caller]
    pub(crate) fn stderr_line_with(&self, text: &str) -> String {
        self.stderr.as_ref().unwrap().line_with(text)
    }

    /// Whether `text` is in stdout by now.
    pub(crate) fn has_shown(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.stdout.as_ref().unwrap().shared.0.lock().unwrap().all).contains(text)
    }

    /// How many lines of stderr there are by now.
    pub(crate) fn stderr_len(&self) -> usize {
        self.stderr.as_ref().unwrap().shared.0.lock().unwrap().all.iter().filter(|byte| **byte == b'\n').count()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What `proc_pid_status(5)` has.
    pub(crate) fn proc_status(&self) -> Status {
        Status::from_file(format!("/proc/{}/status", self.id())).unwrap()
    }

    pub(crate) fn stdin(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().unwrap()
    }

    pub(crate) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends signals one right after the other: their names without `SIG`, and spaces between them.
    pub(crate) fn signal(&self, names: &str) {
        for name in names.split(' ') {
            kill(Pid::from_raw(self.id() as i32), Signal::from_str(&format!("SIG{name}")).unwrap()).unwrap();
        }
    }

    /// The line of counters that SIGUSR1 asks for.
    #[track_caller]
    pub(crate) fn counters(&self) -> String {
        let stderr = self.stderr.as_ref().unwrap();
        stderr.rest_by_now();
        self.signal("USR1");
        stderr.line_with("accepted ")
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The processor time that its threads have taken.
    pub(crate) fn cpu_time(&self) -> CpuTime {
        CpuTime::of(self.id())
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn outcome(mut self) -> Outcome {
        let rest = |stream: &Option<Stream>| stream.as_ref().map_or_else(String::new, Stream::rest);
        let (stdout, stderr) = (rest(&self.stdout), rest(&self.stderr));
        Outcome { code: self.status().code(), stdout, stderr }
    }

    /// Waits for its end, wherever its output goes.
    #[track_caller]
    pub(crate) fn status(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it has not ended within {PATIENCE:?}");
            thread::sleep(Duration::from_micros(200));
        }
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
        let line = self.stdout.lines().last().unwrap();
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
        let clock = clock_getcpuclockid(Pid::from_raw(pid as i32)).unwrap();
        Self { taken: clock_gettime(clock).unwrap().into(), at: Instant::now(), pid }
    }

    /// The share of one processor that was taken from then to now, in percent.
    pub(crate) fn percent_since(&self) -> f64 {
        let now = Self::of(self.pid);
        100.0 * (now.taken - self.taken).as_secs_f64() / (now.at - self.at).as_secs_f64()
    }
}

/// Changes whether calls on a descriptor wait.
pub(crate) fn set_nonblocking(fd: impl AsFd, is_nonblocking: bool) {
    let mut flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).unwrap());
    flags.set(OFlag::O_NONBLOCK, is_nonblocking);
    fcntl(&fd, FcntlArg::F_SETFL(flags)).unwrap();
}

/// The ends of a pipe that holds one page, and is full.
pub(crate) fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    set_nonblocking(&writer, true);
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    set_nonblocking(&writer, false);
    (reader, writer)
}

/// A stream, read by a thread: the child never waits for its reader, and a test that waits in vain fails instead of
/// hanging.
struct Stream {
    shared: Arc<(Mutex<Collected>, Condvar)>,
}

#[derive(Default)]
struct Collected {
    all: Vec<u8>,
    /// How much of it a test has taken.
    taken: usize,
    has_ended: bool,
}

impl Stream {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<Collected>, Condvar)>::default();
        let stream_end = Self { shared: Arc::clone(&shared) };
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let len = stream.read(&mut chunk).unwrap_or(0);
                let mut collected = shared.0.lock().unwrap();
                collected.all.extend_from_slice(&chunk[..len]);
                collected.has_ended = len == 0;
                shared.1.notify_all();
                if len == 0 {
                    return;
                }
            }
        });
        stream_end
    }

    /// Takes what comes up to `end`, and `end`; returns the first.
    #[track_caller]
    fn up_to(&self, end: &str) -> String {
        let found =
            |all: &Collected| all.all[all.taken..].windows(end.len()).position(|window| window == end.as_bytes());
        let mut collected = self.wait_until(|all| all.has_ended || found(all).is_some());
        let Some(len) = found(&collected) else {
            panic!("the stream ended before {end:?}, after {:?}", collected.take())
        };
        let text = String::from_utf8_lossy(&collected.all[collected.taken..][..len]).into_owned();
        collected.taken += len + end.len();
        text
    }

    #[track_caller]
    fn line_with(&self, text: &str) -> String {
        loop {
            let line = self.up_to("\n");
            if line.contains(text) {
                return line;
            }
        }
    }

    fn rest_by_now(&self) -> String {
        self.shared.0.lock().unwrap().take()
    }

    #[track_caller]
    fn rest(&self) -> String {
        self.wait_until(|all| all.has_ended).take()
    }

    /// Waits for as long as something comes at least every [`PATIENCE`].
    #[track_caller]
    fn wait_until(&self, is_so: impl Fn(&Collected) -> bool) -> std::sync::MutexGuard<'_, Collected> {
        let mut collected = self.shared.0.lock().unwrap();
        while !is_so(&collected) {
            let (next, timeout) = self.shared.1.wait_timeout(collected, PATIENCE).unwrap();
            collected = next;
            assert!(!timeout.timed_out() || is_so(&collected), "nothing came after {:?}", collected.take());
        }
        collected
    }
}

impl Collected {
    fn take(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.all[self.taken..]).into_owned();
        self.taken = self.all.len();
        rest
    }
}
