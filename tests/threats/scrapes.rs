//! Slow clients of the admin endpoint: they hold up neither frames nor other scrapes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, PATIENCE, Process, connect_and_ping};
use crate::timed::{assert_close_to_quiet, begin, p99};

const SLOW: usize = 10;
const METRICS: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// The largest response: more than the kernel takes of it for a client that does not read.
const PAGE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The least that is buffered of it then.
const UNREAD_BYTES_MIN: usize = 4 << 10;

/// A server, the address for frames, and that of the endpoint.
fn serve(args: &[&str]) -> (Process, SocketAddr, SocketAddr) {
    let (server, addr) = Process::serve(&[&["--admin", "127.0.0.1:0"], args].concat());
    let line = server.stdout_line_with("admin on ");
    let admin = line.strip_prefix("admin on ").unwrap().parse().unwrap();
    (server, addr, admin)
}

/// A client that scrapes as Prometheus does: one request after the other, on one connection.
struct Scraper(BufReader<TcpStream>);

impl Scraper {
    fn connect(admin: SocketAddr) -> Self {
        Self(BufReader::new(Client::connect(admin).stream))
    }

    /// Sends a request, and returns the body of its response.
    #[track_caller]
    fn get(&mut self, request: &[u8]) -> String {
        self.0.get_mut().write_all(request).unwrap();
        read_response(&mut self.0)
    }
}

/// Reads a response with the status 200, and returns its body.
#[track_caller]
fn read_response(reader: &mut impl BufRead) -> String {
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != "\r\n") {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the head ends after {lines:?}");
        lines.push(line);
    }
    assert_eq!(lines[0], "HTTP/1.1 200 OK\r\n");
    let len = lines.iter().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().trim().parse().unwrap();
    let mut body = vec![0; len];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

#[test]
fn slow_scrapers_hold_up_no_frame_and_no_other_scrape() {
    let (_server, addr, admin) = serve(&["--write-timeout", "0"]);
    // Five whose heads are incomplete, and five that do not read.
    let incomplete: Vec<Client> = (0..SLOW / 2)
        .map(|_| {
            let mut client = Client::connect(admin);
            client.send_bytes(&METRICS[..20]);
            client
        })
        .collect();
    let mut unread: Vec<Client> = (0..SLOW / 2)
        .map(|_| {
            let mut client = Client::connect_narrow(admin);
            client.send_bytes(PAGE);
            client
        })
        .collect();
    let mut scraper = Scraper::connect(admin);
    // Each that does not read holds a part of its response; an incomplete head takes no more than 512 bytes.
    let are_unread = || {
        let metrics = scraper.get(METRICS);
        let buffered = metrics.lines().find_map(|line| line.strip_prefix("frameloop_buffered_bytes "));
        buffered.unwrap().parse::<f64>().unwrap() >= (SLOW / 2 * UNREAD_BYTES_MIN) as f64
    };
    assert!(crate::support::holds_within(PATIENCE, are_unread), "the kernel has taken the responses");

    let mut bystander = connect_and_ping(addr);
    for _ in 0..100 {
        bystander.call(b"unharmed");
        let metrics = scraper.get(METRICS);
        assert!(metrics.contains("\nframeloop_connections "), "{metrics}");
    }
    // They hang to the end, and each that reads then gets the whole response.
    drop(incomplete);
    for client in &mut unread {
        let page = read_response(&mut BufReader::new(&mut client.stream));
        assert!(page.trim_end().ends_with("</html>"), "{} bytes", page.len());
    }
}

/// Sends a head byte by byte and reads the response at 100 bytes per second, again and again.
fn scrape_slowly(admin: SocketAddr, reads_for: Duration, is_over: &AtomicBool) {
    let is_over = || is_over.load(Ordering::Relaxed);
    while !is_over() {
        let mut client = Client::connect_narrow(admin);
        for byte in PAGE.chunks(1) {
            client.send_bytes(byte);
            thread::sleep(Duration::from_millis(20));
        }
        let begun = Instant::now();
        while begun.elapsed() < reads_for && !is_over() {
            client.stream.read_exact(&mut [0; 10]).unwrap();
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// How long each of the calls within two seconds took, sorted.
fn durations(mut call: impl FnMut()) -> Vec<Duration> {
    let begun = Instant::now();
    let mut took = Vec::new();
    while begun.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        call();
        took.push(asked.elapsed());
    }
    took.sort();
    took
}

/// The p99 of a measurement alone, and then alongside slow scrapers.
fn quiet_and_troubled(admin: SocketAddr, mut measure: impl FnMut() -> Duration) -> (Duration, Duration) {
    let quiet = measure();
    let is_over = AtomicBool::new(false);
    let troubled = thread::scope(|scope| {
        for number in 1..=SLOW {
            let is_over = &is_over;
            scope.spawn(move || scrape_slowly(admin, Duration::from_millis(300) * number as u32, is_over));
        }
        let troubled = measure();
        is_over.store(true, Ordering::Relaxed);
        troubled
    });
    (quiet, troubled)
}

#[test]
fn slow_scrapers_keep_p99_of_frames_within_1_ms() {
    let Some(_alone) = begin() else { return };
    assert_close_to_quiet(|| {
        let (_server, addr, admin) = serve(&[]);
        let mut client = connect_and_ping(addr);
        quiet_and_troubled(admin, || p99(&durations(|| client.call(b"ping"))))
    });
}

#[test]
fn slow_scrapers_keep_p99_of_scrapes_within_1_ms() {
    let Some(_alone) = begin() else { return };
    assert_close_to_quiet(|| {
        let (_server, _, admin) = serve(&[]);
        let mut scraper = Scraper::connect(admin);
        quiet_and_troubled(admin, || p99(&durations(|| assert!(!scraper.get(METRICS).is_empty()))))
    });
}
