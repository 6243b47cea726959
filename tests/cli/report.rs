//! `frameloop report`: logs in, a summary, JSON or a page out.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{Outcome, Process, frameloop, outcome, outcome_with_input};

const A: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/machine-a.hlog");
const B: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/machine-b.hlog");

fn report(args: &[&str]) -> Outcome {
    outcome(&mut frameloop(&[&["report"], args].concat()))
}

#[track_caller]
fn succeeded(args: &[&str]) -> String {
    let done = report(args);
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{args:?}");
    done.stdout
}

fn json(args: &[&str]) -> Value {
    let line = succeeded(&[args, &["--json"]].concat());
    assert_eq!(line.lines().count(), 1);
    serde_json::from_str(&line).unwrap()
}

/// Asserts that the run fails with one line that has `needles` in it.
#[track_caller]
fn assert_fails(args: &[&str], needles: &[&str]) {
    let failed = report(args);
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""), "{failed:?}");
    assert!(failed.stderr.starts_with("error: ") && failed.stderr.lines().count() == 1, "{}", failed.stderr);
    for needle in needles {
        assert!(failed.stderr.contains(needle), "no {needle:?} in {}", failed.stderr);
    }
}

/// A folder of a test's own, which goes with the test.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

#[test]
fn summary_has_the_logs_figures_and_no_color_in_a_pipe() {
    let summary = succeeded(&[A]);
    for text in ["machine-a.hlog, 2026-", "connections  25 of 25 up", "frames       900, 300/s", "errors       none"] {
        assert!(summary.contains(text), "no {text:?} in {summary}");
    }
    for latency in ["connect", "service", "response"] {
        assert!(summary.contains(&format!("\n  {latency}")), "{summary}");
    }
    assert!(!summary.contains('\x1b'));
}

#[test]
fn logs_of_two_machines_are_one_result_whose_sums_are_exact() {
    let (a, b, both) = (json(&[A]), json(&[B]), json(&[A, B]));
    let sum =
        |pointer: &str| a.pointer(pointer).unwrap().as_u64().unwrap() + b.pointer(pointer).unwrap().as_u64().unwrap();
    for pointer in ["/frames", "/bytes", "/latency/service/count", "/latency/connect/count", "/connections/up"] {
        assert_eq!(both.pointer(pointer).unwrap().as_u64(), Some(sum(pointer)), "{pointer}");
    }
    let max = |value: &Value| value["latency"]["response"]["max_ns"].as_u64().unwrap();
    assert_eq!(max(&both), max(&a).max(max(&b)));
    let frames = both["intervals"].as_array().unwrap().iter().map(|interval| interval["frames"].as_u64().unwrap());
    assert_eq!(frames.collect::<Vec<_>>(), [500, 500, 500]);
}

#[test]
fn json_matches_the_schema_also_from_the_environment() {
    let schema = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/load.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    for args in [[A].as_slice(), &[A, B], &[A, "--baseline", B]] {
        let value = json(args);
        assert!(schema.is_valid(&value), "{args:?}: {:?}", schema.iter_errors(&value).next());
    }
    let done = outcome(frameloop(&["report", A]).env("FRAMELOOP_JSON", "1"));
    assert_eq!(serde_json::from_str::<Value>(&done.stdout).unwrap(), json(&[A]));
}

#[test]
fn baseline_is_compared_in_each_form() {
    let scratch = Scratch::new();
    let page = scratch.path("page.html");
    let summary = succeeded(&[A, "--baseline", B, "--html", &page]);
    assert!(summary.contains("compared with the baseline, ") && summary.contains("x1.50"), "{summary}");
    assert!(summary.lines().any(|line| line.starts_with("  response p99.9 ")), "{summary}");
    let ratio = json(&[A, "--baseline", B])["baseline"]["ratio"]["frames_per_s"].as_f64().unwrap();
    assert!((ratio - 1.5).abs() < 0.01, "{ratio}");
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.starts_with("<!DOCTYPE html>") && page.contains("Compared with the baseline") && page.contains("x1.50")
    );
}

#[test]
fn unreadable_file_is_reported_in_one_line() {
    let scratch = Scratch::new();
    let folder = scratch.0.path().display().to_string();
    let missing = scratch.path("missing.hlog");
    assert_fails(&[&missing], &["cannot read", "missing.hlog", "No such file"]);
    assert_fails(&[&folder], &["cannot read", &folder, "directory"]);
    assert_fails(&[A, "--baseline", &missing], &["cannot read", "missing.hlog"]);
    let html = report(&[A, "--html", &folder]);
    assert_eq!(html.code, Some(1));
    assert!(html.stderr.starts_with("error: cannot write ") && html.stderr.contains(&folder), "{html:?}");
}

