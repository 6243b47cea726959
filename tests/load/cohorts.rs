//! Connections in addition to the active ones.

use std::time::Duration;

use frameloop::load::{Cohort, Plan, Stop};

use crate::support::{Server, patient};
use crate::{outcome, plan};

#[test]
fn idle_slow_and_stalled_cohorts_run_with_active_ones() {
    let server = Server::start(patient());
    let plan = Plan { idle: 20, drip: 3, deaf: 4, threads: 2, ..plan(server.addr) };
    let outcome = outcome(&plan);
    let cohorts: Vec<_> = outcome.cohorts.iter().map(|all| (all.cohort, all.up, all.ended)).collect();
    assert_eq!(cohorts, [(Cohort::Idle, 20, 0), (Cohort::Drip, 3, 0), (Cohort::Deaf, 4, 0)]);
    assert_eq!((outcome.connecting.asked, outcome.connecting.up), (37, 37));
    assert_eq!((outcome.frames, outcome.errors.total()), (1_000, 0));
    let stats = server.stats();
    assert_eq!(stats.connections_peak, 37);
    assert!(stats.pauses >= 4, "the deaf do not read: {stats}");
}

#[test]
fn a_cohort_that_the_server_ends_is_no_error() {
    let idle_timeout = Some(Duration::from_millis(500));
    let server = Server::start(patient().idle_timeout(idle_timeout).frame_timeout(idle_timeout));
    let stop = Stop::After(Duration::from_millis(1_500));
    let outcome = outcome(&Plan { idle: 5, drip: 2, rate: Some(2_000.0), stop, ..plan(server.addr) });
    assert_eq!(outcome.errors.total(), 0, "{:?}", outcome.errors);
    assert_eq!((outcome.cohorts[0].cohort, outcome.cohorts[0].ended), (Cohort::Idle, 5));
    assert!(outcome.cohorts.iter().all(|all| all.ended <= all.up));
}
