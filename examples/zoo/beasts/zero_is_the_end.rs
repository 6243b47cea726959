//! An empty frame is taken for the end of the stream.
//!
//! People make it because a read of 0 bytes is the end of a stream, and an empty frame looks like one, above all where a
//! layer hands payloads on through a `Read`. gRPC for Go did it with empty data frames:
//! <https://github.com/grpc/grpc-go/issues/259>.
//!
//! A client that sends an empty frame, as a sign of life for example, finds its connection closed.
//!
//! Caught by `zero-length` and `every-split`.

use std::io::{ErrorKind, Result};
use std::net::TcpListener;

use crate::sound::connection::Behavior;
use crate::sound::edges;
use crate::sound::frames::{HEADER_LEN, consume, whole_frame};
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<ZeroIsTheEnd>(listener)
}

#[derive(Debug, Default)]
struct ZeroIsTheEnd;

impl Behavior for ZeroIsTheEnd {
    fn answer(&mut self, inbox: &mut Vec<u8>, outbox: &mut Outbox) -> Result<()> {
        while let Some(frame) = whole_frame(inbox)? {
            let len = frame.len();
            if len == HEADER_LEN {
                return Err(ErrorKind::UnexpectedEof.into()); // the mistake
            }
            outbox.push(frame);
            consume(inbox, len);
        }
        Ok(())
    }
}
