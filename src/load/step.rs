//! A step: the load that differs between the steps of a plan.

use std::time::{Duration, SystemTime};

use crate::load::plan::{LoadError, Plan, Stop};
use crate::load::segment::Segment;

/// Describes a step of a [`Load`](crate::load::Load). [`Step::from`] a plan has the values of the plan.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(clippy::exhaustive_structs)]
pub struct Step {
    /// Connections that carry the load; at most those of the plan.
    pub connections: usize,
    /// Frames per second, as [`Plan::rate`].
    pub rate: Option<f64>,
    /// When the load ends.
    pub stop: Stop,
    /// When the load begins, as [`Plan::start_at`].
    pub start_at: Option<SystemTime>,
    /// How long the load runs before the measured time begins.
    pub warmup: Duration,
}

impl From<&Plan> for Step {
    fn from(plan: &Plan) -> Self {
        let Plan { connections, rate, stop, start_at, warmup, .. } = *plan;
        Self { connections, rate, stop, start_at, warmup }
    }
}

impl Step {
    /// The plan with the values of this step.
    pub(crate) fn apply(&self, plan: &Plan) -> Plan {
        let Self { connections, rate, stop, start_at, warmup } = *self;
        Plan { connections, rate, stop, start_at, warmup, ..plan.clone() }
    }

    /// Fails if a step of a plan, whose steps have at most `connections_max` connections, is not allowed.
    pub(crate) fn check(&self, plan: &Plan, connections_max: usize) -> Result<(), LoadError> {
        let connections = self.connections;
        if connections > connections_max {
            let message =
                format!("a step has {connections} connections and must have at most the {connections_max} of the plan");
            return Err(LoadError::Plan(message));
        }
        self.apply(plan).check()
    }

    /// Returns one generator's share of this step, as [`Plan::share`].
    ///
    /// # Errors
    ///
    /// [`LoadError::Plan`] if the share has no connection or no frame.
    pub fn share(&self, segment: Segment, plan: &Plan) -> Result<Self, LoadError> {
        Ok(Self::from(&self.apply(plan).share(segment)?))
    }
}
