use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use proptest::prelude::*;

use super::*;
use crate::results::combine::combined;
use crate::results::fixture;
use crate::results::hlog::log::{PartKind, PartMark};
use crate::results::merge::merged;
use crate::results::sequence::sequence;

fn log() -> Vec<u8> {
    static LOG: LazyLock<Vec<u8>> = LazyLock::new(|| fixture::log_of(&fixture::seconds(2)));
    LOG.clone()
}

fn error(text: &[u8]) -> String {
    parse("a.hlog", text, None).unwrap_err()
}

fn read_log(text: &[u8]) -> Log {
    parse("a.hlog", text, None).unwrap()
}

fn with_header(lines: &str) -> Vec<u8> {
    format!("#[Latencies in nanoseconds]\n{lines}").into_bytes()
}

/// A histogram of one latency.
fn histogram(value: u64, count: u64) -> String {
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    histogram.record_n(value, count).unwrap();
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
    STANDARD.encode(bytes)
}

#[test]
fn what_is_no_log_is_said_with_its_line() {
    assert_eq!(error(b"#[a]\nhello\n"), "a.hlog: line 2: neither a comment nor an interval of a histogram log");
    assert_eq!(
        error(b"\xff"),
        "a.hlog: line 1: neither a comment nor an interval of a histogram log; the file ends within this line"
    );
    assert_eq!(
        error(b"#[frameloop: {}]\n").split(" at ").next(),
        Some("a.hlog: line 1: the run's facts cannot be read: missing field `configuration`")
    );
    assert_eq!(
        error(br#"{"format": 3}"#),
        "a.hlog: it is JSON, which only --baseline reads; give the log of load --hlog"
    );
    let hostile = error(b"#[frameloop: {\"a\\n\\u001b[2J\": 1}]\n");
    assert!(hostile.lines().count() == 1 && !hostile.contains('\x1b'), "{hostile:?}");
    assert_eq!(
        error(&with_header("Tag=service,1.000,1.000,2.000,AAAA\n")),
        "a.hlog: line 2: the histogram is cut short"
    );
}

#[test]
fn lines_of_others_and_blank_lines_are_skipped() {
    let text = String::from_utf8(log()).unwrap();
    let more = format!("{}\r\n\n#a comment\nTag=other,1.000,1.000,1.000,x\n", text.replace('\n', "\r\n"));
    assert_eq!(read_log(more.as_bytes()).entries, read_log(text.as_bytes()).entries);
}

#[test]
fn unit_is_given_or_stated_and_never_guessed() {
    let line = format!("Tag=service,1.000,1.000,2.000,{}\n", histogram(7, 1));
    let max = |text: &str, unit| -> Result<u64, String> {
        let log = parse("a.hlog", text.as_bytes(), unit)?;
        Ok(log.entries[0].latencies.iter().last().unwrap().0)
    };
    for (name, nanos) in [("nanoseconds, x", 7), ("us", 7_003), ("microseconds", 7_003), ("milliseconds", 7_000_063)] {
        assert_eq!(max(&format!("#[Latencies in {name}]\n{line}"), None), Ok(nanos), "{name}");
    }
    let unknown = max(&format!("#[Latencies in furlongs]\n{line}"), None).unwrap_err();
    assert!(unknown.contains("`furlongs`") && unknown.contains("--unit"), "{unknown}");
    let unstated = max(&line, None).unwrap_err();
    assert!(unstated.contains("does not state the unit") && unstated.contains("--unit"), "{unstated}");
    for stated in ["", "#[Latencies in furlongs]\n", "#[Latencies in nanoseconds]\n"] {
        assert_eq!(max(&format!("{stated}{line}"), Some(Unit::Us)), Ok(7_003), "{stated}");
    }
}

#[test]
fn a_time_that_is_no_time_is_reported_and_never_left_out() {
    for time in
        ["", "x", "-5.0", "NaN", "inf", "1e300", "1.5.5", "1_000", "99999999999999999999999", "1795315208948", "."]
    {
        for what in ["BaseTime", "StartTime"] {
            for form in [
                format!("#[{what}: {time} (seconds since epoch)]\n"),
                format!("#[{what}: {time}]\n"),
                format!("#[{what} {time}\n"),
            ] {
                let error = error(form.as_bytes());
                assert!(error.starts_with(&format!("a.hlog: line 1: {what}, `")), "{form} {error}");
            }
        }
        let fields = [
            ("start", format!("Tag=service,{time},1.000,2.000,{}\n", histogram(7, 1))),
            ("length", format!("Tag=service,1.000,{time},2.000,{}\n", histogram(7, 1))),
        ];
        for (what, line) in fields.iter().filter(|_| time != "1795315208948") {
            let error = error(&with_header(line));
            assert!(error.starts_with(&format!("a.hlog: line 2: the interval's {what}, `")), "{error}");
        }
    }
    let fine = format!("#[BaseTime: 1795315208 (seconds)]\nTag=service,1,1,2,{}\n", histogram(7, 1));
    assert_eq!(
        read_log(&with_header(&fine)).entries[0].begin,
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_315_209)
    );
}

