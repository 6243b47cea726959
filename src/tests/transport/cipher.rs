//! A transport with all that makes TLS difficult: a handshake, records that are held back until they are whole, bytes that are held when
//! the socket is full, and a closing message. It is no protection: anyone can compute its keystream.
//!
//! A record is its length in two bytes, then a type and the content, both combined with the keystream of their direction. First each
//! side sends a nonce in a record of its own, the client before the server.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use crate::net::{Layer, Side, Transport};
use crate::sim::Rng;

/// The most data in a record.
const RECORD_MAX: usize = 300;
const NONCE_LEN: usize = 8;

const HELLO: u8 = 1;
const DATA: u8 = 2;
const CLOSE: u8 = 3;

/// A planted mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// A read that has got a part of a record would block.
    LosesEdge,
    /// A write takes one record, although the socket has room.
    LosesRoom,
    /// A write that waits for the handshake does not want to read.
    WaitsSilently,
    /// A read that has got a part of a record returns 0.
    EndsAtPartialRecord,
    /// A read would block although data is buffered.
    BlocksOnInput,
    /// The same, and `has_buffered_input` is false.
    HidesInput,
    /// What the socket does not accept waits for the next write.
    HidesOutput,
    /// A write that would block has taken its bytes.
    Duplicates,
    /// It wants to write forever.
    KeepsWish,
    /// FIN overtakes what is held.
    ForgetsFlush,
    /// There is no closing message.
    SkipsClosing,
    /// A stream without a closing message ends in order.
    AcceptsTruncation,
    /// A reset looks like an empty socket.
    SwallowsReset,
    /// A write returns 0 when it would block.
    WritesNothing,
    /// A read that finds nothing is interrupted.
    IsInterrupted,
}

/// The client speaks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

