//! Rung 7: everything that one client decides has a limit.
//!
//! A header may announce 16 MiB. A client that does not read is not read from. A turn ends after a few reads, whatever
//! is left. An incomplete frame has two seconds to arrive, and a reply two seconds to be taken. If there are no
//! descriptors left, accepting pauses.
//!
//! Its ceiling is the sum. Each client stays within its limits, but no limit counts all of them together. 100 clients
//! with a frame of 8 MiB each need more than 400 MB, and then the process is aborted.
//!
//! ```console
//! $ cargo run --quiet --example ladder -- 7
//! listening on 127.0.0.1:7007
//! $ prlimit --pid "$(pidof ladder)" --nofile=1500
//! $ frameloop check --pid "$(pidof ladder)" --frame-timeout 2s --write-timeout 2s
//! …
//! hardened           12       0        0
//!
//! All holds: 41 cases played, and none failed.
//! ^C
//! $ cargo run --quiet --example ladder -- 7
//! listening on 127.0.0.1:7007
//! $ prlimit --pid "$(pidof ladder)" --as=400000000
//! $ frameloop load 127.0.0.1:7007 -c 100 -s 8MiB -n 300 --warmup 0s 2>&1 | grep ^errors; frameloop check --case one-frame
//! errors       200: 100 connections ended unasked, 100 unanswered frames
//! error: cannot connect to …: Connection refused (os error 111): is the server running?
//! ```

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

pub(crate) fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let server = Server {
        poll,
        listener,
        accepting: Accepting::UntilDrained,
        clients: Slab::new(),
        run_queue: VecDeque::new(),
        next_sweep: Instant::now(),
        buf: vec![0; READ_LEN],
    };
    server.run()
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    accepting: Accepting,
    clients: Slab<Client>,
    /// The clients that may have work. A client is in it once at most.
    run_queue: VecDeque<usize>,
    next_sweep: Instant,
    buf: Vec<u8>,
}

enum Accepting {
    /// `accept` returned `WouldBlock`: an edge announces the next connection.
    AtNextEdge,
    /// Connections may be waiting, and no edge will repeat that.
    UntilDrained,
    /// There is no descriptor. Connections may be waiting, and no edge reports when a descriptor is free.
    AtNextSweep,
}

impl Server {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            match self.poll.poll(&mut events, self.poll_timeout()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            for event in &events {
                match event.token() {
                    LISTENER if matches!(self.accepting, Accepting::AtNextSweep) => {}
                    LISTENER => self.accepting = Accepting::UntilDrained,
                    Token(key) => self.enqueue(key),
                }
            }
            if matches!(self.accepting, Accepting::UntilDrained) {
                self.accept_some();
            }
            self.run_queued();
            self.sweep();
        }
    }

    /// Does not sleep while there is work that no event will announce.
    fn poll_timeout(&self) -> Option<Duration> {
        let is_accepting = matches!(self.accepting, Accepting::UntilDrained);
        if is_accepting || !self.run_queue.is_empty() {
            return Some(Duration::ZERO);
        }
        let needs_sweep = matches!(self.accepting, Accepting::AtNextSweep) || !self.clients.is_empty();
        needs_sweep.then(|| self.next_sweep.saturating_duration_since(Instant::now()))
    }

    fn enqueue(&mut self, key: usize) {
        if let Some(client) = self.clients.get_mut(key)
            && !client.is_queued
        {
            client.is_queued = true;
            self.run_queue.push_back(key);
        }
    }

    fn accept_some(&mut self) {
        for _ in 0..ACCEPT_BUDGET {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let entry = self.clients.vacant_entry();
                    if let Ok(client) = Client::new(stream, &self.poll, Token(entry.key())) {
                        entry.insert(client);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.accepting = Accepting::AtNextEdge;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                // Most likely EMFILE. An immediate retry would spin.
                Err(_) => {
                    self.accepting = Accepting::AtNextSweep;
                    return;
                }
            }
        }
    }

    /// Gives one turn to each client that is queued now. A client that is requeued waits for the next round.
    fn run_queued(&mut self) {
        let now = Instant::now();
        for _ in 0..self.run_queue.len() {
            let Some(key) = self.run_queue.pop_front() else { return };
            // The sweep may have closed it.
            let Some(client) = self.clients.get_mut(key) else { continue };
            client.is_queued = false;
            match client.turn(&mut self.buf, now).unwrap_or(Next::Close) {
                Next::Sleep => {}
                Next::Requeue => self.enqueue(key),
                Next::Close => drop(self.clients.remove(key)),
            }
        }
    }

    /// Checks the deadlines of all clients, and ends the pause of the listener, four times per second.
    fn sweep(&mut self) {
        let now = Instant::now();
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP_INTERVAL;
        self.clients.retain(|_, client| !client.is_expired(now));
        if matches!(self.accepting, Accepting::AtNextSweep) {
            self.accepting = Accepting::UntilDrained;
        }
    }
}

