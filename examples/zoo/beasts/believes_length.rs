//! The buffer for a payload is allocated when its header is there, as long as the header says.
//!
//! People make it because the length is what the protocol has a header for, and `vec![0; len]` is what `read_exact` wants.
//! bincode did it with the length of a vector: <https://github.com/bincode-org/bincode/issues/286>.
//!
//! Four bytes cost the server up to 4 GiB of address space, and of memory as soon as it is touched. The first stray HTTP
//! request (`GET ` is 1.1 GiB) does it by accident; a few of them end the process.
//!
//! Caught by `length-over-limit`, `announced-memory` and `four-gib`.

use std::io::Result;
use std::net::TcpListener;

use crate::sound::connection::Behavior;
use crate::sound::edges;
use crate::sound::frames::{HEADER_LEN, consume};
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<BelievesLength>(listener)
}

#[derive(Debug, Default)]
struct BelievesLength {
    begun: Option<Payload>,
}

#[derive(Debug)]
struct Payload {
    bytes: Vec<u8>,
    /// How much of it is there.
    came: usize,
}

impl Behavior for BelievesLength {
    fn answer(&mut self, inbox: &mut Vec<u8>, outbox: &mut Outbox) -> Result<()> {
        let mut used = 0;
        loop {
            let rest = &inbox[used..];
            let Some(payload) = &mut self.begun else {
                let Some(header) = rest.first_chunk() else { break };
                let len = u32::from_be_bytes(*header) as usize;
                self.begun = Some(Payload { bytes: vec![0; len], came: 0 }); // the mistake
                used += HEADER_LEN;
                continue;
            };
            let len = rest.len().min(payload.bytes.len() - payload.came);
            payload.bytes[payload.came..payload.came + len].copy_from_slice(&rest[..len]);
            payload.came += len;
            used += len;
            if payload.came < payload.bytes.len() {
                break;
            }
            outbox.push(&(payload.bytes.len() as u32).to_be_bytes());
            outbox.push(&payload.bytes);
            self.begun = None;
        }
        consume(inbox, used);
        Ok(())
    }
}
