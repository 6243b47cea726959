//! A reactor inside a loop around `poll(2)`. It echoes, and drains when standard input is closed or gets a line.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use frameloop::{Config, Echo, Handler, Reactor, Turn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut reactor = Reactor::new(Config::default(), Echo)?;
    println!("listening on {}", reactor.listen(&"127.0.0.1:0".parse()?)?);
    drive(reactor, std::io::stdin())
}

/// Drives the reactor until it is drained. The drain begins once `quit` is readable or closed.
pub fn drive<H: Handler>(mut reactor: Reactor<H>, quit: impl AsFd) -> Result<(), Box<dyn std::error::Error>> {
    let mut is_draining = false;
    loop {
        let mut fds = [reactor.as_fd(), quit.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // `quit` stays readable, so it is left out after its first report.
        let waited = if is_draining { &mut fds[..1] } else { &mut fds[..] };
        match poll(waited, timeout(reactor.next_deadline())) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !is_draining && fds[1].any() == Some(true) {
            reactor.drain();
            is_draining = true;
        }
        // Your own descriptors have their place here. A turn without work costs one system call.
        if reactor.turn(Some(Duration::ZERO))? == Turn::Done {
            return Ok(());
        }
    }
}

/// The time until the deadline in whole milliseconds, rounded up: the loop would spin in the last millisecond otherwise.
fn timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let wait = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
}