struct Client {
    stream: TcpStream,
    /// Unanswered input. It holds complete frames only while the outbox is above the high-water mark.
    input: Vec<u8>,
    /// Replies that the socket has not taken yet.
    outbox: VecDeque<u8>,
    /// Whether the peer has sent FIN. It may still be reading.
    is_half_closed: bool,
    is_queued: bool,
    /// Set while the first frame of `input` is incomplete.
    frame_deadline: Option<Instant>,
    /// Set while the outbox is not empty. Each write that succeeds moves it.
    write_deadline: Option<Instant>,
}

/// What a turn leaves to be done.
enum Next {
    /// A call has returned `WouldBlock`, so an event will come.
    Sleep,
    /// The budget is spent, and no event will announce the rest.
    Requeue,
    Close,
}

impl Client {
    /// Registers the socket, once for its whole life.
    fn new(mut stream: TcpStream, poll: &Poll, token: Token) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            input: Vec::new(),
            outbox: VecDeque::new(),
            is_half_closed: false,
            is_queued: false,
            frame_deadline: None,
            write_deadline: None,
        })
    }

    /// Answers, flushes and reads, until a call returns `WouldBlock` or the budget is spent.
    fn turn(&mut self, buf: &mut [u8], now: Instant) -> io::Result<Next> {
        for _ in 0..READ_BUDGET {
            self.answer(now)?;
            self.flush(now)?;
            // The flush ended with `WouldBlock`: the next edge is a writable one.
            if self.outbox.len() >= HIGH_WATER {
                return Ok(Next::Sleep);
            }
            // Frames that were held back above the high-water mark come before further input.
            if first_frame_len(&self.input)?.is_some() {
                continue;
            }
            if self.is_half_closed {
                return Ok(if self.outbox.is_empty() { Next::Close } else { Next::Sleep });
            }
            match self.stream.read(buf) {
                Ok(0) => self.is_half_closed = true,
                Ok(len) => self.input.extend_from_slice(&buf[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Sleep),
                Err(error) => return Err(error),
            }
        }
        Ok(Next::Requeue)
    }

    /// Moves complete frames to the outbox, up to the high-water mark.
    fn answer(&mut self, now: Instant) -> io::Result<()> {
        let mut taken = 0;
        let mut is_incomplete = false;
        while self.outbox.len() < HIGH_WATER {
            let Some(frame_len) = first_frame_len(&self.input[taken..])? else {
                is_incomplete = taken < self.input.len();
                break;
            };
            self.outbox.extend(&self.input[taken..taken + frame_len]);
            taken += frame_len;
        }
        self.input.drain(..taken);
        // An idle client keeps no buffer.
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        // The deadline belongs to a frame: a further read of the same frame does not move it.
        if taken > 0 || !is_incomplete {
            self.frame_deadline = None;
        }
        if is_incomplete {
            self.frame_deadline.get_or_insert(now + FRAME_TIMEOUT);
        }
        Ok(())
    }

    /// Writes what is pending until the socket takes no more.
    fn flush(&mut self, now: Instant) -> io::Result<()> {
        while !self.outbox.is_empty() {
            self.write_deadline.get_or_insert(now + WRITE_TIMEOUT);
            match self.stream.write(self.outbox.as_slices().0) {
                Ok(len) => {
                    self.outbox.drain(..len);
                    self.write_deadline = None;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.outbox = VecDeque::new();
        Ok(())
    }

    fn is_expired(&self, now: Instant) -> bool {
        [self.frame_deadline, self.write_deadline].into_iter().flatten().any(|deadline| deadline <= now)
    }
}

/// The length of the frame at the front of `bytes`, header and payload, once it is complete.
fn first_frame_len(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(header) = bytes.first_chunk::<4>() else { return Ok(None) };
    let payload_len = u32::from_be_bytes(*header) as usize;
    if payload_len > MAX_PAYLOAD {
        return Err(ErrorKind::InvalidData.into());
    }
    let frame_len = header.len() + payload_len;
    Ok((bytes.len() >= frame_len).then_some(frame_len))
}

/// Not a valid index.
const LISTENER: Token = Token(usize::MAX);

/// The largest payload that a header may announce.
const MAX_PAYLOAD: usize = 16 << 20;

/// While as much output is pending, a client is not read from.
const HIGH_WATER: usize = 64 << 10;

/// The bytes that one read may take, and the reads per turn.
const READ_LEN: usize = 64 << 10;
const READ_BUDGET: usize = 4;

/// The connections that are accepted per turn of the loop.
const ACCEPT_BUDGET: usize = 64;

const FRAME_TIMEOUT: Duration = Duration::from_secs(2);
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// How late a deadline may be noticed, and how long accepting pauses.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
