//! A reactor inside a loop around mio. It echoes, and drains when standard input is closed or gets a line.

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use frameloop::{Config, Echo, Handler, Reactor, Turn};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

const REACTOR: Token = Token(0);
const QUIT: Token = Token(1);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut reactor = Reactor::new(Config::default(), Echo)?;
    println!("listening on {}", reactor.listen(&"127.0.0.1:0".parse()?)?);
    drive(reactor, std::io::stdin())
}

/// Drives the reactor until it is drained. The drain begins once `quit` is readable or closed.
pub fn drive<H: Handler>(mut reactor: Reactor<H>, quit: impl AsRawFd) -> Result<(), Box<dyn std::error::Error>> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(64);
    poll.registry().register(&mut SourceFd(&reactor.as_raw_fd()), REACTOR, Interest::READABLE)?;
    poll.registry().register(&mut SourceFd(&quit.as_raw_fd()), QUIT, Interest::READABLE)?;
    loop {
        // mio is edge-triggered, and may have reported the reactor for the last time. If the reactor has more to do, its
        // deadline has passed, and the loop does not wait.
        let now = Instant::now();
        let deadline = reactor.next_deadline();
        match poll.poll(&mut events, deadline.map(|deadline| deadline.saturating_duration_since(now))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        let mut is_ready = deadline.is_some_and(|deadline| deadline <= Instant::now());
        for event in &events {
            match event.token() {
                REACTOR => is_ready = true,
                QUIT => {
                    reactor.drain();
                    is_ready = true;
                }
                _ => {} // your own descriptors
            }
        }
        if is_ready && reactor.turn(Some(Duration::ZERO))? == Turn::Done {
            return Ok(());
        }
    }
}
