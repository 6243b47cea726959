//! Earlier results to compare with: a log, or the JSON of `load --json` and `report --json`.
//!
//! Rule: the content decides what a file is, not its name. JSON begins with a brace or a bracket, and no line of a log does.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use crate::failure::Failure;
use crate::page::printable;
use crate::results::combine::combined;
use crate::results::hlog::input::{BOM, GZIP};
use crate::results::hlog::line::Unit;
use crate::results::hlog::read;
use crate::results::series::Series;
use crate::results::summary::{Baseline, Span, Summary};

/// Reads a file, or stdin as `-`. `unit` overrides the one that a log states.
pub(crate) fn read(path: &Path, unit: Option<Unit>) -> Result<Baseline, Failure> {
    let (name, file) = read::open(path)?;
    parse(&name, file, unit).map_err(Failure::run)
}

/// The error is one line, with the file's name.
fn parse(name: &str, mut file: impl Read, unit: Option<Unit>) -> Result<Baseline, String> {
    let refusal = |error: io::Error| format!("cannot read {name}: {error}");
    let mut head = Vec::new();
    (&mut file).take(HEAD_BYTES).read_to_end(&mut head).map_err(refusal)?;
    if head.is_empty() {
        return Err(format!("{name}: it is empty; a baseline is {A_BASELINE}"));
    }
    let form = form_of(&head);
    let file = Cursor::new(head).chain(file);
    match form {
        Form::Log => Ok(combined(&read::parse_all(name, file, unit)?).as_baseline()),
        Form::Json => json(name, file),
        Form::CompressedJson => json(name, MultiGzDecoder::new(file)),
    }
}

enum Form {
    Log,
    Json,
    CompressedJson,
}

/// What a file with these first bytes is.
fn form_of(head: &[u8]) -> Form {
    if !head.starts_with(GZIP) {
        return if is_json(head) { Form::Json } else { Form::Log };
    }
    // What is damaged is reported by the reader of logs.
    let mut plain = Vec::new();
    let mut text = BufReader::new(MultiGzDecoder::new(head));
    if let Ok(bytes) = text.fill_buf() {
        plain.extend_from_slice(bytes);
    }
    if is_json(&plain) { Form::CompressedJson } else { Form::Log }
}

fn is_json(head: &[u8]) -> bool {
    let text = head.strip_prefix(BOM).unwrap_or(head).trim_ascii_start();
    matches!(text.first(), Some(b'{' | b'['))
}

/// What is read first: which program wrote it, and in which format.
#[derive(Deserialize)]
struct Head {
    format: Option<i64>,
    program: Option<String>,
}

/// What a comparison needs that is not in the summary.
#[derive(Deserialize)]
struct Intervals {
    intervals: Vec<Span>,
}

fn json(name: &str, file: impl Read) -> Result<Baseline, String> {
    let mut text = Vec::new();
    file.take(JSON_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| format!("cannot read {name}: {error}"))?;
    if text.len() as u64 > JSON_BYTES_MAX {
        return Err(format!(
            "{name}: more than {JSON_BYTES_MAX} bytes of JSON, which is no result of a load; give {A_BASELINE}"
        ));
    }
    let text = text.strip_prefix(BOM).unwrap_or(&text);
    let refusal = |error: serde_json::Error| refusal(name, text, &error);
    let head: Head = serde_json::from_slice(text).map_err(refusal)?;
    let is_ours = head.program.is_some_and(|program| program.starts_with("frameloop "));
    let format = head.format.filter(|_| is_ours);
    let format = format.ok_or_else(|| format!("{name}: JSON of another program, as it has no `program` \"frameloop ...\" or no `format`; give {A_BASELINE}"))?;
    if !(1..=FORMAT).contains(&format) {
        return Err(format!(
            "{name}: format {format}, and this program reads formats 1 to {FORMAT}; read it with the version that wrote it"
        ));
    }
    let summary: Summary = serde_json::from_slice(text).map_err(refusal)?;
    let Intervals { intervals } = serde_json::from_slice(text).map_err(refusal)?;
    check(&summary, &intervals).map_err(|what| format!("{name}: {what}, which cannot be; give {A_BASELINE}"))?;
    Ok(Baseline { summary, histograms: Vec::new(), intervals })
}

/// Why a text cannot be read.
fn refusal(name: &str, text: &[u8], error: &serde_json::Error) -> String {
    // The message may quote the text.
    let shown = printable(&error.to_string());
    let ends_within_number = error.is_syntax() && text.last().is_some_and(|byte| b"+-.eE".contains(byte));
    if error.is_eof() || ends_within_number {
        return format!("{name}: the JSON is cut short: {shown}; give the whole output of --json");
    }
    let what = if error.is_data() { "no result of a load" } else { "no valid JSON" };
    format!("{name}: {what}: {shown}; give {A_BASELINE}")
}

/// Checks what types leave open: numbers below 0, and percentiles that fall.
fn check(summary: &Summary, intervals: &[Span]) -> Result<(), String> {
    let whole = [("measured_s", summary.measured_s), ("frames_per_s", summary.frames_per_s)];
    let bytes = summary.bytes_per_s.map(|bytes| ("bytes_per_s", bytes));
    let runs = summary.runs.iter();
    let runs = runs.flat_map(|run| [("measured_s", run.measured_s), ("frames_per_s", run.frames_per_s)]);
    let spans = intervals.iter().flat_map(|span| [("begin_s", span.begin_s), ("length_s", span.length_s)]);
    let mut numbers = whole.into_iter().chain(bytes).chain(runs).chain(spans);
    if let Some((member, number)) = numbers.find(|(_, number)| *number < 0.0) {
        return Err(format!("`{member}` is {number}"));
    }
    let latencies = summary.runs.iter().map(|run| &run.latency).chain([&summary.latency]);
    for figures in latencies.flat_map(|latency| Series::ALL.into_iter().filter_map(|series| latency.get(series))) {
        if !figures.columns().is_sorted() {
            return Err(format!(
                "the percentiles of a latency fall, with a p50 of {} ns and a maximum of {} ns",
                figures.p50, figures.max
            ));
        }
    }
    Ok(())
}

const A_BASELINE: &str = "a log of load --hlog, or the output of load --json or report --json";
/// The newest format that is read: that of `json.rs`.
const FORMAT: i64 = crate::results::json::FORMAT as i64;
/// As much of a file as shows what it is.
const HEAD_BYTES: u64 = 4_096;
/// A thousand times the JSON of a load of an hour.
const JSON_BYTES_MAX: u64 = 32 << 20;

#[cfg(test)]
mod tests;
