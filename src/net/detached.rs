//! A connection that has left its reactor.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::address::PeerAddr;

/// Holds the socket of a connection that was detached, and what the reactor has left undone.
/// [`Handler::on_detach`](crate::Handler::on_detach) gets it.
///
/// Dropping it closes the socket.
#[non_exhaustive]
pub struct Detached {
    /// The socket. It is nonblocking, and registered with no readiness queue. `None` on a simulated network.
    pub fd: Option<OwnedFd>,
    /// The address of the peer.
    pub peer: PeerAddr,
    /// Bytes that were received and not delivered. They come before what is read from the socket.
    pub unread: Vec<u8>,
    /// Bytes that were queued and not written. Write them before anything else.
    pub unsent: Vec<u8>,
    pub(crate) lease: Option<Lease>,
}

impl fmt::Debug for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detached")
            .field("fd", &self.fd)
            .field("peer", &self.peer)
            .field("unread", &self.unread.len())
            .field("unsent", &self.unsent.len())
            .field("is_simulated", &self.lease.is_some())
            .finish_non_exhaustive()
    }
}

/// Keeps a simulated socket open.
pub(crate) type Lease = Arc<()>;

/// Holds the socket that a [`Net`](crate::net::Net) has released.
#[derive(Debug)]
pub struct Released {
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) lease: Option<Lease>,
}

impl From<OwnedFd> for Released {
    fn from(fd: OwnedFd) -> Self {
        Self { fd: Some(fd), lease: None }
    }
}
