//! A server that is stopped for a while (SIGSTOP), as by a debugger, a suspended machine or a paused virtual one, and
//! goes on (SIGCONT): what came meanwhile has come in time.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use std::{fs, thread};

use procfs_core::FromRead;
use procfs_core::process::Stat;

use crate::has_descriptors;
use crate::support::{Client, End, PATIENCE, Process, connect_and_ping, frame, holds_within, payload};

/// A deadline that is sure to pass while the server is stopped, and long enough to prepare for it.
const DEADLINE: Duration = Duration::from_secs(2);
const DEADLINE_FLAG: &str = "2s";

/// Stops the server, does something, and lets the server go on once `deadline` has passed.
#[track_caller]
fn while_stopped(server: &Process, since: Instant, act: impl FnOnce()) {
    server.signal("STOP");
    assert!(holds_within(PATIENCE, || state(server) == 'T'));
    act();
    let prepared = since.elapsed();
    assert!(prepared < DEADLINE, "the machine is too slow for this test: it took {prepared:?} to prepare");
    thread::sleep(DEADLINE - prepared + DEADLINE / 4);
    server.signal("CONT");
}

/// The state of a process: `R`, `S`, `T` ... (`proc_pid_stat(5)`).
pub(crate) fn state(server: &Process) -> char {
    Stat::from_file(format!("/proc/{}/stat", server.id())).unwrap().state
}

/// Sends a whole frame and the beginning of another in one write, and receives the first: then the server has both.
fn begin(client: &mut Client, bytes: &[u8]) {
    client.send_bytes(&[&frame(b"before"), bytes].concat());
    client.expect(b"before");
}

#[test]
fn what_clients_asked_meanwhile_is_answered() {
    const CLIENTS: u64 = 50;
    let (server, addr) = Process::serve(&[]);
    let mut old: Vec<_> = (0..CLIENTS).map(|_| connect_and_ping(addr)).collect();
    let mut new = Vec::new();
    while_stopped(&server, Instant::now(), || {
        for (seed, client) in old.iter_mut().enumerate() {
            client.send(&payload(seed as u64, 3_000));
            client.send(&payload(seed as u64, 0));
        }
        new.extend((0..CLIENTS).map(|_| Client::connect(addr)));
        for (seed, client) in new.iter_mut().enumerate() {
            client.send(&payload(seed as u64, 3_000));
            client.send(&payload(seed as u64, 0));
        }
        // Some do not wait.
        new.split_off(CLIENTS as usize / 2).into_iter().enumerate().for_each(|(index, client)| match index % 2 {
            0 => client.reset(),
            _ => drop(client),
        });
        assert!(!old.iter().chain(&new).any(Client::has_input));
    });
    for clients in [&mut old, &mut new] {
        for (seed, client) in clients.iter_mut().enumerate() {
            client.expect(&payload(seed as u64, 3_000));
            client.expect(&payload(seed as u64, 0));
            client.call(b"and further");
        }
    }
}

#[test]
fn frame_completed_while_stopped_is_in_time() {
    let (server, addr) = Process::serve(&["--frame-timeout", DEADLINE_FLAG]);
    let sent = frame(&payload(1, 10_000));
    let (mut in_time, mut late, mut finished) = (Client::connect(addr), Client::connect(addr), Client::connect(addr));
    let since = Instant::now();
    for client in [&mut in_time, &mut late, &mut finished] {
        begin(client, &sent[..6_000]);
    }
    while_stopped(&server, since, || {
        in_time.send_bytes(&sent[6_000..]);
        finished.send_bytes(&sent[6_000..]);
        finished.finish();
    });
    in_time.expect(&sent[4..]);
    in_time.call(b"as before");
    finished.expect(&sent[4..]);
    assert_eq!(finished.end(), End::InOrder);
    assert_eq!(late.end(), End::InOrder);
}

/// More peers are ready at the same time than one poll reports.
#[test]
fn frames_completed_while_stopped_are_never_late() {
    const CLIENTS: usize = 2_000;
    if !has_descriptors(CLIENTS as u64 + 200) {
        return;
    }
    let (server, addr) = Process::serve(&["--frame-timeout", DEADLINE_FLAG]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect_and_ping(addr)).collect();
    let sent = frame(&payload(1, 100));
    let since = Instant::now();
    clients.iter_mut().for_each(|client| begin(client, &sent[..50]));
    while_stopped(&server, since, || {
        clients.iter_mut().for_each(|client| client.send_bytes(&sent[50..]));
    });
    let in_time = clients.iter_mut().filter_map(|client| client.receive().ok()).filter(|reply| *reply == sent[4..]);
    assert_eq!(in_time.count(), CLIENTS);
}

