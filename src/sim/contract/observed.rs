//! The transport under test between a connection and a simulated socket: what each call returns is compared with the socket.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::address::{Address, PeerAddr};
use crate::config::Config;
use crate::net::{Net, Ready, Released, Transport};
use crate::options::ListenOptions;
use crate::sim::contract::rules::ContractRule;
use crate::sim::network::{SimListener, SimNet, SimStream};
use crate::sim::socket::Socket;
use crate::sim::world::World;

/// More calls in a row than any transport makes without moving a byte.
const IDLE_CALLS_MAX: usize = 1_000;

/// What was observed in a run.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) violation: Option<(ContractRule, String)>,
    /// What the peer has written.
    pub(crate) sent: Vec<u8>,
    /// The peer has begun to finish.
    pub(crate) is_finishing: bool,
    /// The network has cut the peer's stream off.
    pub(crate) is_cut: bool,
    /// Bytes that the connection has read.
    pub(crate) read: usize,
    /// Bytes that the transport has accepted from the connection.
    pub(crate) accepted: usize,
    /// The connection has read or written something before FIN.
    pub(crate) was_used: bool,
    is_end_read: bool,
    /// The transport has, or had, a closing message.
    has_closing_message: bool,
    pub(crate) wants_write: bool,
    /// Calls since a byte was moved or a step taken.
    pub(crate) idle_calls: usize,
    progress: u64,
}

impl Record {
    /// Notes a violation; the first is the one that is reported.
    pub(crate) fn violated(&mut self, rule: ContractRule, observed: String) {
        self.violation.get_or_insert((rule, observed));
    }

    fn check(&mut self, is_kept: bool, rule: ContractRule, observed: impl FnOnce() -> String) {
        if !is_kept {
            self.violated(rule, observed());
        }
    }
}

/// A transport whose calls are checked.
#[derive(Debug)]
pub(crate) struct Observed<T> {
    transport: T,
    world: Rc<RefCell<World>>,
    socket: usize,
    record: Rc<RefCell<Record>>,
}

/// The state of the transport and its socket after a call.
#[derive(Debug, Clone, Copy)]
struct After {
    wants_read: bool,
    wants_write: bool,
    has_buffered_input: bool,
    short_read_drains: bool,
    has_closing_message: bool,
    is_input_armed: bool,
    is_room_armed: bool,
    is_reset: bool,
    has_finished: bool,
}

impl After {
    /// Whether an event will come for a call that has to read, or whatever it waits for.
    fn read_is_armed(&self) -> bool {
        self.is_input_armed || (self.wants_write && self.is_room_armed)
    }

    fn write_is_armed(&self) -> bool {
        self.is_room_armed || (self.wants_read && self.is_input_armed)
    }
}

impl<T: Transport> Observed<T> {
    /// Ends a transport that calls without end.
    fn begin_call(&self) -> io::Result<()> {
        let mut record = self.record.borrow_mut();
        let progress = self.world.borrow().past.progress;
        if progress != record.progress {
            (record.progress, record.idle_calls) = (progress, 0);
        }
        record.idle_calls += 1;
        if record.idle_calls > IDLE_CALLS_MAX {
            record.violated(ContractRule::BusyLoop, format!("{IDLE_CALLS_MAX} calls have moved nothing"));
            return Err(io::Error::other("busy loop"));
        }
        Ok(())
    }

    fn after(&self) -> After {
        let world = self.world.borrow();
        let socket: &Socket = &world.sockets[self.socket];
        let transport = &self.transport;
        let mut record = self.record.borrow_mut();
        record.wants_write = transport.wants_write();
        record.has_closing_message |= transport.has_closing_message();
        After {
            wants_read: transport.wants_read(),
            wants_write: transport.wants_write(),
            has_buffered_input: transport.has_buffered_input(),
            short_read_drains: transport.short_read_drains(),
            has_closing_message: transport.has_closing_message(),
            is_input_armed: socket.is_input_armed(),
            is_room_armed: socket.is_room_armed(),
            is_reset: socket.is_reset,
            has_finished: socket.server_has_finished,
        }
    }

