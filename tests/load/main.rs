//! The load generator against servers that behave, and servers that do not.

#![cfg(feature = "load")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod cohorts;
mod double;
mod ends;
mod faults;
mod hold;
mod latency;
mod limits;
mod loops;
mod outages;
mod protocols;
mod recovery;
mod stalls;
mod steps;
mod targets;

use std::net::SocketAddr;
use std::time::Duration;

use frameloop::load::{Outcome, Plan, Stop, Target, Unwatched, run};

/// Ten connections, no warm-up, little patience.
fn plan(addr: SocketAddr) -> Plan {
    Plan {
        targets: vec![Target::new(addr)],
        connections: 10,
        warmup: Duration::ZERO,
        stop: Stop::Frames(1_000),
        connect_timeout: Duration::from_secs(5),
        ..Plan::default()
    }
}

#[track_caller]
fn outcome(plan: &Plan) -> Outcome {
    run(plan, &mut Unwatched).unwrap()
}
