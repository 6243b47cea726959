//! The run of a load, as the endpoint shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use frameloop::load::{Errors, Interval, Progress, Recorded, Stage};
use serde::{Deserialize, Serialize};

use crate::admin::http::{Refusal, Status};
use crate::admin::metrics::RunFigures;
use crate::admin::views::{Latency, Second};

/// What is known of the run, and whether it may begin.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    stage: Stage,
    warmup: Duration,
    progress: Progress,
    errors: Errors,
    second: Second,
    /// The frames that were due when `sent` of the progress was counted.
    due: Option<u64>,
    rate_target: Option<f64>,
    step: Option<Step>,
    steps: Vec<StepResult>,
    /// The run waits for the permission to begin.
    is_paused: bool,
}

/// The step under way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Step {
    pub(crate) index: usize,
    pub(crate) of: Option<usize>,
    pub(crate) unit: &'static str,
    pub(crate) target: f64,
}

/// A step that is over.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct StepResult {
    pub(crate) target: f64,
    pub(crate) rate: f64,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) held: Option<bool>,
}

/// The run as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct RunView<'a> {
    stage: &'static str,
    elapsed: f64,
    left: Option<f64>,
    connected: u64,
    connections: u64,
    paused: bool,
    due: Option<u64>,
    sent: u64,
    late: u64,
    frames: u64,
    errors: u64,
    errors_by: BTreeMap<&'static str, u64>,
    rate_target: Option<f64>,
    latency: Option<Latency>,
    step: Option<Step>,
    steps: &'a [StepResult],
}

/// What `GET /v1/status` answers: the members of k6's REST API, also in its envelope.
#[derive(Debug, Serialize)]
pub(crate) struct StatusView {
    #[serde(flatten)]
    attributes: Attributes,
    data: Envelope,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Attributes {
    paused: bool,
    running: bool,
    stopped: bool,
    stage: &'static str,
    connected: u64,
    connections: u64,
}

#[derive(Debug, Serialize)]
struct Envelope {
    r#type: &'static str,
    id: &'static str,
    attributes: Attributes,
}

/// The body of `PATCH /v1/status`, with k6's envelope or without.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Patch {
    Plain { paused: bool },
    Enveloped { data: PatchData },
}

#[derive(Debug, Deserialize)]
struct PatchData {
    attributes: PatchAttributes,
}

#[derive(Debug, Deserialize)]
struct PatchAttributes {
    paused: bool,
}

