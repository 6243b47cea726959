//! Results as one JSON object. Its names and units are described in `docs/load.schema.json`, and do not change their meaning.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::results::compare::{self, PERCENTILES, Percentile, ratio};
use crate::results::facts::Facts;
use crate::results::figures::Figures;
use crate::results::model::Results;
use crate::results::series::Latency;
use crate::results::steps::{Highest, StepFigures};
use crate::results::summary::Summary;
use crate::results::verdict::Verdict;
use crate::results::welch::{Estimate, LEVEL};

/// Changes when a name or a meaning changes.
pub(crate) const FORMAT: u32 = 3;

/// The object, on one line.
pub(crate) fn text(results: &Results) -> Result<String, String> {
    serde_json::to_string(&Document::of(results)).map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    program: &'static str,
    #[serde(flatten)]
    summary: Summary,
    intervals: Vec<Interval>,
    #[serde(flatten)]
    facts: &'a Facts,
    expectations: &'a [Verdict],
    /// The steps of the load.
    steps: &'a [StepFigures],
    search: Option<&'a Highest>,
    baseline: Option<Baseline<'a>>,
}

#[derive(Serialize)]
struct Interval {
    begin_s: f64,
    length_s: f64,
    frames: u64,
    frames_per_s: f64,
    connections: Option<u64>,
    errors: Option<u64>,
    latency: Latency<Figures>,
}

/// Earlier results, and these relative to them.
#[derive(Serialize)]
struct Baseline<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    ratio: Ratio,
    /// `None` if there are too few runs to know their spread.
    difference: Option<Differences>,
}

#[derive(Serialize)]
struct Ratio {
    frames_per_s: Option<f64>,
    latency: Latency<BTreeMap<&'static str, Option<f64>>>,
}

/// How sure it is that the runs of both differ.
#[derive(Serialize)]
struct Differences {
    level: f64,
    frames_per_s: Option<Estimate>,
    latency: Latency<BTreeMap<&'static str, Option<Estimate>>>,
}

impl<'a> Document<'a> {
    fn of(results: &'a Results) -> Self {
        let intervals = results.slices.iter().map(|slice| Interval {
            begin_s: slice.begin.as_secs_f64(),
            length_s: slice.length.as_secs_f64(),
            frames: slice.frames,
            frames_per_s: slice.rate(),
            connections: slice.connections,
            errors: slice.errors,
            latency: Latency::of(|series| Figures::of_recorded(slice.recorded(series))),
        });
        let summary = results.summary();
        let baseline = results.baseline.as_deref().map(|baseline| Baseline::of(&summary, &baseline.summary));
        Self {
            format: FORMAT,
            program: concat!("frameloop ", env!("CARGO_PKG_VERSION")),
            summary,
            intervals: intervals.collect(),
            facts: &results.facts,
            expectations: &results.verdicts,
            steps: &results.steps,
            search: results.highest.as_ref(),
            baseline,
        }
    }
}

impl<'a> Baseline<'a> {
    fn of(this: &Summary, earlier: &'a Summary) -> Self {
        let ratio = Ratio {
            frames_per_s: ratio(this.frames_per_s, earlier.frames_per_s),
            latency: Latency::of(|series| Some(ratios(this.latency.get(series)?, earlier.latency.get(series)?))),
        };
        let difference = compare::has_spread(this, earlier).then(|| Differences::of(this, earlier));
        Self { summary: earlier, ratio, difference }
    }
}

impl Differences {
    fn of(this: &Summary, earlier: &Summary) -> Self {
        let of_series = |series| {
            let of_figure = |one: &Percentile| (one.member, compare::latency(this, earlier, series, one));
            this.latency.get(series).and(earlier.latency.get(series))?;
            Some(PERCENTILES.iter().map(of_figure).collect())
        };
        Self { level: LEVEL, frames_per_s: compare::rate(this, earlier), latency: Latency::of(of_series) }
    }
}

