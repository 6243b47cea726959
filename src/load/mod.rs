//! A load generator on the same reactor: a handler that only dials.
//!
//! [`run`] executes a [`Plan`]: it opens the connections, sends frames, and compares every byte of the responses with what was
//! sent. The [`Outcome`] holds the figures, reports which of them the generator itself may have limited, and which limits kept
//! connections from opening.
//!
//! In the *closed loop* each connection has a fixed number of frames in flight, and sends the next one after each response.
//! That measures the throughput of a server. In the *open loop* frames are due on a schedule, whatever the server does. That
//! measures the latency at a given rate. *Response* latency counts from when a frame was due, *service* latency from when it was
//! sent. If a server stalls for a second, all frames that are due in that second wait, and only response latency shows it.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//! use frameloop::load::{Plan, Stop, Unwatched, run};
//!
//! // Without a target the run starts its own server.
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
mod check;
mod clock;
mod counts;
mod destination;
mod dialer;
mod drip;
mod fault;
mod generator;
mod hold;
mod intervals;
mod link;
mod links;
mod machine;
mod outages;
mod outcome;
mod own_server;
mod pacer;
mod payload;
mod phase;
mod plan;
mod ramp;
mod reconnects;
mod recorded;
mod report;
mod request;
mod run;
mod segment;
mod sources;
mod step;
mod summary;
mod tally;
mod target;
mod template;
mod thread;
mod timeouts;
mod wakeup;

pub use crate::load::check::Check;
pub use crate::load::fault::{Excerpt, Fault, FaultKind};
pub use crate::load::hold::{Held, Hold};
pub use crate::load::outcome::{
    Cause, Cohort, CohortCounts, Connecting, Errors, GeneratorSide, Interval, Outage, Outcome, Progress, ServerSide,
    Stage, Start, TargetCounts, ThreadUse,
};
pub use crate::load::plan::{LoadError, Plan, Stop};
pub use crate::load::ramp::{ConnectTimes, RampStage};
pub use crate::load::recorded::Recorded;
pub use crate::load::request::Payload;
pub use crate::load::run::{Load, Unwatched, Watch, run};
pub use crate::load::segment::Segment;
pub use crate::load::sources::Sources;
pub use crate::load::step::Step;
pub use crate::load::target::Target;
pub use crate::load::template::{Template, TemplateError};
