//! `frameloop serve`: listeners, signals, counters, and the lines that scripts wait for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, io};

use frameloop::wire::{HEADER_LEN, encode_header};
use procfs_core::FromRead;
use procfs_core::process::{LimitValue, Limits};

use crate::at_once;
use crate::serve;
use crate::support::process::{Outcome, PATIENCE, Process, frameloop, outcome, outcome_with_input};

/// A path for a socket that no other test takes, gone again afterwards.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> Self {
        Self(env::temp_dir().join(format!("frameloop-cli-{}-{name}.sock", std::process::id())))
    }

    fn addr(&self) -> String {
        format!("unix:{}", self.0.display())
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A client that has sent a frame too long for the socket's buffers, has seen its reply begin, and reads no further.
fn stuck_reader(addr: &str) -> TcpStream {
    const PAYLOAD_LEN: u32 = 64 << 20;
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&encode_header(PAYLOAD_LEN)).unwrap();
    client.write_all(&vec![7; PAYLOAD_LEN as usize]).unwrap();
    let mut header = [0; HEADER_LEN];
    client.read_exact(&mut header).unwrap();
    assert_eq!(header, encode_header(PAYLOAD_LEN));
    client
}

/// The three numbers of `drained N connections, cut M (B bytes unsent)`.
#[track_caller]
fn drain_report(outcome: &Outcome) -> (u64, u64, u64) {
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let line = outcome.stdout.strip_suffix('\n').unwrap();
    let numbers = line.strip_prefix("drained ").and_then(|rest| rest.strip_suffix(" bytes unsent)"));
    let (drained, rest) = numbers.and_then(|rest| rest.split_once(" connections, cut ")).unwrap();
    let (cut, unsent) = rest.split_once(" (").unwrap();
    (drained.parse().unwrap(), cut.parse().unwrap(), unsent.parse().unwrap())
}

/// A server that the shell starts, with `limits` set before.
fn serve_limited(limits: &str, args: &[&str]) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {limits} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_frameloop")]);
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(args).env_clear();
    Process::start(&mut command)
}

#[test]
fn each_listener_is_announced_in_one_line() {
    let socket = SocketPath::new("listeners");
    let server = Process::start(&mut frameloop(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "localhost:0",
        "--listen",
        &socket.addr(),
    ]));
    let addrs = [server.listening_on(), server.listening_on(), server.listening_on()];
    assert!(addrs[0].starts_with("127.0.0.1:") && addrs[0] != "127.0.0.1:0", "{addrs:?}");
    assert_eq!(addrs[2], socket.addr());
    for addr in &addrs {
        let reply = outcome_with_input(&mut frameloop(&["connect", addr]), b"hi");
        assert_eq!((reply.code, reply.stdout.as_str()), (Some(0), "hi\n"), "{addr}: {reply:?}");
    }
}

#[test]
fn ipv6_address_is_printed_in_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no ::1");
        return;
    }
    let server = Process::start(&mut frameloop(&["serve", "--listen", "[::1]:0"]));
    let addr = server.listening_on();
    assert!(addr.starts_with("[::1]:") && TcpStream::connect(&addr).is_ok(), "{addr}");
}

#[test]
fn each_framing_echoes_its_frames() {
    let rows: [(&str, &[u8]); 6] = [
        ("u16le", b"\x02\0hi\0\0"),
        ("varint,offset=1", b"\x10\x02hi\xc0\0"),
        ("u32be,adjust=-4", b"\0\0\0\x06hi"),
        ("lines", b"hi\r\n\n"),
        ("exact:2", b"hi--"),
        ("raw", b"anything"),
    ];
    for (framing, bytes) in rows {
        let (_server, addr) = Process::serve(&["--framing", framing]);
        let mut client = TcpStream::connect(addr).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(bytes).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, bytes, "{framing}");
    }
}

#[test]
fn flags_override_the_environment() {
    let socket = SocketPath::new("environment");
    let listen = format!("127.0.0.1:0,{}", socket.addr());
    let server =
        Process::start(frameloop(&["serve"]).env("FRAMELOOP_LISTEN", &listen).env("FRAMELOOP_REUSE_PORT", "1"));
    assert!(server.listening_on().starts_with("127.0.0.1:"));
    assert_eq!(server.listening_on(), socket.addr());

    let refused = outcome(frameloop(&["serve"]).env("FRAMELOOP_MAX_PAYLOAD", "big"));
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.starts_with("error: invalid value 'big' for '--max-payload <SIZE>'"), "{refused:?}");

    let mut command = frameloop(&["serve", "--listen", "127.0.0.1:0"]);
    let server = Process::start(command.env("FRAMELOOP_LISTEN", "192.0.2.7:7"));
    assert!(server.listening_on().starts_with("127.0.0.1:"));
}

