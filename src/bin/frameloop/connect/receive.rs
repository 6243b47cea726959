//! What comes from the server, piece by piece: a thread reads it, so that it is read also while a request is being sent.

use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use frameloop::client::ClientError;
use frameloop::wire::{HEADER_LEN, announced_len};

use crate::connect::event::{Event, Received};

/// Reads until the end, or until nothing is taken any more.
///
/// While `is_waiting`, everything that was read has been passed on.
pub(super) fn run(stream: impl Read, max_payload: u32, events: &SyncSender<Event>, is_waiting: &AtomicBool) {
    let mut stream = Source { stream: BufReader::with_capacity(PIECE_BYTES, stream), is_waiting };
    while let Ok(()) = frame(&mut stream, max_payload, events) {}
    is_waiting.store(true, Ordering::SeqCst);
}

/// Passes on one frame; an error means that there is no more to do.
fn frame(stream: &mut Source<'_, impl Read>, max_payload: u32, events: &SyncSender<Event>) -> Result<(), ()> {
    let send = |received| events.send(Event::Received(received)).map_err(drop);
    let end = |error| send(Received::End(error)).and(Err(()));
    let mut header = [0; HEADER_LEN];
    let mut received = 0;
    while received < HEADER_LEN {
        match stream.read(&mut header[received..]) {
            Ok(0) if received == 0 => return end(ClientError::Closed),
            Ok(0) => return end(ClientError::ClosedInsideReply { received, announced: None }),
            Ok(len) => {
                if received == 0 {
                    send(Received::Begun)?;
                }
                received += len;
            }
            Err(error) => return end(ClientError::Lost(error)),
        }
    }
    let payload_len = match announced_len(&header, max_payload) {
        Ok(payload_len) => payload_len.unwrap_or_default(),
        Err(error) => return end(ClientError::ReplyTooLong(error)),
    };
    send(Received::Announced(payload_len))?;
    let mut missing = payload_len as usize;
    while missing > 0 {
        let mut piece = vec![0; missing.min(PIECE_BYTES)];
        match stream.read(&mut piece) {
            Ok(0) => {
                let received = HEADER_LEN + payload_len as usize - missing;
                return end(ClientError::ClosedInsideReply { received, announced: Some(payload_len) });
            }
            Ok(len) => {
                missing -= len;
                piece.truncate(len);
                send(Received::Piece(piece))?;
            }
            Err(error) => return end(ClientError::Lost(error)),
        }
    }
    Ok(())
}

struct Source<'a, R> {
    stream: BufReader<R>,
    is_waiting: &'a AtomicBool,
}

impl<R: Read> Source<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.is_waiting.store(self.stream.buffer().is_empty(), Ordering::SeqCst);
        let outcome = loop {
            match self.stream.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        self.is_waiting.store(false, Ordering::SeqCst);
        outcome
    }
}

/// The maximum number of bytes that are passed on together.
const PIECE_BYTES: usize = 64 << 10;
