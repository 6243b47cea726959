//! The parts of a connection that the micro-benchmarks under `benches/` measure, in memory and without a kernel.
//!
//! This is not part of the crate's interface: it is here because a connection's internals are.

use std::io::{self, IoSlice, Read, Write};

use crate::address::PeerAddr;
use crate::config::Config;
use crate::conn::Conn;
use crate::conn::chunk::ChunkPool;
use crate::conn::input::ReadBuffer;
use crate::conn::io::{Budget, Readiness, Transport};
use crate::conn::output::Output;
use crate::conn::shared::Shared;
use crate::conn::turn::run;
use crate::handler::Echo;
use crate::id::ConnId;
use crate::net::Stream;
use crate::net::mio::beginning;
use crate::reactor::callbacks::HandlerSink;
use crate::reactor::connections::Connections;
use crate::reactor::log_limit::LogLimit;
use crate::reactor::observer::Observer;
use crate::reactor::traced::SocketCounts;
use crate::reactor::traced::Traced;
use crate::wire::encode_header;
use crate::wire::{Decode, Decoded, Enclosure, U32Be};

/// Returns how many whole frames are at the front of `bytes`, which are at most a chunk.
#[must_use]
pub fn decode_all(mut bytes: &[u8]) -> usize {
    let max_payload = Config::default().max_payload;
    let mut frames = 0;
    while let Ok(Decoded::Frame { frame_len, .. }) = U32Be.decode(bytes, 0, max_payload) {
        frames += 1;
        bytes = &bytes[frame_len..];
    }
    frames
}

/// A queue of pending output, its pool, and a socket that accepts some bytes per write.
#[derive(Debug)]
pub struct Queue {
    output: Output,
    pool: ChunkPool,
    socket: Memory<'static>,
}

impl Queue {
    /// Creates an empty queue, whose socket accepts at most `write_len_max` bytes per write.
    #[must_use]
    pub fn new(write_len_max: usize) -> Self {
        let socket = Memory { unread: &[], taken: 0, write_len_max };
        Self { output: Output::default(), pool: ChunkPool::new(usize::MAX, 16 << 20), socket }
    }

    /// Queues a frame.
    pub fn append(&mut self, payload: &[u8]) {
        let enclosure = Enclosure::of_head(&encode_header(payload.len() as u32));
        self.output.append_frame(&enclosure, payload, usize::MAX, &mut self.pool);
    }

    /// Writes whenever the socket is writable, until everything is sent. Returns how often it was writable.
    pub fn flush(&mut self) -> usize {
        let mut budget = Budget::to_write(usize::MAX);
        let mut flushes = 0;
        while !self.output.is_empty() {
            flushes += 1;
            let mut readiness = Readiness { writable: true, ..Readiness::default() };
            let written = self.output.write(&mut self.socket, &mut readiness, &mut budget, 0, &mut self.pool);
            debug_assert!(written.is_ok());
        }
        flushes
    }
}

/// A connection with a handler, as it runs in the reactor, but without a kernel.
#[derive(Debug)]
pub struct Echoing {
    conn: Conn,
    read_buffer: ReadBuffer,
    shared: Shared,
    counts: SocketCounts,
    others: Connections<Stream, ()>,
    limit: LogLimit,
}

impl Default for Echoing {
    fn default() -> Self {
        let mut shared = Shared::new(&Config::default(), beginning());
        let conn = Conn::new(shared.profiles.acquire_usual());
        let read_buffer = ReadBuffer::new();
        let others = Connections::new(&Config::default(), beginning());
        Self { conn, read_buffer, shared, counts: SocketCounts::default(), others, limit: LogLimit::new(0, 0) }
    }
}

impl Echoing {
    /// Lets `request` arrive in one piece, and runs the connection until it has replied. Returns how many bytes it has written.
    pub fn exchange(&mut self, request: &[u8]) -> usize {
        let mut socket = Memory { unread: request, taken: 0, write_len_max: usize::MAX };
        self.conn.note_ready(Readiness { readable: true, ..Readiness::default() });
        while self.conn.wants_turn() {
            self.turn(&mut socket);
        }
        socket.taken
    }

    fn turn(&mut self, stream: &mut Memory<'_>) {
        let Self { conn, read_buffer, shared, counts, others, limit } = self;
        let id = ConnId { index: 0, generation: 1 };
        let observer = Observer::default();
        let mut io = Traced { stream, observer, counts };
        let (handler, state) = (&mut Echo, &mut ());
        let mut sink = HandlerSink { handler, state, id, peer: &PeerAddr::UNNAMED, reach: others, limit, observer };
        run(conn, &mut io, read_buffer, shared, &mut sink);
    }
}

/// A socket without a kernel.
#[derive(Debug)]
struct Memory<'a> {
    unread: &'a [u8],
    taken: usize,
    write_len_max: usize,
}

impl Read for Memory<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.unread.read(buf) }
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.write_len_max);
        self.taken += len;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Memory<'_> {
    fn write_pieces(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = pieces.iter().map(|piece| piece.len()).sum::<usize>().min(self.write_len_max);
        self.taken += len;
        Ok(len)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
}