#[test]
fn a_port_in_use_is_a_failure_in_one_line() {
    let (_server, addr) = serve(&[]);
    let second = outcome(&mut frameloop(&["serve", "--listen", &addr]));
    assert_eq!((second.code, second.stdout.as_str()), (Some(1), ""), "{second:?}");
    assert!(second.stderr.contains(&format!("error: cannot listen on {addr}: ")), "{second:?}");
}

#[test]
fn no_listener_is_announced_when_one_fails() {
    let (_server, addr) = serve(&[]);
    let second = outcome(&mut frameloop(&["serve", "--listen", "127.0.0.1:0", "--listen", &addr]));
    assert_eq!((second.code, second.stdout.as_str()), (Some(1), ""), "{second:?}");
}

#[test]
fn a_port_can_be_shared_by_those_that_agree_to() {
    let (_server, addr) = serve(&["--reuse-port"]);
    let second = Process::start(&mut frameloop(&["serve", "--reuse-port", "--listen", &addr]));
    assert_eq!(second.listening_on(), addr);
}

#[test]
fn existing_socket_path_is_an_error_and_stays() {
    let socket = SocketPath::new("exists");
    fs::write(&socket.0, "precious").unwrap();
    let refused = outcome(&mut frameloop(&["serve", "--listen", &socket.addr()]));
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.stderr.contains(&format!("error: cannot listen on {}: ", socket.addr())), "{refused:?}");
    assert_eq!(fs::read_to_string(&socket.0).unwrap(), "precious");
}

#[test]
fn a_socket_path_is_removed_at_the_end() {
    let socket = SocketPath::new("removed");
    let server = Process::start(&mut frameloop(&["serve", "--listen", &socket.addr()]));
    server.listening_on();
    assert!(fs::symlink_metadata(&socket.0).unwrap().file_type().is_socket());
    server.signal("TERM");
    assert_eq!(drain_report(&server.outcome()), (0, 0, 0));
    assert!(!socket.0.exists());
}

#[test]
fn an_address_of_another_machine_is_a_failure() {
    // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
    let refused = outcome(&mut frameloop(&["serve", "--listen", "192.0.2.7:0"]));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("error: cannot listen on 192.0.2.7:0: "), "{refused:?}");
}

#[test]
fn signal_drains_and_last_line_reports_it() {
    for signal in ["TERM", "INT"] {
        let (server, addr) = serve(&[]);
        let mut client = TcpStream::connect(&addr).unwrap();
        client.write_all(b"\0\0\0\x02hi").unwrap();
        let mut reply = [0; 6];
        client.read_exact(&mut reply).unwrap();

        server.signal(signal);
        assert_eq!(drain_report(&server.outcome()), (1, 0, 0), "SIG{signal}");
        assert_eq!(client.read(&mut reply).unwrap(), 0, "the drain ended the connection in order");
    }
}

#[test]
fn log_and_lines_for_scripts_are_in_order_on_one_pipe() {
    const CLIENTS: usize = 300;
    // Which thread is faster is chance.
    at_once(0..6, |_| {
        let script = "exec \"$0\" serve -v --listen 127.0.0.1:0 2>&1";
        let command = ["-c", script, env!("CARGO_BIN_EXE_frameloop")];
        let server = Process::start(Command::new("/bin/sh").args(command).env_clear());
        assert!(server.stdout_line().contains("] listening on "));
        assert!(server.stdout_line().contains("] --memory is "));
        let addr = server.listening_on();
        let _clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(&addr).unwrap()).collect();
        server.signal("TERM");
        // The end of a drain logs a line for each client, just before the last line.
        let end = server.outcome().stdout;
        assert_eq!(end.matches(": closed: ").count(), CLIENTS, "{end}");
        let last = end.lines().last().unwrap_or_default();
        assert!(last.starts_with("drained "), "{last}");
    });
}

