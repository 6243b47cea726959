//! An endpoint for the tests of the page: canned responses, and streams whose events the test sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::page::{POLICY, html};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a browser has asked for.
#[derive(Debug)]
pub(super) struct Request {
    /// The method and the target, as in `GET /events`.
    pub(super) line: String,
    pub(super) body: Value,
}

/// An open stream of events. It ends when it is dropped.
pub(super) struct Stream {
    pub(super) target: String,
    socket: TcpStream,
}

impl Stream {
    pub(super) fn send(&mut self, event: &str, data: &Value) {
        self.socket.write_all(format!("event: {event}\ndata: {data}\n\n").as_bytes()).unwrap();
    }

    /// Waits until the browser has closed the stream.
    pub(super) fn wait_for_end(mut self) {
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // A close with events unread is a reset.
        let end = self.socket.read(&mut [0]);
        let is_reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(matches!(end, Ok(0)) || end.as_ref().is_err_and(is_reset), "{end:?}");
    }
}

pub(super) struct Endpoint {
    pub(super) addr: SocketAddr,
    streams: Receiver<Stream>,
    requests: Receiver<Request>,
    /// The response to `GET /v1/info`.
    pub(super) info: Value,
    /// What `GET /connections?top=...` lists.
    holders: Arc<Mutex<Value>>,
}

impl Endpoint {
    pub(super) fn start(info: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (stream_sender, streams) = mpsc::channel();
        let (request_sender, requests) = mpsc::channel();
        let holders = Arc::new(Mutex::new(json!([])));
        let (listed, shown) = (Arc::clone(&holders), info.clone());
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (streams, requests) = (stream_sender.clone(), request_sender.clone());
                let (listed, info) = (Arc::clone(&listed), shown.clone());
                thread::spawn(move || serve(socket, &streams, &requests, &info, &listed));
            }
        });
        Self { addr, streams, requests, info, holders }
    }

    pub(super) fn url(&self, hash: &str) -> String {
        format!("http://{}/{hash}", self.addr)
    }

    pub(super) fn set_holders(&self, holders: Value) {
        *self.holders.lock().unwrap() = holders;
    }

    /// The next stream that the browser opens.
    #[track_caller]
    pub(super) fn stream(&self) -> Stream {
        self.streams.recv_timeout(PATIENCE).unwrap()
    }

    /// The next request that begins so; those before it are dropped.
    #[track_caller]
    pub(super) fn request(&self, line: &str) -> Request {
        std::iter::from_fn(|| self.requests.recv_timeout(PATIENCE).ok()).find(|request| request.line == line).unwrap()
    }
}

/// Responds to the requests of a connection, until one of them asks for a stream.
fn serve(
    socket: TcpStream,
    streams: &Sender<Stream>,
    requests: &Sender<Request>,
    info: &Value,
    holders: &Mutex<Value>,
) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut writer = socket;
    while let Some((method, target, body)) = read_request(&mut reader) {
        let _ = requests.send(Request { line: format!("{method} {target}"), body });
        let (status, kind, text) = match (method.as_str(), target.split('?').next().unwrap()) {
            ("GET", "/") => ("200 OK", "text/html; charset=utf-8", html().to_owned()),
            ("GET", "/v1/info") => ("200 OK", "application/json", info.to_string()),
            ("PATCH", "/v1/status") => ("200 OK", "application/json", json!({ "paused": false }).to_string()),
            ("GET", "/connections") => {
                let top = holders.lock().unwrap().clone();
                let paused = json!({ "handler": 0, "backpressure": 1 });
                ("200 OK", "application/json", json!({ "total": 7, "paused": paused, "top": top }).to_string())
            }
            ("GET", "/events") => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
                writer.write_all(head.as_bytes()).unwrap();
                let _ = streams.send(Stream { target, socket: writer });
                return;
            }
            _ => ("404 Not Found", "application/json", json!({ "error": "there is nothing at this path" }).to_string()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nContent-Security-Policy: {POLICY}\r\n\r\n",
            text.len()
        );
        if writer.write_all((head + &text).as_bytes()).is_err() {
            return;
        }
    }
}

/// The method, the target and the body of a request, or nothing after the last.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, String, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|len| *len > 0)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, target, serde_json::from_slice(&body).unwrap_or_default()))
}
