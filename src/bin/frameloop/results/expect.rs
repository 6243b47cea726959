//! Expectations of results: `p99<5ms`, `rate>=100k`, `errors==0`.

use std::fmt;

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::results::model::{Results, Series};
use crate::results::verdict::{RELATIONS, Relation, Unit, Verdict};
use crate::values;
use hdrhistogram::Histogram;

/// What is expected of results.
#[derive(Debug, Args)]
pub(crate) struct Expected {
    /// Exit with 99 unless this holds: p99<5ms, rate>=100k, errors==0 (repeatable)
    ///
    /// In FRAMELOOP_EXPECT, commas separate several. A latency is the response latency in the open loop and the service latency
    /// in the closed loop; connect.p99, service.max and response.p50 name one.
    #[arg(long, env = "FRAMELOOP_EXPECT", value_name = "EXPR", value_parser = expectation)]
    #[arg(value_delimiter = ',', help_heading = "Results")]
    expect: Vec<Expectation>,
    /// Let expectations of latencies hold although the generator was late
    ///
    /// It is late if, at p99, frames of the open loop were sent later after they were due than a tenth of the response latency's p99.
    #[arg(long, env = "FRAMELOOP_ALLOW_LATE", value_parser = BoolishValueParser::new(), help_heading = "Results")]
    allow_late: bool,
}

impl Expected {
    /// Compares results with the expectations, and keeps the verdicts with them. Returns whether all hold.
    pub(crate) fn judge(&self, results: &mut Results) -> bool {
        self.expect.is_empty() || judge(results, &self.expect, self.allow_late)
    }

    /// Whether one limits the number of errors.
    pub(crate) fn is_about_errors(&self) -> bool {
        self.expect.iter().any(Expectation::is_about_errors)
    }
}

/// An expression that holds or does not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expectation {
    text: String,
    metric: Metric,
    relation: Relation,
    wanted: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Metric {
    /// Without a series, the latency that a user sees.
    Latency(Option<Series>, Figure),
    Rate,
    Errors,
    Connections,
    Unanswered,
    TimedOut,
    Wrong,
    Late,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    Quantile(f64),
    Min,
    Mean,
    Max,
}

/// Parses an expression, for clap.
pub(crate) fn expectation(text: &str) -> Result<Expectation, String> {
    let at = text.find(['<', '>', '=', '!']).ok_or(FORM)?;
    let (metric, rest) = text.split_at(at);
    let relation = RELATIONS.iter().find(|(sign, _)| rest.starts_with(sign));
    let (sign, relation) = relation.ok_or("the relations are <, <=, >, >=, == and !=")?;
    let metric = Metric::of(metric.trim())?;
    let wanted = metric.value(rest[sign.len()..].trim())?;
    Ok(Expectation { text: text.trim().to_owned(), metric, relation: *relation, wanted })
}

/// Compares results with what is expected, and keeps the verdicts with them. Returns whether all hold.
///
/// Rule: no expectation of a latency holds if the latency is the generator's own. Errors and rates are not affected.
pub(crate) fn judge(results: &mut Results, expected: &[Expectation], allows_late: bool) -> bool {
    results.verdicts = expected.iter().map(|expectation| expectation.judge(results)).collect();
    let is_affected = expected.iter().any(Expectation::is_about_latency);
    if let Some(lateness) = results.lateness().filter(|_| !allows_late && is_affected) {
        results.verdicts.push(Verdict {
            expression: "late.p99<=p99/10".into(),
            observed: Some(lateness.late_p99),
            wanted: lateness.p99 / 10.0,
            unit: Unit::Ns,
            holds: false,
            relation: Relation::AtMost,
            is_about_generator: true,
        });
    }
    results.verdicts.iter().all(|verdict| verdict.holds)
}

impl Expectation {
    /// Whether it limits the number of errors.
    fn is_about_errors(&self) -> bool {
        matches!(self.metric, Metric::Errors | Metric::Unanswered | Metric::TimedOut | Metric::Wrong)
    }

    /// Whether it limits the latency of frames.
    fn is_about_latency(&self) -> bool {
        match self.metric {
            Metric::Latency(series, _) => series != Some(Series::Connect),
            _ => false,
        }
    }

