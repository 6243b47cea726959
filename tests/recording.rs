//! A recording has the lines of the log. On real sockets, because the log belongs to the whole process.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;

use frameloop::{CloseReason, Config, Echo, Reactor};
use log::{LevelFilter, Log, Metadata, Record};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Capture;

impl Log for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "frameloop::conn"
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[test]
fn recorded_texts_are_the_lines_of_the_log() {
    log::set_logger(&Capture).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut reactor = Reactor::new(Config::default(), Echo).unwrap();
    let id = reactor.adopt_stream(ours, b"").unwrap();
    LINES.lock().unwrap().clear();
    reactor.record(id, usize::MAX).unwrap();

    let request = [&b"\0\0\0\x05hello\0\x01\0\0"[..], &[7; 65_536], b"\0\0"].concat();
    theirs.write_all(&request).unwrap();
    let mut reply = vec![0; request.len() - 2];
    theirs.set_nonblocking(true).unwrap();
    let mut received = 0;
    while received < reply.len() {
        let _ = reactor.turn(Some(Duration::from_secs(5))).unwrap();
        while let Ok(len) = theirs.read(&mut reply[received..]) {
            received += len;
            if len == 0 {
                break;
            }
        }
    }
    assert_eq!(reply, request[..reply.len()]);
    theirs.shutdown(Shutdown::Write).unwrap();
    while reactor.recording(id).unwrap().closed().is_none() {
        let _ = reactor.turn(Some(Duration::from_secs(5))).unwrap();
    }

    let recording = reactor.recording(id).unwrap();
    assert_eq!(recording.closed(), Some(CloseReason::TruncatedFrame { received: 2 }));
    let mut recorded: Vec<String> = recording.events().map(|event| event.event.to_string()).collect();
    let prefix = format!("[{id}] ");
    let lines = LINES.lock().unwrap();
    let mut logged: Vec<&str> = lines.iter().map(|line| line.strip_prefix(&prefix).unwrap()).collect();
    // The last line names the peer.
    let (closed, end) = (logged.pop().unwrap(), recorded.pop().unwrap());
    assert!(closed.ends_with(&format!(": {end}")), "{closed:?} and {end:?}");
    // Runs that changed nothing are not recorded.
    let mut rest = recorded.iter().map(String::as_str).peekable();
    for line in logged {
        if rest.next_if_eq(&line).is_none() {
            assert_eq!(line, "Open -> Open: pending: 0 bytes of input, 0 bytes of output", "{recorded:#?}");
        }
    }
    assert_eq!(rest.next(), None);
    let frame = "frame: 65536 bytes of payload, delivered";
    assert_eq!(recorded.iter().filter(|text| *text == frame).count(), 1, "{recorded:#?}");
}
