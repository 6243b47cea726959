//! A loop over mio: sockets are registered once, and each edge is reported once.

use std::io::{ErrorKind, Result};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::sound::connection::{Behavior, Connection, Next, Sound};
use crate::sound::doors::{self, Door};

/// The listener, the connections in their slots, and who is ready.
#[derive(Debug)]
pub(crate) struct Edges<C> {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    /// No connection is accepted before that.
    rests_until: Option<Instant>,
    slots: Slab<(TcpStream, C)>,
    /// Who stopped for lack of budget: no edge will come for what is still there.
    again: Vec<usize>,
}

/// Who is ready.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) slots: Vec<usize>,
    /// The listener reported an event.
    pub(crate) is_door: bool,
}

impl<C: Connection> Edges<C> {
    pub(crate) fn new(listener: std::net::TcpListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let (poll, mut listener) = (Poll::new()?, TcpListener::from_std(listener));
        poll.registry().register(&mut listener, DOOR, Interest::READABLE)?;
        let events = Events::with_capacity(1_024);
        Ok(Self { poll, events, listener, rests_until: None, slots: Slab::new(), again: Vec::new() })
    }

    /// A connection waits for more budget.
    pub(crate) fn is_busy(&self) -> bool {
        !self.again.is_empty()
    }

    /// Waits until a connection or the listener is ready.
    pub(crate) fn wait(&mut self) -> Result<Batch> {
        let rest = self.rests_until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = if self.is_busy() { Some(Duration::ZERO) } else { rest };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Batch::default()),
            result => result?,
        }
        let mut batch = Batch { slots: std::mem::take(&mut self.again), is_door: false };
        for event in &self.events {
            match event.token() {
                DOOR => batch.is_door = true,
                Token(slot) => batch.slots.push(slot),
            }
        }
        batch.slots.sort_unstable();
        batch.slots.dedup();
        // An edge that came during a rest is gone; the end of the rest stands for it.
        let is_over = self.rests_until.is_some_and(|until| until <= Instant::now());
        batch.is_door = if self.rests_until.is_some() { is_over } else { batch.is_door };
        Ok(batch)
    }

    /// Lets all in who wait.
    pub(crate) fn accept_all(
        &mut self,
        refused: fn(&std::io::Error) -> Door,
        open: impl Fn(&TcpStream) -> C,
    ) -> Result<()> {
        self.rests_until = None;
        loop {
            match self.accept(&open) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => match refused(&error) {
                    Door::Open => {}
                    Door::RestsFor(rest) => {
                        self.rests_until = Some(Instant::now() + rest);
                        return Ok(());
                    }
                    Door::Closed => return self.poll.registry().deregister(&mut self.listener),
                },
            }
        }
    }

    /// Lets one in, if one waits.
    pub(crate) fn accept(&mut self, open: impl Fn(&TcpStream) -> C) -> Result<bool> {
        let mut stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        // A peer that is gone already shows when it is read.
        let _ = stream.set_nodelay(true);
        let connection = open(&stream);
        let entry = self.slots.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(entry.key()), interest)?;
        entry.insert((stream, connection));
        Ok(true)
    }

    /// Lets a connection do what it can. A slot without a connection has nothing to do.
    pub(crate) fn turn(&mut self, slot: usize) -> Result<Next> {
        let Some((stream, connection)) = self.slots.get_mut(slot) else { return Ok(Next::Wait) };
        let next = connection.turn(stream)?;
        if next == Next::Again {
            self.again.push(slot);
        }
        Ok(next)
    }

    /// Lets all of these do what they can, and ends those who are done, or failed by their own fault.
    pub(crate) fn turns(&mut self, slots: Vec<usize>) {
        for slot in slots {
            if self.turn(slot).unwrap_or(Next::Close) == Next::Close {
                self.end(slot);
            }
        }
    }

    /// Who is in a slot.
    pub(crate) fn client(&mut self, slot: usize) -> Option<&mut (TcpStream, C)> {
        self.slots.get_mut(slot)
    }

    /// Closes a connection: its descriptor leaves the poll by that.
    pub(crate) fn end(&mut self, slot: usize) {
        self.slots.try_remove(slot);
    }
}

/// Serves all connections.
pub(crate) fn serve<C: Connection>(
    listener: std::net::TcpListener,
    refused: fn(&std::io::Error) -> Door,
    open: impl Fn(&TcpStream) -> C,
) -> Result<()> {
    let mut edges = Edges::new(listener)?;
    loop {
        let batch = edges.wait()?;
        edges.turns(batch.slots);
        // Only now: a slot that was freed in this batch may have another connection in the next.
        if batch.is_door {
            edges.accept_all(refused, &open)?;
        }
    }
}

/// All of it sound, but for the connections.
pub(crate) fn serve_with<C: Connection + Default>(listener: std::net::TcpListener) -> Result<()> {
    serve(listener, doors::sound, |_| C::default())
}

/// All of it sound, but for one thing that each connection does.
pub(crate) fn serve_but<B: Behavior + Default>(listener: std::net::TcpListener) -> Result<()> {
    serve_with::<Sound<B>>(listener)
}

const DOOR: Token = Token(usize::MAX);
