//! The listening sockets: which may have connections to accept, and until when accepting is paused.

use std::time::Instant;

use crate::config::Config;

/// The listening sockets.
#[derive(Debug)]
pub(crate) struct Listeners<L> {
    list: Vec<Listening<L>>,
    paused_until: Option<Instant>,
    /// A connection was closed so that its descriptor could be used, and nothing was accepted since.
    has_freed_descriptor: bool,
    /// The length of a listen queue.
    backlog: u32,
}

#[derive(Debug)]
struct Listening<L> {
    listener: L,
    /// The listen queue may hold connections: an edge was reported and is not used up.
    is_ready: bool,
    /// While the reactor drains, the most connections that are still taken from the queue.
    left: Option<u32>,
}

impl<L> Listening<L> {
    fn may_accept(&self) -> bool {
        self.is_ready && self.left != Some(0)
    }
}

impl<L> Listeners<L> {
    pub(crate) fn new(config: &Config) -> Self {
        Self { list: Vec::new(), paused_until: None, has_freed_descriptor: false, backlog: config.backlog }
    }

    /// The number of listeners, and the index of the next one.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn push(&mut self, listener: L) {
        self.list.push(Listening { listener, is_ready: false, left: None });
    }

    pub(crate) fn listener(&self, index: usize) -> &L {
        &self.list[index].listener
    }

    pub(crate) fn note_ready(&mut self, index: usize) {
        if let Some(listening) = self.list.get_mut(index) {
            listening.is_ready = true;
        }
    }

    /// Whether to accept from a listener now.
    pub(crate) fn may_accept(&self, index: usize) -> bool {
        self.list[index].may_accept() && self.paused_until.is_none()
    }

    /// While the reactor drains, the most connections that are still taken from the listener's queue; otherwise 0.
    pub(crate) fn left(&self, index: usize) -> u32 {
        self.list[index].left.unwrap_or(0)
    }

    /// Notes an accepted connection.
    pub(crate) fn note_accepted(&mut self, index: usize) {
        self.note_taken(index);
        self.has_freed_descriptor = false;
    }

    /// Notes a connection that was taken from the queue, and may have failed.
    pub(crate) fn note_taken(&mut self, index: usize) {
        let left = &mut self.list[index].left;
        *left = left.map(|left| left.saturating_sub(1));
    }

    /// Notes that the queue is empty: an event will report the next connection.
    pub(crate) fn note_empty(&mut self, index: usize) {
        self.list[index].is_ready = false;
    }

    /// Accepts no more from a listener while the reactor drains.
    pub(crate) fn give_up(&mut self, index: usize) {
        self.has_freed_descriptor = false;
        self.list[index].left = Some(0);
    }

    pub(crate) fn pause(&mut self, until: Option<Instant>) {
        self.has_freed_descriptor = false;
        self.paused_until = until;
    }

    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Ends a pause that is over. Returns whether accepting is not paused.
    pub(crate) fn resume(&mut self, now: Instant) -> bool {
        self.paused_until = self.paused_until.filter(|until| now < *until);
        self.paused_until.is_none()
    }

    /// Whether a connection may be closed so that its descriptor can be used: one for each that is accepted.
    pub(crate) fn may_free_descriptor(&self) -> bool {
        !self.has_freed_descriptor
    }

    pub(crate) fn note_descriptor_freed(&mut self) {
        self.has_freed_descriptor = true;
    }

    /// Limits further accepts to what the queues may hold now.
    pub(crate) fn drain(&mut self) {
        self.paused_until = None;
        for listening in &mut self.list {
            // An edge may not have been reported yet.
            listening.is_ready = true;
            listening.left = Some(self.backlog);
        }
    }

    /// Whether there is nothing to accept now.
    pub(crate) fn is_drained(&self) -> bool {
        !self.list.iter().any(Listening::may_accept)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn close(&mut self) {
        self.list.clear();
        self.paused_until = None;
    }

    /// Whether there may be connections to accept for which no event will come.
    pub(crate) fn has_work(&self) -> bool {
        self.paused_until.is_none() && self.list.iter().any(|listening| listening.is_ready)
    }

    /// Whether no listener is ready, and accepting is not paused.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.paused_until.is_none() && !self.list.iter().any(|listening| listening.is_ready)
    }

    /// Notes that a connection has ended, and its descriptor is free.
    pub(crate) fn note_freed(&mut self) {
        self.paused_until = None;
    }
}
