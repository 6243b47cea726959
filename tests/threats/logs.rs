//! The log: named protocols, ten lines per second, and nothing in them that a peer could have put there.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use frameloop::wire::Protocol;
use frameloop::{Address, Config, Echo, Reactor};
use log::Level;
use proptest::collection::vec;
use proptest::prelude::*;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::capture::{Line, log_of, sum_so_far};
use crate::support::stepped::{Hooks, PATIENCE, Server, frame, reset};
use crate::support::{self, Client, Process, connect_and_ping};

/// Seen without being asked for.
fn by_default(lines: &[Line]) -> impl Iterator<Item = &Line> {
    lines.iter().filter(|line| line.level <= Level::Info)
}

#[test]
fn another_protocol_is_named_in_one_log_line_and_counted() {
    let client_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let openings: [(&[u8], Protocol, &str); 6] = [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", Protocol::Http, "looks like HTTP"),
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", Protocol::Http, "looks like HTTP"),
        (&client_hello, Protocol::Tls, "looks like TLS"),
        (&[0x16, 0x03, 0x03, 0x00, 0x05], Protocol::Tls, "looks like TLS"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", Protocol::Ssh, "looks like SSH"),
        (b"\x05\0\0\0hello", Protocol::LittleEndian, "looks like a little-endian length of 5"),
    ];
    for (opening, protocol, name) in openings {
        let mut server = Server::new(Config::default(), Hooks::default());
        let lines = log_of(|| {
            let client = server.connect();
            server.write(&client, opening);
            drop(server.read_to_end(&client));
            drop(client);
            server.closed(1);
        });
        let shown: Vec<_> = by_default(&lines).collect();
        assert!(shown.len() == 1 && shown[0].level == Level::Warn && shown[0].text.contains(name), "{shown:?}");
        let counts = Protocol::ALL.map(|other| server.reactor.stats().looked_like(other));
        assert_eq!(counts, Protocol::ALL.map(|other| u64::from(other == protocol)), "{name}");
    }
}

/// Longer than a second, so that each site's limit of ten lines per second begins again.
const FLOOD: Duration = Duration::from_millis(1_100);
const LINES_A_SECOND: usize = 10;
const SECOND: Duration = Duration::from_secs(1);

/// How many events a line reports.
fn events_of(line: &Line) -> u64 {
    match line.text.strip_prefix("suppressed ").and_then(|rest| rest.split_once(' ')) {
        Some((count, _)) => count.parse().unwrap(),
        None => u64::from(line.level <= Level::Info),
    }
}

/// Floods a server until it has logged for more than a second, waits until each suppressed line is counted, and checks the
/// limit. `mark` is what the lines have in common; `place` is their name in the line that counts the suppressed ones.
#[track_caller]
fn assert_few_lines(server: &mut Server<Hooks>, mark: &str, place: &str, flood: impl Fn(&mut Server<Hooks>)) {
    let mut events = 0;
    let lines = log_of(|| {
        let begun = Instant::now();
        while begun.elapsed() < FLOOD {
            flood(server);
            events += 1;
        }
        server.turn_until("each event to be logged or counted", |_| sum_so_far(events_of) == events);
    });
    let shown: Vec<_> = by_default(&lines).collect();
    let (suppressed, of_site): (Vec<&Line>, Vec<&Line>) =
        shown.iter().partition(|line| line.text.starts_with("suppressed "));
    assert!(of_site.iter().all(|line| line.text.contains(mark)), "{shown:?}");
    assert!(suppressed.iter().all(|line| line.text.contains(place)), "{shown:?}");
    for (site, max) in [(&of_site, LINES_A_SECOND), (&suppressed, 1)] {
        for some in site.windows(max + 1) {
            let took = some[max].at - some[0].at;
            // A line is written some time after its turn began, which is what it is counted by.
            assert!(took > SECOND - SECOND / 4, "{} lines within {took:?}: {some:#?}", max + 1);
        }
    }
    let counted: u64 = suppressed.iter().map(|line| events_of(line)).sum();
    println!("{events} events, {} lines, {counted} counted in {} lines", of_site.len(), suppressed.len());
    assert!(events > 5 * LINES_A_SECOND as u64 && of_site.len() >= LINES_A_SECOND, "that is no flood");
    assert_eq!((of_site.len() as u64 + counted, server.reactor.stats().log_lines_left_out), (events, counted));
}

#[test]
fn flood_of_resets_logs_ten_lines_per_second() {
    let mut server = Server::new(Config::default(), Hooks::default());
    assert_few_lines(&mut server, "the peer reset the connection", "connections that ended abruptly", |server| {
        let client = server.connect();
        reset(client);
        let ended = server.log().closed.len() + 1;
        server.closed(ended);
    });
}

#[test]
fn flood_of_refusals_logs_ten_lines_per_second() {
    let config = Config::builder().max_connections(1).build().unwrap();
    let mut server = Server::new(config, Hooks::default());
    let _first = server.connect();
    assert_few_lines(&mut server, "the limit of 1 connections", "refused connections", |server| drop(server.connect()));
}

#[test]
fn flood_of_handler_panics_logs_ten_lines_per_second() {
    // This bypasses the panic hook, which would print each.
    let hooks = Hooks::default().on_frame(|_, _| resume_unwind(Box::new("a panic that is part of the test")));
    let mut server = Server::new(Config::default(), hooks);
    assert_few_lines(&mut server, "on_frame panicked: a panic that is part of the test", "handler panics", |server| {
        let client = server.connect();
        server.write(&client, &frame(b"panic"));
        drop(server.read_to_end(&client));
        drop(client);
        let ended = server.log().closed.len() + 1;
        server.closed(ended);
    });
}

/// What a terminal, a pager or a log shipper could take for more than text.
#[track_caller]
fn assert_harmless(lines: &[Line]) {
    for line in lines {
        let harmful = line.text.chars().find(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(c));
        assert_eq!(harmful, None, "{:?}", line.text);
    }
}

/// Bytes as a peer would send them who wants to be read: control bytes, and text in between.
fn nasty_bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(&b"\x1b\r\n\x07\x08\x00\x7f\x9b\x9d[31m;"[..]),
        1 => any::<u8>(),
    ];
    vec(byte, 0..len)
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Fin,
    Reset,
    Silence,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_log_line_at_any_level_holds_a_control_byte_of_a_peer(
        raw in nasty_bytes(200),
        payloads in vec(nasty_bytes(60), 0..4),
        panics in any::<bool>(),
        end in prop::sample::select(&[Ending::Fin, Ending::Reset, Ending::Silence][..]),
    ) {
        let mut server = talkative(panics);
        let lines = log_of(|| {
            let client = server.connect();
            let all: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).chain(raw).collect();
            server.write(&client, &all);
            turn_some(&mut server);
            finish(client, end);
            turn_some(&mut server);
            server.reactor.stop();
            turn_some(&mut server);
        });
        assert!(lines.iter().any(|line| line.level == Level::Trace), "the log is not captured");
        assert_harmless(&lines);
    }
}

