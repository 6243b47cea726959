//! What a detached connection leaves to the code that takes its socket over.

/// The bytes between the socket and the handler at the end of a connection's last turn.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    /// Received, and not delivered.
    pub(crate) unread: Vec<u8>,
    /// Queued, and not written.
    pub(crate) unsent: Vec<u8>,
}

impl Handover {
    pub(crate) fn is_empty(&self) -> bool {
        self.unread.is_empty() && self.unsent.is_empty()
    }
}