fn ratios(this: &Figures, earlier: &Figures) -> BTreeMap<&'static str, Option<f64>> {
    let names = ["min", "p50", "p90", "p99", "p99_9", "p99_99", "max"];
    let pairs = this.columns().into_iter().zip(earlier.columns());
    let columns = names.into_iter().zip(pairs.map(|(this, earlier)| ratio(this as f64, earlier as f64)));
    columns.chain([("mean", ratio(this.mean, earlier.mean))]).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use frameloop::load::Hold;
    use jsonschema::Validator;
    use serde_json::Value;

    use super::*;
    use crate::results::expect::{expectation, judge};
    use crate::results::fixture;
    use crate::results::hlog::read::parse;
    use crate::results::merge::merged;
    use crate::results::sequence::sequence;

    const SCHEMA: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/load.schema.json"));

    fn value(results: &Results) -> Value {
        serde_json::from_str(&text(results).unwrap()).unwrap()
    }

    fn schema() -> Validator {
        jsonschema::validator_for(&serde_json::from_str(SCHEMA).unwrap()).unwrap()
    }

    #[track_caller]
    fn assert_valid(value: &Value) {
        let schema = schema();
        let errors: Vec<String> =
            schema.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    #[test]
    fn what_runs_print_is_what_the_schema_says() {
        let mut judged = fixture::made();
        judge(&mut judged, &["p99<5ms", "rate>1", "late==0"].map(|text| expectation(text).unwrap()), false);
        judged.baseline = Some(Box::new(fixture::closed_loop().as_baseline()));
        let mut repeated = sequence(vec![fixture::made(); 3], "run").unwrap();
        repeated.baseline = Some(Box::new(repeated.as_baseline()));
        assert_eq!(value(&repeated)["runs"].as_array().map(Vec::len), Some(3));
        assert_eq!(value(&repeated)["baseline"]["difference"]["latency"]["service"]["p99_9"]["exceeds_spread"], false);
        let held = [Hold::Silent, Hold::Every(Duration::from_millis(20))].map(fixture::held);
        let all = [fixture::open_loop(), fixture::closed_loop(), fixture::churn(), judged, repeated];
        for results in all.into_iter().chain(held) {
            assert_valid(&value(&results));
        }
    }

    #[test]
    fn what_reports_print_is_what_the_schema_says() {
        let log = parse("a", fixture::log_of(&fixture::open_loop()).as_slice(), None).unwrap();
        let mut foreign = log.clone();
        foreign.facts = None;
        assert_valid(&value(&merged(&[log.clone(), foreign.clone()])));
        assert_valid(&value(&merged(&[foreign])));
    }

    #[test]
    fn what_is_missing_or_unknown_does_not_fit_the_schema() {
        let whole = value(&fixture::made());
        fn objects(value: &Value, path: &str, paths: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    paths.push(path.to_owned());
                    members.iter().for_each(|(name, member)| objects(member, &format!("{path}/{name}"), paths));
                }
                Value::Array(items) => {
                    items.iter().zip(0..).for_each(|(item, nth)| objects(item, &format!("{path}/{nth}"), paths));
                }
                _ => {}
            }
        }
        let mut paths = Vec::new();
        objects(&whole, "", &mut paths);
        let schema = schema();
        // These objects have names of errors, reasons and flags, so any name is valid.
        let is_named = |path: &str| path == "/configuration" || path.ends_with("/failed") || path.ends_with("/lost");
        paths.retain(|path| path != "/ended" && !is_named(path));
        assert!(paths.len() > 8, "{paths:?}");
        for path in paths {
            let mut more = whole.clone();
            more.pointer_mut(&path).unwrap().as_object_mut().unwrap().insert("unheard_of".into(), 1.into());
            assert!(!schema.is_valid(&more), "more in {path:?}");
            let names: Vec<String> = whole.pointer(&path).unwrap().as_object().unwrap().keys().cloned().collect();
            for name in names {
                let mut less = whole.clone();
                less.pointer_mut(&path).unwrap().as_object_mut().unwrap().remove(&name);
                assert!(!schema.is_valid(&less), "{path}/{name} is missing");
            }
        }
    }

    #[test]
    fn figures_are_found_by_their_names() {
        let value = value(&fixture::made());
        assert_eq!(value["latency"]["response"]["count"], 10_000);
        assert_eq!(value["latency"]["service"]["p99_ns"].as_u64().unwrap() / 1_000, 990);
        assert_eq!(value["frames_per_s"], 1_000.0);
        assert_eq!(value["errors"]["total"], 6);
        assert_eq!(value["configuration"]["size"], "64 B");
        assert_eq!(value["begun"], "2027-01-15T08:00:00.000Z");
    }
}
