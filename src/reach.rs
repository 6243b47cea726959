//! How callbacks reach the connections of a reactor, whatever their sockets and its handler are.

use std::time::Instant;

use crate::address::{Address, Dial};
use crate::conn::frame::Frame;
use crate::conn::payloads::SharedPayload;
use crate::conn::shared::Shared;
use crate::error::{DialRefused, Error, SendError, TimerRefused};
use crate::id::{ConnId, ListenerId, TimerId};
use crate::info::{ConnectionInfo, Seen};
use crate::options::ListenOptions;
use crate::stats::Stats;

/// Counts the connections of a broadcast, by its result for each.
///
/// A broadcast closes no connection. A connection on which the frame was not queued continues without it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broadcast {
    /// Connections on which the frame was queued.
    pub queued: usize,
    /// Connections whose pending output had reached the high-water mark ([`SendError::Full`]), or that have sent a part of a reply
    /// ([`SendError::ReplyUnfinished`]).
    pub full: usize,
    /// Connections for which the memory limit had no room ([`SendError::NoMemory`]).
    pub no_memory: usize,
    /// Connections whose framing cannot announce the length of the payload ([`SendError::TooLong`], [`SendError::TooShort`]).
    pub unfit: usize,
    /// Connections that are closing, or have ended in this turn ([`SendError::Closed`]).
    pub gone: usize,
}

/// A command for a connection, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Close,
    Finish,
    Abort,
    Pause,
    Resume,
    Wake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Drain,
    Stop,
}

/// What a handler wants of the reactor's listeners.
#[derive(Debug)]
pub(crate) enum ListenerRequest {
    Listen(Address, ListenOptions),
    /// `None`: all of them.
    Unlisten(Option<ListenerId>),
}

pub(crate) trait Reach {
    fn send(&mut self, to: ConnId, payload: &[u8], shared: &mut Shared) -> Result<(), SendError>;
    fn send_shared(
        &mut self,
        to: ConnId,
        payload: &mut SharedPayload<'_>,
        shared: &mut Shared,
    ) -> Result<(), SendError>;
    fn forward(&mut self, frame: &mut Frame<'_>, to: ConnId, shared: &mut Shared) -> Result<(), SendError>;
    /// Queues the frame of a broadcast on some connections, and counts the results. None is the one that the callback is about.
    fn broadcast(
        &mut self,
        to: &[ConnId],
        payload: &mut SharedPayload<'_>,
        shared: &mut Shared,
        reached: &mut Broadcast,
    );
    fn broadcast_all(&mut self, payload: &mut SharedPayload<'_>, shared: &mut Shared) -> Broadcast;
    /// Makes room for `needed` bytes on the connection `of`, which holds `held` bytes: evicts connections that hold more than
    /// both together. Returns whether there is room.
    fn make_room(&mut self, of: ConnId, held: usize, needed: usize, shared: &mut Shared) -> bool;
    fn command(&mut self, id: ConnId, command: Command) -> bool;
    /// Describes a connection. `own` is what the callback sees of its own.
    fn inspect(&mut self, id: ConnId, own: Option<Seen<'_>>, shared: &mut Shared) -> Option<ConnectionInfo>;
    /// The ids of all open connections, except the one that the callback is about.
    fn open_ids(&mut self) -> Vec<ConnId>;
    fn dial(&mut self, dial: Dial, shared: &Shared) -> Result<ConnId, DialRefused>;
    fn set_timer(&mut self, at: Instant) -> Result<TimerId, TimerRefused>;
    fn cancel_timer(&mut self, timer: TimerId) -> bool;
    /// Listens at the end of the turn.
    fn listen(&mut self, addr: Address, options: ListenOptions, shared: &Shared) -> Result<(), Error>;
    /// Closes a listener, or all of them, at the end of the turn.
    fn unlisten(&mut self, id: Option<ListenerId>);
    fn end(&mut self, end: End);
    fn stats(&self, shared: &Shared) -> Stats;
}

/// How many receivers of a broadcast are looked up by one call.
pub(crate) const BATCH_LEN: usize = 64;

/// Counts the result of a broadcast for one connection.
#[inline]
pub(crate) fn count(reached: &mut Broadcast, sent: Result<(), SendError>) {
    match sent {
        Ok(()) => reached.queued += 1,
        Err(SendError::Full | SendError::ReplyUnfinished) => reached.full += 1,
        Err(SendError::NoMemory) => reached.no_memory += 1,
        Err(SendError::Closed) => reached.gone += 1,
        Err(SendError::TooLong { .. } | SendError::TooShort { .. }) => reached.unfit += 1,
    }
}