#[test]
fn times_that_contradict_each_other_are_reported() {
    let line = |start: &str| format!("Tag=service,{start},1.000,2.000,{}\n", histogram(7, 1));
    let start = "#[StartTime: 1795315208.000 (seconds since epoch)]\n";
    let cases = [
        // Relative times and a base of zero; absolute times and a base; a base of another day.
        (format!("{start}#[BaseTime: 0.0 (s)]\n{}", line("1.000")), "counted from BaseTime, the interval begins 1 s"),
        (format!("{start}#[BaseTime: 1795315208.0 (s)]\n{}", line("1795315209.0")), "begins 3590630417 s"),
        (format!("{start}{}", line("1895315209.0")), "counted from the epoch"),
        (line("18446744073709551615.9"), "beyond the year 2500"),
        (format!("{start}{}", line("18446744073709551615.9")), "beyond the year 2500"),
        (format!("#[BaseTime: 1.0 (s)]\n{}", line("18446744073709551615.9")), "beyond the year 2500"),
        (line("1.000").replace("1.000,2.000", "40000000.0,2.000"), "more than a year"),
    ];
    for (text, expected) in cases {
        let error = error(&with_header(&text));
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_second_log_in_a_file_is_reported() {
    let one = log();
    assert!(error(&[one.clone(), one].concat()).contains("a second log begins here"));
    let line = format!("Tag=service,1.000,1.000,2.000,{}\n", histogram(7, 1));
    for header in ["#[BaseTime: 5.000 (s)]\n", "#[StartTime: 5.000 (s)]\n", "#[Latencies in nanoseconds]\n"] {
        let error = error(&with_header(&format!("{line}{header}{line}")));
        assert!(error.contains("a second log begins here"), "{error}");
    }
}

#[test]
fn tags_that_are_not_read_are_named() {
    let h = histogram(7, 1);
    let service = format!("Tag=service,1.000,1.000,2.000,{h}\n");
    let others: String = (0..20_000).map(|at| format!("Tag=t{at},1.000,1.000,2.000,x\n")).collect();
    let log = read_log(&with_header(&format!("{others}{service}")));
    assert_eq!(log.entries.len(), 1);
    assert_eq!(log.skipped.unwrap(), "20,000 intervals left out, whose tags are not read: t0, t1, t2, t3, t4, ...");
    let log = read_log(&with_header(&format!("Tag=\x1b[2J,1.000,1.000,2.000,x\n{service}")));
    assert_eq!(log.skipped.unwrap(), "1 interval left out, whose tags are not read: \u{fffd}[2J");
    // Other tools give one latency no tag.
    let untagged = format!("1.000,1.000,2.000,{h}\n");
    assert_eq!(read_log(&with_header(&untagged)).entries, read_log(&with_header(&service)).entries);
    assert!(error(&with_header(&format!("{untagged}{service}"))).contains("have no tag"));
}

#[test]
fn counts_that_cannot_be_are_refused() {
    let line = |count| format!("Tag=service,1.000,1.000,2.000,{}\n", histogram(7, count));
    for text in [line(1 << 49), line(i64::MAX as u64), line(1 << 47).repeat(3)] {
        assert!(error(&with_header(&text)).contains("latencies so far: more than"));
    }
    assert_eq!(read_log(&with_header(&line(1 << 48))).entries[0].latencies.count(), 1 << 48);
}

/// A log of three runs, by its lines.
fn lines_of_three_runs() -> Vec<String> {
    static LINES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let runs = vec![fixture::seconds(1); 3];
        let part = |number| PartMark { kind: PartKind::Run, number, asked: Some(3), step: None };
        let parts: Vec<_> = runs.iter().cloned().zip((1..).map(part)).collect();
        let all = sequence(runs, "run").unwrap();
        let text = String::from_utf8(fixture::log_of_parts(&parts, &all, &fixture::mark())).unwrap();
        text.lines().map(|line| format!("{line}\n")).collect()
    });
    LINES.clone()
}

