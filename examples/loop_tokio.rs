//! A reactor inside tokio, as one task of a runtime of one thread. It echoes, and drains when standard input is closed or gets a
//! line.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use frameloop::{Config, Echo, Handler, Reactor, Turn};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut reactor = Reactor::new(Config::default(), Echo)?;
    println!("listening on {}", reactor.listen(&"127.0.0.1:0".parse()?)?);
    drive(reactor, io::stdin())
}

/// Drives the reactor until it is drained. The drain begins once `quit` is readable or closed.
pub fn drive<H: Handler>(reactor: Reactor<H>, quit: impl AsFd) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Other tasks reach the reactor through a handle, as other threads do.
        let handle = reactor.handle();
        let quit = readiness(&quit)?;
        tokio::spawn(async move {
            let _ = quit.readable().await;
            let _ = handle.drain();
        });
        turns(reactor).await
    })
}

/// Gives the reactor its turns until it is drained.
async fn turns<H: Handler>(mut reactor: Reactor<H>) -> Result<(), Box<dyn std::error::Error>> {
    let fd = readiness(&reactor)?;
    loop {
        // `AsyncFd` is edge-triggered, and may have reported the reactor for the last time. If the reactor has more to do, its
        // deadline has passed, and this does not wait.
        match reactor.next_deadline() {
            None => fd.readable().await?.clear_ready(),
            Some(deadline) => {
                if let Ok(ready) = tokio::time::timeout_at(deadline.into(), fd.readable()).await {
                    ready?.clear_ready();
                }
            }
        }
        if reactor.turn(Some(Duration::ZERO))? == Turn::Done {
            return Ok(());
        }
        // With much to do, the other tasks still run between two turns.
        tokio::task::yield_now().await;
    }
}

#[allow(unsafe_code)]
fn readiness(source: &impl AsFd) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = source.as_fd().try_clone_to_owned()?;
    // SAFETY: the `AsyncFd` owns the duplicate, which stays open for as long.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
