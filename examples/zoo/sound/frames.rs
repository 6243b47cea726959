//! Bytes in, answers out.

use std::io::{Error, ErrorKind, Result};

use crate::sound::outbox::Outbox;

/// Each whole frame is its own answer. What stays in `inbox` waits for more.
pub(crate) fn echo(inbox: &mut Vec<u8>, outbox: &mut Outbox) -> Result<()> {
    let mut used = 0;
    while let Some(frame) = whole_frame(&inbox[used..])? {
        outbox.push(frame);
        used += frame.len();
    }
    consume(inbox, used);
    Ok(())
}

/// The frame at the front, header and payload, once all of it is there. A header over the limit is an error before that.
pub(crate) fn whole_frame(bytes: &[u8]) -> Result<Option<&[u8]>> {
    let Some(header) = bytes.first_chunk() else { return Ok(None) };
    let len = checked_len(*header)?;
    Ok(bytes.get(..HEADER_LEN + len))
}

/// The payload length that a header announces.
pub(crate) fn checked_len(header: [u8; HEADER_LEN]) -> Result<usize> {
    let len = u32::from_be_bytes(header) as usize;
    if len > PAYLOAD_LEN_MAX {
        let text = format!("a header announces {len} bytes, and {PAYLOAD_LEN_MAX} are allowed");
        return Err(Error::new(ErrorKind::InvalidData, text));
    }
    Ok(len)
}

/// Forgets what was used. A buffer that is empty is given back: an idle connection owns none.
pub(crate) fn consume(inbox: &mut Vec<u8>, used: usize) {
    inbox.drain(..used);
    if inbox.is_empty() {
        *inbox = Vec::new();
    }
}

pub(crate) const HEADER_LEN: usize = 4;
pub(crate) const PAYLOAD_LEN_MAX: usize = 16 << 20;
