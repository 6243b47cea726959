//! Two reactors with limits of their own, on one thread: a loop around `poll(2)` gives both their turns. They echo, and drain when
//! standard input is closed or gets a line.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use frameloop::{Config, Echo, Reactor, Turn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limits = [Config::builder().build()?, Config::builder().max_payload(64).max_connections(10).build()?];
    let mut reactors = Vec::new();
    for config in limits {
        let mut reactor = Reactor::new(config, Echo)?;
        println!("listening on {}", reactor.listen(&"127.0.0.1:0".parse()?)?);
        reactors.push(reactor);
    }
    let stdin = std::io::stdin();
    let mut is_draining = false;
    while !reactors.is_empty() {
        let mut fds: Vec<_> = reactors.iter().map(|reactor| PollFd::new(reactor.as_fd(), PollFlags::POLLIN)).collect();
        if !is_draining {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, timeout(reactors.iter().filter_map(Reactor::next_deadline).min())) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !is_draining && fds.last().and_then(PollFd::any) == Some(true) {
            is_draining = true;
            reactors.iter_mut().for_each(Reactor::drain);
        }
        // Each turn has a budget, so neither reactor waits long for the other.
        let mut at = 0;
        while let Some(reactor) = reactors.get_mut(at) {
            match reactor.turn(Some(Duration::ZERO))? {
                Turn::Running => at += 1,
                Turn::Done => drop(reactors.remove(at)),
            }
        }
    }
    Ok(())
}

/// The time until the deadline in whole milliseconds, rounded up: the loop would spin in the last millisecond otherwise.
fn timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let wait = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
}
