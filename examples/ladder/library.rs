//! Rung 8: the frameloop library.
//!
//! It adds limits on all clients together: their number, and the memory of their buffers. All cases hold. Two of them
//! need a server that can run out of descriptors.
//!
//! ```console
//! $ cargo run --quiet --example ladder -- 8
//! listening on 127.0.0.1:7007
//! $ prlimit --pid "$(pidof ladder)" --nofile=1500
//! $ frameloop check --pid "$(pidof ladder)" --frame-timeout 2s --write-timeout 2s
//! …
//! hardened           12       0        0
//!
//! All holds: 41 cases played, and none failed.
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use frameloop::{Config, Echo, Reactor};

pub(crate) fn serve(addr: SocketAddr) -> Result<(), Box<dyn Error>> {
    let config = Config::builder()
        // What a header may announce. Nothing is allocated for it in advance.
        .max_payload(16 << 20)
        // The number of connections, and the memory of all their buffers together.
        .max_connections(10_000)
        .memory(256 << 20)
        // Backpressure: the pending output at which reading pauses, and at which it resumes.
        .output_high_water(64 << 10)
        .output_low_water(16 << 10)
        // What one connection may do per turn, before the others have theirs.
        .read_budget_bytes(128 << 10)
        .write_budget_bytes(512 << 10)
        .frame_budget(2_048)
        .accept_budget(64)
        // How long a frame may take to arrive, and a reply to be taken.
        .frame_timeout(Some(Duration::from_secs(2)))
        .write_timeout(Some(Duration::from_secs(2)))
        .build()?;
    let mut reactor = Reactor::new(config, Echo)?;
    let bound = reactor.listen(&addr.into())?;
    println!("listening on {bound}");
    reactor.run()?;
    Ok(())
}