/// Changes the lines of a log.
type Change<'a> = &'a dyn Fn(&mut Vec<String>);

#[test]
fn marks_of_runs_out_of_order_are_reported_with_their_line() {
    let lines = lines_of_three_runs();
    let at = |begin: &str| lines.iter().position(|line| line.starts_with(begin)).unwrap();
    let marks: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains("[frameloop part: ")).collect();
    let [first, second, third] = marks[..] else { panic!("{marks:?}") };
    assert_eq!(read_log(lines.concat().as_bytes()).parts.len(), 3);
    let (interval, total) = (at("Tag=service"), at("#[frameloop total: "));
    let changed = |change: Change<'_>| {
        let mut lines = lines.clone();
        change(&mut lines);
        error(lines.concat().as_bytes())
    };
    let cases: [(Change<'_>, &str); 8] = [
        (&|lines| lines.swap(second, third), "run 3 begins, and run 2 was to come: "),
        (&|lines| lines.insert(third, lines[second].clone()), "run 2 begins, and run 3 was to come: "),
        (&|lines| drop(lines.remove(second)), "the facts of a second run: give each log as its own file"),
        (&|lines| lines.swap(first, second), "run 2 begins, and none before it: "),
        (&|lines| lines.insert(second, lines[second].replace("run", "step")), "step 2 begins, and run 2 was to come: "),
        (
            &|lines| {
                let mark = lines.remove(first);
                lines.insert(interval, mark);
            },
            "run 1 begins after intervals that are of none",
        ),
        (
            &|lines| lines.push(lines[third].replace(r#""number":3"#, r#""number":4"#)),
            "run 4 begins after the end of the log",
        ),
        (&|lines| lines.push(lines[total].clone()), "the end of a second log"),
    ];
    for (change, message) in cases {
        let error = changed(change);
        assert!(error.starts_with("a.hlog: line ") && error.contains(message), "{message}: {error}");
    }
    let alone = [&lines[..first], &lines[first + 1..second], &lines[total..]].concat().concat();
    assert!(error(alone.as_bytes()).contains("the end of several runs, and none has begun"));
    for number in ["-1", "4294967296", "1.5", "null", "\"1\""] {
        let text = lines.concat().replacen(r#""number":1"#, &format!(r#""number":{number}"#), 1);
        assert!(error(text.as_bytes()).contains("the run's facts cannot be read: invalid"), "{number}");
    }
}

#[test]
fn log_of_nothing_but_marks_takes_bounded_memory() {
    let marks = |count: u32| {
        let mark = |number| {
            format!("#[frameloop part: {{\"kind\":\"run\",\"number\":{number},\"asked\":null,\"step\":null}}]\n")
        };
        (1..=count).map(mark).collect::<String>()
    };
    let log = [marks(9_999), lines_of_three_runs().concat().replace(r#""number":1"#, r#""number":10000"#)].concat();
    let error = error(log.as_bytes());
    assert!(error.contains("run 2 begins, and run 10001 was to come"), "{error}");
    let error = self::error(marks(10_001).as_bytes());
    assert_eq!(error, "a.hlog: line 10001: run 10001 begins, and a log has at most 10000");
}

proptest! {
    #[test]
    fn runs_with_lines_moved_are_read_or_refused_in_one_line(
        moves in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..5),
    ) {
        let mut lines = lines_of_three_runs();
        for (from, to) in moves {
            let line = lines[from.index(lines.len())].clone();
            let at = to.index(lines.len());
            lines.insert(at, line);
        }
        match parse("a.hlog", lines.concat().as_bytes(), None) {
            Ok(log) => drop(combined(&[log])),
            Err(error) => prop_assert!(error.starts_with("a.hlog: ") && error.lines().count() == 1, "{error}"),
        }
    }

    #[test]
    fn damaged_logs_are_read_or_refused_in_one_line(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
    ) {
        let mut text = log();
        for (at, byte) in cuts {
            *at.get_mut(&mut text) = byte;
        }
        text.truncate(end.index(text.len()) + 1);
        match parse("a.hlog", text.as_slice(), None) {
            Ok(log) => drop(merged(&[log])),
            Err(error) => prop_assert!(error.starts_with("a.hlog: ") && error.lines().count() == 1, "{error}"),
        }
    }
}
