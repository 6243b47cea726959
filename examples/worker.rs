//! Replies from worker threads. The payload of a request is a number N, in decimal digits; the reply is `N: COUNT`, the number of
//! primes up to N. Replies are sent as they become ready, so each repeats its request.
//!
//! ```text
//! cargo run --example worker -- 127.0.0.1:7011
//! frameloop connect 127.0.0.1:7011
//! ```
//!
//! Rule: work is bounded. A connection has at most [`PER_CONNECTION`] requests without a reply; then it is paused, the kernel's
//! buffers fill, and the client has to wait. At most [`IN_FLIGHT_MAX`] requests are with the workers, with those of connections that
//! have ended meanwhile.
//!
//! When standard input is closed, the server drains: it replies to all requests that have arrived, and ends.

use std::collections::{HashMap, VecDeque};
use std::panic::catch_unwind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, io, thread};

use frameloop::{
    Address, CloseReason, Config, ConnId, Connection, Context, Drain, Frame, Handle, Handler, Reactor, SendError,
};

const WORKERS: usize = 4;
/// The most requests of one connection that have no reply yet.
const PER_CONNECTION: usize = 4;
/// The most requests with the workers. Their results fit into the mailbox, so no worker ever waits for the reactor.
const IN_FLIGHT_MAX: usize = 64;
/// The largest number, so that no request takes longer than about 100 ms.
const NUMBER_MAX: usize = 5_000_000;

/// A request on its way to a worker. The id says where the reply belongs, even if that connection has ended by then.
struct Job {
    from: ConnId,
    request: Vec<u8>,
}

/// What a worker sends to the reactor.
struct Done {
    to: ConnId,
    reply: String,
}

/// A connection, as results need it. It is not the connection's `State`, because `on_message` knows a connection by its id only.
#[derive(Default)]
struct Client {
    /// Requests without a result.
    unfinished: usize,
    /// Replies that have to wait, because the peer does not read.
    unsent: VecDeque<String>,
    /// It is closed after the last reply.
    is_last: bool,
}

impl Client {
    fn is_at_rest(&self) -> bool {
        self.unfinished == 0 && self.unsent.is_empty()
    }
}

struct Pool {
    jobs: Sender<Job>,
    in_flight: usize,
    /// Requests for which no worker is free: at most [`PER_CONNECTION`] of each connection.
    waiting: VecDeque<Job>,
    clients: HashMap<ConnId, Client>,
}

impl Handler for Pool {
    type State = ();
    type Message = Done;

    fn on_open(&mut self, conn: &mut Connection<'_>) {
        self.clients.insert(conn.id(), Client::default());
    }

    fn on_frame(&mut self, conn: &mut Connection<'_>, (): &mut (), frame: Frame<'_>) {
        let Some(client) = self.clients.get_mut(&conn.id()) else { return };
        client.unfinished += 1;
        if client.unfinished == PER_CONNECTION {
            conn.pause();
        }
        // The frame's bytes are the reactor's: a worker needs its own.
        self.waiting.push_back(Job { from: conn.id(), request: frame.payload().to_vec() });
        self.begin_waiting();
    }

    /// The output has fallen to the low-water mark.
    fn on_writable(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        let id = conn.id();
        self.send_unsent(&mut conn.cx(), id);
    }

    /// The peer sends no more, and still waits for its replies: the connection is closed after the last one.
    fn on_half_close(&mut self, conn: &mut Connection<'_>, (): &mut ()) {
        match self.clients.get_mut(&conn.id()) {
            Some(client) if !client.is_at_rest() => client.is_last = true,
            Some(_) | None => conn.close(),
        }
    }

    /// All requests that arrived before the drain are in `clients`, because the drain also waits for paused connections.
    fn on_drain(&mut self, conn: &mut Connection<'_>, (): &mut ()) -> Drain {
        match self.clients.get_mut(&conn.id()) {
            Some(client) if !client.is_at_rest() => {
                client.is_last = true;
                Drain::WhenClosed
            }
            Some(_) | None => Drain::AtRest,
        }
    }

