//! Intervals as CSV (RFC 4180): a header, and a row for each. Its columns have the names and units of the JSON.
//!
//! All cells are numbers or empty, so none needs quotes.

use crate::results::figures::Figures;
use crate::results::model::{Results, Series, Slice};

/// The figures of a set of latencies, in the order of [`cells`].
const FIGURES: [&str; 9] =
    ["count", "min_ns", "mean_ns", "p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "p99_99_ns", "max_ns"];

/// All rows, each with its line end.
pub(crate) fn text(results: &Results) -> String {
    let columns = ["begin_s", "length_s", "frames", "frames_per_s", "connections", "errors"].map(str::to_owned);
    let of_series =
        Series::ALL.into_iter().flat_map(|series| FIGURES.map(|figure| format!("{}_{figure}", series.name())));
    let header: Vec<String> = columns.into_iter().chain(of_series).collect();
    let rows = results.slices.iter().map(row);
    let lines = std::iter::once(header).chain(rows).map(|cells| cells.join(",") + "\r\n");
    lines.collect()
}

fn row(slice: &Slice) -> Vec<String> {
    let count = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
    let (begin, length) = (slice.begin.as_secs_f64(), slice.length.as_secs_f64());
    let first = [begin.to_string(), length.to_string(), slice.frames.to_string(), slice.rate().to_string()];
    let counts = [count(slice.connections), count(slice.errors)];
    let latencies = Series::ALL.into_iter().flat_map(|series| cells(Figures::of_recorded(slice.recorded(series))));
    first.into_iter().chain(counts).chain(latencies).collect()
}

/// The cells of a set of latencies; empty if nothing was recorded.
fn cells(figures: Option<Figures>) -> [String; FIGURES.len()] {
    let Some(all) = figures else { return FIGURES.map(|_| String::new()) };
    let Figures { count, min, mean, p50, p90, p99, p99_9, p99_99, max } = all;
    let [count, min, p50, p90, p99, p99_9, p99_99, max] =
        [count, min, p50, p90, p99, p99_9, p99_99, max].map(|value| value.to_string());
    [count, min, mean.to_string(), p50, p90, p99, p99_9, p99_99, max]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixture;

    #[test]
    fn each_interval_is_a_row_with_the_figures_of_the_json() {
        for results in [fixture::made(), fixture::closed_loop()] {
            let json: serde_json::Value = serde_json::from_str(&crate::results::json::text(&results).unwrap()).unwrap();
            let text = text(&results);
            let mut lines = text.split_terminator("\r\n").map(|line| line.split(',').collect::<Vec<_>>());
            let header = lines.next().unwrap();
            let rows: Vec<Vec<&str>> = lines.collect();
            let intervals = json["intervals"].as_array().unwrap();
            assert_eq!(rows.len(), intervals.len());
            for (row, interval) in rows.iter().zip(intervals) {
                assert_eq!(row.len(), header.len());
                for (name, cell) in header.iter().zip(row) {
                    let (series, figure) = name.split_once('_').unwrap_or((name, ""));
                    let value = match Series::ALL.iter().any(|known| known.name() == series) {
                        true => &interval["latency"][series][figure],
                        false => &interval[*name],
                    };
                    match value.as_f64() {
                        Some(number) => assert_eq!(cell.parse::<f64>().unwrap(), number, "{name}"),
                        None => assert_eq!((*cell, value.is_null()), ("", true), "{name}"),
                    }
                }
            }
        }
    }
}
