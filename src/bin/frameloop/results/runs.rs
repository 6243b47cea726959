//! The figures of each of several runs, as the rows of a table.

use crate::results::figures;
use crate::results::model::Results;
use crate::results::summary::Run;

/// The heads of the columns.
pub(crate) const HEADS: [&str; 6] = ["run", "begun (UTC)", "frames/s", "p50", "p99", "errors"];

/// A row for each run; none for a single run. Latencies are those that a user of the server sees.
pub(crate) fn rows(results: &Results) -> Vec<Vec<String>> {
    let (series, _) = results.latency();
    let row = |(run, number): (&Run, u32)| {
        let begun = humantime::format_rfc3339_seconds(run.begun).to_string();
        let time = begun.split(['T', 'Z']).nth(1).unwrap_or_default().to_owned();
        let latency = run.latency.get(series).map(|figures| [figures.p50, figures.p99]);
        let shown = latency.map(|latency| latency.map(|nanos| figures::latency(nanos as f64)));
        let [p50, p99] = shown.unwrap_or_else(|| ["-", "-"].map(str::to_owned));
        let errors = run.errors.map_or_else(|| "-".into(), figures::count);
        vec![number.to_string(), time, figures::number(run.frames_per_s), p50, p99, errors]
    };
    results.runs.iter().zip(1..).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;
    use crate::results::sequence::sequence;

    #[test]
    fn several_runs_have_a_row_each_and_one_has_none() {
        let mut silent = fixture::made();
        silent.response.as_mut().unwrap().reset();
        silent.facts.errors = None;
        let all = sequence(vec![fixture::made(), silent], "run").unwrap();
        let expected =
            [["1", "08:00:00", "1,000", "5.00 ms", "9.90 ms", "6"], ["2", "08:00:00", "1,000", "-", "-", "-"]];
        assert_eq!(rows(&all), expected);
        assert!(rows(&fixture::made()).is_empty());
    }
}
