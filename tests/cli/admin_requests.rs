//! Requests to the admin endpoint as clients send them, in pieces, in numbers, and wrong.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use crate::admin::{Endpoint, Http, get, request};
use crate::at_once;
use crate::support::{Client, PATIENCE};

#[test]
fn pipelined_requests_are_answered_in_order() {
    let endpoint = Endpoint::start(&[]);
    let mut http = endpoint.http();
    let targets = ["/readyz", "/connections?top=idle", "/nothing", "/", "/healthz", "/connections", "/v1/info"];
    let requests: String = targets.iter().cycle().take(70).map(|target| get(target)).collect();
    http.send(requests.as_bytes());
    // Behind the last, a client may end its side.
    http.finish();
    for target in targets.iter().cycle().take(70) {
        let response = http.response();
        let is_so = match *target {
            "/readyz" => response.body == r#"{"status":"ready"}"#,
            "/connections?top=idle" => response.json()["top"].is_array(),
            "/connections" => response.json()["top"].is_null(),
            "/nothing" => response.status == 404,
            "/" => response.body.starts_with("<!doctype html>"),
            "/healthz" => response.json()["accepting"] == "yes",
            _ => response.json()["mode"] == "serve",
        };
        assert!(is_so, "{target}: {response:?}");
    }
    assert_eq!(http.rest(), "");
}

#[test]
fn thousands_of_pipelined_requests_are_all_answered() {
    let endpoint = Endpoint::start(&[]);
    let mut slow = Client::connect_narrow(endpoint.admin);
    let requests = [get("/readyz").repeat(4_000), get("/").repeat(40)].concat();
    let mut sender = slow.clone_for_thread();
    let sending = std::thread::spawn(move || {
        sender.send_bytes(requests.as_bytes());
        sender.finish();
    });
    // At first it reads slowly, and others are served meanwhile.
    let mut received = Vec::new();
    let mut chunk = [0; 16 << 10];
    while let Some(Ok(len)) = slow.read_within(PATIENCE, &mut chunk) {
        received.extend_from_slice(&chunk[..len]);
        if received.len() < 200 << 10 {
            assert_eq!(endpoint.json("/healthz")["status"], "ok");
        }
    }
    sending.join().unwrap();
    let received = String::from_utf8(received).unwrap();
    assert_eq!(received.matches("HTTP/1.1 200 OK").count(), 4_040);
}

