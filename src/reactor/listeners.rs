//! The listening sockets: which of them may have connections to accept, and until when accepting pauses.

use std::time::Instant;

use crate::config::Config;

/// The listening sockets.
#[derive(Debug)]
pub(crate) struct Listeners<L> {
    pub(crate) list: Vec<Listening<L>>,
    /// While accepting is paused.
    pub(crate) paused_until: Option<Instant>,
    /// A connection was closed so that its descriptor could be used, and nothing was accepted since.
    pub(crate) has_freed_descriptor: bool,
    /// The length of a listen queue.
    backlog: u32,
}

#[derive(Debug)]
pub(crate) struct Listening<L> {
    pub(crate) listener: L,
    /// The listen queue may hold connections: an edge came and was not used up.
    pub(crate) is_ready: bool,
    /// While the reactor drains, the most connections that are still taken from the queue.
    pub(crate) left: Option<u32>,
}

impl<L> Listening<L> {
    pub(crate) fn may_accept(&self) -> bool {
        self.is_ready && self.left != Some(0)
    }

    pub(crate) fn note_taken(&mut self) {
        self.left = self.left.map(|left| left.saturating_sub(1));
    }
}

impl<L> Listeners<L> {
    pub(crate) fn new(config: &Config) -> Self {
        Self { list: Vec::new(), paused_until: None, has_freed_descriptor: false, backlog: config.backlog }
    }

    /// The number that the next listener will have.
    pub(crate) fn next_index(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn push(&mut self, listener: L) {
        self.list.push(Listening { listener, is_ready: false, left: None });
    }

    pub(crate) fn note_ready(&mut self, index: usize) {
        if let Some(listening) = self.list.get_mut(index) {
            listening.is_ready = true;
        }
    }

    /// From here on, no more is accepted than may wait in the queues by now.
    pub(crate) fn drain(&mut self) {
        self.paused_until = None;
        for listening in &mut self.list {
            // An edge may be on its way.
            listening.is_ready = true;
            listening.left = Some(self.backlog);
        }
    }

    /// Whether nothing is to be accepted by now.
    pub(crate) fn is_drained(&self) -> bool {
        !self.list.iter().any(Listening::may_accept)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.list.is_empty()
    }

    /// Stops listening.
    pub(crate) fn close(&mut self) {
        self.list.clear();
        self.paused_until = None;
    }

    /// Whether there may be connections to accept that no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        self.paused_until.is_none() && self.list.iter().any(|listening| listening.is_ready)
    }

    /// Whether no listener is ready, and accepting is not paused.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.paused_until.is_none() && !self.list.iter().any(|listening| listening.is_ready)
    }

    /// A descriptor is free again.
    pub(crate) fn note_freed(&mut self) {
        self.paused_until = None;
    }
}
