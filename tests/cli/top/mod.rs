//! `frameloop top`: what it shows on a terminal, how it leaves it, and what it makes of servers that are no admin endpoint.

mod server;
mod terminal;

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::kill;

use crate::support::process::{Outcome, PATIENCE, frameloop, outcome};

use self::server::{CUT, DRIP, ENDLESS, SILENT, Server, connection, info};
use self::terminal::Terminal;

/// How often it asks in these tests.
const INTERVAL: [&str; 2] = ["--interval", "100ms"];

fn watch(addr: &str) -> Terminal {
    Terminal::start(&["top", INTERVAL[0], INTERVAL[1], addr], 80, 24)
}

#[test]
fn view_shows_totals_detail_filter_and_order() {
    let server = Server::on_port();
    let mut terminal = watch(&server.addr);
    terminal.shows(&["frameloop 0.1.0 serve", &server.addr, "connections 2 of 10,000", "1,234 in", "peer finished 1"]);
    terminal.shows(&["3.17      192.0.2.1:5000", "4.2       192.0.2.2:6000"]);
    terminal.types("\r");
    terminal.shows(&["connection 3.17", "pending output  4.00 KiB of 64.0 KiB", "idle deadline", "recv(65536) = 68"]);
    server.respond(
        "/connections/3.17",
        &connection("3.17", r#"[{"seq":2,"at":8,"kind":"write","text":"sent 5","state":"Open"}]"#),
    );
    terminal.shows(&["sent 5"]);
    server.forget("/connections/3.17");
    terminal.shows(&["closed: the id is stale", "sent 5"]);
    // Escape, which a further byte right behind it would make another key.
    terminal.types("\x1b");
    terminal.shows(&["2 of the 2 first by bytes"]);
    terminal.types("/2.2:\r");
    terminal.shows_when("4.2 alone", |screen| screen.contains("4.2       192") && !screen.contains("3.17      192"));
    terminal.types("\x1b");
    terminal.shows(&["3.17      192.0.2.1:5000"]);
    terminal.types("a");
    terminal.shows_when("4.2 first", |screen| screen.find("192.0.2.2") < screen.find("192.0.2.1"));
    terminal.shows(&["first by age"]);
    terminal.types("?");
    terminal.shows(&["quit", "sort by bytes, age or idle time"]);
    terminal.types("q");
    assert_eq!(terminal.code(), 0);
}

#[test]
fn view_follows_the_size_of_the_terminal() {
    let server = Server::on_port();
    let mut terminal = watch(&server.addr);
    terminal.shows(&["q quit  ? help  Enter detail  / filter  b bytes"]);
    terminal.resize(120, 40);
    terminal.shows(&["listening on 127.0.0.1:7007", "frames in", "paused by"]);
    terminal.resize(20, 5);
    terminal.shows(&["terminal too small:", "20x5, at least 40x10"]);
    terminal.resize(3, 1);
    terminal.resize(40, 10);
    terminal.shows(&["connections 2", "3.17"]);
    terminal.types("\x03");
    assert_eq!(terminal.code(), 0);
}

#[test]
fn view_reconnects_and_notices_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin");
    let server = Server::on_path(&path, 1);
    let mut terminal = watch(&server.addr);
    terminal.shows(&["3.17 "]);
    terminal.types("\r");
    terminal.shows(&["connection 3.17", "recv(65536) = 68"]);
    drop(server);
    terminal.shows(&["reconnecting ... cannot connect to unix:", "recv(65536) = 68"]);
    let _server = Server::on_path(&path, 2);
    terminal.shows_when("an end of the outage", |screen| {
        screen.contains("the server has restarted") && !screen.contains("reconnecting")
    });
    terminal.types("\x1b");
    terminal.shows(&["2 of the 2 first by bytes"]);
    terminal.types("q");
    assert_eq!(terminal.code(), 0);
}

