//! A stdout or stderr that is full, closed or not being read, and signals in numbers: a server serves all the same.

use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use crate::assert_kept_once;
use crate::support::process::{full_pipe, set_nonblocking};
use crate::support::{PAIR, PATIENCE, Process, SLACK, frame};

/// More than a pipe holds, in lines of the log at its highest level.
const FRAMES: usize = 2_000;

/// How long the end of the process waits for its output.
const EXIT_WAIT: Duration = Duration::from_secs(1);

/// A server on a Unix socket, so that its streams can be anything.
pub(crate) struct Server {
    process: Process,
    path: PathBuf,
}

impl Server {
    pub(crate) fn start(args: &[&str], stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_frameloop")).args(["serve"]), args, stdout, stderr)
    }

    fn start_by(command: &mut Command, args: &[&str], stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("frameloop-streams-{}-{number}.sock", process::id()));
        command.args(["--listen", &format!("unix:{}", path.display())]).args(args).env_clear();
        let process = Process::spawn(command.stdin(Stdio::null()).stdout(stdout).stderr(stderr)).unwrap();
        Self { process, path }
    }

    /// A client, once the server accepts.
    pub(crate) fn connect(&self) -> UnixStream {
        let begun = Instant::now();
        loop {
            if let Ok(stream) = UnixStream::connect(&self.path) {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return stream;
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not accept");
            thread::yield_now();
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// How it ended, and how long that took from now.
    fn end(mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        (self.process.status(), begun.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

pub(crate) fn echo(client: &mut UnixStream) {
    let sent = frame(b"ping");
    let mut reply = vec![0; sent.len()];
    client.write_all(&sent).unwrap();
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply, sent);
}

fn echo_many(server: &Server) {
    let mut client = server.connect();
    (0..FRAMES).for_each(|_| echo(&mut client));
}

fn dev_full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// What the reader of a stream sees from now on, collected by a thread.
fn collect(mut reader: impl Read + Send + 'static) -> thread::JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    })
}

#[test]
fn unread_stderr_stops_no_client_and_counts_dropped_lines() {
    let (reader, writer) = full_pipe();
    let server = Server::start(&["-vv"], Stdio::null(), writer);
    // Far more lines than the queue holds.
    for _ in 0..10 {
        echo_many(&server);
    }
    let lines = collect(reader);
    // The queue is written now; the next lines find room.
    let mut client = server.connect();
    for _ in 0..100 {
        echo(&mut client);
        thread::sleep(Duration::from_millis(1));
    }
    server.signal("USR1");
    thread::sleep(Duration::from_millis(1));
    echo(&mut client);
    drop(client);
    server.signal("TERM");
    assert_eq!(server.end().0.code(), Some(0));
    let lines = lines.join().unwrap();
    let count = |line: &str, before: &str| -> Option<u64> {
        let (_, rest) = line.split_once(before)?;
        rest.split(' ').next()?.parse().ok()
    };
    let dropped: u64 = lines
        .iter()
        .filter(|line| line.contains("WARN  frameloop] dropped"))
        .filter_map(|line| count(line, "dropped "))
        .sum();
    let in_stats: Vec<u64> = lines.iter().filter_map(|line| count(line, "log lines dropped ")).collect();
    assert!(dropped > 0, "no line was dropped, of {}", lines.len());
    assert_eq!(in_stats, [dropped]);
    assert!(lines.iter().all(|line| line.starts_with('[')), "a line is not whole");
}

#[test]
fn stderr_that_takes_nothing_stops_no_client() {
    let closed = |args: &[&str]| {
        let script = "exec \"$0\" serve \"$@\" 2>&-";
        let mut shell = Command::new("sh");
        Server::start_by(
            shell.args(["-c", script, env!("CARGO_BIN_EXE_frameloop")]),
            args,
            Stdio::null(),
            Stdio::null(),
        )
    };
    for server in [Server::start(&["-vv"], Stdio::null(), dev_full()), closed(&["-vv"])] {
        echo_many(&server);
        server.signal("TERM");
        assert_eq!(server.end().0.code(), Some(0));
    }
}

#[test]
fn nonblocking_stderr_gets_every_line_whole() {
    let (mut reader, writer) = pipe().unwrap();
    set_nonblocking(&writer, true);
    let server = Server::start(&["-vv"], Stdio::null(), writer);
    // The pipe is full before it is read, and its lines fit into the queue.
    (0..2).for_each(|_| echo_many(&server));
    let text = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    server.signal("TERM");
    assert_eq!(server.end().0.code(), Some(0));
    let text = text.join().unwrap();
    assert!(text.len() > 100_000, "{} bytes fit into a pipe", text.len());
    let is_whole = |line: &str| line.starts_with('[') && line.matches("Z TRACE frameloop").count() <= 1;
    assert!(text.ends_with('\n') && text.lines().all(is_whole));
    let frames = text.lines().filter(|line| line.contains("frame of 4 bytes") || line.contains("send")).count();
    assert!(frames >= FRAMES, "{frames} lines are about frames");
}

#[test]
fn unread_stdout_stops_no_client_and_delays_exit_1_s() {
    let (_reader, writer) = full_pipe();
    let server = Server::start(&["-q"], writer, Stdio::null());
    let mut client = server.connect();
    echo(&mut client);
    drop(client);
    server.signal("TERM");
    let (status, took) = server.end();
    assert_eq!(status.code(), Some(1), "the lines are not written");
    assert!((EXIT_WAIT - Duration::from_millis(100)..EXIT_WAIT + SLACK).contains(&took), "{took:?}");
}

#[test]
fn unread_stdout_and_stderr_are_waited_for_one_second_together() {
    assert_kept_once(2 * EXIT_WAIT, || {
        let (_reader, writer) = full_pipe();
        let server = Server::start(&["-v"], writer.try_clone().unwrap(), writer);
        let mut client = server.connect();
        echo(&mut client);
        drop(client);
        server.signal("TERM");
        let (status, took) = server.end();
        assert_eq!(status.code(), Some(1));
        took
    });
}

#[test]
fn full_or_closed_stdout_is_reported_and_stops_no_client() {
    let closed = |stderr: std::io::PipeWriter| {
        let script = "exec \"$0\" serve \"$@\" >&-";
        let mut shell = Command::new("sh");
        Server::start_by(shell.args(["-c", script, env!("CARGO_BIN_EXE_frameloop")]), &[], Stdio::null(), stderr)
    };
    for is_full in [true, false] {
        let (reader, writer) = pipe().unwrap();
        let server = if is_full { Server::start(&[], dev_full(), writer) } else { closed(writer) };
        let lines = collect(reader);
        echo(&mut server.connect());
        server.signal("TERM");
        assert_eq!(server.end().0.code(), Some(1));
        let lines = lines.join().unwrap();
        assert!(lines.iter().any(|line| line.contains("WARN") && line.contains("cannot write to stdout")), "{lines:?}");
        assert!(lines.last().unwrap().starts_with("error: cannot write to stdout: "), "{lines:?}");
    }
}

#[test]
fn second_signal_ends_a_server_whose_output_is_not_read() {
    // A second signal that is lost leaves the drain's hour. One that does not shorten the wait for the output never takes
    // less than that wait.
    assert_kept_once(EXIT_WAIT, || {
        let (_reader, writer) = full_pipe();
        let server = Server::start(&["-v", "--drain-timeout", "1h"], writer.try_clone().unwrap(), writer);
        let mut client = server.connect();
        echo(&mut client);
        server.signal("TERM");
        // A drain sends FIN to a client that has been answered.
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        thread::sleep(PAIR);
        server.signal("TERM");
        let (status, took) = server.end();
        assert_eq!(status.code(), Some(1));
        took
    });
}

/// So many starts with a signal at some moment; as many as in the promise by an environment variable.
fn starts() -> u32 {
    env::var("FRAMELOOP_TEST_STARTS").map_or(40, |count| count.parse().unwrap())
}

#[test]
fn signal_during_start_leaves_no_socket() {
    // How long a start takes here.
    let begun = Instant::now();
    let server = Server::start(&[], Stdio::null(), Stdio::null());
    drop(server.connect());
    let whole = begun.elapsed();
    drop(server);

    let (mut killed, count) = (0, starts());
    for round in 0..count {
        let signal = if round % 2 == 0 { "TERM" } else { "INT" };
        let (mut reader, writer) = pipe().unwrap();
        let begun = Instant::now();
        let server = Server::start(&[], writer, Stdio::null());
        // Half of them right behind the bind, and half spread over the start.
        let is_aimed = round / 2 % 2 == 0;
        let delay = whole * round / count;
        while if is_aimed { !server.path.exists() } else { begun.elapsed() < delay } {
            assert!(begun.elapsed() < PATIENCE, "the server does not start");
        }
        server.signal(signal);
        let path = server.path.clone();
        let (status, _) = server.end_leaving_its_path();
        let has_left = path.exists();
        let _ = fs::remove_file(&path);
        assert!(!has_left, "round {round}: {signal} has left a socket behind");
        let mut stdout = String::new();
        reader.read_to_string(&mut stdout).unwrap();
        if status.signal().is_some() {
            // Before `main`, the default action is right.
            killed += 1;
            assert!(!is_aimed && stdout.is_empty(), "round {round}: killed by {signal} behind {stdout:?}");
        } else {
            assert_eq!(status.code(), Some(0), "round {round}: {stdout:?}");
        }
    }
    println!("{count} starts of {whole:?}, {killed} killed before main");
}

impl Server {
    /// The same as [`end`](Self::end), and what lies at its path stays there.
    fn end_leaving_its_path(mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.path = PathBuf::from("/nonexistent");
        let status = self.process.status();
        (status, begun.elapsed())
    }
}

#[test]
fn storm_of_sigusr1_is_answered_with_few_lines() {
    const SIGNALS: u64 = 20_000;
    let (reader, writer) = pipe().unwrap();
    let server = Server::start(&["-q"], Stdio::null(), writer);
    let lines = collect(reader);
    let mut client = server.connect();
    echo(&mut client);
    let begun = Instant::now();
    for round in 0..SIGNALS {
        server.signal("USR1");
        if round % 1_000 == 0 {
            echo(&mut client);
        }
    }
    let took = begun.elapsed();
    // The last one is answered too: in the line that follows the storm, if not before.
    echo(&mut client);
    thread::sleep(Duration::from_millis(150));
    drop(client);
    server.signal("TERM");
    assert_eq!(server.end().0.code(), Some(0));
    let lines = lines.join().unwrap();
    let most = 2 + took.as_millis() / 100 + 2;
    assert!((1..=most).contains(&(lines.len() as u128)), "{} lines in {took:?}", lines.len());
    assert!(lines.iter().all(|line| line.contains("log lines dropped 0")), "{lines:?}");
}