impl From<Side<'_>> for Role {
    fn from(side: Side<'_>) -> Self {
        match side {
            Side::Accepted { .. } => Self::Server,
            Side::Dialed { .. } => Self::Client,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Cipher<S> {
    socket: S,
    role: Role,
    mistake: Mistake,
    /// The keystreams out and in, after the handshake.
    keys: Option<(Keystream, Keystream)>,
    /// From the socket, not decoded.
    received: Vec<u8>,
    /// Decoded, not read.
    plain: VecDeque<u8>,
    /// Encoded, not accepted by the socket.
    held: VecDeque<u8>,
    /// The peer's closing message was read.
    is_ended: bool,
    /// A read has returned that.
    is_end_read: bool,
    /// The socket is a layer with a closing message of its own.
    is_on_layer: bool,
    is_closing: bool,
    is_shut_down: bool,
    /// A write or the shutdown waits for the handshake.
    awaits_keys: bool,
    calls: usize,
}

impl<S: Transport> Cipher<S> {
    pub(crate) fn new(socket: S, role: Role) -> Self {
        Self::with_mistake(socket, role, Mistake::None)
    }

    pub(crate) fn with_mistake(socket: S, role: Role, mistake: Mistake) -> Self {
        let mut cipher = Self {
            is_on_layer: socket.has_closing_message(),
            socket,
            role,
            mistake,
            keys: None,
            received: Vec::new(),
            plain: VecDeque::new(),
            held: VecDeque::new(),
            is_ended: false,
            is_end_read: false,
            is_closing: false,
            is_shut_down: false,
            awaits_keys: false,
            calls: 0,
        };
        if role == Role::Client {
            cipher.hold_hello();
        }
        cipher
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        [self.role as u8 + 0x51; NONCE_LEN]
    }

    fn hold_hello(&mut self) {
        self.held.extend([0, 1 + NONCE_LEN as u8, HELLO]);
        self.held.extend(self.nonce());
    }

    /// Encodes a record, to be sent.
    fn hold(&mut self, kind: u8, content: &[u8]) {
        let Some((out, _)) = &mut self.keys else { return };
        self.held.extend((1 + content.len() as u16).to_be_bytes());
        self.held.push_back(kind ^ out.next());
        self.held.extend(content.iter().map(|byte| byte ^ out.next()));
    }

    /// Sends what is held, and waits for the handshake, for which the client has to send something and the server to receive.
    fn complete_handshake(&mut self) -> io::Result<()> {
        self.send_held()?;
        if self.keys.is_none() {
            self.awaits_keys = true;
            self.receive(|cipher| cipher.keys.is_some())?;
            self.send_held()?;
        }
        Ok(())
    }

    /// Sends what is held, until the socket accepts no more.
    fn send_held(&mut self) -> io::Result<()> {
        while !self.held.is_empty() {
            let (front, _) = self.held.as_slices();
            match self.socket.write(front) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => drop(self.held.drain(..len)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The length of the first record, if it is whole.
    fn record_len(&self) -> Option<usize> {
        let len = 2 + usize::from(u16::from_be_bytes([*self.received.first()?, *self.received.get(1)?]));
        (self.received.len() >= len).then_some(len)
    }

    /// Decodes the first record, if it is whole. Returns whether it was.
    fn decode(&mut self) -> io::Result<bool> {
        let Some(len) = self.record_len() else { return Ok(false) };
        let mut record: Vec<u8> = self.received.drain(..len).skip(2).collect();
        let Some((_, keys_in)) = &mut self.keys else {
            if record.first() != Some(&HELLO) || record.len() != 1 + NONCE_LEN {
                return Err(ErrorKind::InvalidData.into());
            }
            if self.role == Role::Server {
                self.hold_hello();
            }
            let (own, other) = (self.nonce(), &record[1..]);
            self.keys = Some((Keystream::new(&own, other), Keystream::new(other, &own)));
            self.awaits_keys = false;
            return Ok(true);
        };
        record.iter_mut().for_each(|byte| *byte ^= keys_in.next());
        match record.first() {
            Some(&DATA) => self.plain.extend(&record[1..]),
            Some(&CLOSE) => self.is_ended = true,
            Some(_) | None => return Err(ErrorKind::InvalidData.into()),
        }
        Ok(true)
    }

    /// Receives until `is_enough`, or until the socket would block.
    fn receive(&mut self, is_enough: impl Fn(&Self) -> bool) -> io::Result<()> {
        loop {
            while !is_enough(self) {
                if !self.decode()? {
                    break;
                }
            }
            if is_enough(self) {
                return Ok(());
            }
            let mut buf = [0; 1_024];
            let len_max = if self.mistake == Mistake::LosesEdge { 2 } else { buf.len() };
            match self.socket.read(&mut buf[..len_max]) {
                Ok(0) if self.mistake == Mistake::AcceptsTruncation && self.keys.is_some() => self.is_ended = true,
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.received.extend(&buf[..len]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionReset && self.mistake == Mistake::SwallowsReset => {
                    return Err(ErrorKind::WouldBlock.into());
                }
                Err(error) => return Err(error),
            }
            if self.record_len().is_none() && !is_enough(self) {
                match self.mistake {
                    Mistake::LosesEdge => return Err(ErrorKind::WouldBlock.into()),
                    Mistake::EndsAtPartialRecord => return Ok(()),
                    _ => {}
                }
            }
        }
    }
}

impl<S: Transport> Cipher<S> {
    /// Reads the closing message of the layer below, which follows that of this one.
    fn read_end_below(&mut self) -> io::Result<()> {
        loop {
            match self.socket.read(&mut [0; 16]) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(ErrorKind::InvalidData.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<S: Transport> Read for Cipher<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        let received = self.receive(|cipher| cipher.is_ended || !cipher.plain.is_empty());
        match received {
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.mistake == Mistake::IsInterrupted => {
                return Err(ErrorKind::Interrupted.into());
            }
            outcome => outcome?,
        }
        let hides = matches!(self.mistake, Mistake::BlocksOnInput | Mistake::HidesInput);
        if hides && self.calls.is_multiple_of(3) && !self.is_ended {
            // The socket is drained first, so that nothing but this is wrong.
            match self.receive(|cipher| cipher.is_ended) {
                Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        if self.plain.is_empty() && self.is_on_layer {
            self.read_end_below()?;
        }
        let len = self.plain.read(buf)?;
        self.is_end_read |= len == 0 && self.is_ended;
        Ok(len)
    }
}

impl<S: Transport> Write for Cipher<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.complete_handshake()?;
        let mut taken = 0;
        for content in buf.chunks(RECORD_MAX) {
            self.hold(DATA, content);
            taken += content.len();
            match self.send_held() {
                Ok(()) if self.mistake == Mistake::LosesRoom => break,
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => match self.mistake {
                    Mistake::Duplicates => return Err(error),
                    Mistake::WritesNothing => return Ok(0),
                    _ => break,
                },
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_held()?;
        self.socket.flush()
    }
}

impl<S: Transport> Transport for Cipher<S> {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.complete_handshake()?;
        if !std::mem::replace(&mut self.is_closing, true) && self.mistake != Mistake::SkipsClosing {
            self.hold(CLOSE, &[]);
        }
        match self.mistake {
            Mistake::ForgetsFlush => self.held.clear(),
            _ => self.send_held()?,
        }
        self.socket.shutdown_write()?;
        self.is_shut_down = true;
        Ok(())
    }

    fn has_closing_message(&self) -> bool {
        !self.is_shut_down
    }

    fn wants_read(&self) -> bool {
        let waits = self.awaits_keys || self.socket.wants_read();
        waits && self.mistake != Mistake::WaitsSilently
    }

    fn wants_write(&self) -> bool {
        match self.mistake {
            Mistake::KeepsWish => true,
            Mistake::HidesOutput => false,
            _ => !self.held.is_empty() || self.socket.wants_write(),
        }
    }

    fn has_buffered_input(&self) -> bool {
        let has_input = !self.is_end_read
            && (!self.plain.is_empty() || self.record_len().is_some() || self.socket.has_buffered_input());
        has_input && self.mistake != Mistake::HidesInput
    }

    fn has_input(&mut self) -> bool {
        self.is_ended || self.has_buffered_input() || self.socket.has_input()
    }

    fn short_read_drains(&self) -> bool {
        false
    }

    fn unacknowledged_bytes(&self) -> io::Result<Option<usize>> {
        let below = self.socket.unacknowledged_bytes()?;
        Ok(below.map(|bytes| bytes + self.held.len()))
    }

    fn limit_unsent(&mut self, is_limited: bool) {
        self.socket.limit_unsent(is_limited);
    }

    fn reset(&mut self) {
        self.socket.reset();
    }
}

impl<S: Transport> Layer for Cipher<S> {
    type Below = S;

    fn below(&self) -> &S {
        &self.socket
    }

    fn below_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    fn into_below(self) -> S {
        self.socket
    }
}

/// Random bytes that both sides compute from the nonces.
#[derive(Debug)]
struct Keystream(Rng);

impl Keystream {
    fn new(from: &[u8], to: &[u8]) -> Self {
        let sum = |nonce: &[u8]| nonce.iter().fold(0_u64, |sum, byte| sum.rotate_left(8) ^ u64::from(*byte));
        Self(Rng::new(sum(from).wrapping_mul(3).wrapping_add(sum(to))))
    }

    fn next(&mut self) -> u8 {
        self.0.next_u64() as u8
    }
}
