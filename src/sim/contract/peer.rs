//! The peer's end of a simulated connection, as a stream.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;

use crate::net::Transport;
use crate::sim::network::Peer;
use crate::sim::rng::Rng;

/// The most bytes that were written and have not left the peer.
const OUTGOING_MAX: usize = 8 << 10;

/// How the network cuts the peer's stream off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Fin,
    Reset,
}

/// The peer's socket, between the stream and the network.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) peer: Peer,
    rng: Rng,
    /// Calls fail and are cut short at random.
    pub(crate) is_faulty: bool,
    /// What is written leaves in the same call.
    is_direct: bool,
    outgoing: VecDeque<u8>,
    /// FIN follows.
    is_finishing: bool,
    is_finished: bool,
    /// After how many bytes the stream is cut off.
    cut: Option<(usize, Cut)>,
    pub(crate) delivered: usize,
    /// The stream was cut off.
    pub(crate) is_cut: bool,
}

impl Wire {
    pub(crate) fn new(peer: Peer, rng: Rng, cut: Option<(usize, Cut)>) -> Self {
        Self {
            peer,
            rng,
            is_faulty: true,
            is_direct: false,
            outgoing: VecDeque::new(),
            is_finishing: false,
            is_finished: false,
            cut,
            delivered: 0,
            is_cut: false,
        }
    }

    /// Sends at most `len_max` bytes of what was written, then FIN if it follows.
    pub(crate) fn deliver(&mut self, len_max: usize) {
        if self.is_cut || self.is_finished {
            return;
        }
        let allowed = self.cut.map_or(usize::MAX, |(at, _)| at - self.delivered);
        let len = self.outgoing.len().min(len_max).min(allowed);
        let bytes: Vec<u8> = self.outgoing.drain(..len).collect();
        self.peer.send(&bytes);
        self.delivered += len;
        match self.cut {
            Some((at, cut)) if at == self.delivered => {
                self.is_cut = true;
                match cut {
                    Cut::Fin => self.peer.finish(),
                    Cut::Reset => self.peer.reset(),
                }
            }
            _ if self.outgoing.is_empty() && self.is_finishing => {
                self.is_finished = true;
                self.peer.finish();
            }
            _ => {}
        }
    }

    fn written(&mut self) {
        if self.is_direct {
            self.deliver(usize::MAX);
        }
    }

    fn begin_call(&mut self) -> io::Result<()> {
        if self.is_faulty && self.rng.chance(150) {
            let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
            return Err(kinds[self.rng.below(kinds.len())].into());
        }
        Ok(())
    }

    /// At most `len`, and at least 1 of it.
    fn shortened(&mut self, len: usize) -> usize {
        if len > 1 && self.is_faulty && self.rng.chance(400) { self.rng.between(1, len) } else { len }
    }
}

/// The peer's end of a connection as a nonblocking stream, on which you put the other side of your transport.
///
/// In the hands of [`transport_contract`](crate::sim::transport_contract) it is a socket like the reactor's end: reads and writes are
/// short, would block or are interrupted at random. In a test of yours it comes from [`Peer::into_stream`], and does as much as
/// there is to do.
#[derive(Debug)]
pub struct PeerStream {
    pub(crate) wire: Rc<RefCell<Wire>>,
}

impl Peer {
    /// Returns this end as a stream. What is written to it is sent immediately.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::{Read, Write};
    ///
    /// use frameloop::sim::Sim;
    /// use frameloop::{Config, Echo, Reactor};
    ///
    /// let sim = Sim::new(42);
    /// let mut reactor = Reactor::with_net(sim.net(), Config::default(), Echo)?;
    /// reactor.listen(&sim.addr(7007))?;
    ///
    /// let mut stream = sim.connect(7007).ok_or("no listener")?.into_stream();
    /// stream.write_all(&[0, 0, 0, 2, b'h', b'i'])?;
    /// sim.settle(&mut reactor)?;
    /// let mut echoed = [0; 6];
    /// stream.read_exact(&mut echoed)?;
    /// # assert_eq!(echoed, [0, 0, 0, 2, b'h', b'i']);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn into_stream(self) -> PeerStream {
        let wire = Wire { is_faulty: false, is_direct: true, ..Wire::new(self, Rng::new(0), None) };
        PeerStream { wire: Rc::new(RefCell::new(wire)) }
    }
}

impl Read for PeerStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        wire.begin_call()?;
        let len_max = wire.shortened(buf.len());
        let bytes = wire.peer.receive_some(len_max);
        if !bytes.is_empty() || buf.is_empty() {
            buf[..bytes.len()].copy_from_slice(&bytes);
            return Ok(bytes.len());
        }
        if wire.peer.is_reset() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if wire.peer.has_server_finished() { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

impl Write for PeerStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        wire.begin_call()?;
        if wire.is_cut || wire.peer.is_reset() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = OUTGOING_MAX.saturating_sub(wire.outgoing.len());
        let len = wire.shortened(buf.len().min(room));
        if len == 0 && !buf.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.outgoing.extend(&buf[..len]);
        wire.written();
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for PeerStream {
    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut wire = self.wire.borrow_mut();
        if wire.is_cut || wire.peer.is_reset() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        wire.is_finishing = true;
        wire.written();
        Ok(())
    }

    fn reset(&mut self) {
        self.wire.borrow().peer.reset();
    }

    fn short_read_drains(&self) -> bool {
        false
    }
}