#[test]
fn every_end_restores_the_terminal() {
    let server = Server::on_port();
    for (end, code) in [("q", 0), ("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let mut terminal = watch(&server.addr);
        terminal.shows(&["connections 2 of 10,000"]);
        assert!(terminal.is_on_alternate_screen() && terminal.settings() != terminal.before, "{end}");
        match end {
            "q" => terminal.types("q"),
            signal => terminal.signal(signal),
        }
        assert_eq!(terminal.code(), code, "{end}");
        terminal.writes(b"\x1b[?25h\x1b[?1049l");
        assert!(!terminal.is_on_alternate_screen() && terminal.settings() == terminal.before, "{end}");
    }
}

#[test]
fn view_writes_no_colors_with_no_color() {
    let server = Server::on_port();
    for (value, is_colored) in [("1", false), ("", true)] {
        let variables = [("TERM", "xterm"), ("NO_COLOR", value)];
        let mut terminal = Terminal::start_with(&["top", &server.addr], 80, 24, &variables);
        terminal.shows(&["connections 2 of 10,000", "frames/s in"]);
        terminal.types("q");
        assert_eq!(terminal.code(), 0);
        let bytes = terminal.bytes();
        assert_eq!(has_colors(&bytes), is_colored, "{:?}", bytes.escape_ascii().to_string());
    }
}

/// Whether there is a sequence (`ESC [ ... m`) with a code of a color: 30 to 49, or 90 to 107.
fn has_colors(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let sequences = text.split("\x1b[").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
        rest[end..].starts_with('m').then_some(&rest[..end])
    });
    let mut codes = sequences.flat_map(|codes| codes.split(';')).filter_map(|code| code.parse::<u8>().ok());
    codes.any(|code| (30..=49).contains(&code) || (90..=107).contains(&code))
}

#[test]
fn control_characters_of_the_server_are_escaped() {
    let server = Server::on_port();
    let evil = connection("3.17", "null").replace("192.0.2.1:5000", "\\u001b]0;title\\u0007\\u009b2J");
    server.respond("/connections?top=bytes&n=100", &format!(r#"{{"total":1,"top":[{evil}]}}"#));
    let mut terminal = watch(&server.addr);
    terminal.shows(&["\\x1b]0;title\\x07"]);
    terminal.types("q");
    assert_eq!(terminal.code(), 0);
    let bytes = terminal.bytes();
    assert!(!bytes.windows(4).any(|window| window == b"\x1b]0;") && !bytes.contains(&7));
}

#[test]
fn load_shows_its_run() {
    let server = Server::on_port();
    server.respond("/v1/info", &info("load", 1));
    server.respond(
        "/v1/status",
        r#"{"paused":false,"stage":"measuring","running":true,"connected":50,"connections":50}"#,
    );
    let run = r#"{"stage":"measuring","elapsed":1.5,"left":8.5,"connected":50,"connections":50,"sent":990,"errors":2,
        "errors_by":{"wrong reply":2},"latency":{"p50":0.0001,"p99":0.001,"p999":0.002,"max":0.003,"kind":"response"},"steps":[]}"#;
    let events = format!(": hello\n\nevent: sample\ndata: {{}}\n\nevent: run\ndata: {}\n\n", run.replace('\n', ""));
    server.send("/events", format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{events}"));
    let once = outcome(&mut frameloop(&["top", "--once", &server.addr]));
    assert!(once.code == Some(0) && once.stdout.contains("p99 1.00 ms"), "{once:?}");
    let mut terminal = watch(&server.addr);
    terminal.shows(&["stage       measuring", "8.50 s left", "p99 1.00 ms", "wrong reply 2"]);
    terminal.types("q");
    assert_eq!(terminal.code(), 0);
}

#[test]
fn summary_needs_no_terminal_and_the_view_does() {
    let server = Server::on_port();
    let once = outcome(&mut frameloop(&["top", "--once", &server.addr]));
    assert_eq!((once.code, once.stderr.as_str()), (Some(0), ""));
    let row = once.stdout.lines().find(|line| line.starts_with("3.17 ")).unwrap();
    assert!(row.contains("Open") && row.contains("4.00 KiB") && row.ends_with(" 192.0.2.1:5000"), "{row}");
    assert!(!once.stdout.contains('\x1b'));

    let refused = outcome(&mut frameloop(&["top", &server.addr]));
    assert_usage(&refused, "error: stdout is not a terminal: use --once for a summary as text");
    let dumb = Terminal::start_with(&["top", &server.addr], 80, 24, &[("TERM", "dumb")]);
    assert_eq!(dumb.code(), 2);
    dumb.shows(&["error: the terminal cannot be drawn on (TERM is dumb): use --once"]);
    assert!(!dumb.bytes().contains(&0x1b));
}

#[track_caller]
fn assert_usage(outcome: &Outcome, line: &str) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().next(), Some(line));
}