#[test]
fn two_signals_at_once_are_one() {
    let (server, addr) = serve(&["--max-payload", "64MiB", "--drain-timeout", "1h"]);
    let mut client = stuck_reader(&addr);
    // Of two different kinds: the kernel may merge two of one kind before the process has run.
    server.signal("INT TERM");
    server.stderr_line_with("draining");
    let read = io::copy(&mut client, &mut io::sink()).unwrap();
    assert_eq!(read, 64 << 20);
    drop(client);
    assert_eq!(drain_report(&server.outcome()), (1, 0, 0));
}

#[test]
fn sigusr1_logs_the_counters_at_the_default_level() {
    let (server, addr) = serve(&[]);
    for _ in 0..2 {
        server.signal("USR1");
        let line = server.stderr_line_with("frameloop::stats");
        assert!(line.contains("INFO") && line.contains("accepted"), "{line}");
    }
    assert!(TcpStream::connect(&addr).is_ok());
    server.signal("TERM");
    assert_eq!(server.outcome().code, Some(0));
}

#[test]
fn counters_are_logged_at_an_interval() {
    let (server, _) = serve(&["--stats-interval", "10ms"]);
    for _ in 0..3 {
        assert!(server.stderr_line_with("frameloop::stats").contains("accepted"));
    }
}

#[test]
fn lint_finds_nothing_in_a_healthy_exchange() {
    let (server, addr) = serve(&["--lint"]);
    let mut client = frameloop::client::Client::connect(&*addr, Some(PATIENCE)).unwrap();
    for len in (0..500).chain([100_000, 1 << 20]) {
        assert_eq!(client.call(&vec![7; len]).unwrap(), vec![7; len]);
    }
    drop(client);
    let line = server.counters();
    assert!(line.contains("frames in 502") && !line.contains("lint"), "{line}");
    server.signal("TERM");
    let ended = server.outcome();
    assert!(ended.code == Some(0) && !ended.stderr.contains("lint"), "{ended:?}");
}

#[test]
fn lint_logs_a_peer_that_finishes_and_does_not_read() {
    const PAYLOAD_LEN: u32 = 16 << 20;
    let (server, addr) = serve(&["--lint"]);
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(&encode_header(PAYLOAD_LEN)).unwrap();
    client.write_all(&vec![7; PAYLOAD_LEN as usize]).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let line = server.stderr_line_with("lint: stalled half-close: ");
    let peer = format!("[0.1] {}: lint: ", client.local_addr().unwrap());
    assert!(line.contains("WARN") && line.contains(&peer) && line.ends_with("see \"Half-close\""), "{line}");
    let counters = server.counters();
    assert!(counters.contains("lints: stalled half-close 1"), "{counters}");
}

#[test]
fn quiet_logs_the_counters_that_are_asked_for_and_nothing_else() {
    for (args, is_asked) in [(["--stats-interval", "10ms"], false), (["--stats-interval", "0"], true)] {
        let (server, _) = serve(&[&["-q"][..], &args].concat());
        if is_asked {
            server.signal("USR1");
        }
        server.stderr_line_with("accepted");
        server.signal("TERM");
        let ended = server.outcome();
        assert!(ended.code == Some(0) && ended.stderr.lines().all(|line| line.contains("accepted")), "{ended:?}");
    }
}

#[test]
fn rust_log_of_another_crate_silences_no_warning() {
    for filters in ["", " ", ",", "hyper=debug", "hyper"] {
        let mut command = frameloop(&["serve", "--listen", "127.0.0.1:0", "--max-connections", "1"]);
        let server = Process::start(command.env("RUST_LOG", filters));
        let addr = server.listening_on();
        let _first = TcpStream::connect(&addr).unwrap();
        let _second = TcpStream::connect(&addr).unwrap();
        assert!(server.stderr_line_with("refused").contains("WARN"), "RUST_LOG={filters:?}");
    }
    let mut command = frameloop(&["serve", "--listen", "127.0.0.1:0", "-q"]);
    let server = Process::start(command.env("RUST_LOG", "frameloop=debug"));
    TcpStream::connect(server.listening_on()).unwrap();
    server.stderr_line_with("DEBUG");
}

#[test]
fn invalid_rust_log_is_a_warning_in_the_log() {
    let mut command = frameloop(&["serve", "--listen", "127.0.0.1:0"]);
    let server = Process::start(command.env("RUST_LOG", "frameloop=loud,mio=debug"));
    let line = server.stderr_line_with("RUST_LOG");
    assert!(line.contains("WARN") && line.contains("frameloop=loud"), "{line}");
    server.listening_on();
}