    fn note_read(&self, buf: &[u8], outcome: &io::Result<usize>) {
        let after = self.after();
        let record = &mut *self.record.borrow_mut();
        match outcome {
            Ok(0) if !buf.is_empty() => {
                record.check(!after.has_buffered_input, ContractRule::StaleWish, || {
                    "read returned 0, and has_buffered_input is still true".into()
                });
                note_end(record);
            }
            Ok(len) => {
                let len = *len;
                record.check(len <= buf.len(), ContractRule::Length, || {
                    format!("read returned {len} for a buffer of {}", buf.len())
                });
                record.check(!record.is_end_read, ContractRule::EndOfStream, || {
                    format!("read returned {len} bytes after it had returned 0")
                });
                let from = record.read;
                let is_exact = buf.get(..len).is_some_and(|bytes| record.sent[from..].starts_with(bytes));
                record.check(is_exact, ContractRule::ExactBytes, || {
                    format!("read returned {len} bytes that are not those that the peer sent from its byte {from} on")
                });
                record.read = record.sent.len().min(from + len);
                record.was_used |= !after.has_finished;
                let drains = len < buf.len() && after.short_read_drains && !after.has_buffered_input;
                // The connection notices by itself that the peer's end has arrived.
                let is_armed = after.is_input_armed || self.world.borrow().sockets[self.socket].is_read_closed();
                record.check(!drains || is_armed, ContractRule::LostEdge, || {
                    format!("a short read of {len} bytes drains, and more may be left in the socket")
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                record.check(!record.is_end_read, ContractRule::EndOfStream, || {
                    "read would block after it had returned 0".into()
                });
                record.check(!after.has_buffered_input, ContractRule::HeldInput, || {
                    "read would block although has_buffered_input is true".into()
                });
                record.check(after.read_is_armed(), ContractRule::LostEdge, || {
                    "read would block, and its socket has not: no event will come".into()
                });
            }
            Err(error) => note_error(record, &after, "read", error),
        }
    }

    fn note_written(&self, asked: usize, outcome: &io::Result<usize>) {
        let after = self.after();
        let record = &mut *self.record.borrow_mut();
        match outcome {
            Ok(len) => {
                let len = *len;
                record.check((1..=asked).contains(&len), ContractRule::Length, || {
                    format!("write returned {len} for {asked} bytes")
                });
                record.accepted += len;
                record.was_used = true;
                record.check(len >= asked || after.write_is_armed(), ContractRule::LostEdge, || {
                    format!("a short write of {len} of {asked} bytes, and the socket has room: no event will come")
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                record.check(after.write_is_armed(), ContractRule::LostEdge, || {
                    "write would block, and its socket has not: no event will come".into()
                });
            }
            Err(error) => note_error(record, &after, "write", error),
        }
    }
}

fn note_end(record: &mut Record) {
    let (read, sent) = (record.read, record.sent.len());
    match (record.is_cut, record.is_finishing) {
        (false, false) => record.violated(
            ContractRule::EndOfStream,
            format!("read returned 0 after {read} bytes, and the peer has not finished"),
        ),
        (false, true) => record
            .check(read == sent, ContractRule::EndOfStream, || format!("read returned 0 after {read} of {sent} bytes")),
        // The closing message may have come before the cut.
        (true, is_finishing) => {
            let is_whole = is_finishing && read == sent;
            record.check(is_whole || !record.has_closing_message, ContractRule::Failure, || {
                format!("read returned 0 after {read} bytes, where the stream was cut off before its closing message")
            });
        }
    }
    record.is_end_read = true;
}

fn note_error(record: &mut Record, after: &After, call: &str, error: &io::Error) {
    let has_cause = after.is_reset || record.is_cut;
    record.check(error.kind() == ErrorKind::Interrupted || has_cause, ContractRule::Failure, || {
        format!("{call} failed, and the socket has not: {error}")
    });
}

impl<T: Transport> Read for Observed<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.begin_call()?;
        let outcome = self.transport.read(buf);
        self.note_read(buf, &outcome);
        outcome
    }
}

impl<T: Transport> Write for Observed<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.begin_call()?;
        let outcome = self.transport.write(buf);
        self.note_written(buf.len(), &outcome);
        outcome
    }

    fn flush(&mut self) -> io::Result<()> {
        self.begin_call()?;
        let outcome = self.transport.flush();
        let after = self.after();
        let record = &mut *self.record.borrow_mut();
        match &outcome {
            Ok(()) => record.check(!after.wants_write, ContractRule::StaleWish, || {
                "flush has succeeded, and wants_write is still true".into()
            }),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                record.check(after.write_is_armed(), ContractRule::LostEdge, || {
                    "flush would block, and its socket has not: no event will come".into()
                });
            }
            Err(error) => note_error(record, &after, "flush", error),
        }
        outcome
    }
}