    fn judge(&self, results: &Results) -> Verdict {
        let observed = self.metric.observed(results);
        let holds = observed.is_some_and(|observed| self.relation.holds(observed, self.wanted));
        Verdict {
            expression: self.text.clone(),
            observed,
            wanted: self.wanted,
            unit: self.metric.unit(),
            holds,
            relation: self.relation,
            is_about_generator: self.metric == Metric::Late,
        }
    }
}

impl Metric {
    fn of(text: &str) -> Result<Self, String> {
        let plain = match text {
            "rate" => Some(Self::Rate),
            "errors" => Some(Self::Errors),
            "connections" => Some(Self::Connections),
            "unanswered" => Some(Self::Unanswered),
            "timed_out" => Some(Self::TimedOut),
            "wrong" => Some(Self::Wrong),
            "late" => Some(Self::Late),
            _ => None,
        };
        let of_latency = || {
            let (series, figure) = match text.split_once('.') {
                Some((series, figure)) if !series.starts_with('p') => {
                    (Some(Series::ALL.into_iter().find(|known| known.name() == series)?), figure)
                }
                _ => (None, text),
            };
            Some(Self::Latency(series, Figure::of(figure)?))
        };
        plain.or_else(of_latency).ok_or_else(|| format!("there is no metric {text:?}; there are {METRICS}"))
    }

    /// Parses the value that the metric is compared with.
    fn value(self, text: &str) -> Result<f64, String> {
        match self.unit() {
            Unit::Ns => nanos(text).ok_or_else(|| format!("{text:?} is not a latency such as 250us, 1.5ms or 2s")),
            Unit::FramesPerS => values::count(text.trim_end_matches("/s")).map(|count: u64| count as f64),
            Unit::Count => values::count(text).map(|count: u64| count as f64),
        }
    }

    const fn unit(self) -> Unit {
        match self {
            Self::Latency(..) => Unit::Ns,
            Self::Rate => Unit::FramesPerS,
            Self::Errors | Self::Connections | Self::Unanswered | Self::TimedOut | Self::Wrong | Self::Late => {
                Unit::Count
            }
        }
    }

    fn observed(self, results: &Results) -> Option<f64> {
        let facts = &results.facts;
        let count = |count: u64| count as f64;
        match self {
            Self::Latency(series, figure) => {
                let histogram = series.map_or(Some(results.latency().1), |series| results.latency_of(series))?;
                (!histogram.is_empty()).then(|| figure.of_histogram(histogram))
            }
            Self::Rate => Some(results.rate()),
            Self::Errors => facts.errors.map(|errors| count(errors.total())),
            Self::Unanswered => facts.errors.map(|errors| count(errors.unanswered)),
            Self::TimedOut => facts.errors.map(|errors| count(errors.timed_out)),
            Self::Wrong => facts.errors.map(|errors| count(errors.wrong)),
            Self::Connections => facts.connections.as_ref().map(|connections| count(connections.up)),
            Self::Late => facts.generator.as_ref().map(|generator| count(generator.late)),
        }
    }
}

impl Figure {
    fn of(text: &str) -> Option<Self> {
        match text {
            "min" => Some(Self::Min),
            "mean" => Some(Self::Mean),
            "max" => Some(Self::Max),
            _ => {
                let percent = text.strip_prefix('p')?;
                let is_number = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                let percent: f64 = percent.parse().ok().filter(|_| is_number)?;
                (percent <= 100.0).then_some(Self::Quantile(percent / 100.0))
            }
        }
    }

