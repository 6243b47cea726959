//! A file as the payload of one frame, without holding it: a header needs the length before the first byte.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use frameloop::client::ClientError;
use frameloop::wire::{Framing, PAYLOAD_LEN_MAX};

use crate::connect::whole;
use crate::failure::Failure;

/// A payload that is still to be read.
pub(super) struct Upload {
    pub(super) path: PathBuf,
    pub(super) payload_len: u32,
    pub(super) payload: Box<dyn Payload>,
    /// Whether the end of the stream follows it, as nothing else shows its end.
    pub(super) ends_stream: bool,
}

/// Bytes that can be read again.
pub(super) trait Payload: Read + Seek + Send {}

impl<P: Read + Seek + Send> Payload for P {}

impl Upload {
    /// The payload in a file.
    ///
    /// The length of a regular file is known. What a pipe or a device gives is counted first, in a temporary file if it is
    /// more than a little; so are files whose length is not what they say, as those under `/proc`.
    pub(super) fn open(path: &Path, framing: Framing) -> Result<Self, Failure> {
        payload_of(path, framing)
            .map(|(payload_len, payload)| Self {
                path: path.to_owned(),
                payload_len,
                payload,
                ends_stream: framing == Framing::Raw,
            })
            .map_err(|error| Failure::run(format_args!("cannot send {}: {error}", path.display())))
    }
}

fn payload_of(path: &Path, framing: Framing) -> Result<(u32, Box<dyn Payload>), Box<dyn std::error::Error>> {
    let (len, mut payload) = bytes_of(path)?;
    let payload_len = checked(len)?;
    whole::check(framing, payload_len as usize, &mut payload)?;
    payload.rewind()?;
    Ok((payload_len, payload))
}

/// The bytes of a file, and how many they are.
fn bytes_of(path: &Path) -> Result<(u64, Box<dyn Payload>), Box<dyn std::error::Error>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    checked(metadata.len())?;
    let mut head = Vec::new();
    (&mut file).take(HEAD_BYTES).read_to_end(&mut head)?;
    let head_len = head.len() as u64;
    if head_len < HEAD_BYTES {
        return Ok((head_len, Box::new(io::Cursor::new(head))));
    }
    if metadata.is_file() && metadata.len() > head_len {
        file.rewind()?;
        return Ok((metadata.len(), Box::new(file)));
    }
    let mut spool = tempfile::tempfile()?;
    let rest_max = u64::from(PAYLOAD_LEN_MAX) + 1 - head_len;
    let len = io::copy(&mut head.chain(file.take(rest_max)), &mut spool)?;
    spool.rewind()?;
    Ok((len, Box::new(spool)))
}

/// A length that a frame can have.
fn checked(len: u64) -> Result<u32, ClientError> {
    u32::try_from(len).map_err(|_| ClientError::PayloadTooLong(usize::try_from(len).unwrap_or(usize::MAX)))
}

/// So much is read before anything is decided.
const HEAD_BYTES: u64 = 256 << 10;
