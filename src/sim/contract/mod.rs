//! Tests a transport against the contract of [`Transport`].

mod observed;
pub(crate) mod peer;
pub(crate) mod rules;
mod scenario;

use std::ops::Range;

use crate::net::Transport;
use crate::sim::contract::peer::PeerStream;
use crate::sim::contract::rules::Violation;
use crate::sim::network::SimStream;

/// Checks a transport against the rules of [`Transport`], in one run for each seed.
///
/// `server` puts the transport under test on the reactor's end of a simulated connection, and `client` puts the other side on the
/// peer's end. A call with the roles exchanged tests the other side.
///
/// In each run, a reactor echoes frames; it may also send a greeting before the peer has sent anything, pause, and be full. The
/// seed places short reads and writes, calls that would block or are interrupted, arrivals in the middle of a turn, and an
/// end: either side finishes or closes, the reactor drains, or the network cuts the peer's stream off with FIN or RST at any
/// byte. Each call of the transport is compared with what its socket has done, and each byte with what was sent. The clock stands
/// still: whatever needs a deadline to go on is a violation.
///
/// Use a few hundred seeds in each test, and thousands after a change of the transport. A seed takes about 0.3 ms in a release build, and
/// 2 ms in a debug build.
///
/// # Errors
///
/// The first [`Violation`]: the rule, the seed, and what was observed. To debug it, check its seed alone.
///
/// # Panics
///
/// If the transport panics, or makes calls of its socket without end.
///
/// # Examples
///
/// The simulated socket itself keeps the contract:
///
/// ```
/// use frameloop::sim::transport_contract;
///
/// transport_contract(0..100, |socket| socket, |socket| socket)?;
/// # Ok::<(), frameloop::sim::Violation>(())
/// ```
///
/// A layer `Tls<S>` (which is yours) over any transport `S`:
///
/// ```text
/// transport_contract(0..500, |socket| Tls::server(socket), |socket| Tls::client(socket))?;
/// ```
pub fn transport_contract<T: Transport, P: Transport>(
    seeds: Range<u64>,
    mut server: impl FnMut(SimStream) -> T,
    mut client: impl FnMut(PeerStream) -> P,
) -> Result<(), Violation> {
    for seed in seeds {
        let outcome = scenario::run(seed, &mut server, &mut client);
        outcome.map_err(|(rule, observed)| Violation { rule, seed, observed })?;
    }
    Ok(())
}
