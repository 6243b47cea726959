//! Results as one JSON object. Its names and units are described in `docs/load.schema.json`, and do not change their meaning.

use serde::Serialize;

use crate::results::Results;
use crate::results::expect::Verdict;
use crate::results::facts::Facts;
use crate::results::figures::Figures;

/// The object, on one line.
pub(crate) fn text(results: &Results) -> Result<String, String> {
    serde_json::to_string(&Document::of(results)).map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct Document<'a> {
    /// Changes when something is named otherwise, or means something else.
    format: u32,
    program: &'static str,
    #[serde(flatten)]
    whole: Whole<'a>,
    intervals: Vec<Interval>,
    #[serde(flatten)]
    facts: &'a Facts,
    expectations: &'a [Verdict],
    baseline: Option<Baseline<'a>>,
}

/// What is said of a whole run.
#[derive(Serialize)]
struct Whole<'a> {
    title: &'a str,
    begun: String,
    measured_s: f64,
    frames: u64,
    frames_per_s: f64,
    bytes_per_s: Option<f64>,
    latency: Latency<Figures>,
}

/// Each latency, `null` where nothing was recorded.
#[derive(Serialize)]
struct Latency<T> {
    connect: Option<T>,
    service: Option<T>,
    response: Option<T>,
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

/// Earlier results, and how many times those these are.
#[derive(Serialize)]
struct Baseline<'a> {
    #[serde(flatten)]
    whole: Whole<'a>,
    ratio: Ratio,
}

#[derive(Serialize)]
struct Ratio {
    frames_per_s: Option<f64>,
    latency: Latency<LatencyRatio>,
}

#[derive(Serialize)]
struct LatencyRatio {
    min: Option<f64>,
    mean: Option<f64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p99_9: Option<f64>,
    p99_99: Option<f64>,
    max: Option<f64>,
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
            latency: Latency {
                connect: Figures::of_recorded(&slice.connect),
                service: Figures::of_recorded(&slice.service),
                response: Figures::of_recorded(&slice.response),
            },
        });
        Self {
            format: 2,
            program: concat!("frameloop ", env!("CARGO_PKG_VERSION")),
            whole: Whole::of(results),
            intervals: intervals.collect(),
            facts: &results.facts,
            expectations: &results.verdicts,
            baseline: results.baseline.as_deref().map(|baseline| Baseline::of(results, baseline)),
        }
    }
}

impl<'a> Whole<'a> {
    fn of(results: &'a Results) -> Self {
        Self {
            title: &results.title,
            begun: humantime::format_rfc3339_millis(results.begun).to_string(),
            measured_s: results.measured.as_secs_f64(),
            frames: results.frames,
            frames_per_s: results.rate(),
            bytes_per_s: results.throughput(),
            latency: latency(results),
        }
    }
}

fn latency(results: &Results) -> Latency<Figures> {
    Latency {
        connect: Figures::of(&results.connect),
        service: Figures::of(&results.service),
        response: results.response.as_ref().and_then(Figures::of),
    }
}

impl<'a> Baseline<'a> {
    fn of(this: &Results, earlier: &'a Results) -> Self {
        let (ours, theirs) = (latency(this), latency(earlier));
        let ratio = Ratio {
            frames_per_s: ratio(this.rate(), earlier.rate()),
            latency: Latency {
                connect: LatencyRatio::of(ours.connect, theirs.connect),
                service: LatencyRatio::of(ours.service, theirs.service),
                response: LatencyRatio::of(ours.response, theirs.response),
            },
        };
        Self { whole: Whole::of(earlier), ratio }
    }
}

impl LatencyRatio {
    fn of(this: Option<Figures>, earlier: Option<Figures>) -> Option<Self> {
        let (this, earlier) = this.zip(earlier)?;
        let of = |ours: u64, theirs: u64| ratio(ours as f64, theirs as f64);
        Some(Self {
            min: of(this.min, earlier.min),
            mean: ratio(this.mean, earlier.mean),
            p50: of(this.p50, earlier.p50),
            p90: of(this.p90, earlier.p90),
            p99: of(this.p99, earlier.p99),
            p99_9: of(this.p99_9, earlier.p99_9),
            p99_99: of(this.p99_99, earlier.p99_99),
            max: of(this.max, earlier.max),
        })
    }
}

fn ratio(this: f64, earlier: f64) -> Option<f64> {
    (earlier > 0.0).then(|| this / earlier)
}

#[cfg(test)]
mod tests {
    use jsonschema::Validator;
    use serde_json::Value;

    use super::*;
    use crate::results::expect::expectation;
    use crate::results::{fixture, hlog, merged};

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
        judged.judge(&["p99<5ms", "rate>1", "late==0"].map(|text| expectation(text).unwrap()));
        judged.baseline = Some(Box::new(fixture::closed_loop()));
        for results in [fixture::open_loop(), fixture::closed_loop(), fixture::churn(), judged] {
            assert_valid(&value(&results));
        }
    }

    #[test]
    fn what_reports_print_is_what_the_schema_says() {
        let log = hlog::parse("a", hlog::text(&fixture::open_loop()).unwrap().as_slice(), None).unwrap();
        let mut foreign = log.clone();
        foreign.facts = None;
        assert_valid(&value(&merged(&[log.clone(), foreign.clone()])));
        assert_valid(&value(&merged(&[foreign])));
    }

    #[test]
    fn what_is_missing_or_unknown_does_not_fit_the_schema() {
        let whole = value(&fixture::made());
        fn objects(value: &Value, path: &str, paths: &mut Vec<String>) {
            if let Value::Object(members) = value {
                paths.push(path.to_owned());
                members.iter().for_each(|(name, member)| objects(member, &format!("{path}/{name}"), paths));
            }
        }
        let mut paths = Vec::new();
        objects(&whole, "", &mut paths);
        let schema = schema();
        // What is named by what happened has no names of its own: these objects hold any.
        paths.retain(|path| !["/ended", "/connections/failed", "/configuration"].contains(&path.as_str()));
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
