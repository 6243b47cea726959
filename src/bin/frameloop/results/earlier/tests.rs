use std::io::Write;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::results::sequence::sequence;
use crate::results::{fixture, json};

/// The JSON of three runs.
fn document() -> String {
    static DOCUMENT: LazyLock<String> =
        LazyLock::new(|| json::text(&sequence(vec![fixture::made(); 3], "run").unwrap()).unwrap());
    DOCUMENT.clone()
}

fn read_text(text: &[u8]) -> Result<Baseline, String> {
    parse("a", text, None)
}

fn error_of(text: &[u8]) -> String {
    read_text(text).unwrap_err()
}

#[track_caller]
fn error(text: &str) -> String {
    let error = error_of(text.as_bytes());
    assert!(error.starts_with("a: ") && error.lines().count() == 1, "{error}");
    error
}

/// The document with a member of it replaced.
fn with(pointer: &str, value: Value) -> String {
    let mut document: Value = serde_json::from_str(&document()).unwrap();
    *document.pointer_mut(pointer).unwrap() = value;
    document.to_string()
}

#[test]
fn json_has_the_figures_that_it_was_written_from() {
    let results = sequence(vec![fixture::made(); 3], "run").unwrap();
    let expected = results.as_baseline();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(document().as_bytes()).unwrap();
    let forms = [document().into_bytes(), format!("\u{feff}\n {}\n", document()).into_bytes(), gzip.finish().unwrap()];
    for text in forms {
        let baseline = read_text(&text).unwrap();
        assert_eq!((&baseline.summary, &baseline.intervals), (&expected.summary, &expected.intervals));
        assert_eq!((baseline.summary.runs.len(), baseline.histograms.len()), (3, 0));
    }
    // The content decides, not the name.
    let log = read_text(&fixture::log_of(&fixture::seconds(2))).unwrap();
    assert_eq!((log.summary.frames, log.histograms.len()), (2_000, 3));
}

#[test]
fn json_of_earlier_formats_has_figures_and_no_runs() {
    let format_1 = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/load-format-1.json"));
    let format_2 = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/load-format-2.json"));
    for text in [format_1, format_2] {
        let Baseline { summary, intervals, .. } = read_text(text.as_bytes()).unwrap();
        assert_eq!((summary.frames, summary.runs.len(), intervals.len()), (900, 0, 3));
        assert!((summary.frames_per_s - 300.0).abs() < 1.0, "{summary:?}");
        assert!(summary.latency.get(Series::Response).is_some_and(|figures| figures.count == 900), "{summary:?}");
    }
}

#[test]
fn what_is_no_baseline_is_one_line_that_says_why() {
    let cases = [
        (
            String::new(),
            "it is empty; a baseline is a log of load --hlog, or the output of load --json or report --json",
        ),
        ("{}".into(), "JSON of another program"),
        (r#"{"format": 3, "program": "wrk 1.0"}"#.into(), "JSON of another program"),
        (
            r#"{"format": 3, "program": "frameloop 0.1.0", "cases": []}"#.into(),
            "no result of a load: missing field `title`",
        ),
        ("[1, 2]".into(), "no result of a load: "),
        ("{\"format\": \u{1b}[2J}".into(), "no valid JSON: expected value at line 1 column 12"),
        (with("/format", 4.into()), "format 4, and this program reads formats 1 to 3"),
        (with("/format", 0.into()), "format 0, and this program reads formats 1 to 3"),
        (with("/format", (-1).into()), "format -1, and"),
        (with("/format", "3".into()), "no result of a load: invalid type: string \"3\", expected i64"),
        (with("/frames", (-5).into()), "invalid value: integer `-5`, expected u64"),
        (with("/frames_per_s", (-5).into()), "`frames_per_s` is -5, which cannot be"),
        (with("/runs/1/frames_per_s", (-5.5).into()), "`frames_per_s` is -5.5, which cannot be"),
        (with("/intervals/1/length_s", (-1).into()), "`length_s` is -1, which cannot be"),
        (with("/latency/service/p50_ns", 1_000_000_000_000_u64.into()), "the percentiles of a latency fall"),
        (with("/latency/service", Value::from(vec![0; 100_000])), "trailing characters at line 1"),
        (with("/runs", Value::from(vec![0; 100_000])), "no result of a load: invalid type: integer `0`"),
        (with("/begun", "yesterday".into()), "`begun` is not a time"),
        (document().replacen("\"frames\":30000", "\"frames\":NaN", 1), "no valid JSON: expected value"),
        (
            document().replacen("\"frames_per_s\":1000.0", "\"frames_per_s\":1e999", 1),
            "no valid JSON: number out of range",
        ),
    ];
    for (text, expected) in cases {
        let error = error(&text);
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        assert!(!error.contains('\x1b') && error.len() < 400, "{error:?}");
    }
}

#[test]
fn json_that_is_cut_anywhere_is_reported_as_cut() {
    let text = document();
    for end in (1..text.len()).step_by(97) {
        let error = error(&text[..end]);
        assert!(error.contains("the JSON is cut short: "), "{end}: {error}");
    }
}

#[test]
fn json_beyond_the_limit_is_refused_without_reading_on() {
    let endless = Cursor::new(b"{\"title\": [").chain(io::repeat(b'['));
    let error = parse("a", endless, None).unwrap_err();
    assert!(error.starts_with(&format!("a: more than {JSON_BYTES_MAX} bytes of JSON")), "{error}");
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    bomb.write_all(b"{").unwrap();
    bomb.write_all(&vec![b' '; JSON_BYTES_MAX as usize + 1]).unwrap();
    let error = error_of(&bomb.finish().unwrap());
    assert!(error.contains("which is no result of a load"), "{error}");
    let deep = format!("{{\"title\": {}", "[".repeat(100_000));
    assert!(error_of(deep.as_bytes()).contains("the JSON is cut short"));
}

proptest! {
    #[test]
    fn damaged_json_is_read_or_refused_in_one_line(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut text = document().into_bytes();
        for (at, byte) in changes {
            *at.get_mut(&mut text) = byte;
        }
        if let Err(error) = read_text(&text) {
            prop_assert!(error.starts_with("a: ") && error.lines().count() == 1, "{error}");
        }
    }
}
