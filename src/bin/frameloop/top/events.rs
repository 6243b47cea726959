//! The stream of events of an admin endpoint (server-sent events), as far as the view of a load needs it.

use std::time::Duration;

use crate::address::Endpoint;
use crate::top::connection::{Connection, Deadline, EXPECTED};

/// The longest event, in bytes.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// An open stream of events.
#[derive(Debug)]
pub(super) struct Events {
    connection: Connection,
    /// How long to wait for an event: one is sent each second.
    timeout: Duration,
}

impl Events {
    pub(super) fn open(endpoint: &Endpoint, timeout: Duration) -> Result<Self, String> {
        let mut connection = Connection::open(endpoint, timeout)?;
        let head = connection.request("/events", "text/event-stream", Deadline::after(timeout))?;
        if head.status != 200 || !head.is_event_stream {
            let what = format_args!("sent no stream of events (status {}); {EXPECTED}", head.status);
            return Err(connection.other(what).into());
        }
        Ok(Self { connection, timeout })
    }

    /// The name and the data of the next event.
    pub(super) fn next(&mut self) -> Result<(String, String), String> {
        let deadline = Deadline::after(self.timeout);
        loop {
            if let Some((event, len)) = first_event(&self.connection.arrived) {
                self.connection.arrived.drain(..len);
                match event {
                    // A comment keeps the connection open.
                    Some(event) => return Ok(event),
                    None => continue,
                }
            }
            if self.connection.arrived.len() > EVENT_BYTES_MAX {
                let what = format_args!("sent an event of more than {EVENT_BYTES_MAX} bytes");
                return Err(self.connection.other(what).into());
            }
            self.connection.read(deadline)?;
        }
    }
}

/// The first block that is complete, and its length with the empty line behind it. A block without data is no event.
fn first_event(bytes: &[u8]) -> Option<(Option<(String, String)>, usize)> {
    let len = bytes.windows(2).position(|pair| pair == b"\n\n")?;
    let block = String::from_utf8_lossy(&bytes[..len]);
    let values = |name: &str| -> Vec<String> {
        let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned()).collect()
    };
    let data = values("data");
    let event = (!data.is_empty()).then(|| (values("event").pop().unwrap_or_default(), data.join("\n")));
    Some((event, len + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_blocks_between_empty_lines() {
        let run = Some(("run".to_owned(), "{}".to_owned()));
        assert_eq!(first_event(b"event: run\ndata: {}\n\nevent: sam"), Some((run, 21)));
        assert_eq!(first_event(b"data:{\ndata: }\n\n"), Some((Some((String::new(), "{\n}".to_owned())), 16)));
        assert_eq!(first_event(b": nothing\n\n"), Some((None, 11)));
        assert_eq!(first_event(b"event: run\ndata: {}\n"), None);
    }
}