#[test]
fn verbosity_grows_from_connections_to_their_steps() {
    for (flag, level) in [("-v", "DEBUG"), ("-vv", "TRACE")] {
        let (server, addr) = serve(&[flag]);
        drop(TcpStream::connect(&addr).unwrap());
        server.stderr_line_with(level);
        server.signal("TERM");
        let ended = server.outcome();
        assert!(flag == "-vv" || !ended.stderr.contains("TRACE"), "{ended:?}");
    }
}

#[test]
fn the_log_has_no_colour_without_a_terminal() {
    let (server, addr) = serve(&["-vv"]);
    drop(TcpStream::connect(&addr).unwrap());
    server.stderr_line_with("TRACE");
    server.signal("TERM");
    let ended = server.outcome();
    assert!(!ended.stderr.contains('\x1b') && !ended.stdout.contains('\x1b'), "{ended:?}");
}

#[test]
fn more_connections_than_descriptors_is_one_warning() {
    let server = serve_limited("-n 64", &["--max-connections", "200"]);
    let line = server.stderr_line_with("--max-connections");
    for needle in ["WARN", "is 200", "64 open files", "room for 31", "LimitNOFILE=233"] {
        assert!(line.contains(needle), "no {needle:?} in {line}");
    }
    assert!(TcpStream::connect(server.listening_on()).is_ok());
}

#[cfg(target_os = "linux")]
#[test]
fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let server = serve_limited("-S -n 64 && ulimit -H -n 256", &["--max-connections", "200"]);
    server.listening_on();
    let limits = Limits::from_file(format!("/proc/{}/limits", server.id())).unwrap().max_open_files;
    let both = [&limits.soft_limit, &limits.hard_limit];
    assert!(matches!(both, [LimitValue::Value(256), LimitValue::Value(256)]), "{both:?}");

    server.signal("TERM");
    let ended = server.outcome();
    assert!(!ended.stderr.contains("--max-connections"), "{ended:?}");
}

#[test]
fn default_connection_limit_is_descriptors_less_reserve() {
    const ROOM: usize = 40 - 32 - 1;
    let server = serve_limited("-n 40", &[]);
    let addr = server.listening_on();
    let mut clients: Vec<TcpStream> = (0..=ROOM).map(|_| TcpStream::connect(&addr).unwrap()).collect();
    let mut answered = 0;
    for client in &mut clients {
        let mut reply = [0; 6];
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        // One that is refused may be reset while it writes or while it reads.
        answered += usize::from(client.write_all(b"\0\0\0\x02hi").and_then(|()| client.read_exact(&mut reply)).is_ok());
    }
    assert_eq!(answered, ROOM);
}

#[test]
fn a_server_whose_stdout_is_gone_serves_on_and_does_not_panic() {
    let (reader, writer) = io::pipe().unwrap();
    let mut reader = BufReader::new(reader);
    let server = Process::start_onto(writer, &mut frameloop(&["serve", "--listen", "127.0.0.1:0"]));
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    drop(reader);
    assert!(TcpStream::connect(line.trim_end().strip_prefix("listening on ").unwrap()).is_ok());
    server.signal("TERM");
    let ended = server.outcome();
    assert!(ended.code == Some(0) && !ended.stderr.contains("panicked"), "{ended:?}");

    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = frameloop(&["serve", "--listen", "127.0.0.1:0", "--stats-interval", "1ms"]);
    let server = Process::start_onto(writer, &mut command);
    server.stderr_line_with("accepted");
    server.signal("TERM");
    let ended = server.outcome();
    assert!(ended.code == Some(0) && !ended.stderr.contains("panicked"), "{ended:?}");
}

#[test]
fn a_refused_address_is_logged_with_the_prefix_that_counts() {
    for (prefix, shown) in [
        ("32,64", "the limit of 1 connections from 127.0.0.1 is"),
        ("24,64", "the limit of 1 connections from 127.0.0.0/24 is"),
    ] {
        let (server, addr) = serve(&["--max-per-ip", "1", "--ip-prefix", prefix]);
        let _clients = [(); 2].map(|()| TcpStream::connect(&addr).unwrap());
        let line = server.stderr_line_with("refused");
        assert!(line.contains("WARN") && line.contains(shown), "{line}");
    }
}