/// Several times what a connection may read in one turn.
#[test]
fn a_large_frame_whose_rest_came_meanwhile_is_in_time() {
    // How large a window the kernel gives a peer depends on when the server has read, and a busy machine delays that.
    const ATTEMPTS: usize = 5;
    let (server, addr) = Process::serve(&["--frame-timeout", DEADLINE_FLAG]);
    assert!(
        (0..ATTEMPTS).any(|_| is_in_time_if_it_has_arrived(&server, addr)),
        "the window is too small for this test"
    );
}

/// Returns false if the window was too small for the rest of the frame.
fn is_in_time_if_it_has_arrived(server: &Process, addr: SocketAddr) -> bool {
    const REST_LEN: usize = 256 << 10;
    let mut client = Client::connect(addr);
    // Such a peer is given a large window.
    for seed in 0..4 {
        let mut sender = client.clone_for_thread();
        thread::scope(|scope| {
            scope.spawn(move || sender.send(&payload(seed, 8 << 20)));
            client.expect(&payload(seed, 8 << 20));
        });
    }
    let sent = frame(&payload(5, REST_LEN + 10_000));
    let since = Instant::now();
    begin(&mut client, &sent[..10_004]);
    let mut has_arrived = false;
    while_stopped(server, since, || {
        client.send_bytes(&sent[10_004..]);
        let unread = || unread(addr, client.stream.local_addr().unwrap());
        has_arrived = holds_within(DEADLINE / 4, || unread() == REST_LEN);
    });
    if has_arrived {
        client.expect(&sent[4..]);
    }
    has_arrived
}

/// How many bytes lie unread in the socket at `local`, whose peer is at `remote` (`proc_net_tcp(5)`).
fn unread(local: SocketAddr, remote: SocketAddr) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let ports = [local, remote].map(|addr| format!(":{:04X}", addr.port()));
    let row = table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        (fields[1].ends_with(&ports[0]) && fields[2].ends_with(&ports[1])).then(|| fields[4].to_owned())
    });
    usize::from_str_radix(row.unwrap().split_once(':').unwrap().1, 16).unwrap()
}

#[test]
fn peer_that_read_while_stopped_is_not_late() {
    let (server, addr) = Process::serve(&["--write-timeout", DEADLINE_FLAG]);
    let mut client = Client::connect_narrow(addr);
    let sent = payload(1, 4 << 20);
    client.send(&sent);
    // The reply has begun, and is too long for the sockets.
    client.stream.peek(&mut [0]).unwrap();
    let since = Instant::now();
    let mut received = Vec::new();
    while_stopped(&server, since, || {
        let mut buf = vec![0; 1 << 20];
        while let Some(read) = client.read_within(Duration::from_millis(200), &mut buf) {
            received.extend_from_slice(&buf[..read.unwrap()]);
        }
    });
    assert!(received.len() > 4 && received.len() < sent.len(), "{} bytes came", received.len());
    let mut rest = vec![0; 4 + sent.len() - received.len()];
    read_exact(&mut client.stream, &mut rest);
    received.extend_from_slice(&rest);
    assert!(received == frame(&sent));
}

fn read_exact(stream: &mut TcpStream, buf: &mut [u8]) {
    std::io::Read::read_exact(stream, buf).unwrap();
}

#[test]
fn frame_received_while_stopped_counts_against_idle() {
    let (server, addr) = Process::serve(&["--idle-timeout", DEADLINE_FLAG]);
    let (mut busy, mut silent) = (connect_and_ping(addr), connect_and_ping(addr));
    while_stopped(&server, Instant::now(), || busy.send(b"not idle"));
    busy.expect(b"not idle");
    busy.call(b"and further");
    assert_eq!(silent.end(), End::InOrder);
}

#[test]
fn a_signal_that_came_meanwhile_drains() {
    let (server, addr) = Process::serve(&["--drain-timeout", DEADLINE_FLAG]);
    let mut client = connect_and_ping(addr);
    while_stopped(&server, Instant::now(), || {
        server.signal("TERM");
        client.send(b"before the drain was begun");
    });
    client.expect(b"before the drain was begun");
    assert_eq!(client.end(), End::InOrder);
    client.stream.shutdown(Shutdown::Both).unwrap();
    drop(client);
    assert_eq!(server.outcome().drain_report(), (1, 0, 0));
}