impl<T: Transport> Transport for Observed<T> {
    fn write_pieces(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.begin_call()?;
        let outcome = self.transport.write_pieces(pieces);
        self.note_written(pieces.iter().map(|piece| piece.len()).sum(), &outcome);
        outcome
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.begin_call()?;
        let outcome = self.transport.shutdown_write();
        let after = self.after();
        let record = &mut *self.record.borrow_mut();
        match &outcome {
            Ok(()) => {
                record.check(after.has_finished || after.is_reset, ContractRule::ClosingHandshake, || {
                    "shutdown_write has succeeded, and FIN was not sent".into()
                });
                record.check(!after.wants_write, ContractRule::StaleWish, || {
                    "shutdown_write has succeeded, and wants_write is still true".into()
                });
                record.check(!after.has_closing_message, ContractRule::StaleWish, || {
                    "shutdown_write has succeeded, and has_closing_message is still true".into()
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                record.check(after.write_is_armed(), ContractRule::LostEdge, || {
                    "shutdown_write would block, and its socket has not: no event will come".into()
                });
            }
            Err(error) => note_error(record, &after, "shutdown_write", error),
        }
        outcome
    }

    fn has_closing_message(&self) -> bool {
        self.transport.has_closing_message()
    }

    fn wants_read(&self) -> bool {
        self.transport.wants_read()
    }

    fn wants_write(&self) -> bool {
        self.transport.wants_write()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.transport.local_addr()
    }

    fn has_buffered_input(&self) -> bool {
        self.transport.has_buffered_input()
    }

    fn has_input(&mut self) -> bool {
        self.transport.has_input()
    }

    fn short_read_drains(&self) -> bool {
        self.transport.short_read_drains()
    }

    fn unacknowledged_bytes(&self) -> io::Result<Option<usize>> {
        self.transport.unacknowledged_bytes()
    }

    fn unacknowledged_bytes_max(&self) -> io::Result<Option<usize>> {
        self.transport.unacknowledged_bytes_max()
    }

    fn limit_unsent(&mut self, is_limited: bool) {
        self.transport.limit_unsent(is_limited);
    }

    fn reset(&mut self) {
        self.transport.reset();
    }
}

/// A simulated network whose accepted streams have the transport under test on top.
pub(crate) struct ObservedNet<'a, F> {
    pub(crate) net: SimNet,
    pub(crate) make: &'a mut F,
    pub(crate) record: Rc<RefCell<Record>>,
}

impl<F: FnMut(SimStream) -> T, T: Transport> ObservedNet<'_, F> {
    fn observe(&mut self, stream: SimStream) -> Observed<T> {
        let (world, socket) = (Rc::clone(&stream.world), stream.socket);
        Observed { transport: (self.make)(stream), world, socket, record: Rc::clone(&self.record) }
    }
}

impl<F: FnMut(SimStream) -> T, T: Transport> Net for ObservedNet<'_, F> {
    type Stream = Observed<T>;
    type Listener = SimListener;
    type Wake = <SimNet as Net>::Wake;

    fn now(&self) -> Instant {
        self.net.now()
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.net.poll(timeout)
    }

    fn events(&self) -> impl Iterator<Item = Ready> {
        self.net.events()
    }

    fn listen(
        &mut self,
        addr: &Address,
        config: &Config,
        options: &ListenOptions,
        token: usize,
    ) -> io::Result<(SimListener, Address)> {
        self.net.listen(addr, config, options, token)
    }

    fn accept(&mut self, listener: &SimListener, config: &Config) -> io::Result<(Observed<T>, PeerAddr)> {
        let (stream, peer) = self.net.accept(listener, config)?;
        Ok((self.observe(stream), peer))
    }

    fn dial(&mut self, to: &Address, from: Option<IpAddr>, config: &Config) -> io::Result<Observed<T>> {
        let stream = self.net.dial(to, from, config)?;
        Ok(self.observe(stream))
    }

    fn is_connected(&self, stream: &Observed<T>) -> io::Result<bool> {
        stream.world.borrow().is_connected(stream.socket)
    }

    fn register(&mut self, stream: &mut Observed<T>, token: usize) -> io::Result<()> {
        stream.world.borrow_mut().register(stream.socket, token)
    }

    fn release(&mut self, stream: Observed<T>) -> Released {
        drop(stream);
        Released { fd: None, lease: None }
    }

    fn waker(&mut self, token: usize) -> io::Result<Self::Wake> {
        self.net.waker(token)
    }
}
