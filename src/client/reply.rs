//! Replies as they arrive, part by part, by any framing.
//!
//! Rule: what decoding takes does not grow with a reply, and a header reserves nothing.

use std::io::{self, Read};

use crate::client::error::ClientError;
use crate::wire::{DELIMITER_LEN_MAX, Decoded, Framing};

/// A part of a reply, in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// The first byte of a reply has arrived.
    Begun,
    /// The length of the payload is known, in bytes; it precedes the payload.
    ///
    /// It is left out where a part of the payload was returned before its delimiter came.
    Announced(u64),
    /// The next bytes of the payload have arrived: at least 1 and at most 64 KiB.
    Bytes(&'a [u8]),
    /// The reply is complete.
    End,
}

/// Decodes the bytes of a stream.
#[derive(Debug)]
pub(super) struct Replies {
    /// The framing of the next reply.
    pub(super) framing: Framing,
    pub(super) max_payload: u32,
    state: State,
    /// Bytes of the current reply that were returned or dropped.
    consumed: usize,
    /// Empty until something is read; then [`BUFFER_LEN`] bytes.
    buffer: Vec<u8>,
    // Invariant: start <= end <= buffer.len(). The bytes between them have arrived and are not consumed.
    start: usize,
    end: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    BetweenReplies,
    /// The end of the reply is not known. So many bytes at the front need not be searched for a delimiter again; those
    /// consumed are payload.
    Searching {
        framing: Framing,
        searched: usize,
    },
    /// So many bytes of the payload are missing, and so many of a delimiter follow them.
    Measured {
        announced: u64,
        missing: usize,
        trailer_len: usize,
    },
}

/// What is known of a reply whose end was searched for.
enum Found {
    End {
        payload_len: u64,
    },
    /// No end, but so many bytes that are payload.
    Payload(usize),
}

impl Replies {
    pub(super) fn new(max_payload: u32) -> Self {
        let (framing, state) = (Framing::default(), State::BetweenReplies);
        Self { framing, max_payload, state, consumed: 0, buffer: Vec::new(), start: 0, end: 0 }
    }

    /// Reads until the next part has arrived. `None` if the stream ends between two replies.
    pub(super) fn next(&mut self, stream: &mut impl Read) -> Result<Option<Part<'_>>, ClientError> {
        loop {
            let arrived = self.end - self.start;
            match self.state {
                State::BetweenReplies if arrived > 0 => {
                    self.state = State::Searching { framing: self.framing, searched: 0 };
                    self.consumed = 0;
                    return Ok(Some(Part::Begun));
                }
                State::Searching { framing, searched } => {
                    let is_announced = self.consumed == 0;
                    match self.search(framing, searched)? {
                        Found::End { payload_len } if is_announced => return Ok(Some(Part::Announced(payload_len))),
                        Found::End { .. } => continue,
                        Found::Payload(len @ 1..) => return Ok(Some(Part::Bytes(self.take(len)))),
                        Found::Payload(0) => {}
                    }
                }
                State::Measured { missing: 0, trailer_len, .. } => {
                    self.take(trailer_len);
                    self.state = State::BetweenReplies;
                    return Ok(Some(Part::End));
                }
                State::Measured { announced, missing, trailer_len } if arrived > 0 => {
                    let len = missing.min(arrived);
                    self.state = State::Measured { announced, missing: missing - len, trailer_len };
                    return Ok(Some(Part::Bytes(self.take(len))));
                }
                State::BetweenReplies | State::Measured { .. } => {}
            }
            if self.fill(stream).map_err(ClientError::Lost)? == 0 {
                return self.ended();
            }
        }
    }

    /// Searches the bytes that have arrived for the end of the reply.
    fn search(&mut self, framing: Framing, searched: usize) -> Result<Found, ClientError> {
        let max_left = (self.max_payload as usize).saturating_sub(self.consumed) as u32;
        let (header_len, payload_len, trailer_len) =
            match framing.decode(&self.buffer[self.start..self.end], searched, max_left) {
                Ok(Decoded::Frame { frame_len, payload }) => (payload.start, payload.len(), frame_len - payload.end),
                Ok(Decoded::Partial { frame_len: Some(frame_len), payload_start, .. }) => {
                    (payload_start, frame_len - payload_start, 0)
                }
                Ok(Decoded::Partial { frame_len: None, searched, .. }) => {
                    // The last bytes may belong to a delimiter.
                    let payload_len = searched.saturating_sub(DELIMITER_LEN_MAX);
                    self.state = State::Searching { framing, searched: searched - payload_len };
                    return Ok(Found::Payload(payload_len));
                }
                Err(error) => {
                    let error = match framing {
                        Framing::Delimiter(delimiter) => delimiter.too_long(self.max_payload),
                        Framing::LengthPrefix(_) | Framing::Exact(_) | Framing::Raw => error,
                    };
                    return Err(error.into());
                }
            };
        self.take(header_len);
        let announced = payload_len as u64;
        self.state = State::Measured { announced, missing: payload_len, trailer_len };
        Ok(Found::End { payload_len: announced })
    }

    fn take(&mut self, len: usize) -> &[u8] {
        let begin = self.start;
        self.start += len;
        self.consumed = self.consumed.saturating_add(len);
        &self.buffer[begin..self.start]
    }

    /// Reads once, and returns how many bytes have come. What is left is less than a header.
    fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        self.buffer.resize(BUFFER_LEN, 0);
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        loop {
            match stream.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => {
                    self.end += outcome.as_ref().unwrap_or(&0);
                    return outcome;
                }
            }
        }
    }

    fn ended(&self) -> Result<Option<Part<'_>>, ClientError> {
        let announced = match self.state {
            State::BetweenReplies => return Ok(None),
            State::Searching { .. } => None,
            State::Measured { announced, .. } => Some(u32::try_from(announced).unwrap_or(u32::MAX)),
        };
        let received = self.consumed.saturating_add(self.end - self.start);
        Err(ClientError::ClosedInsideReply { received, announced })
    }
}

/// How many bytes are read at once.
const BUFFER_LEN: usize = 64 << 10;
