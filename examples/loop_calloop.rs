//! A reactor inside the event loop of calloop. It echoes, and drains when standard input is closed or gets a line.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use calloop::generic::Generic;
use calloop::{EventLoop, Interest, Mode, PostAction};
use frameloop::{Config, Echo, Handler, Reactor, Turn};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut reactor = Reactor::new(Config::default(), Echo)?;
    println!("listening on {}", reactor.listen(&"127.0.0.1:0".parse()?)?);
    drive(reactor, std::io::stdin())
}

/// Drives the reactor until it is drained. The drain begins once `quit` is readable or closed.
pub fn drive<H: Handler>(mut reactor: Reactor<H>, quit: impl AsFd) -> Result<(), Box<dyn std::error::Error>> {
    // The reactor is what all callbacks share. In a larger program it is a field of that.
    let mut event_loop = EventLoop::<'_, Reactor<H>>::try_new()?;
    let sources = event_loop.handle();
    // calloop owns its sources, so it gets a duplicate of the reactor's descriptor.
    let fd = reactor.as_fd().try_clone_to_owned()?;
    sources.insert_source(Generic::new(fd, Interest::READ, Mode::Level), |_, _, _| Ok(PostAction::Continue))?;
    let quit = quit.as_fd().try_clone_to_owned()?;
    sources.insert_source(Generic::new(quit, Interest::READ, Mode::Level), |_, _, reactor| {
        reactor.drain();
        Ok(PostAction::Remove)
    })?;
    loop {
        let wait = reactor.next_deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        event_loop.dispatch(wait, &mut reactor)?;
        if reactor.turn(Some(Duration::ZERO))? == Turn::Done {
            return Ok(());
        }
    }
}
