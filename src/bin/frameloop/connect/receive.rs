//! What comes from the server, part by part: a thread reads it, so that it is read also while a request is being sent.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use frameloop::client::{Client, ClientError, Part};

use crate::connect::event::{Event, Received};

/// Reads until the end, or until nothing is taken any more.
///
/// While the source waits, everything that was read has been passed on.
pub(super) fn run(mut client: Client<Source<impl Read>>, events: &SyncSender<Event>) {
    let mut is_open = true;
    while is_open {
        let received = match client.receive_part() {
            Ok(Some(Part::Begun)) => Received::Begun,
            Ok(Some(Part::Announced(payload_len))) => Received::Announced(payload_len),
            Ok(Some(Part::Bytes(bytes))) => Received::Piece(bytes.to_vec()),
            Ok(Some(Part::End)) => Received::Complete,
            Ok(None) => Received::End(ClientError::Closed),
            Err(error) => Received::End(error),
        };
        let is_end = matches!(received, Received::End(_));
        is_open = events.send(Event::Received(received)).is_ok() && !is_end;
    }
    client.stream().is_waiting.store(true, Ordering::SeqCst);
}

/// A stream that shows whether it is being read.
pub(super) struct Source<R> {
    pub(super) stream: R,
    pub(super) is_waiting: Arc<AtomicBool>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.is_waiting.store(true, Ordering::SeqCst);
        let outcome = self.stream.read(buf);
        self.is_waiting.store(false, Ordering::SeqCst);
        outcome
    }
}
