//! A small HTTP client: documents of JSON from an admin endpoint, one after another on the same connection.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::address::Endpoint;
use crate::text::Form;
use crate::top::connection::{Connection, Deadline, EXPECTED, Fault, Head};

/// The longest document, in bytes.
const BODY_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Client {
    endpoint: Endpoint,
    timeout: Duration,
    kept: Option<Connection>,
}

impl Client {
    /// A client that gives each document `timeout`, and connecting as much.
    pub(super) fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        Self { endpoint, timeout, kept: None }
    }

    /// The document at `path`; `None` if the server does not have it (404).
    pub(super) fn find<T: DeserializeOwned>(&mut self, path: &str) -> Result<Option<T>, String> {
        let Some((status, body)) = self.body(path)? else { return Ok(None) };
        match status {
            200 => {
                let document = serde_json::from_slice(&body);
                document
                    .map(Some)
                    .map_err(|error| self.said(path, format_args!("cannot be parsed: {error}; {EXPECTED}")))
            }
            404 => Ok(None),
            _ => Err(self.said(path, format_args!("failed with status {status}{}", reason(&body)))),
        }
    }

    /// The document at `path`, which every admin endpoint has.
    pub(super) fn fetch<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, String> {
        let found = self.find(path)?;
        let what = format_args!("has no {path} (status 404): it is another HTTP server; {EXPECTED}");
        found.ok_or_else(|| self.other(what))
    }

    /// A fault of this server: its name, and what it did.
    pub(super) fn other(&self, what: impl std::fmt::Display) -> String {
        format!("{} {what}", self.endpoint)
    }

    fn said(&self, path: &str, what: impl std::fmt::Display) -> String {
        format!("{path} of {} {what}", self.endpoint)
    }

    /// The status and the body; `None` for a 404 whose body does not matter.
    fn body(&mut self, path: &str) -> Result<Option<(u16, Vec<u8>)>, String> {
        if let Some(kept) = self.kept.take() {
            match self.exchange(kept, path) {
                // The server has closed it meanwhile, as it may: once more on another connection.
                Err(Fault::NoResponse(_)) => {}
                outcome => return Ok(outcome?),
            }
        }
        let connection = Connection::open(&self.endpoint, self.timeout)?;
        Ok(self.exchange(connection, path)?)
    }

    fn exchange(&mut self, mut connection: Connection, path: &str) -> Result<Option<(u16, Vec<u8>)>, Fault> {
        let deadline = Deadline::after(self.timeout);
        let head = connection.request(path, "application/json", deadline)?;
        let Some(len) = head.body_len else {
            return match head.status {
                404 => Ok(None),
                status => {
                    let what = format_args!("sent {path} (status {status}) without a Content-Length; {EXPECTED}");
                    Err(connection.other(what))
                }
            };
        };
        if len > BODY_BYTES_MAX {
            let what = format_args!("announced {len} bytes for {path}, and at most {BODY_BYTES_MAX} are read");
            return Err(connection.other(what));
        }
        let len = len as usize;
        while connection.arrived.len() < len {
            connection.read(deadline)?;
        }
        let rest = connection.arrived.split_off(len);
        let body = std::mem::replace(&mut connection.arrived, rest);
        self.keep(connection, &head);
        Ok(Some((head.status, body)))
    }

    /// Keeps the connection for the next document, if nothing speaks against it.
    fn keep(&mut self, connection: Connection, head: &Head) {
        if head.is_kept && connection.arrived.is_empty() {
            self.kept = Some(connection);
        }
    }
}

/// What the server says of an error, behind a colon.
fn reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Document {
        error: String,
    }
    let document = serde_json::from_slice::<Document>(body);
    document.map_or_else(|_| String::new(), |document| format!(": {}", Form::Text.line_of(document.error.as_bytes())))
}
