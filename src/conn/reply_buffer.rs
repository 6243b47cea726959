//! Short replies on their way to the socket.
//!
//! All connections write their short replies from one buffer, as they read into one. A connection queues output of its own only if the
//! socket does not accept everything, or if there is much of it.

use crate::conn::io::{Budget, Readiness, Transport};
use crate::error::CloseReason;
use crate::wire::Enclosure;

/// The replies of the connection whose turn it is, while all of its other output is sent. Between turns it is empty.
#[derive(Debug)]
pub(crate) struct ReplyBuffer {
    bytes: Vec<u8>,
}

/// So many bytes fit. More output is queued, because a chunk of the pool is then cheaper than another copy.
pub(crate) const REPLIES_LEN_MAX: usize = 4 << 10;

impl ReplyBuffer {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::with_capacity(REPLIES_LEN_MAX) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Unsent bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The unsent bytes.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a frame if the unsent bytes stay below `high`. Returns whether it was added.
    #[inline]
    pub(crate) fn append(&mut self, enclosure: &Enclosure, payload: &[u8], high: usize) -> bool {
        let len = self.bytes.len() + enclosure.len() + payload.len();
        if len > REPLIES_LEN_MAX || len >= high {
            return false;
        }
        self.bytes.extend_from_slice(enclosure.head());
        self.bytes.extend_from_slice(payload);
        self.bytes.extend_from_slice(enclosure.tail());
        true
    }

    /// Writes the unsent bytes, as far as the socket and the budget permit.
    #[inline]
    pub(crate) fn write(
        &mut self,
        io: &mut impl Transport,
        readiness: &mut Readiness,
        budget: &mut Budget,
    ) -> Result<(), CloseReason> {
        while !self.is_empty() && readiness.writable && budget.may_write() {
            let sent = readiness.write(io, &self.bytes, budget)?;
            // Nearly always all of them.
            self.bytes.drain(..sent);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }
}