#[test]
fn body_that_waits_for_a_permission_gets_it() {
    let endpoint = Endpoint::start(&[]);
    let mut http = endpoint.http();
    let fields = "Host: localhost\r\nContent-Length: 17\r\nExpect: 100-continue";
    http.send(format!("PATCH /v1/status HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes());
    assert_eq!(http.head().status, 100);
    http.send(b"{\"paused\": false}");
    // A server has no run.
    assert_eq!(http.response().status, 404);
}

#[test]
fn connection_is_kept_as_its_request_says() {
    let endpoint = Endpoint::start(&[]);
    let mut kept = endpoint.http();
    for _ in 0..3 {
        kept.send(get("/readyz").as_bytes());
        assert_eq!(kept.response().field("Connection"), None);
    }
    for (lines, is_kept) in [
        ("GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close", false),
        ("GET /connections HTTP/1.1\r\nHost: localhost\r\nConnection: close", false),
        ("GET /readyz HTTP/1.0", false),
        ("GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive", true),
        // Keeping it would need a field in the response, too.
        ("GET /readyz HTTP/1.0\r\nConnection: keep-alive", false),
        // Its body is not read.
        ("GET /readyz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3", false),
    ] {
        let mut http = endpoint.http();
        http.send(format!("{lines}\r\n\r\n").as_bytes());
        let response = http.response();
        assert_eq!((response.status, response.field("Connection") == Some("close")), (200, !is_kept), "{lines}");
        if is_kept {
            http.send(format!("{lines}\r\n\r\n").as_bytes());
            assert_eq!(http.response().status, 200, "{lines}");
        } else {
            assert_eq!(http.rest(), "", "{lines}");
        }
    }
}

#[test]
fn request_in_pieces_or_with_a_half_close_is_answered() {
    let endpoint = Endpoint::start(&[]);
    let mut http = endpoint.http();
    for end in ["\r\n", "\n"] {
        let request = format!("GET /readyz HTTP/1.1{end}Host: localhost{end}User-Agent: a{end}{end}");
        for byte in request.bytes() {
            http.send(&[byte]);
        }
        assert_eq!(http.response().status, 200);
        // An empty line in front of the next.
        http.send(end.as_bytes());
    }
    for target in ["/readyz", "/connections?top=bytes", "/"] {
        let mut http = endpoint.http();
        http.send(get(target).as_bytes());
        http.finish();
        let response = http.response();
        assert_eq!((response.status, http.rest()), (200, String::new()), "{target}");
    }
    for part in ["", "GET", "GET / HTTP/1.1\r\nHost: localhost\r\n"] {
        let mut http = endpoint.http();
        http.send(part.as_bytes());
        http.finish();
        assert_eq!(http.rest(), "", "{part:?}");
    }
}

/// A head of this many bytes, with its end.
fn head_of(len: usize) -> Vec<u8> {
    let (begin, end) = ("GET /readyz HTTP/1.1\r\nHost: localhost\r\nX: ", "\r\n\r\n");
    format!("{begin}{}{end}", "x".repeat(len - begin.len() - end.len())).into_bytes()
}

#[test]
fn invalid_request_is_refused_by_its_kind() {
    let endpoint = Endpoint::start(&[]);
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "a: b\r\n".repeat(count - 1));
    let with = |line: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n").into_bytes();
    let to = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    let hello_of_tls = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 506]].concat();
    let cases: Vec<(Vec<u8>, u16)> = vec![
        (head_of(8_192), 200),
        (head_of(8_193), 431),
        // Without its end, the response shows that nothing waits for it.
        (head_of(8_197)[..8_193].to_vec(), 431),
        (head_of(1 << 20), 431),
        (vec![b'x'; 1 << 20], 431),
        (fields(100).into_bytes(), 200),
        (fields(101).into_bytes(), 431),
        (b"\0\0\0\x05hello".to_vec(), 400),
        (hello_of_tls, 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), 505),
        (b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n".to_vec(), 505),
        (b"GET /\r\n".to_vec(), 400),
        (b"hello\n".to_vec(), 400),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
        (b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n continued\r\n\r\n".to_vec(), 400),
        (with("Host: localhost"), 400),
        (with("Content-Length: -1"), 400),
        (with("Content-Length: 1, 1"), 400),
        (with("Content-Length: 4097"), 413),
        (with("Transfer-Encoding: chunked"), 501),
        (to("evil.example"), 403),
        (to("localhost.evil.example"), 403),
        (to(""), 403),
        (with("Origin: http://evil.example"), 403),
        (with("Origin: null"), 403),
        (with("Origin: http://localhost"), 200),
    ];
    at_once(cases, |(bytes, status)| {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let mut http = endpoint.http();
        http.send(&bytes);
        let response = http.response();
        assert_eq!(response.status, status, "{shown:?}: {response:?}");
        if status != 200 {
            let error = response.error();
            assert!(!error.is_empty() && !error.contains('\n'), "{shown:?}: {error}");
            assert_eq!((response.field("Connection"), http.rest()), (Some("close"), String::new()), "{shown:?}");
        }
    });
    endpoint.assert_serves();
}

#[test]
fn refused_head_request_gets_no_body() {
    let endpoint = Endpoint::start(&[]);
    for (lines, status) in [("HEAD / HTTP/1.1\r\nHost: evil.example", 403), ("HEAD / HTTP/1.1", 400)] {
        let mut http = endpoint.http();
        http.send(format!("{lines}\r\n\r\n").as_bytes());
        assert_eq!((http.head().status, http.rest()), (status, String::new()), "{lines}");
    }
}