#[test]
fn foreign_log_is_reported_with_its_line() {
    let scratch = Scratch::new();
    let log = fs::read(A).unwrap();
    let lines = log.iter().filter(|byte| **byte == b'\n').count();
    let cut = scratch.file("cut.hlog", &log[..log.len() - 30]);
    assert_fails(&[&cut], &["cut.hlog: line ", &format!("line {lines}:"), "ends within this line"]);
    let text = scratch.file("text.hlog", b"#a comment\nhello\n");
    assert_fails(&[A, &text], &["text.hlog: line 2: neither a comment nor an interval"]);
    let empty = scratch.file("empty.hlog", b"");
    assert_fails(&[&empty], &["empty.hlog: not a log of frameloop load", "no line at all"]);
    let foreign = String::from_utf8(log).unwrap().replace("Tag=service", "Tag=a").replace("Tag=response", "Tag=b");
    assert_fails(
        &[&scratch.file("foreign.hlog", foreign.as_bytes())],
        &["foreign.hlog: not a log", "none of them, but "],
    );
}

#[test]
fn without_a_log_it_is_a_usage_error() {
    let refused = report(&[]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
    assert!(refused.stderr.contains("<FILE.hlog>..."), "{refused:?}");
}

/// A log of at least so many bytes that repeats one histogram, with these counts as they are encoded.
fn crafted(len: usize, digits: u8, counts: &[u8], seconds_apart: usize) -> Vec<u8> {
    let mut plain = vec![0x1c, 0x84, 0x93, 0x13];
    plain.extend(u32::try_from(counts.len()).unwrap().to_be_bytes());
    plain.extend([0, 0, 0, 0, 0, 0, 0, digits]);
    plain.extend([1_u64.to_be_bytes(), (i64::MAX as u64).to_be_bytes(), 1.0_f64.to_be_bytes()].concat());
    plain.extend(counts);
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&plain).unwrap();
    let compressed = encoder.finish().unwrap();
    let mut bytes = vec![0x1c, 0x84, 0x93, 0x14];
    bytes.extend(u32::try_from(compressed.len()).unwrap().to_be_bytes());
    bytes.extend(compressed);
    let column = STANDARD.encode(bytes);
    let mut log = b"#[Latencies in nanoseconds]\n".to_vec();
    for number in 0.. {
        writeln!(log, "Tag=service,{}.000,1.000,1.000,{column}", number * seconds_apart).unwrap();
        if log.len() >= len {
            break;
        }
    }
    log
}

/// A run of so many zeros, as it is encoded.
fn zeros(count: u32) -> Vec<u8> {
    let mut rest = 2 * count - 1;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

#[test]
fn a_crafted_log_takes_time_linear_in_its_length() {
    let scratch = Scratch::new();
    let one = b"\x02".as_slice();
    let logs = [
        // A range of five digits, and a count at its very end: 50 MB for each line, if it is laid out.
        ("range", crafted(200_000, 5, one, 1)),
        ("far", crafted(200_000, 5, &[&zeros(2_900_000), one].concat(), 1)),
        ("wide", crafted(200_000, 3, &[&zeros(45_000), one].concat(), 1)),
        // What is compressed a thousand times: ones, and zeros.
        ("bomb", crafted(1, 5, &one.repeat(5_000_000), 1)),
        ("bombs", crafted(200_000, 5, &one.repeat(400_000), 1)),
        ("zeros", crafted(200_000, 5, &b"\0".repeat(400_000), 1)),
        // All intervals at the same time, and each in a century of its own.
        ("one-slot", crafted(200_000, 3, &one.repeat(1_500), 0)),
        ("slots", crafted(200_000, 3, &one.repeat(1_500), 1_000_000)),
    ];
    for (name, log) in &logs {
        let path = scratch.file(&format!("{name}.hlog"), log);
        for form in [["--html", &scratch.path("page.html")].as_slice(), &["--json"]] {
            let begun = Instant::now();
            let done = report(&[&[path.as_str()], form].concat());
            // Optimized it is 0.1 s, and laid out, most of them take minutes.
            assert!(begun.elapsed() < Duration::from_secs(20), "{name} {form:?} took {:?}", begun.elapsed());
            assert!(done.code == Some(0) || done.stderr.lines().count() == 1, "{name}: {done:?}");
        }
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&b"#\n".repeat(10_000_000)).unwrap();
    let bomb = scratch.file("bomb.hlog.gz", &gzip.finish().unwrap());
    assert_fails(&[&bomb], &["bomb.hlog.gz: line ", "far longer than a log of latencies of this size"]);
    assert_fails(&["/dev/zero"], &["/dev/zero: line 1: more than 16777216 bytes in a line"]);
}

#[test]
fn the_same_log_twice_is_refused_however_it_is_named() {
    let scratch = Scratch::new();
    let log = fs::read(A).unwrap();
    let copy = scratch.file("copy.hlog", &log);
    let windows =
        scratch.file("windows.hlog", String::from_utf8(log.clone()).unwrap().replace('\n', "\r\n").as_bytes());
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&log).unwrap();
    let packed = scratch.file("packed.hlog.gz", &gzip.finish().unwrap());
    let link = scratch.path("link.hlog");
    std::os::unix::fs::symlink(A, &link).unwrap();
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    let beginning = scratch.file("beginning.hlog", &lines[..lines.len() - 4].concat());
    for other in [A, &copy, &windows, &packed, &link, &beginning] {
        assert_fails(&[A, B, other], &["machine-a.hlog and ", other, "hold the same latencies", "--allow-duplicates"]);
        let both = json(&[A, other, "--allow-duplicates"]);
        assert!(both["frames"].as_u64() > json(&[A])["frames"].as_u64(), "{other}");
    }
    assert_fails(&["-", "-"], &["- is given more than once"]);
    assert_fails(&["-", "--baseline", "-"], &["- is given more than once"]);
    // With itself as its baseline nothing is counted twice.
    assert_eq!(json(&[A, "--baseline", A])["baseline"]["ratio"]["frames_per_s"].as_f64(), Some(1.0));
}