/// Its handler puts what peers send into its panics.
fn talkative(panics: bool) -> Server<Hooks> {
    let hooks = Hooks::default().on_frame(move |conn, frame| {
        if panics {
            resume_unwind(Box::new(String::from_utf8_lossy(frame.payload()).into_owned()));
        }
        let _ = conn.reply_frame(frame);
    });
    Server::new(Config::builder().max_payload(1_000).build().unwrap(), hooks)
}

fn turn_some(server: &mut Server<Hooks>) {
    for _ in 0..3 {
        let _ = server.reactor.turn(Some(Duration::ZERO)).unwrap();
    }
}

fn finish(client: TcpStream, end: Ending) {
    match end {
        Ending::Fin => client.shutdown(Shutdown::Write).unwrap(),
        Ending::Reset => reset(client),
        Ending::Silence => {}
    }
}

#[test]
fn the_name_of_a_unix_socket_of_a_peer_is_not_logged() {
    let path = |name: &str| env::temp_dir().join(format!("frameloop-logs-{}-{name}", process::id()));
    let (server_path, client_path) = (path("server"), path("\x1b[31m\r\nclient"));
    let mut reactor = Reactor::new(Config::default(), Echo).unwrap();
    reactor.listen(&Address::Unix(server_path.clone())).unwrap();
    let lines = log_of(|| {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&client_path).unwrap()).unwrap();
        socket.connect(&SockAddr::unix(&server_path).unwrap()).unwrap();
        let mut client = UnixStream::from(socket);
        client.write_all(b"\xff\xff\xff\xff").unwrap();
        let begun = Instant::now();
        while reactor.stats().bytes_in < 4 {
            assert!(begun.elapsed() < PATIENCE);
            let _ = reactor.turn(Some(Duration::from_millis(1))).unwrap();
        }
        reactor.stop();
        let _ = reactor.turn(Some(Duration::ZERO)).unwrap();
    });
    fs::remove_file(client_path).unwrap();
    assert!(lines.iter().any(|line| line.text.contains("unix")), "{lines:?}");
    assert_harmless(&lines);
}

