//! A child process whose lines are waited for, and which does not outlive its test.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How long a test waits for what must come. It bounds a failure; no test waits it out when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary, with nothing of the developer's environment that it would heed.
pub(crate) fn frameloop(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frameloop"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

/// What became of a process that ended by itself.
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
    // A process that has ended, as it should after `quit`, reads no more.
    let _ = process.stdin().write_all(input);
    process.close_stdin();
    process.outcome()
}

/// A running child.
pub(crate) struct Process {
    child: Child,
    stdout: Option<Stream>,
    stderr: Stream,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_onto(Stdio::piped(), command)
    }

    /// Starts a child whose stdout is something else than a pipe to this test.
    pub(crate) fn start_onto(stdout: impl Into<Stdio>, command: &mut Command) -> Self {
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map(Stream::of);
        let stderr = Stream::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// A server on a port of its own, and the address that it tells.
    pub(crate) fn serve(args: &[&str]) -> (Self, String) {
        let args = [&["serve", "--listen", "127.0.0.1:0"], args].concat();
        let server = Self::start(&mut frameloop(&args));
        let addr = server.listening_on();
        (server, addr)
    }

    /// The address of the next `listening on` line.
    pub(crate) fn listening_on(&self) -> String {
        let line = self.stdout_line();
        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("no address in {line:?}")).to_owned()
    }

    /// The next line of stdout.
    pub(crate) fn stdout_line(&self) -> String {
        self.stdout_up_to("\n")
    }

    /// What stdout shows before the next `end`.
    pub(crate) fn stdout_up_to(&self, end: &str) -> String {
        self.stdout.as_ref().unwrap().up_to(end)
    }

    /// The first line of stderr from here on that contains `text`.
    pub(crate) fn stderr_line_with(&self, text: &str) -> String {
        loop {
            let line = self.stderr.up_to("\n");
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdin(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().unwrap()
    }

    pub(crate) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends signals, one right after the other.
    pub(crate) fn signal(&self, names: &[&str]) {
        let script: String = names.iter().map(|name| format!("kill -{name} {};", self.id())).collect();
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Waits for the child's end; the lines are those that were not taken before.
    pub(crate) fn outcome(mut self) -> Outcome {
        let (stdout, stderr) = (self.stdout.as_ref().map_or_else(String::new, Stream::rest), self.stderr.rest());
        // Its streams are closed, so it has ended or is about to.
        let status = self.child.wait().unwrap();
        Outcome { code: status.code(), stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stream, read by a thread, so that a test that waits in vain fails instead of hanging.
struct Stream {
    chunks: Receiver<Vec<u8>>,
    /// What came and was not taken yet.
    text: RefCell<String>,
}

impl Stream {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let (sender, chunks) = mpsc::channel();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = stream.read(&mut chunk) {
                if sender.send(chunk[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { chunks, text: RefCell::default() }
    }

    /// What comes up to `end`, and takes both.
    fn up_to(&self, end: &str) -> String {
        loop {
            let mut text = self.text.borrow_mut();
            if let Some(at) = text.find(end) {
                let rest = text.split_off(at + end.len());
                let mut taken = std::mem::replace(&mut *text, rest);
                taken.truncate(at);
                return taken;
            }
            assert!(self.extend(&mut text), "the stream ended before {end:?}, after {text:?}");
        }
    }

    fn rest(&self) -> String {
        let mut text = self.text.take();
        while self.extend(&mut text) {}
        text
    }

    /// Waits for more; `false` at the end.
    fn extend(&self, text: &mut String) -> bool {
        match self.chunks.recv_timeout(PATIENCE) {
            Ok(chunk) => text.push_str(&String::from_utf8_lossy(&chunk)),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => panic!("nothing within {PATIENCE:?} after {text:?}"),
        }
        true
    }
}
