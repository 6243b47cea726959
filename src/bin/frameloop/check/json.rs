//! A grade as one JSON object. Its names and units are described in `docs/check.schema.json`, and do not change their meaning.

use serde::Serialize;

use crate::check::case::{Case, Level};
use crate::check::finding::Finding;
use crate::check::grade::{Grade, Graded, Outcome};
use crate::check::target::Target;
use crate::check::wire::Wire;

/// The object, on one line.
pub(crate) fn text(pid: Option<u32>, seed: u64, target: &Target, grade: &Grade) -> Result<String, String> {
    let document = Document {
        format: FORMAT,
        program: concat!("frameloop ", env!("CARGO_PKG_VERSION")),
        server: target.addr.to_string(),
        pid,
        level: grade.level,
        framing: Some(target.wire()).filter(|wire| !wire.is_default()).map(Wire::to_string),
        max_frame: target.max_payload,
        seed,
        took_ms: grade.took.as_secs_f64() * 1e3,
        passed: grade.played() - grade.failed(),
        failed: grade.failed(),
        skipped: grade.skipped(),
        cases: grade.cases.iter().map(Played::of).collect(),
    };
    serde_json::to_string(&document).map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct Document<'a> {
    /// Changes when something is named otherwise, or means something else.
    format: u32,
    program: &'static str,
    server: String,
    pid: Option<u32>,
    level: Level,
    /// Left out for u32be.
    #[serde(skip_serializing_if = "Option::is_none")]
    framing: Option<String>,
    max_frame: u32,
    seed: u64,
    took_ms: f64,
    passed: usize,
    failed: usize,
    skipped: usize,
    cases: Vec<Played<'a>>,
}

#[derive(Serialize)]
struct Played<'a> {
    #[serde(flatten)]
    case: &'a Case,
    outcome: &'static str,
    took_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Played<'a> {
    fn of(graded: &'a Graded) -> Self {
        let case = &graded.case;
        let (outcome, failure, reason) = match &graded.outcome {
            Outcome::Holds => ("holds", None, None),
            Outcome::Fails(finding) => ("fails", Some(finding.clone().or_usual(case.mistake)), None),
            Outcome::Skipped(reason) => ("skipped", None, Some(reason.as_str())),
        };
        Self { case, outcome, took_ms: graded.took.as_secs_f64() * 1e3, failure, reason }
    }
}

const FORMAT: u32 = 1;
