//! The header is read in the machine's own byte order: `from_ne_bytes` where it should be `from_be_bytes`.
//!
//! People make it because a test that encodes and decodes with the same code on the same machine passes. RIOT did it with
//! the length field of IPv6 packets: <https://github.com/RIOT-OS/RIOT/issues/18>.
//!
//! On a little-endian machine 258 bytes (`00 00 01 02`) become 33,619,968: over the limit, and the connection is closed. A
//! frame of 1 byte becomes one of 16 MiB that never comes, and the client waits.
//!
//! Caught by `one-frame`; then nothing else can be played.

use std::io::{ErrorKind, Result};
use std::net::TcpListener;

use crate::sound::connection::Behavior;
use crate::sound::edges;
use crate::sound::frames::{HEADER_LEN, PAYLOAD_LEN_MAX, consume};
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    edges::serve_but::<NativeEndian>(listener)
}

#[derive(Debug, Default)]
struct NativeEndian;

impl Behavior for NativeEndian {
    fn answer(&mut self, inbox: &mut Vec<u8>, outbox: &mut Outbox) -> Result<()> {
        let mut used = 0;
        while let Some(header) = inbox[used..].first_chunk() {
            let len = u32::from_ne_bytes(*header) as usize; // the mistake
            if len > PAYLOAD_LEN_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
            let Some(frame) = inbox[used..].get(..HEADER_LEN + len) else { break };
            outbox.push(frame);
            used += frame.len();
        }
        consume(inbox, used);
        Ok(())
    }
}
