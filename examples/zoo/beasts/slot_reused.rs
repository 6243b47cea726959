//! Answers are collected for a batch of events and sent at its end, addressed by slot. A connection that closed in between has
//! freed its slot, and a new connection has taken it.
//!
//! People make it because one write for each connection and batch is cheaper than one for each frame, and a slot is a good
//! id as long as the connection lives. Reused numbers cause the same: the event manager of rust-vmm reported its
//! predecessor's event to a new descriptor: <https://github.com/rust-vmm/event-manager/issues/41>.
//!
//! Under load, one client in some thousands gets the response to another client's request.
//!
//! Caught by `churn-under-load`.

use std::io::{Read, Result, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use crate::sound::connection::{BUDGET, Connection, Filled, Next, fill};
use crate::sound::doors;
use crate::sound::edges::Edges;
use crate::sound::frames::echo;
use crate::sound::outbox::Outbox;

pub(crate) fn serve(listener: TcpListener) -> Result<()> {
    let mut edges = Edges::<Collected>::new(listener)?;
    loop {
        if !edges.is_busy() {
            thread::sleep(GATHERING);
        }
        let batch = edges.wait()?;
        let mut answers = Vec::new();
        for slot in batch.slots {
            let next = edges.turn(slot).unwrap_or(Next::Close);
            if let Some((_, connection)) = edges.client(slot) {
                answers.push((slot, std::mem::take(&mut connection.collected)));
            }
            if next == Next::Close {
                edges.end(slot); // the mistake: its answers are still to be sent
            }
        }
        if batch.is_door {
            edges.accept_all(doors::sound, |_| Collected::default())?;
        }
        for (slot, collected) in answers {
            send(&mut edges, slot, collected);
        }
    }
}

/// Sends to the connection that has the slot now.
fn send(edges: &mut Edges<Collected>, slot: usize, collected: Outbox) {
    let Some((stream, connection)) = edges.client(slot) else { return };
    connection.outbox.append(collected);
    let is_lost = connection.outbox.flush(stream).is_err();
    if is_lost || connection.is_ended && connection.outbox.is_empty() {
        edges.end(slot);
    }
}

/// How long events are left to gather. Chance would do as well, under load.
const GATHERING: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
struct Collected {
    inbox: Vec<u8>,
    outbox: Outbox,
    /// The answers of this batch.
    collected: Outbox,
    is_ended: bool,
}

impl Connection for Collected {
    fn turn(&mut self, stream: &mut (impl Read + Write)) -> Result<Next> {
        self.outbox.flush(stream)?;
        let mut budget = BUDGET;
        while !self.is_ended && !self.outbox.is_full() {
            if budget == 0 {
                return Ok(Next::Again);
            }
            match fill(stream, &mut self.inbox)? {
                Filled::Drained => return Ok(Next::Wait),
                Filled::Ended => self.is_ended = true,
                Filled::With(len) => budget = budget.saturating_sub(len),
            }
            echo(&mut self.inbox, &mut self.collected)?;
        }
        Ok(if self.is_ended && self.outbox.is_empty() { Next::Close } else { Next::Wait })
    }
}
