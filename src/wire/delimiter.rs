//! Frames that end with a delimiter.

use std::fmt;
use std::io::BufRead;

use crate::wire::decoded::{Decoded, Enclosure, FramingError};
use crate::wire::error::{DecodeError, FrameError};

/// The longest delimiter, in bytes.
pub(crate) const LEN_MAX: usize = 4;

/// Holds the 1 to 4 bytes at the end of each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Delimiter {
    // Invariant: bytes from `len` on are 0, so that equal delimiters are equal values.
    bytes: [u8; LEN_MAX],
    len: u8,
    ends: Ends,
}

/// What becomes of a delimiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ends {
    Stripped,
    /// The same, with a `\r` before it.
    StrippedWithCr,
    Kept,
}

impl Delimiter {
    /// Creates a delimiter, which is not part of the payload.
    ///
    /// # Errors
    ///
    /// [`FramingError`] unless there are 1 to 4 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use frameloop::wire::{Delimiter, Framing};
    ///
    /// let head_of_http = Framing::from(Delimiter::new(b"\r\n\r\n")?);
    /// assert_eq!(head_of_http.to_string(), "delim:0d0a0d0a");
    /// assert!(Delimiter::new(b"").is_err());
    /// # Ok::<(), frameloop::wire::FramingError>(())
    /// ```
    pub fn new(delimiter: &[u8]) -> Result<Self, FramingError> {
        let mut bytes = [0; LEN_MAX];
        let len = delimiter.len();
        if !(1..=LEN_MAX).contains(&len) {
            return Err(FramingError(format!("a delimiter has {len} bytes and must have 1 to {LEN_MAX}")));
        }
        bytes[..len].copy_from_slice(delimiter);
        Ok(Self { bytes, len: len as u8, ends: Ends::Stripped })
    }

    pub(super) fn lines() -> Self {
        Self { bytes: [b'\n', 0, 0, 0], len: 1, ends: Ends::StrippedWithCr }
    }

    pub(super) fn crlf() -> Self {
        Self { bytes: *b"\r\n\0\0", len: 2, ends: Ends::Stripped }
    }

    /// Sets whether the payload includes the delimiter. Then replies are written unchanged. Default `false`.
    #[must_use]
    pub fn keep(mut self, keeps: bool) -> Self {
        self.ends = if keeps { Ends::Kept } else { Ends::Stripped };
        self
    }

    /// Returns its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }

    pub(super) fn from_hex(digits: &str) -> Result<Self, FramingError> {
        let problem = || FramingError("after delim: come 2 to 8 hexadecimal digits, two for each byte".into());
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) || !digits.len().is_multiple_of(2) {
            return Err(problem());
        }
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16);
        let bytes: Result<Vec<u8>, _> = (0..digits.len()).step_by(2).map(byte).collect();
        Self::new(&bytes.map_err(|_| problem())?).map_err(|_| problem())
    }

    pub(super) fn enclose(&self) -> Enclosure {
        match self.ends {
            Ends::Stripped | Ends::StrippedWithCr => Enclosure::of_tail(self.bytes()),
            Ends::Kept => Enclosure::default(),
        }
    }

    /// The most bytes of a frame whose payload has `max_payload` bytes.
    pub(crate) fn frame_len_max(&self, max_payload: u32) -> usize {
        (max_payload as usize).saturating_add(self.len.into())
    }

    pub(super) fn decode(&self, bytes: &[u8], searched: usize, max_payload: u32) -> Result<Decoded, DecodeError> {
        let within = &bytes[..bytes.len().min(self.frame_len_max(max_payload))];
        match self.find(&[], within, searched) {
            Some(frame_len) => {
                let payload = 0..frame_len - self.trailer_len(&[], &within[..frame_len]);
                Ok(Decoded::Frame { frame_len, payload })
            }
            None if within.len() < self.frame_len_max(max_payload) => {
                Ok(Decoded::Partial { frame_len: None, payload_start: 0, searched: bytes.len() })
            }
            None => Err(self.too_long(max_payload)),
        }
    }

    /// How many bytes at the end of received ones may belong to a delimiter that is not complete.
    pub(crate) fn begun_len_max(&self) -> usize {
        match self.ends {
            Ends::Kept | Ends::Stripped => usize::from(self.len) - 1,
            Ends::StrippedWithCr => usize::from(self.len),
        }
    }

    pub(crate) fn too_long(&self, max_payload: u32) -> DecodeError {
        DecodeError::TooLong(FrameError::new(u64::from(max_payload) + 1, max_payload))
    }

    /// Finds the end of the first delimiter that ends in `bytes`, and not in the first `searched` of them; it may begin in
    /// `before`.
    ///
    /// Rule: no byte is searched twice, however the bytes arrive.
    pub(crate) fn find(&self, before: &[u8], bytes: &[u8], searched: usize) -> Option<usize> {
        let last = *self.bytes().last()?;
        let mut at = searched.min(bytes.len());
        while at < bytes.len() {
            // The standard library's way to its `memchr`, which a slice does not have.
            at += (&bytes[at..]).skip_until(last).ok()?;
            if bytes[at - 1] == last && self.is_end_of(before, &bytes[..at]) {
                return Some(at);
            }
        }
        None
    }

    fn is_end_of(&self, before: &[u8], bytes: &[u8]) -> bool {
        let (begun, rest) = self.bytes().split_at(self.bytes().len().saturating_sub(bytes.len()));
        before.ends_with(begun) && bytes.ends_with(rest)
    }

    /// How many bytes at the end of a frame are not payload. `bytes` are the end of the frame, after `before`.
    pub(crate) fn trailer_len(&self, before: &[u8], bytes: &[u8]) -> usize {
        let len = usize::from(self.len);
        match self.ends {
            Ends::Kept => 0,
            Ends::Stripped => len,
            Ends::StrippedWithCr => match bytes.len().checked_sub(len) {
                Some(0) | None => len + usize::from(before.last() == Some(&b'\r')),
                Some(at) => len + usize::from(bytes[at - 1] == b'\r'),
            },
        }
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ends {
            Ends::StrippedWithCr => return f.write_str("lines"),
            Ends::Stripped if *self == Self::crlf() => return f.write_str("crlf"),
            Ends::Stripped | Ends::Kept => f.write_str("delim:")?,
        }
        self.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(if self.ends == Ends::Kept { ",keep" } else { "" })
    }
}
