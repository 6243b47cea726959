//! An HTTP server with given responses, on a Unix socket or a port of its own.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

/// The responses by path; without one, 404. A response is whole, or whatever a test makes of it.
type Responses = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// A server that ends, with all its connections, when it is dropped.
pub(super) struct Server {
    pub(super) addr: String,
    responses: Responses,
    ends: Arc<Mutex<Ends>>,
}

/// Ends a connection.
type End = Arc<dyn Fn() + Send + Sync>;

/// What ends the connections, and those that come later.
#[derive(Default)]
struct Ends {
    has_ended: bool,
    streams: Vec<End>,
}

impl Server {
    /// A server that watches itself: an `/v1/info` with this process id, samples and two connections.
    pub(super) fn on_path(path: &Path, pid: u32) -> Self {
        let _ = fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let connect = {
            let path = path.to_owned();
            move || drop(UnixStream::connect(&path))
        };
        let accept = move || {
            let stream = listener.accept()?.0;
            let other = stream.try_clone()?;
            let end: End = Arc::new(move || drop(other.shutdown(Shutdown::Both)));
            Ok((Box::new(stream) as Box<dyn Stream>, end))
        };
        Self::start(format!("unix:{}", path.display()), accept, connect).with_documents(pid)
    }

    /// The same over TCP.
    pub(super) fn on_port() -> Self {
        Self::silent_on_port().with_documents(1)
    }

    /// A server over TCP without any document.
    pub(super) fn silent_on_port() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let accept = move || {
            let stream = listener.accept()?.0;
            let other = stream.try_clone()?;
            let end: End = Arc::new(move || drop(other.shutdown(Shutdown::Both)));
            Ok((Box::new(stream) as Box<dyn Stream>, end))
        };
        Self::start(addr.to_string(), accept, move || drop(TcpStream::connect(addr)))
    }

    fn start(
        addr: String,
        accept: impl Fn() -> io::Result<(Box<dyn Stream>, End)> + Send + 'static,
        connect: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let (responses, ends) = (Responses::default(), Arc::<Mutex<Ends>>::default());
        let (theirs, until) = (Arc::clone(&responses), Arc::clone(&ends));
        thread::spawn(move || {
            while let Ok((stream, end)) = accept() {
                let mut ends = until.lock().unwrap();
                if ends.has_ended {
                    return;
                }
                ends.streams.push(Arc::clone(&end));
                let responses = Arc::clone(&theirs);
                thread::spawn(move || {
                    serve(stream, &responses);
                    // There is another descriptor of it.
                    end();
                });
            }
        });
        // What wakes the thread that accepts.
        ends.lock().unwrap().streams.push(Arc::new(connect));
        Self { addr, responses, ends }
    }

    fn with_documents(self, pid: u32) -> Self {
        self.respond("/v1/info", &info("serve", pid));
        self.respond("/v1/samples", SAMPLES);
        for order in ["bytes", "age", "idle"] {
            let first = if order == "bytes" { "3.17" } else { "4.2" };
            self.respond(&format!("/connections?top={order}&n=100"), &connections(first));
        }
        self.respond(
            "/connections/3.17",
            &connection("3.17", r#"[{"seq":1,"at":7.5,"kind":"read","text":"recv(65536) = 68","state":"Open"}]"#),
        );
        self
    }

    /// Answers requests for `path` with a document.
    pub(super) fn respond(&self, path: &str, document: &str) {
        let len = document.len();
        self.send(path, format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{document}"));
    }

    /// Answers requests for `path` with these bytes.
    pub(super) fn send(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.responses.lock().unwrap().insert(path.into(), bytes.into());
    }

    /// Has requests for `path` fail with 404.
    pub(super) fn forget(&self, path: &str) {
        self.responses.lock().unwrap().remove(path);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut ends = self.ends.lock().unwrap();
        ends.has_ended = true;
        let streams = std::mem::take(&mut ends.streams);
        drop(ends);
        streams.iter().for_each(|end| end());
    }
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// Answers requests on a connection, until it ends. A response without a body of known length ends it.
fn serve(stream: Box<dyn Stream>, responses: &Responses) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if stream.read_line(&mut request).unwrap_or(0) == 0 {
                return;
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let found = responses.lock().unwrap().get(path).cloned();
        let response = found.unwrap_or_else(|| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec());
        if response == ENDLESS {
            while stream.get_mut().write_all(&[b'x'; 4096]).is_ok() {}
            return;
        }
        if response == DRIP {
            let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nA: ");
            while stream.get_mut().write_all(b"a").is_ok() {
                thread::sleep(DRIP_INTERVAL);
            }
            return;
        }
        if response == SILENT {
            let _ = stream.read(&mut [0]);
            return;
        }
        let is_kept = response.windows(15).any(|window| window == b"Content-Length:");
        if stream.get_mut().write_all(&response).is_err() || !is_kept || response.ends_with(CUT) {
            return;
        }
    }
}

/// Instead of a response: bytes without an end.
pub(super) const ENDLESS: &[u8] = b"endless";
/// Instead of a response: a field that grows, byte by byte.
pub(super) const DRIP: &[u8] = b"drip";
const DRIP_INTERVAL: Duration = Duration::from_millis(20);
/// Instead of a response: nothing, until the client ends the connection.
pub(super) const SILENT: &[u8] = b"silent";
/// At the end of a response: the connection ends as well.
pub(super) const CUT: &[u8] = b"cut";

pub(super) fn info(mode: &str, pid: u32) -> String {
    let limits = r#"{"max_connections":10000,"memory":1048576}"#;
    format!(
        r#"{{"mode":"{mode}","version":"0.1.0","pid":{pid},"uptime":12.5,"state":"running",
            "listeners":[{{"name":"","address":"127.0.0.1:7007"}}],"limits":{limits}}}"#
    )
}

const SAMPLES: &str = r#"{"interval":1.0,"samples":[{"at":12.0,"connections":2,"accepted":5.0,"closed":1.0,"frames_in":1234.0,
    "frames_out":1234.0,"bytes_in":6800.0,"bytes_out":6800.0,"buffered_bytes":70,"turns":50.0,"turn_p50":0.00001,
    "turn_p99":0.0001,"turn_max":0.001,"lag":0.0002,"closed_by":{"peer finished":1},"lints":{},"latency":null}]}"#;

pub(super) fn connections(first: &str) -> String {
    let second = if first == "3.17" { "4.2" } else { "3.17" };
    let top = [first, second].map(|id| connection(id, "null")).join(",");
    format!(r#"{{"total":2,"states":null,"paused":{{"handler":0,"backpressure":0}},"top":[{top}]}}"#)
}

pub(super) fn connection(id: &str, events: &str) -> String {
    let peer = if id == "3.17" { "192.0.2.1:5000" } else { "192.0.2.2:6000" };
    format!(
        r#"{{"id":"{id}","peer":"{peer}","local":"127.0.0.1:7007","listener":"","dialed":false,"state":"Open","paused_by":null,
            "pending_input":0,"pending_output":4096,"buffered_bytes":4096,"output_high_water":65536,"output_low_water":16384,
            "max_payload":16777216,"idle":1.5,"age":10.0,"frames_in":7,"bytes_in":700,"bytes_out":800,"framing":"u32be",
            "deadlines":[{{"kind":"idle","in":12.0,"of":30.0}}],"closed":null,"events":{events}}}"#
    )
}