#[test]
fn each_log_line_is_the_servers_own() {
    let (server, addr) = Process::serve(&["-vv"]);
    let mut bystander = connect_and_ping(addr);
    // Too long for a buffer of its own, it is handed over in another way.
    let long = frame(&b"\x1b[31m\r\nforged\x9b".repeat(10_000));
    let texts: [&[u8]; 7] = [
        &long,
        b"GET /\x1b]0;title\x07 HTTP/1.1\r\n\r\n[1970-01-01T00:00:00.000Z WARN  forged] line\r\n",
        b"\x1b[31mred",
        b"\r\n[1970-01-01T00:00:00.000Z WARN  forged] line\n",
        b"\0\0\0\x0a\x1b[2J\r\n\x07\x08\x7f\x9b",
        b"\n\n\n\n",
        b"SSH-2.0-\x1b[0m\r\n",
    ];
    for text in texts {
        let mut client = Client::connect(addr);
        client.send_bytes(text);
        client.finish();
        while client.receive().is_ok() {}
    }
    bystander.call(b"unharmed");
    bystander.finish();
    assert_eq!(bystander.end(), support::End::InOrder);
    server.signal("TERM");
    let outcome = server.outcome();
    assert!(outcome.stderr.lines().count() > 30, "{outcome:?}");
    for line in outcome.stderr.lines() {
        let is_own = line.starts_with('[') && line.contains("Z ") && line.contains(" frameloop");
        assert!(is_own && !line.contains("forged") && !line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn noisy_address_hides_no_line_about_twenty_others() {
    let (server, addr) = Process::serve(&[]);
    let is_over = AtomicBool::new(false);
    let (noisy, lines) = thread::scope(|scope| {
        let noise = scope.spawn(|| {
            let (mut count, begun) = (0, Instant::now());
            // A test that fails does not say that it is over.
            while !is_over.load(Ordering::Relaxed) && begun.elapsed() < 2 * PATIENCE {
                let mut client = Client::connect(addr);
                client.send_bytes(b"GET / HTTP/1.1\r\n\r\n");
                client.reset();
                count += 1;
            }
            count
        });
        // Its lines are being left out by now.
        server.stderr_line_with("suppressed ");
        let lines: Vec<String> = (1..=20)
            .map(|host| {
                let mut client = Client::connect_from([127, 8, 0, host], addr);
                client.send_bytes(b"GET / HTTP/1.1\r\n\r\n");
                let _ = client.receive();
                drop(client);
                server.stderr_line_with(&format!(" 127.8.0.{host}:"))
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        (noise.join().unwrap(), lines)
    });
    assert!(lines.iter().all(|line| line.contains("WARN")), "{lines:?}");
    assert!(noisy > 100, "{noisy} connections are no noise");
    server.signal("TERM");
    assert_eq!(server.outcome().code, Some(0));
}