#[test]
fn stdin_gzip_and_bom_are_read_and_others_named() {
    let scratch = Scratch::new();
    let log = fs::read(A).unwrap();
    let expected = succeeded(&[A, "--json"]).replace(A, "stdin");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&log).unwrap();
    for input in [log.clone(), [b"\xef\xbb\xbf", log.as_slice()].concat(), gzip.finish().unwrap()] {
        let done = outcome_with_input(&mut frameloop(&["report", "-", "--json"]), &input);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
        assert_eq!(done.stdout, expected);
    }
    let utf16: Vec<u8> = String::from_utf8(log).unwrap().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = scratch.file("utf16.hlog", &[b"\xff\xfe", utf16.as_slice()].concat());
    assert_fails(&[&utf16], &["utf16.hlog: ", "UTF-16", "iconv"]);
    let zstd = scratch.file("log.zst", b"\x28\xb5\x2f\xfd\0\0\0\0\0");
    assert_fails(&[&zstd], &["log.zst: ", "zstd", "unzstd"]);
}

#[test]
fn what_a_log_does_not_say_is_asked_for_and_not_guessed() {
    let scratch = Scratch::new();
    let log = fs::read_to_string(A).unwrap();
    let lines: Vec<&str> =
        log.lines().filter(|line| !line.starts_with("#[frameloop") && !line.contains("[Latencies")).collect();
    let unsaid = lines.join("\n") + "\n";
    let path = scratch.file("unsaid.hlog", unsaid.as_bytes());
    assert_fails(&[&path], &["unsaid.hlog: line ", "does not state the unit", "--unit"]);
    let max = |unit| json(&[&path, "--unit", unit])["latency"]["service"]["max_ns"].as_u64().unwrap();
    assert!(max("us").abs_diff(1_000 * max("ns")) < 2 * max("ns"), "{} {}", max("us"), max("ns"));
    let environment = outcome(frameloop(&["report", &path, "--json"]).env("FRAMELOOP_UNIT", "ns"));
    assert_eq!(environment.stdout.trim_end(), succeeded(&[&path, "--unit", "ns", "--json"]).trim_end());

    let furlongs = scratch.file(
        "furlongs.hlog",
        log.replace("#[frameloop", "#").replace("Latencies in nanoseconds", "Latencies in furlongs").as_bytes(),
    );
    assert_fails(&[&furlongs], &["furlongs.hlog: line 3: ", "`furlongs`", "--unit"]);
    let base = log.lines().find(|line| line.starts_with("#[BaseTime")).unwrap();
    let invalid = scratch.file("invalid.hlog", log.replace(base, "#[BaseTime: noon (seconds since epoch)]").as_bytes());
    assert_fails(&[&invalid], &["invalid.hlog: line ", "BaseTime, `noon`"]);

    let mixed = scratch.file("mixed.hlog", log.replace("Tag=response", "Tag=GET").as_bytes());
    let taints = json(&[&mixed])["taints"].to_string();
    assert!(taints.contains("3 intervals left out, whose tags are not read: GET"), "{taints}");
}

#[test]
fn page_never_replaces_a_log_that_is_read() {
    let scratch = Scratch::new();
    let log = fs::read(A).unwrap();
    let (a, b) = (scratch.file("a.hlog", &log), scratch.file("b.hlog", &fs::read(B).unwrap()));
    let (symbolic, hard) = (scratch.path("symbolic"), scratch.path("hard"));
    std::os::unix::fs::symlink(&a, &symbolic).unwrap();
    fs::hard_link(&a, &hard).unwrap();
    let dotted = format!("{}/./a.hlog", scratch.0.path().display());
    for args in [[a.as_str()].as_slice(), &[&b, &a], &[&b, "--baseline", &a], &["-"]] {
        for page in [&a, &symbolic, &hard, &dotted] {
            let mut command = frameloop(&[&["report", "--html", page], args].concat());
            let mut process = Process::start(command.stdin(fs::File::open(&a).unwrap()));
            assert_eq!(process.status().code(), Some(2), "{args:?} {page}");
            let stderr = process.outcome().stderr;
            assert!(stderr.starts_with("error: --html would replace the log "), "{stderr}");
            assert_eq!(fs::read(&a).unwrap(), log, "{args:?} {page}");
        }
    }
    // Another file may be replaced, and one that is no input is none because it has the same content.
    let page = scratch.file("page.html", &log);
    succeeded(&[&a, "--html", &page]);
}
