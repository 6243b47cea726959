//! A deterministic network and clock, to test handlers and the reactor on.
//!
//! There is no socket, no thread and no real time. One seed decides everything, so the same seed gives the same run. The
//! guide, `docs/EMBEDDING.md`, has a longer example with faults and deadlines.
//!
//! # Examples
//!
//! ```
//! use frameloop::sim::Sim;
//! use frameloop::{Config, Echo, Reactor};
//!
//! let sim = Sim::new(42);
//! let mut reactor = Reactor::with_net(sim.net(), Config::default(), Echo)?;
//! reactor.listen(&sim.addr(7007))?;
//!
//! let peer = sim.connect(7007).ok_or("no listener")?;
//! peer.send(&[0, 0, 0, 2, b'h', b'i']);
//! sim.settle(&mut reactor)?;
//! assert_eq!(peer.receive(), [0, 0, 0, 2, b'h', b'i']);
//!
//! peer.finish();
//! sim.settle(&mut reactor)?;
//! assert!(peer.has_server_finished());
//! assert_eq!(reactor.stats().connections, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`transport_contract`] tests a transport of yours, such as TLS, on it.

mod contract;
mod edges;
mod faults;
mod network;
mod rng;
pub(crate) mod socket;
pub(crate) mod world;

pub use crate::sim::contract::peer::PeerStream;
pub use crate::sim::contract::rules::{ContractRule, Violation};
pub use crate::sim::contract::transport_contract;
pub use crate::sim::edges::Edges;
pub use crate::sim::faults::Faults;
pub use crate::sim::network::{Peer, Sim, SimListener, SimNet, SimStream};
pub use crate::sim::rng::Rng;
