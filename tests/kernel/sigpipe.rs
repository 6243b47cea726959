//! A program that has SIGPIPE at its default disposition, which kills: as an embedder's may be that is not written in
//! Rust, or that wants to end with the pipeline that it stands in.

use std::io::{Read, Write, pipe};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use std::{env, fs};

use frameloop::client::Client as FramesClient;
use frameloop::{Address, Config, Connection, Frame, Handler, Reactor};
use procfs_core::FromRead;
use procfs_core::process::Status;
use signal_hook::consts::SIGPIPE;

use crate::part;
use crate::support::{Client, PATIENCE, frame};

const PEERS: u64 = 200;

/// Set where a part is played.
const PLAYED: &str = "FRAMELOOP_TEST_PLAYED";

/// Sends a frame back where it lies; or, asked by its first byte, an answer that goes out in a call of several pieces.
struct Answers;

const BRIEF: u8 = 7;
const LONG: u8 = 8;

impl Handler for Answers {
    type State = ();
    type Message = ();

    fn on_open(&mut self, _: &mut Connection<'_>) {}

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let _ = match frame.payload() {
            [LONG, ..] => conn.reply(&[LONG; 200_000]),
            _ => conn.reply_frame(frame),
        };
    }
}

/// What a peer asks: every second pair of them for long answers.
fn request(peer: u64) -> Vec<u8> {
    let kind = if (peer / 2).is_multiple_of(2) { BRIEF } else { LONG };
    frame(&[kind; 1_000]).repeat(3)
}

/// Gives SIGPIPE its default action back, which Rust's runtime takes away before `main`.
fn is_played_with_the_default_action() -> bool {
    if env::var_os(PLAYED).is_none() {
        return false;
    }
    signal_hook::flag::register_conditional_default(SIGPIPE, Arc::new(AtomicBool::new(true))).unwrap();
    let status = Status::from_file("/proc/self/status").unwrap();
    assert_eq!(status.sigign >> (SIGPIPE - 1) & 1, 0, "SIGPIPE is ignored");
    true
}

fn play(name: &str) -> Output {
    part(name).env(PLAYED, "").output().unwrap()
}

/// Not a test of its own: shows that here SIGPIPE does kill.
#[test]
#[ignore = "is run by another test"]
fn part_of_a_program_that_writes_to_a_pipe_without_a_reader() {
    if !is_played_with_the_default_action() {
        return;
    }
    let (reader, mut writer) = pipe().unwrap();
    drop(reader);
    println!("wrote: {:?}", writer.write(b"to nobody"));
}

/// Not a test of its own: a program with a reactor whose peers go away with replies on their way to them.
#[test]
#[ignore = "is run by another test"]
fn part_of_a_program_whose_tcp_peers_go_away() {
    if !is_played_with_the_default_action() {
        return;
    }
    let mut reactor = Reactor::new(Config::default(), Answers).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    let Address::Tcp(addr) = reactor.listen(&any.into()).unwrap() else { panic!() };
    for peer in 0..PEERS {
        let mut client = Client::connect(addr);
        turn_until(&mut reactor, |reactor| reactor.stats().accepted == peer + 1);
        client.send_bytes(&request(peer));
        // Behind a FIN, a reset makes the write fail with EPIPE, and not with ECONNRESET.
        if peer % 2 == 0 {
            client.finish();
        }
        client.reset();
        turn_until(&mut reactor, |reactor| reactor.stats().connections == 0);
    }
    report(&reactor);
}

/// Not a test of its own: the same on a Unix socket.
#[test]
#[ignore = "is run by another test"]
fn part_of_a_program_whose_unix_peers_go_away() {
    if !is_played_with_the_default_action() {
        return;
    }
    let path = socket_path();
    let mut reactor = Reactor::new(Config::default(), Answers).unwrap();
    reactor.listen(&Address::Unix(path.clone())).unwrap();
    for peer in 0..PEERS {
        let mut client = UnixStream::connect(&path).unwrap();
        turn_until(&mut reactor, |reactor| reactor.stats().accepted == peer + 1);
        client.write_all(&request(peer)).unwrap();
        drop(client);
        turn_until(&mut reactor, |reactor| reactor.stats().connections == 0);
    }
    report(&reactor);
}

/// Not a test of its own: a program with a blocking client whose server goes away.
#[test]
#[ignore = "is run by another test"]
fn part_of_a_program_whose_server_goes_away() {
    if !is_played_with_the_default_action() {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = FramesClient::connect(listener.local_addr().unwrap(), Some(PATIENCE)).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    // FIN, and RST as soon as something comes.
    client.send(b"never read").unwrap();
    accepted.read_exact(&mut [0]).unwrap();
    drop(accepted);
    let mut failed = (0..10).filter(|_| client.send(&[7; 1_000]).is_err()).count();

    let path = socket_path();
    let listener = UnixListener::bind(&path).unwrap();
    let mut client = FramesClient::connect_unix(&path, Some(PATIENCE)).unwrap();
    fs::remove_file(&path).unwrap();
    drop(listener.accept().unwrap());
    failed += (0..10).filter(|_| client.send(&[7; 1_000]).is_err()).count();
    println!("alive, {failed} writes failed");
}

fn socket_path() -> PathBuf {
    env::temp_dir().join(format!("frameloop-sigpipe-{}.sock", std::process::id()))
}

fn turn_until(reactor: &mut Reactor<Answers>, is_so: impl Fn(&Reactor<Answers>) -> bool) {
    let begun = Instant::now();
    while !is_so(reactor) {
        assert!(begun.elapsed() < PATIENCE, "{}", reactor.stats());
        let _ = reactor.turn(Some(Duration::from_millis(1))).unwrap();
    }
}

fn report(reactor: &Reactor<Answers>) {
    let stats = reactor.stats();
    assert_eq!(stats.closed_total(), PEERS, "{stats}");
    println!("alive, {} writes failed", stats.writes.failed);
}

/// How many writes of a part failed, none of which has killed it.
#[track_caller]
fn failed_writes(name: &str) -> u64 {
    let output = play(name);
    assert_eq!(output.status.signal(), None, "it was killed: {output:?}");
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let count = stdout.split_once("alive, ").and_then(|(_, rest)| rest.split(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{stdout}"))
}

#[test]
fn a_broken_pipe_kills_a_program_that_does_not_ignore_it() {
    let output = play("sigpipe::part_of_a_program_that_writes_to_a_pipe_without_a_reader");
    assert_eq!(output.status.signal(), Some(SIGPIPE), "{output:?}");
}

#[test]
fn writing_to_tcp_peers_that_are_gone_raises_no_sigpipe() {
    let failed = failed_writes("sigpipe::part_of_a_program_whose_tcp_peers_go_away");
    assert!(failed >= PEERS / 2, "{failed} writes to {PEERS} peers failed");
}

#[test]
fn writing_to_unix_peers_that_are_gone_raises_no_sigpipe() {
    let failed = failed_writes("sigpipe::part_of_a_program_whose_unix_peers_go_away");
    assert!(failed >= PEERS / 2, "{failed} writes to {PEERS} peers failed");
}

#[test]
fn a_client_whose_server_is_gone_raises_no_sigpipe() {
    let failed = failed_writes("sigpipe::part_of_a_program_whose_server_goes_away");
    assert!(failed > 10, "{failed} writes of 20 failed");
}
