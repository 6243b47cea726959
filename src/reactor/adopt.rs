//! Sockets from elsewhere: a service manager, a parent process, another loop.
//!
//! Rule: an adopted connection has the limits and deadlines of an accepted one. An adopted listener may be shared with other
//! processes, so it is only closed: it is not shut down, and no path is removed.

use std::os::fd::OwnedFd;

use log::debug;

use crate::address::{Address, PeerAddr};
use crate::conn::chunk::{CHUNK_LEN, capacity_for};
use crate::error::AdoptError;
use crate::handler::Handler;
use crate::id::ConnId;
use crate::info::Listening;
use crate::net::{Listener, Net, Stream};
use crate::options::ListenOptions;
use crate::reach::Reach;
use crate::reactor::Reactor;
use crate::reactor::accept::{Failed, Refusal};
use crate::reactor::connections::Open;
use crate::reactor::log_limit::LOOP;
use crate::reactor::reclaim::Search;
use crate::reactor::slots::Origin;
use crate::reactor::token::Subject;

impl<H: Handler> Reactor<H> {
    /// Listens on a socket that was bound elsewhere: by systemd (socket activation), by a parent process, or by this program
    /// before it gave up its privileges. Returns the address of the socket; the path of an unnamed Unix socket is empty.
    ///
    /// The socket is a TCP or a Unix stream socket, and listens already. It is made nonblocking and close-on-exec. The length of its
    /// queue is what its maker has chosen, and so are the options that apply to listening.
    ///
    /// Other processes may hold the same socket. So the reactor does not shut it down: while another process holds it, clients
    /// still connect, and wait for that process to accept them. The path of a Unix socket is not removed.
    ///
    /// # Errors
    ///
    /// [`AdoptError::Unfit`] if it is no such socket, [`AdoptError::Ending`] while the reactor drains and after it has stopped, and
    /// [`AdoptError::Io`] if a system call fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::net::TcpListener;
    ///
    /// use frameloop::{Config, Echo, Reactor};
    ///
    /// let bound = TcpListener::bind("127.0.0.1:0")?;
    /// let mut reactor = Reactor::new(Config::default(), Echo)?;
    /// println!("listening on {}", reactor.adopt_listener(bound)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt_listener(&mut self, socket: impl Into<OwnedFd>) -> Result<Address, AdoptError> {
        self.adopt_listener_with(socket, ListenOptions::default()).map(|listening| listening.addr)
    }

    /// Does the same with options, of which those of the socket have no effect: backlog, `SO_REUSEPORT`, permissions.
    ///
    /// # Errors
    ///
    /// As for [`adopt_listener`](Self::adopt_listener); [`AdoptError::Config`] if an option is out of its range.
    pub fn adopt_listener_with(
        &mut self,
        socket: impl Into<OwnedFd>,
        options: ListenOptions,
    ) -> Result<Listening, AdoptError> {
        self.admit_adoption()?;
        options.check(&self.config).map_err(AdoptError::Config)?;
        let (mut listener, addr) = Listener::adopt(socket.into(), &self.config)?;
        let id = self.listeners.next_id();
        self.net.register_listener(&mut listener, Subject::Listener(id).token())?;
        self.begin_listening(listener, &options);
        debug!(target: LOOP, "listening on {addr}{}, adopted", options.named());
        Ok(Listening { id, addr })
    }

    /// Makes a connected socket a connection of this reactor, as if it had been accepted. Returns its id.
    ///
    /// The socket is a TCP or a Unix stream socket. It is made nonblocking and close-on-exec. If you have read from it already, for
    /// example to see which protocol the client speaks, hand over those bytes as `unread`: they are delivered before what is read
    /// from the socket. They are copied, and may be 68 KiB long.
    ///
    /// [`Handler::on_open`] is called before this returns; frames are delivered in further turns. The connection counts as accepted,
    /// towards [`max_connections`](crate::ConfigBuilder::max_connections), where it may take the place of an idle one, and towards
    /// [`max_per_ip`](crate::ConfigBuilder::max_per_ip). At its end the reactor shuts the socket down, even if the program has
    /// duplicates.
    ///
    /// # Errors
    ///
    /// [`AdoptError`], if there is no connection then; the socket is closed. `on_open` was called only if it panicked.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    ///
    /// use frameloop::{Config, Echo, Reactor};
    ///
    /// let (ours, theirs) = UnixStream::pair()?;
    /// let mut reactor = Reactor::new(Config::default(), Echo)?;
    /// let id = reactor.adopt_stream(ours, b"\0\0\0\x05he")?; // and then comes b"llo"
    /// # drop(theirs);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt_stream(&mut self, socket: impl Into<OwnedFd>, unread: &[u8]) -> Result<ConnId, AdoptError> {
        self.admit_adoption()?;
        let (stream, peer) = Stream::adopt(socket.into(), &self.config)?;
        self.adopt(stream, peer, unread)
    }
}

impl<H: Handler, N: Net> Reactor<H, N> {
    fn admit_adoption(&self) -> Result<(), AdoptError> {
        if self.connections.work.is_ending() {
            return Err(AdoptError::Ending);
        }
        Ok(())
    }

    /// Adopts a connected stream.
    pub(crate) fn adopt(&mut self, stream: N::Stream, peer: PeerAddr, unread: &[u8]) -> Result<ConnId, AdoptError> {
        self.admit_adoption()?;
        if unread.len() > CHUNK_LEN {
            return Err(AdoptError::UnreadTooLong { len: unread.len(), max: CHUNK_LEN });
        }
        // A deadline that begins here must not include the time since the last turn.
        self.shared.now = self.net.now();
        let longest_idle = if self.is_full() { self.longest_idle() } else { None };
        if let Err(refusal) = self.admission(&peer, longest_idle) {
            self.refuse(&peer, refusal);
            return Err(match refusal {
                Refusal::ConnectionsMax(allowed) | Refusal::Apart(allowed) => AdoptError::ConnectionsMax { allowed },
                Refusal::PerIp(_, allowed) => AdoptError::PerIpMax { allowed },
            });
        }
        let profile = self.shared.profiles.acquire_usual();
        let id = self.begin(stream, peer, profile, Origin::Accepted).map_err(|failed| match failed {
            Failed::NotRegistered(error) => AdoptError::Io(error),
            Failed::NotOpened => AdoptError::HandlerPanicked,
        })?;
        if !unread.is_empty() {
            self.preload(id, unread);
        }
        Ok(id)
    }

    /// The connection that has been idle longest, however long it takes to find it.
    fn longest_idle(&mut self) -> Option<ConnId> {
        loop {
            match self.reclaim.longest_idle(&mut self.connections) {
                Search::Found(id) => return Some(id),
                Search::Nothing => return None,
                Search::Unfinished => _ = self.reclaim.begin_turn(self.shared.now),
            }
        }
    }

    /// Lets the next turn deliver what was received before.
    fn preload(&mut self, id: ConnId, unread: &[u8]) {
        let Self { connections, shared, .. } = self;
        let Some((slot, mut others)) = connections.split(id) else { return };
        let Some(Open { conn, .. }) = slot.phase.open_mut() else { return };
        let held = conn.buffered_bytes();
        let needed = capacity_for(unread.len());
        if !shared.pool.has_room(needed) {
            others.make_room(id, held, needed, shared);
        }
        conn.preload(unread, shared);
        if conn.closed().is_some() {
            others.work.note_ended(id);
        }
        others.work.eviction.set(&mut slot.eviction_entry, id.index, conn.buffered_bytes(), false, shared.now);
        others.work.queue.push(id);
    }
}
