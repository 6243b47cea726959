//! The listening sockets: which may have connections to accept, and until when accepting is paused.

use std::time::Instant;

use crate::conn::profile::ProfileId;
use crate::id::ListenerId;

/// The listening sockets.
#[derive(Debug)]
pub(crate) struct Listeners<L> {
    // Invariant: in the order of their ids.
    list: Vec<Entry<L>>,
    next_id: ListenerId,
    paused_until: Option<Instant>,
    /// A connection was closed so that its descriptor could be used, and nothing was accepted since.
    has_freed_descriptor: bool,
    // Invariant: the open connections of listeners with a limit of their own, also of those that are closed.
    apart: usize,
}

/// The limit of a listener's connections, apart from all others.
#[derive(Debug, Clone, Copy)]
struct Apart {
    max: usize,
    // Invariant: the open connections of the listener.
    open: usize,
}

#[derive(Debug)]
struct Entry<L> {
    id: ListenerId,
    listener: L,
    /// That of its connections.
    profile: ProfileId,
    /// The length of the listen queue.
    backlog: u32,
    /// `None`: its connections count like any other.
    apart: Option<Apart>,
    /// The listen queue may hold connections: an edge was reported and is not used up.
    is_ready: bool,
    /// If it is to be closed, the most connections that are still taken from the queue.
    left: Option<u32>,
}

impl<L> Entry<L> {
    fn may_accept(&self) -> bool {
        self.is_ready && self.left != Some(0)
    }
}

impl<L> Default for Listeners<L> {
    fn default() -> Self {
        Self { list: Vec::new(), next_id: ListenerId(0), paused_until: None, has_freed_descriptor: false, apart: 0 }
    }
}

impl<L> Listeners<L> {
    /// The number of listeners.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The id of the next listener.
    pub(crate) fn next_id(&self) -> ListenerId {
        self.next_id
    }

    /// Adds a listener, which takes one user of the profile over.
    pub(crate) fn push(&mut self, listener: L, profile: ProfileId, backlog: u32, max_connections: Option<usize>) {
        let apart = max_connections.map(|max| Apart { max, open: 0 });
        self.list.push(Entry { id: self.next_id, listener, profile, backlog, apart, is_ready: false, left: None });
        self.next_id.0 += 1;
    }

    pub(crate) fn listener(&self, index: usize) -> &L {
        &self.list[index].listener
    }

    /// The profile of a listener's connections.
    pub(crate) fn profile(&self, index: usize) -> ProfileId {
        self.list[index].profile
    }

    /// Whether the connections of a listener are limited apart from all others, and whether there is room for another.
    pub(crate) fn is_apart(&self, index: usize) -> Option<Result<(), usize>> {
        self.list[index].apart.map(|Apart { max, open }| if open < max { Ok(()) } else { Err(max) })
    }

    /// The open connections that are limited apart from all others.
    pub(crate) fn apart(&self) -> usize {
        self.apart
    }

    pub(crate) fn note_apart_open(&mut self, id: Option<ListenerId>) {
        self.apart += 1;
        if let Some(apart) = self.apart_of(id) {
            apart.open += 1;
        }
    }

    pub(crate) fn note_apart_ended(&mut self, id: Option<ListenerId>) {
        self.apart -= 1;
        if let Some(apart) = self.apart_of(id) {
            apart.open -= 1;
        }
    }

    /// The count of a listener, unless it is closed.
    fn apart_of(&mut self, id: Option<ListenerId>) -> Option<&mut Apart> {
        let index = self.list.binary_search_by_key(&id?, |listening| listening.id).ok()?;
        self.list[index].apart.as_mut()
    }

    /// Notes an event, which may be of a listener that is closed.
    pub(crate) fn note_ready(&mut self, id: ListenerId) {
        if let Ok(index) = self.list.binary_search_by_key(&id, |listening| listening.id) {
            self.list[index].is_ready = true;
        }
    }

    /// Whether to accept from a listener now.
    pub(crate) fn may_accept(&self, index: usize) -> bool {
        self.list[index].may_accept() && self.paused_until.is_none()
    }

    /// The most connections that are still taken from the queue of a listener that is to be closed; otherwise 0.
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

    /// Whether a listener is to be closed once its queue is empty.
    pub(crate) fn is_closing(&self, index: usize) -> bool {
        self.list[index].left.is_some()
    }

    /// Accepts no more from a listener that is to be closed.
    pub(crate) fn give_up(&mut self, index: usize) {
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

    /// Limits the accepts of a listener, or of all, to what the queue may hold now. Returns whether there is one that was not
    /// to be closed yet.
    pub(crate) fn begin_close(&mut self, id: Option<ListenerId>) -> bool {
        let mut is_found = false;
        for listening in &mut self.list {
            if listening.left.is_none() && id.is_none_or(|id| id == listening.id) {
                // An edge may not have been reported yet.
                listening.is_ready = true;
                listening.left = Some(listening.backlog);
                is_found = true;
            }
        }
        is_found
    }

    /// Closes a listener that is to be closed and has an empty queue. Returns the profile, of which there is a user less.
    pub(crate) fn close_next(&mut self) -> Option<ProfileId> {
        let index = self.list.iter().position(|listening| listening.left.is_some() && !listening.may_accept())?;
        Some(self.list.remove(index).profile)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.list.is_empty()
    }

    /// Closes a listener, whatever its queue holds. Returns the profile, of which there is a user less.
    pub(crate) fn close(&mut self) -> Option<ProfileId> {
        self.paused_until = None;
        self.list.pop().map(|listening| listening.profile)
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
