//! A loop over epoll, level-triggered: readiness is reported again until it is used up, or until the interest is removed.

use std::io::{ErrorKind, Result};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use slab::Slab;

use crate::sound::connection::{Connection, Interest, Next};
use crate::sound::doors::Door;

struct Levels<C> {
    epoll: Epoll,
    listener: TcpListener,
    /// The listener has no interest before that.
    rests_until: Option<Instant>,
    slots: Slab<Client<C>>,
}

struct Client<C> {
    stream: TcpStream,
    connection: C,
    /// What the kernel was asked for.
    asked: Interest,
}

/// Serves all connections.
pub(crate) fn serve<C: Connection>(
    listener: TcpListener,
    refused: fn(&std::io::Error) -> Door,
    open: fn(&TcpStream) -> Result<C>,
) -> Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, DOOR))?;
    let mut levels = Levels { epoll, listener, rests_until: None, slots: Slab::new() };
    let mut events = vec![EpollEvent::empty(); 1_024];
    loop {
        let ready = levels.wait(&mut events)?;
        for event in &events[..ready] {
            match event.data() {
                DOOR => levels.accept_all(refused, open)?,
                slot => levels.turn(slot as usize)?,
            }
        }
    }
}

impl<C: Connection> Levels<C> {
    fn wait(&mut self, events: &mut [EpollEvent]) -> Result<usize> {
        if self.rests_until.is_some_and(|until| until <= Instant::now()) {
            self.rests_until = None;
            self.epoll.modify(&self.listener, &mut EpollEvent::new(EpollFlags::EPOLLIN, DOOR))?;
        }
        let timeout = match self.rests_until {
            Some(until) => EpollTimeout::try_from(until - Instant::now()).unwrap_or(EpollTimeout::ZERO),
            None => EpollTimeout::NONE,
        };
        match self.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => Ok(0),
            result => Ok(result?),
        }
    }

    fn accept_all(&mut self, refused: fn(&std::io::Error) -> Door, open: fn(&TcpStream) -> Result<C>) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, open)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return self.refuse(refused(&error)),
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, open: fn(&TcpStream) -> Result<C>) -> Result<()> {
        // A peer that is gone already shows when it is read.
        let _ = stream.set_nodelay(true);
        stream.set_nonblocking(true)?;
        let connection = open(&stream)?;
        let (entry, asked) = (self.slots.vacant_entry(), connection.waits_for());
        self.epoll.add(&stream, EpollEvent::new(flags(asked), entry.key() as u64))?;
        entry.insert(Client { stream, connection, asked });
        Ok(())
    }

    /// Interest in a level that is not wanted must be removed: it would be reported immediately, again and again.
    fn refuse(&mut self, door: Door) -> Result<()> {
        if door == Door::Open {
            return Ok(());
        }
        if let Door::RestsFor(rest) = door {
            self.rests_until = Some(Instant::now() + rest);
        }
        Ok(self.epoll.modify(&self.listener, &mut EpollEvent::new(EpollFlags::empty(), DOOR))?)
    }

    /// Lets a connection do what it can, and asks for what it waits for then.
    fn turn(&mut self, slot: usize) -> Result<()> {
        let Some(client) = self.slots.get_mut(slot) else { return Ok(()) };
        if client.connection.turn(&mut client.stream).unwrap_or(Next::Close) == Next::Close {
            self.slots.remove(slot);
            return Ok(());
        }
        let wanted = client.connection.waits_for();
        if wanted != client.asked {
            client.asked = wanted;
            self.epoll.modify(&client.stream, &mut EpollEvent::new(flags(wanted), slot as u64))?;
        }
        Ok(())
    }
}

fn flags(interest: Interest) -> EpollFlags {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.readable);
    flags.set(EpollFlags::EPOLLOUT, interest.writable);
    flags
}

const DOOR: u64 = u64::MAX;