    fn of_histogram(self, histogram: &Histogram<u64>) -> f64 {
        match self {
            Self::Quantile(quantile) => histogram.value_at_quantile(quantile) as f64,
            Self::Min => histogram.min() as f64,
            Self::Mean => histogram.mean(),
            Self::Max => histogram.max() as f64,
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Parses a latency: a number, which may have a point, and a unit; or 0. Returns nanoseconds.
fn nanos(text: &str) -> Option<f64> {
    if text == "0" {
        return Some(0.0);
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at(end);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    Some(number.parse::<f64>().ok()? * factor)
}

const UNITS: [(&str, f64); 6] = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9)];

const FORM: &str = "expected a metric, a relation and a value, such as p99<5ms, rate>=100k or errors==0";
const METRICS: &str = "p50, p99.9 and any other pN, min, mean and max, each also as service.p99, response.p99 or \
                       connect.p99; rate, errors, connections, unanswered, timed_out, wrong and late";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    fn judge(text: &str) -> Verdict {
        expectation(text).unwrap().judge(&fixture::made())
    }

    #[test]
    fn each_metric_is_compared_with_what_was_observed() {
        // Response latencies from 1 to 10,000 us, evenly; service a tenth of them.
        for (text, holds) in [
            ("p50<5.1ms", true),
            ("p50<5ms", false),
            ("p99 <= 9910us", true),
            ("p99.99 > 9ms", true),
            ("max<11ms", true),
            ("min==1us", true),
            ("mean<5.1ms", true),
            ("service.p50<510us", true),
            ("response.p50<510us", false),
            ("connect.max<1s", true),
            ("rate>=900", true),
            ("rate>=2k", false),
            ("rate<1m/s", true),
            ("errors==6", true),
            ("errors!=6", false),
            ("wrong==2", true),
            ("unanswered<=3", true),
            ("timed_out==0", true),
            ("late==7", true),
            ("connections>=99", true),
        ] {
            assert_eq!(judge(text).holds, holds, "{text}: {:?}", judge(text));
        }
        assert_eq!(judge("p99<9ms").observed(), "9.90 ms");
        assert_eq!(judge("rate>=2k").observed(), "1,000/s");
    }

    #[test]
    fn late_generator_holds_no_expectation_of_a_latency() {
        // The response latency has a p99 of 9.9 ms.
        for (late_p99_ns, texts, allows_late, holds) in [
            (980_000, &["p99<1s"][..], false, true),
            (1_000_000, &["p99<1s"], false, false),
            (1_000_000, &["errors==6", "service.max<1s"], false, false),
            (1_000_000, &["errors==6", "rate>1", "connect.p99<1s"], false, true),
            (1_000_000, &["p99<1s"], true, true),
            (1_000_000, &[], false, true),
        ] {
            let mut results = fixture::made();
            results.facts.generator.as_mut().unwrap().late_p99_ns = late_p99_ns;
            let expected: Vec<Expectation> = texts.iter().map(|text| expectation(text).unwrap()).collect();
            let count = texts.len() + usize::from(!holds);
            assert_eq!(super::judge(&mut results, &expected, allows_late), holds, "{late_p99_ns} {texts:?}");
            assert_eq!(results.verdicts.len(), count, "{:?}", results.verdicts);
            assert_eq!(results.lateness().is_some(), late_p99_ns == 1_000_000);
        }
        // The closed loop has no schedule.
        let mut results = fixture::closed_loop();
        results.facts.generator.as_mut().unwrap().late_p99_ns = u64::MAX;
        assert_eq!(results.lateness(), None);
    }

    #[test]
    fn what_was_not_seen_holds_nothing() {
        let mut results = fixture::made();
        results.response = None;
        results.service.reset();
        for text in ["p99<5ms", "service.p99>0", "response.p99<5s"] {
            let verdict = expectation(text).unwrap().judge(&results);
            assert!(!verdict.holds && verdict.observed.is_none(), "{text}: {verdict:?}");
            assert_eq!(verdict.observed(), "nothing to judge by");
        }
    }

    #[test]
    fn what_is_no_expression_is_answered_with_the_form() {
        for text in ["", "p99", "p99 5ms", "p99~5ms"] {
            assert_eq!(expectation(text), Err(FORM.into()), "{text}");
        }
        let relations = Err("the relations are <, <=, >, >=, == and !=".to_owned());
        assert_eq!(expectation("errors=0"), relations);
        assert_eq!(expectation("errors!0"), relations);
        for text in ["p101<1ms", "speed>3", "p<1ms", "pinf<1ms", "servile.p99<1ms", "<1ms", "service<1ms"] {
            assert!(expectation(text).is_err_and(|error| error.starts_with("there is no metric")), "{text}");
        }
        for text in ["p99<5", "p99<ms", "p99<5 apples", "p99<-1ms", "p99<1.2.3ms", "p99<"] {
            assert!(expectation(text).is_err_and(|error| error.contains("is not a latency")), "{text}");
        }
        assert!(expectation("rate>=fast").is_err_and(|error| error.contains("10k")));
        assert!(expectation("errors==-1").is_err_and(|error| error.contains("10k")));
    }
}
