//! A frame at a time, for those that wait for it.

use std::io::{ErrorKind, Read, Result};

use crate::sound::frames::{HEADER_LEN, checked_len};

/// Waits for a frame, header and payload. `None` is the end of the stream, between frames.
pub(crate) fn read_frame(stream: &mut impl Read) -> Result<Option<Vec<u8>>> {
    let mut header = [0; HEADER_LEN];
    match stream.read(&mut header[..1]) {
        Ok(0) => return Ok(None),
        result => result?,
    };
    stream.read_exact(&mut header[1..])?;
    let len = checked_len(header)?;
    let mut frame = header.to_vec();
    // Grows with what comes, not with what was announced.
    if stream.take(len as u64).read_to_end(&mut frame)? < len {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(frame))
}