#[test]
fn method_that_a_path_does_not_have_is_refused() {
    let endpoint = Endpoint::start(&[]);
    let mut http = endpoint.http();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "get"] {
        http.send(request(method, "/metrics").as_bytes());
        let response = http.response();
        assert_eq!((response.status, response.field("Allow")), (405, Some("GET, HEAD")), "{method}");
        assert_eq!(response.error(), "/metrics is read with GET, HEAD");
        http.send(request(method, "/nothing").as_bytes());
        assert_eq!(http.response().status, 404, "{method}");
    }
    // Bytes of a body are not taken for a request.
    let body = get("/readyz");
    http.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    assert_eq!((http.response().status, http.rest()), (405, String::new()));

    let mut http = endpoint.http();
    http.send(request("PATCH", "/").as_bytes());
    assert_eq!((http.response().status, http.rest()), (411, String::new()));
    let mut http = endpoint.http();
    let patch = |target: &str| format!("PATCH {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n");
    for (target, status) in [("/", 405), ("/v1/status", 404), ("/", 405)] {
        http.send(format!("{}{{\"paused\": false}}", patch(target)).replace("16", "17").as_bytes());
        assert_eq!(http.response().status, status, "{target}");
    }
    http.send(get("/readyz").as_bytes());
    assert_eq!(http.response().status, 200);
}

#[test]
fn incomplete_request_times_out() {
    let endpoint = Endpoint::start(&[]);
    at_once(["G", "GET /readyz HTTP/1.1\r\nHost: localhost\r\n", "PATCH / HTTP/1.1\r\nHost: a\r\nX: "], |part| {
        let begun = Instant::now();
        let mut http = endpoint.http();
        http.send(part.as_bytes());
        let response = http.response();
        assert_eq!((response.status, response.field("Connection")), (408, Some("close")), "{part:?}");
        assert!((9..20).contains(&begun.elapsed().as_secs()), "{part:?}: {:?}", begun.elapsed());
        assert_eq!(http.rest(), "");
    });
    // Meanwhile, and behind a response, a connection without a request is kept.
    endpoint.assert_serves();
}

/// Numbers by chance, always the same (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    /// Flips, cuts, inserts or repeats bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let (at, other) = (self.below(bytes.len() + 1), self.below(bytes.len() + 1));
        let range = at.min(other)..at.max(other);
        match self.below(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 => drop(bytes.drain(range)),
            2 => bytes.insert(at, self.below(256) as u8),
            3 => drop(bytes.splice(at..at, bytes[range].to_vec())),
            _ => bytes.truncate(at),
        }
    }
}

#[test]
fn mutated_requests_are_answered_or_closed() {
    let endpoint = Endpoint::start(&[]);
    let requests = [
        get("/healthz"),
        request("HEAD", "/connections?top=bytes&n=5"),
        "PATCH /v1/status HTTP/1.1\r\nHost: localhost:1\r\nContent-Length: 17\r\n\r\n{\"paused\": false}".to_owned(),
        "GET /events?connection=0.3 HTTP/1.0\r\nHost: [::1]\r\nOrigin: http://[::1]\r\nAccept: */*\r\n\r\n".to_owned(),
    ];
    at_once(0..4, |thread| {
        let mut chance = Chance(0x5eed + thread);
        for round in 0..500 {
            let mut bytes = requests[chance.below(requests.len())].clone().into_bytes();
            for _ in 0..=chance.below(4) {
                chance.mutate(&mut bytes);
            }
            let stream = TcpStream::connect(endpoint.admin).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // It may be refused, and closed, before all of it is sent.
            let _ = (&stream).write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write));
            let mut begin = Vec::new();
            let outcome = (&stream).take(9).read_to_end(&mut begin);
            let is_timeout = outcome.as_ref().is_err_and(|error| {
                matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            });
            let is_closed = begin.is_empty() && !is_timeout;
            assert!(is_closed || begin == b"HTTP/1.1 ", "{round} of {thread}: {bytes:?} led to {begin:?}, {outcome:?}");
        }
    });
    endpoint.assert_serves();
    assert_eq!(Http::connect(endpoint.admin).rest_after_finish(), "");
}

impl Http {
    fn rest_after_finish(&mut self) -> String {
        self.finish();
        self.rest()
    }
}
