//! A load generator on the same reactor: connections dialled out, a handler like any other.
//!
//! [`run`] does what a [`Plan`] says: it opens the connections, puts load on them, checks every byte that comes back, and
//! says in an [`Outcome`] what it has seen, what of that may be its own fault, and what stopped it short of what was asked.
//!
//! Two ways to put load on. In the *closed loop* each connection has so many frames in flight, and sends the next when one
//! is answered: it finds the most that a server can do. In the *open loop* frames are due on a schedule, whatever the server
//! does: it finds how long somebody waits who comes at a given rate. There, *response* latency counts from when a frame was
//! due, and *service* latency from when it was handed to its connection; a server that stalls for a second makes everybody
//! wait who was due in that second, and only the first of the two shows it.
//!
//! ```
//! use std::time::Duration;
//! use frameloop::load::{Plan, Stop, Unwatched, run};
//!
//! // No target: a server of its own.
//! let plan = Plan {
//!     connections: 4,
//!     stop: Stop::Frames(1_000),
//!     warmup: Duration::ZERO,
//!     ..Plan::default()
//! };
//! let outcome = run(&plan, &mut Unwatched)?;
//! assert_eq!(outcome.frames, 1_000);
//! assert_eq!(outcome.errors.total(), 0);
//! # Ok::<(), frameloop::load::LoadError>(())
//! ```

mod causes;
mod clock;
mod counts;
mod destination;
mod dialer;
mod drip;
mod generator;
mod intervals;
mod link;
mod links;
mod machine;
mod outcome;
mod own_server;
mod pacer;
mod payload;
mod phase;
mod plan;
mod recorded;
mod report;
mod run;
mod sources;
mod summary;
mod thread;
mod wakeup;

pub use crate::load::causes::Cause;
pub use crate::load::outcome::{
    Cohort, Connecting, Errors, Fault, FaultKind, GeneratorSide, Interval, Outcome, Progress, ServerSide, Stage, Start,
    ThreadUse,
};
pub use crate::load::plan::{LoadError, Plan, Stop};
pub use crate::load::recorded::Recorded;
pub use crate::load::run::{Unwatched, Watch, run};
pub use crate::load::sources::Sources;
