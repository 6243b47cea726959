//! A file as the payload of one frame, without holding it: a header needs the length before the first byte.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use frameloop::client::ClientError;
use frameloop::wire::PAYLOAD_LEN_MAX;

use crate::failure::Failure;

/// A payload that is still to be read.
pub(super) struct Upload {
    pub(super) path: PathBuf,
    pub(super) payload_len: u32,
    pub(super) payload: Box<dyn Read + Send>,
}

impl Upload {
    /// The payload in a file.
    ///
    /// The length of a regular file is known. What a pipe or a device gives is counted first, in a temporary file if it is
    /// more than a little; so are files whose length is not what they say, as those under `/proc`.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        payload_of(path)
            .map(|(payload_len, payload)| Self { path: path.to_owned(), payload_len, payload })
            .map_err(|error| Failure::run(format_args!("cannot send {}: {error}", path.display())))
    }
}

fn payload_of(path: &Path) -> Result<(u32, Box<dyn Read + Send>), Box<dyn std::error::Error>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    checked(metadata.len())?;
    let mut head = Vec::new();
    (&mut file).take(HEAD_BYTES).read_to_end(&mut head)?;
    let head_len = head.len() as u64;
    if head_len < HEAD_BYTES {
        return Ok((checked(head_len)?, Box::new(io::Cursor::new(head))));
    }
    if metadata.is_file() && metadata.len() > head_len {
        return Ok((checked(metadata.len())?, Box::new(io::Cursor::new(head).chain(file))));
    }
    let mut spool = tempfile::tempfile()?;
    let rest_max = u64::from(PAYLOAD_LEN_MAX) + 1 - head_len;
    let len = head_len + io::copy(&mut file.take(rest_max), &mut spool)?;
    spool.seek(SeekFrom::Start(0))?;
    Ok((checked(len)?, Box::new(io::Cursor::new(head).chain(spool))))
}

/// A length that a header can announce.
fn checked(len: u64) -> Result<u32, ClientError> {
    u32::try_from(len).map_err(|_| ClientError::PayloadTooLong(usize::try_from(len).unwrap_or(usize::MAX)))
}

/// So much is read before anything is decided.
const HEAD_BYTES: u64 = 256 << 10;