    fn on_close(&mut self, _cx: &mut Context<'_>, id: ConnId, (): (), _reason: &CloseReason) {
        self.clients.remove(&id);
        // What a worker has begun goes on; its result finds a stale id.
        self.waiting.retain(|job| job.from != id);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, Done { to, reply }: Done) {
        self.in_flight -= 1;
        self.begin_waiting();
        // A connection that has ended has no entry; its id is never another connection's.
        if let Some(client) = self.clients.get_mut(&to) {
            client.unfinished -= 1;
            client.unsent.push_back(reply);
            self.send_unsent(cx, to);
        }
    }
}

impl Pool {
    fn begin_waiting(&mut self) {
        while self.in_flight < IN_FLIGHT_MAX {
            let Some(job) = self.waiting.pop_front() else { return };
            self.in_flight += 1;
            // The workers receive until this sender is dropped, so there is always one.
            let _ = self.jobs.send(job);
        }
    }

    fn send_unsent(&mut self, cx: &mut Context<'_>, to: ConnId) {
        let Some(client) = self.clients.get_mut(&to) else { return };
        while let Some(reply) = client.unsent.front() {
            match cx.send(to, reply.as_bytes()) {
                Ok(()) => drop(client.unsent.pop_front()),
                // `on_writable` continues. Meanwhile the connection stays paused, or gets there after a few more frames.
                Err(SendError::Full) => return,
                // It is closing, and `on_close` follows.
                Err(SendError::Closed) => return,
                // A peer that misses a reply must not take the next one for it.
                Err(_) => {
                    cx.abort(to);
                    return;
                }
            }
        }
        if client.is_last && client.is_at_rest() {
            cx.close(to);
        } else if client.unfinished < PER_CONNECTION {
            cx.resume(to);
        }
    }
}

/// Works until the reactor, and with it the sender of jobs, is dropped.
fn work(jobs: &Mutex<Receiver<Job>>, handle: &Handle<Done>) {
    loop {
        // The lock is held while one worker waits, and not while it works.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { from, request }) = job else { return };
        // A panic would end this thread, and the connection would wait forever.
        let reply = catch_unwind(|| reply_to(&request)).unwrap_or_else(|_| "error: the worker panicked".into());
        if handle.send(Done { to: from, reply }).is_err() {
            return;
        }
    }
}

fn reply_to(request: &[u8]) -> String {
    let number = std::str::from_utf8(request).ok().and_then(|digits| digits.trim().parse().ok());
    match number {
        Some(number) if number <= NUMBER_MAX => format!("{number}: {}", primes_up_to(number)),
        Some(_) | None => format!("error: a request is a number up to {NUMBER_MAX}"),
    }
}

/// Counts primes with the sieve of Eratosthenes.
fn primes_up_to(max: usize) -> usize {
    let mut is_composite = vec![false; max + 1];
    let mut count = 0;
    for number in 2..=max {
        if !is_composite[number] {
            count += 1;
            (number * number..=max).step_by(number).for_each(|multiple| is_composite[multiple] = true);
        }
    }
    count
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr: Address = env::args().nth(1).unwrap_or("127.0.0.1:0".into()).parse()?;
    let (jobs, queue) = channel();
    let pool = Pool { jobs, in_flight: 0, waiting: VecDeque::new(), clients: HashMap::new() };
    let config = Config::builder().max_payload(64).mailbox_max(IN_FLIGHT_MAX).build()?;
    let mut reactor = Reactor::new(config, pool)?;
    println!("listening on {}", reactor.listen(&addr)?);

    let queue = Arc::new(Mutex::new(queue));
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let (queue, handle) = (queue.clone(), reactor.handle());
        workers.push(thread::spawn(move || work(&queue, &handle)));
    }
    let handle = reactor.handle();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = handle.drain();
    });

    reactor.run()?;
    drop(reactor);
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")?;
    }
    Ok(())
}