impl Run {
    pub(crate) fn new(is_paused: bool, rate_target: Option<f64>) -> Self {
        Self {
            stage: Stage::Connecting,
            warmup: Duration::ZERO,
            progress: Progress::default(),
            errors: Errors::default(),
            second: Second::default(),
            due: None,
            rate_target,
            step: None,
            steps: Vec::new(),
            is_paused,
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(crate) fn note_progress(&mut self, progress: &Progress) {
        self.stage = progress.stage;
        match (progress.stage, progress.left) {
            // Another run or step.
            (Stage::Connecting, _) if self.stage != Stage::Connecting => {
                (self.errors, self.second, self.due) = Default::default();
            }
            (Stage::WarmingUp, Some(left)) => self.warmup = progress.elapsed + left,
            _ => {}
        }
        // What was sent is known for whole seconds: what was due by then is compared with it.
        if progress.sent != self.progress.sent {
            self.due = self.due_after(progress);
        }
        self.progress = progress.clone();
        self.progress.last = None;
    }

    pub(crate) fn note_interval(&mut self, interval: &Interval) {
        self.errors.add(&interval.errors);
        let response = (interval.response.count() > 0).then_some((&interval.response, "response"));
        let (latencies, kind) = response.unwrap_or((&interval.service, "service"));
        let seconds = interval.length.as_secs_f64().max(1e-9);
        let rate = |count: u64| count as f64 / seconds;
        let latency = latency(latencies, kind);
        self.second = Second { connections: 0, frames: rate(interval.frames), bytes: rate(interval.bytes), latency };
    }

    pub(crate) fn begin(&mut self) {
        self.is_paused = false;
    }

    /// A step begins, with the rate of this instance.
    pub(crate) fn begin_step(&mut self, step: Step, rate: Option<f64>) {
        self.rate_target = rate;
        self.step = Some(step);
    }

    pub(crate) fn end_step(&mut self, result: StepResult) {
        self.steps.push(result);
    }

    /// The last complete second, and the connections of now.
    pub(crate) fn second(&self) -> Second {
        Second { connections: self.progress.up, ..self.second }
    }

    pub(crate) fn figures(&self) -> RunFigures {
        let Progress { up, asked, frames, errors, not_connected, .. } = self.progress;
        RunFigures { connections: up, connections_asked: asked, frames, errors: errors + not_connected }
    }

    pub(crate) fn view(&self) -> RunView<'_> {
        let Progress { up, asked, not_connected, elapsed, left, frames, errors, sent, late, .. } = self.progress;
        let kinds = [
            ("not connected", self.errors.not_connected.max(not_connected)),
            ("wrong reply", self.errors.wrong),
            ("connection ended", self.errors.ended),
            ("unanswered", self.errors.unanswered),
            ("timed out", self.errors.timed_out),
        ];
        RunView {
            stage: self.stage.name(),
            elapsed: elapsed.as_secs_f64(),
            left: left.map(|left| left.as_secs_f64()),
            connected: up,
            connections: asked,
            paused: self.is_paused,
            due: self.due,
            sent,
            late,
            frames,
            errors: errors + not_connected,
            errors_by: kinds.into_iter().filter(|(_, count)| *count > 0).collect(),
            rate_target: self.rate_target,
            latency: self.second.latency,
            step: self.step,
            steps: &self.steps,
        }
    }

    /// The frames that the schedule had by the last whole second of the measured time, since the load began.
    fn due_after(&self, progress: &Progress) -> Option<u64> {
        let seconds = match progress.stage {
            Stage::Measuring => progress.elapsed.as_secs(),
            _ => return None,
        };
        Some((self.rate_target? * (self.warmup.as_secs_f64() + seconds as f64)) as u64)
    }

    pub(crate) fn status(&self) -> StatusView {
        let attributes = Attributes {
            paused: self.is_paused,
            running: !self.is_paused,
            stopped: self.stage == Stage::Ending,
            stage: self.stage.name(),
            connected: self.progress.up,
            connections: self.progress.asked,
        };
        StatusView { attributes, data: Envelope { r#type: "status", id: "default", attributes } }
    }

    /// Does what `PATCH /v1/status` asks for.
    pub(crate) fn patch(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let paused = match serde_json::from_slice(body) {
            Ok(Patch::Plain { paused }) => paused,
            Ok(Patch::Enveloped { data }) => data.attributes.paused,
            Err(_) => {
                let reason = "the body is not {\"paused\": false}";
                return Err(Refusal::new(Status::BadRequest, reason));
            }
        };
        match (paused, self.is_paused) {
            (true, false) => Err(Refusal::new(Status::Conflict, "the run has begun, and cannot be paused")),
            (true, true) => Ok(()),
            (false, _) => {
                self.begin();
                Ok(())
            }
        }
    }
}

fn latency(recorded: &Recorded, kind: &'static str) -> Option<Latency> {
    let histogram = recorded.histogram();
    let at = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile)).as_secs_f64();
    (!histogram.is_empty()).then(|| Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1.0), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_begins_a_paused_run_in_both_forms() {
        for body in [
            "{\"paused\": false}",
            "{\"data\":{\"type\":\"status\",\"id\":\"default\",\"attributes\":{\"paused\":false}}}",
        ] {
            let mut run = Run::new(true, None);
            assert_eq!(run.patch(b"{\"paused\":true}"), Ok(()));
            assert!(run.is_paused());
            assert_eq!(run.patch(body.as_bytes()), Ok(()));
            assert!(!run.is_paused());
            // Again has no effect; back is not possible.
            assert_eq!(run.patch(body.as_bytes()), Ok(()));
            assert_eq!(run.patch(b"{\"paused\":true}").unwrap_err().status, Status::Conflict);
        }
    }

    #[test]
    fn patch_that_is_no_status_is_refused() {
        for body in ["", "{}", "{\"paused\":1}", "{\"paused\"", "[]", "\u{ff}"] {
            assert_eq!(Run::new(true, None).patch(body.as_bytes()).unwrap_err().status, Status::BadRequest, "{body}");
        }
    }

    #[test]
    fn status_says_how_many_are_connected() {
        let mut run = Run::new(true, None);
        let mut progress = Progress::default();
        (progress.up, progress.asked, progress.stage) = (333_333, 333_334, Stage::Waiting);
        run.note_progress(&progress);
        let status = serde_json::to_value(run.status()).unwrap();
        assert_eq!(
            (&status["connected"], &status["connections"], &status["paused"]),
            (&333_333.into(), &333_334.into(), &true.into())
        );
        assert_eq!(status["data"]["attributes"]["stage"], "waiting");
    }
}
