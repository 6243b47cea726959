//! The messages between the threads of a conversation.

use frameloop::client::ClientError;

use crate::connect::upload::Upload;
use crate::failure::Failure;

/// An event that the main thread waits for.
#[derive(Debug)]
pub(super) enum Event {
    /// From the server.
    Received(Received),
    /// A line of input; `None` at its end.
    Line(Result<Option<Vec<u8>>, Failure>),
    /// The request was sent, or failed.
    Sent(Result<(), ClientError>),
}

/// What the sending thread is to send.
pub(super) enum Request {
    Payload(Vec<u8>),
    Upload(Upload),
}

/// A step of what the server sends.
#[derive(Debug)]
pub(super) enum Received {
    /// The first byte of a frame.
    Begun,
    /// The length of its payload, in bytes, if it is known before all of it has come.
    Announced(u64),
    /// The next bytes of its payload.
    Piece(Vec<u8>),
    /// All of it.
    Complete,
    /// The end: why no more will come.
    End(ClientError),
}
