//! The interface between a reactor and the operating system.
//!
//! A reactor is generic over [`Net`]: a readiness queue, listeners, streams and a clock. [`Mio`] implements it with the
//! kernel's, and `frameloop::sim` (feature `sim`) with simulated ones. [`Wrapped`] puts a layer of yours, such as TLS, on the
//! streams of either; [`Transport`] has the rules for it.

mod adopt;
mod detached;
pub(crate) mod kernel;
pub(crate) mod listener;
pub(crate) mod mio;
pub(crate) mod owner;
pub(crate) mod seam;
pub(crate) mod socket;
mod sources;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod unix_queue;
mod wrapped;

pub use crate::conn::io::{Readiness, Transport};
#[cfg(any(test, feature = "sim"))]
pub(crate) use crate::net::detached::Lease;
pub use crate::net::detached::{Detached, Released};
pub use crate::net::listener::Listener;
pub use crate::net::mio::Mio;
pub use crate::net::seam::{Net, Ready, ThreadTime};
pub use crate::net::socket::Stream;
pub use crate::net::sources::Interest;
pub use crate::net::wrapped::{Layer, Side, Wrapped, WrappedListener};