#[test]
fn server_that_is_something_else_is_one_clear_line() {
    let long = [b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n".as_slice(), ENDLESS].concat();
    let half = [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".as_slice(), CUT].concat();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".as_slice();
    let denied = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 19\r\n\r\n{\"error\":\"no \x1b[2J\"}".as_slice();
    let cases: [(&[u8], &str); 13] = [
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "has no /v1/info (status 404): it is another HTTP server",
        ),
        (b"SSH-2.0-OpenSSH_10.0\r\n", "does not speak HTTP (invalid HTTP version): it sent \"SSH-2.0-OpenSSH_10.0"),
        (b"\x00\x00\x00\x01\x1b", "does not speak HTTP"),
        (b"", "closed the connection without a response"),
        (b"HTTP/1.1 200", "closed the connection within a response"),
        (&half, "closed the connection within a response"),
        (ENDLESS, "does not speak HTTP"),
        (&long, "announced 9999999999 bytes for /v1/info, and at most 4194304 are read"),
        (chunked, "sent /v1/info (status 200) without a Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "cannot be parsed"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "is no admin endpoint: its mode is \"\"; expected serve or load",
        ),
        (SILENT, "did not respond within 300ms"),
        (DRIP, "did not respond within 300ms"),
    ];
    crate::at_once(cases.into_iter().chain([(denied, "failed with status 403")]), |(response, expected)| {
        let server = Server::silent_on_port();
        server.send("/v1/info", response);
        let refused = outcome(&mut frameloop(&["top", "--once", "--timeout", "300ms", &server.addr]));
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
        assert!(refused.stderr.contains(expected) && refused.stderr.starts_with("error: "), "{expected}: {refused:?}");
        assert!(refused.stderr.lines().count() == 1 && !refused.stderr.contains('\x1b'), "{refused:?}");
    });
}

#[test]
fn server_that_turns_into_something_else_is_a_line_on_screen() {
    let server = Server::on_port();
    let mut terminal = watch(&server.addr);
    terminal.shows(&["connections 2 of 10,000"]);
    let cases: [(&[u8], &str); 4] = [
        (b"garbage\r\n\r\n", "does not speak HTTP"),
        (ENDLESS, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"samples\":7}", "cannot be parsed"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "failed with status 500"),
    ];
    for (response, expected) in cases {
        server.send("/v1/samples", response);
        terminal.shows(&["reconnecting ... ", expected, "connections 2 of 10,000"]);
    }
    server.respond("/v1/samples", r#"{"interval":1,"samples":[{"frames_in":77}]}"#);
    terminal.shows_when("an end of the outage", |screen| screen.contains("77 in") && !screen.contains("reconnecting"));
    terminal.types("q");
    assert_eq!(terminal.code(), 0);
}

#[test]
fn silent_server_delays_no_key() {
    let server = Server::on_port();
    let mut terminal = watch(&server.addr);
    terminal.shows(&["connections 2 of 10,000"]);
    server.send("/v1/samples", SILENT);
    terminal.shows(&["no response for "]);
    terminal.types("?");
    terminal.shows(&["sort by bytes, age or idle time", "no response for "]);
    terminal.types("q");
    assert_eq!(terminal.code(), 0);
}

#[test]
fn signal_ends_a_view_whose_terminal_is_not_read() {
    let server = Server::on_port();
    let terminal = watch(&server.addr);
    terminal.shows(&["connections 2 of 10,000"]);
    terminal.pause(true);
    let begun = Instant::now();
    while terminal.has_room() {
        assert!(begun.elapsed() < PATIENCE, "the terminal is never full");
        for columns in [200, 199] {
            terminal.resize(columns, 60);
        }
        thread::yield_now();
    }
    let pid = terminal.pid();
    terminal.signal("TERM");
    while kill(pid, None).is_ok() {
        assert!(begun.elapsed() < 2 * PATIENCE, "it has not ended");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(terminal.settings() == terminal.before);
    terminal.pause(false);
    assert_eq!(terminal.code(), 143);
}
