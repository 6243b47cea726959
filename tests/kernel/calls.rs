//! What frames and connections cost in system calls, as the kernel sees it: counted from outside by strace.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::skip;
use crate::stopped::state;
use crate::support::{Client, End, PATIENCE, Process, announcement, descriptors, frame, holds_within, payload};

const CONNECTIONS: u64 = 10;
const EXCHANGES: u64 = 20;

/// Lets clients come together, do what `meet` says with the server, and go together. Returns the server's system calls
/// meanwhile by name, if they can be counted here.
fn calls_of(meet: impl FnOnce(&mut [Client]), go: impl Fn(Client)) -> Option<BTreeMap<String, u64>> {
    let (server, addr) = Process::serve(&["-q"]);
    let baseline = descriptors(server.id());
    let strace = Strace::attach(server.id())?;
    // While it is stopped, so that it finds all of them in one turn.
    stop(&server);
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(addr)).collect();
    server.signal("CONT");
    meet(&mut clients);
    stop(&server);
    clients.into_iter().for_each(go);
    server.signal("CONT");
    assert!(holds_within(PATIENCE, || descriptors(server.id()) == baseline));
    Some(strace.detach())
}

fn stop(server: &Process) {
    server.signal("STOP");
    assert!(holds_within(PATIENCE, || matches!(state(server), 'T' | 't')));
}

/// Exchanges `request` with the server again and again.
fn exchange(clients: &mut [Client], request: &[u8]) {
    let mut reply = vec![0; request.len()];
    for _ in 0..EXCHANGES {
        for client in &mut *clients {
            client.send_bytes(request);
            client.stream.read_exact(&mut reply).unwrap();
            assert!(reply == request);
        }
    }
}

/// Finishes, and leaves the rest to the kernel.
fn finish(mut client: Client) {
    client.finish();
}

fn total(calls: &BTreeMap<String, u64>, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| calls.get(*name)).sum()
}

#[track_caller]
fn assert_least(calls: &BTreeMap<String, u64>) {
    let total = |names: &[&str]| total(calls, names);
    let exchanges = CONNECTIONS * EXCHANGES;
    // The last read of each connection finds the FIN.
    let reads = total(&["read", "readv", "recvfrom", "recvmsg"]);
    assert_eq!(reads, exchanges + CONNECTIONS, "reads: {calls:?}");
    assert_eq!(total(&["write", "writev", "sendto", "sendmsg"]), exchanges, "writes: {calls:?}");
    assert_least_for_connections(calls);
    // The peer has finished, and no other process holds the socket: `close` sends our FIN.
    assert_eq!(total(&["shutdown"]), 0, "{calls:?}");
    // One for each of what the clients do; and buffers are given back when the clients are silent. Far more would be spinning.
    assert!(total(&["epoll_wait", "epoll_pwait", "epoll_pwait2"]) <= 2 * (exchanges + 2 * CONNECTIONS), "{calls:?}");
}

/// What connections cost that come together and go together, besides reads, writes, polls and `shutdown`.
#[track_caller]
fn assert_least_for_connections(calls: &BTreeMap<String, u64>) {
    let total = |names: &[&str]| total(calls, names);
    assert_eq!(total(&["epoll_ctl"]), CONNECTIONS, "registrations: {calls:?}");
    assert_eq!(total(&["close"]), CONNECTIONS, "{calls:?}");
    // Each batch that is accepted ends with a call that finds no connection.
    assert!(total(&["accept4"]) <= 2 * CONNECTIONS, "{calls:?}");
    assert_eq!(total(&["accept", "ioctl", "setsockopt", "getsockopt", "getsockname"]), 0, "{calls:?}");
    // With debug assertions, the standard library asks whether a descriptor is open before it closes it.
    assert_eq!(total(&["fcntl"]), if cfg!(debug_assertions) { CONNECTIONS } else { 0 }, "{calls:?}");
    // Sockets belong to a process, which is known without asking.
    assert_eq!(total(&["getpid"]), 0, "{calls:?}");
}

#[test]
fn frame_costs_one_read_one_write_and_one_registration() {
    let request = frame(&payload(1, 64));
    if let Some(calls) = calls_of(|clients| exchange(clients, &request), finish) {
        assert_least(&calls);
    }
}

#[test]
fn frames_that_come_together_cost_a_read_and_a_write_together() {
    let request = frame(&payload(2, 32)).repeat(64);
    if let Some(calls) = calls_of(|clients| exchange(clients, &request), finish) {
        assert_least(&calls);
    }
}

#[test]
fn a_connection_whose_both_ends_have_finished_is_shut_down_once() {
    let too_long = announcement(u32::MAX);
    let meet = |clients: &mut [Client]| {
        for client in clients {
            client.send_bytes(&too_long);
            assert_eq!(client.end(), End::InOrder);
        }
    };
    if let Some(calls) = calls_of(meet, finish) {
        assert_least_for_connections(&calls);
        // To send our FIN; the peer's came behind it.
        assert_eq!(total(&calls, &["shutdown"]), CONNECTIONS, "{calls:?}");
    }
}

#[test]
fn a_connection_that_its_peer_reset_is_not_shut_down() {
    let request = frame(&payload(3, 64));
    if let Some(calls) = calls_of(|clients| exchange(clients, &request), Client::reset) {
        assert_least_for_connections(&calls);
        assert_eq!(total(&calls, &["shutdown"]), 0, "{calls:?}");
    }
}

#[test]
fn small_replies_read_over_unix_cost_no_queue_query() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("calls");
    let (server, _addr) = Process::serve(&["-q", "--listen", &format!("unix:{}", path.display())]);
    let Some(strace) = Strace::attach(server.id()) else { return };
    let mut clients: Vec<UnixStream> = (0..CONNECTIONS).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let request = frame(&payload(4, 4 << 10));
    let mut reply = vec![0; request.len()];
    for _ in 0..EXCHANGES {
        // One after the other, so that a connection has one exchange in a run.
        for client in &mut clients {
            client.write_all(&request).unwrap();
            client.read_exact(&mut reply).unwrap();
            assert!(reply == request);
        }
    }
    let calls = strace.detach();
    // 80 KiB each: at 64 KiB the kernel is asked how much is unacknowledged, by the cheaper way.
    assert_eq!(total(&calls, &["ioctl"]), CONNECTIONS, "{calls:?}");
    assert_eq!(total(&calls, &["socket"]), 0, "{calls:?}");
}

/// An strace attached to a process's first thread, which is the reactor's; killed when it is dropped, which leaves the
/// process running.
struct Strace(Process);

impl Strace {
    /// `None`, and a line that says why, where that is not possible.
    fn attach(pid: u32) -> Option<Self> {
        let mut command = Command::new("strace");
        // Without `-f`: the thread for signals waits in a read, which a stop interrupts.
        command.args(["-c", "-p", &pid.to_string()]).stdin(Stdio::null()).stderr(Stdio::piped());
        let Ok(strace) = Process::spawn(&mut command) else {
            skip("strace is not installed");
            return None;
        };
        let line = strace.stderr_line_with("");
        if !line.contains("attached") {
            skip(&format!("strace may not attach to a process: {}", line.trim()));
            return None;
        }
        Some(Self(strace))
    }

    /// On SIGINT it lets go of the process and prints how often each call was made.
    fn detach(self) -> BTreeMap<String, u64> {
        self.0.signal("INT");
        self.0.outcome().stderr.lines().filter_map(count_of).collect()
    }
}

/// A line is: % time, seconds, usecs/call, calls, errors if there were any, name (`strace(1)`, `-c`).
fn count_of(line: &str) -> Option<(String, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let calls = fields.get(3)?.parse().ok()?;
    Some(((*fields.last()?).to_owned(), calls)).filter(|(name, _)| name != "total")
}
