//! Streams of several generators, line by line.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::results::combine::combined;
use crate::results::fixture;
use crate::results::follow::merger::{ABANDONED_AFTER, Merger};
use crate::results::follow::source::Line;
use crate::results::follow::{Followed, Require, finish};
use crate::results::hlog::log::{PartKind, PartMark};
use crate::results::hlog::mark::Mark;
use crate::results::hlog::read::parse;
use crate::results::json;
use crate::results::merge::merged;
use crate::results::sequence::sequence;

/// A log of some seconds, whose lines are marked.
fn text(name: &str, seconds: u64) -> Vec<u8> {
    let mark = Mark { name: name.into(), is_in_each_line: true };
    let hello = crate::results::hlog::write::hello(&mark);
    [hello, fixture::marked_log_of(&fixture::seconds(seconds), mark)].concat()
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).collect()
}

/// The lines up to the last that contains `end`, that one excluded.
fn up_to<'a>(lines: &[&'a [u8]], end: &str) -> Vec<&'a [u8]> {
    let has_end = |line: &&[u8]| String::from_utf8_lossy(line).contains(end);
    lines[..lines.iter().rposition(has_end).unwrap()].to_vec()
}

/// Streams, and the time at which their lines come.
struct Play {
    merger: Merger,
    now: Instant,
    messages: Vec<String>,
    rows: Vec<(usize, usize, u64)>,
}

impl Play {
    fn of(sources: &[&str]) -> Self {
        let names = sources.iter().map(|name| (*name).to_owned()).collect();
        Self { merger: Merger::new(names, None), now: Instant::now(), messages: Vec::new(), rows: Vec::new() }
    }

    fn lines(&mut self, source: usize, lines: &[&[u8]]) {
        for line in lines {
            self.merger.line(source, &Line::Whole(line), self.now);
            self.look();
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        self.merger.tick(self.now);
        self.look();
    }

    fn end(&mut self, source: usize) {
        self.merger.end(source, None);
        self.look();
    }

    fn look(&mut self) {
        self.messages.extend(self.merger.take_messages());
        while let Some(row) = self.merger.next_row() {
            self.rows.push((row.reported, row.expected, row.frames_per_s as u64));
        }
    }

    #[track_caller]
    fn assert_reported_once(&self, parts: &[&str]) {
        let has_all = |message: &&String| parts.iter().all(|part| message.contains(part));
        assert_eq!(self.messages.iter().filter(has_all).count(), 1, "{parts:?}: {:#?}", self.messages);
    }

    fn finish(self) -> Followed {
        finish(self.merger, false).unwrap_or_else(|failure| panic!("{failure:?}"))
    }
}

fn failed(followed: &Followed, require: Require) -> Option<String> {
    match followed.attendance.judge(require) {
        Ok(()) => None,
        Err(Failure::Run(message)) => Some(message),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn mixed_streams_give_what_separate_files_give() {
    let texts = ["1/3", "2/3", "3/3"].map(|name| text(name, 4));
    let logs = [0, 1, 2].map(|at| parse(&format!("{}/3", at + 1), texts[at].as_slice(), None).unwrap());
    let expected = json::text(&merged(&logs)).unwrap();
    for prefix in ["", "2\t", "1: ", "[1,2]<stdout>:", "[pod/load-1-8xk/load] "] {
        let mut play = Play::of(&["stdin"]);
        let all = [&texts[2], &texts[0], &texts[1]].map(|text| lines(text));
        for at in 0..all[0].len() {
            for lines in &all {
                play.lines(0, &[[prefix.as_bytes(), lines[at], b"\r"].concat().as_slice()]);
            }
        }
        play.end(0);
        assert_eq!(
            play.messages,
            ["3/3 has come: 1 of 3", "1/3 has come: 2 of 3", "2/3 has come: 3 of 3"],
            "{prefix:?}"
        );
        assert_eq!(play.rows, [(3, 3, 3_000); 4], "{prefix:?}");
        let followed = play.finish();
        assert_eq!(json::text(&merged(&followed.logs)).unwrap(), expected, "{prefix:?}");
        assert_eq!((followed.doubts.len(), failed(&followed, Require::All)), (0, None));
    }
}

#[test]
fn unmarked_logs_in_streams_of_their_own_are_followed() {
    let text =
        |name: &str| fixture::marked_log_of(&fixture::seconds(3), Mark { name: name.into(), is_in_each_line: false });
    let (one, two) = (text("1/2"), text("2/2"));
    let mut play = Play::of(&["a", "b"]);
    for (source, text) in [&one, &two].into_iter().enumerate() {
        play.lines(source, &lines(text));
        assert!(play.merger.is_complete(source));
        play.end(source);
    }
    play.assert_reported_once(&["2/2 has come: 2 of 2"]);
    let followed = play.finish();
    let logs = [parse("1/2", one.as_slice(), None).unwrap(), parse("2/2", two.as_slice(), None).unwrap()];
    assert_eq!(json::text(&merged(&followed.logs)).unwrap(), json::text(&merged(&logs)).unwrap());
    assert_eq!(failed(&followed, Require::All), None);
}

#[test]
fn runs_one_after_another_are_followed_as_one_stream() {
    let mark = |name: &str| Mark { name: name.into(), is_in_each_line: true };
    let text = |name: &str| {
        let runs = [0, 3_300].map(|millis| {
            let mut run = fixture::seconds(3);
            run.begun += Duration::from_millis(millis);
            run
        });
        let part = |number| PartMark { kind: PartKind::Run, number, asked: Some(2), step: None };
        let parts: Vec<_> = runs.iter().cloned().zip((1..).map(part)).collect();
        let all = sequence(runs.to_vec(), "run").unwrap().with_runs(2, 2);
        fixture::log_of_parts(&parts, &all, &mark(name))
    };
    let (one, two) = (text("1/2"), text("2/2"));
    let mut play = Play::of(&["stdin"]);
    for (one, two) in lines(&one).iter().zip(lines(&two)) {
        assert!(!play.merger.is_complete(0), "a run that ends does not end its stream");
        play.lines(0, &[one, two]);
    }
    assert!(play.merger.is_complete(0));
    play.end(0);
    assert_eq!(play.messages, ["1/2 has come: 1 of 2", "2/2 has come: 2 of 2"]);
    assert_eq!(play.rows, [(2, 2, 2_000); 6]);
    let followed = play.finish();
    let logs = [parse("1/2", one.as_slice(), None).unwrap(), parse("2/2", two.as_slice(), None).unwrap()];
    let results = combined(&followed.logs);
    assert_eq!((results.runs.len(), json::text(&results)), (2, json::text(&combined(&logs))));
    assert_eq!((followed.doubts.len(), failed(&followed, Require::All)), (0, None));
}

#[test]
fn silent_generator_is_named_and_so_is_its_return() {
    let (one, two) = (text("1/2", 20), text("2/2", 20));
    let (one, two) = (lines(&one), lines(&two));
    let mut play = Play::of(&["stdin"]);
    let (of_one, of_two) = (up_to(&one, "frameloop@1/2 interval"), up_to(&two, "frameloop@2/2 interval"));
    play.lines(0, &of_one);
    play.lines(0, &of_two);
    play.wait(Duration::from_secs(8));
    assert!(!play.messages.iter().any(|message| message.contains("silent")), "all are: {:?}", play.messages);
    play.lines(0, &[b"#[frameloop@1/2 stage: \"measuring\"]"]);
    play.wait(Duration::ZERO);
    play.assert_reported_once(&[
        "2/2 has fallen silent: no line for 8.00 s; its last interval ended at 2027-01-15 08:00:19 UTC",
    ]);
    play.wait(Duration::from_secs(30));
    play.assert_reported_once(&["silent"]);
    play.lines(0, &two[of_two.len()..]);
    play.assert_reported_once(&["2/2 reports again after 38.0 s"]);
    play.lines(0, &one[of_one.len()..]);
    play.end(0);
    let followed = play.finish();
    assert_eq!(followed.doubts, ["2/2 was silent for 38.0 s"]);
    assert_eq!(failed(&followed, Require::All), None);
}

#[test]
fn killed_generator_is_named_and_its_figures_are_part_of_the_sum() {
    let (one, two, three) = (text("1/3", 4), text("2/3", 4), text("3/3", 4));
    let mut play = Play::of(&["a", "b", "c"]);
    play.lines(0, &lines(&one));
    play.lines(2, &lines(&three));
    let killed = up_to(&lines(&two), "frameloop@2/3 interval");
    play.lines(1, &killed);
    play.merger.line(1, &Line::Cut(b"Tag=service@2/3,4.0,1.0,1.0,HIST"), play.now);
    (0..3).for_each(|source| play.end(source));
    play.assert_reported_once(&[
        "2/3: it ended without its final record; its last interval ended at 2027-01-15 08:00:03 UTC",
    ]);
    let followed = play.finish();
    let results = merged(&followed.logs);
    assert_eq!((results.frames, results.facts.is_partial), (11_000, true));
    let stated = "2/3: the log ends before its run did; its figures until then are part of the sum";
    assert!(results.facts.taints.iter().any(|taint| taint == stated), "{:?}", results.facts.taints);
    assert_eq!(followed.doubts, Vec::<String>::new());
    let message = failed(&followed, Require::All).unwrap();
    assert!(
        message.starts_with("1 of 3 instances is not complete: 2/3 (it ended without its final record;"),
        "{message}"
    );
    assert_eq!(failed(&followed, Require::Majority), None);
}

#[test]
fn generator_that_falls_silent_for_good_or_never_comes_is_missing() {
    let (one, two) = (text("1/3", 4), text("2/3", 4));
    let mut play = Play::of(&["stdin"]);
    play.lines(0, &up_to(&lines(&two), "frameloop@2/3 interval"));
    play.wait(Duration::from_secs(5));
    play.lines(0, &lines(&one));
    play.wait(Duration::ZERO);
    play.assert_reported_once(&["still to come, while others measure: 1/3, 3/3"]);
    play.assert_reported_once(&["2/3 has fallen silent"]);
    assert!(!play.merger.is_abandoned(None, play.now));
    play.wait(ABANDONED_AFTER);
    assert!(play.merger.is_abandoned(None, play.now));
    // Where no line came, a pipe is waited for, and a file is not.
    let (begun, unheard) = (play.now - ABANDONED_AFTER, Play::of(&["file"]).merger);
    assert!(unheard.is_abandoned(Some(begun), play.now) && !unheard.is_abandoned(None, play.now));
    play.merger.abandon();
    let followed = play.finish();
    let silent = "it fell silent; its last interval ended at 2027-01-15 08:00:03 UTC";
    assert_eq!(followed.doubts, [format!("2/3: {silent}")]);
    let taints = merged(&followed.logs).facts.taints;
    assert!(taints.iter().any(|taint| taint == "3/3 is missing: the figures are those of the others"), "{taints:?}");
    let expected = format!(
        "2 of 3 instances are not complete: 2/3 ({silent}), 3/3 (it never came); what they measured is part of the sum"
    );
    assert_eq!(failed(&followed, Require::All), Some(expected.clone()));
    let message = failed(&followed, Require::Majority);
    assert_eq!(message, Some(format!("{expected}; --require majority needs more than half of them")));
}

#[test]
fn only_generator_of_several_segments_is_doubted() {
    let mut play = Play::of(&["stdin"]);
    let one = text("1/2", 2);
    play.lines(0, &lines(&one));
    play.lines(0, &[b"#[frameloop@2/2 instance: {\"name\":\"2/2\"}]", b"#[frameloop@2/2 stage: \"connecting\"]"]);
    play.end(0);
    let followed = play.finish();
    let nothing = "it came, and measured nothing (it was connecting)";
    assert_eq!(
        followed.doubts,
        [format!("2/2: {nothing}"), "2/2 is missing: the figures are those of the others".into()]
    );
    assert!(failed(&followed, Require::All).unwrap().contains(&format!("2/2 ({nothing})")));
}

#[test]
fn two_generators_of_one_name_are_reported_once() {
    let (one, two) = (text("1/2", 3), text("2/2", 3));
    // In one stream, nothing distinguishes their lines.
    let mut play = Play::of(&["stdin"]);
    let (first, rest) = (up_to(&lines(&one), "frameloop@1/2 interval"), lines(&one));
    play.lines(0, &first);
    play.lines(0, &rest);
    play.lines(0, &lines(&two));
    play.end(0);
    play.assert_reported_once(&["1/2: it began twice, in one stream: ", "give each generator a --segment of its own"]);
    let followed = play.finish();
    assert_eq!(merged(&followed.logs).frames, 5_000);
    assert!(followed.doubts.iter().any(|doubt| doubt.starts_with("1/2: it began twice")), "{:?}", followed.doubts);
    assert!(
        failed(&followed, Require::All).unwrap().starts_with("1 of 2 instances is not complete: 1/2 (it began twice")
    );
    // In two, the first one goes on.
    let mut play = Play::of(&["a", "b"]);
    play.lines(0, &first);
    play.lines(1, &rest);
    play.lines(0, &rest[first.len()..]);
    play.lines(0, &lines(&two));
    play.assert_reported_once(&["1/2: it began twice, in a and in b: "]);
    let followed = play.finish();
    assert_eq!(merged(&followed.logs).frames, 6_000);
    assert!(failed(&followed, Require::All).unwrap().contains("1/2 (it began twice, in a and in b"));
}

#[test]
fn other_lines_are_left_out_and_reported_once() {
    let one = text("1/1", 3);
    let mut play = Play::of(&["stdin"]);
    play.lines(0, &[b"Welcome to gen1", b"", b"\xff\xfe", b"1.0,2.0"]);
    play.lines(0, &lines(&one));
    play.merger.line(0, &Line::TooLong, play.now);
    play.end(0);
    play.assert_reported_once(&["stdin: lines that are not of a log are left out; the first: `Welcome to gen1`"]);
    let followed = play.finish();
    assert_eq!(followed.doubts, ["stdin: 4 lines left out, of no log; the first: `Welcome to gen1`"]);
    assert_eq!((failed(&followed, Require::All), merged(&followed.logs).frames), (None, 3_000));
}

#[test]
fn damaged_line_makes_its_generator_incomplete() {
    let (one, two) = (text("1/2", 3), text("2/2", 3));
    let mut play = Play::of(&["stdin"]);
    play.lines(0, &lines(&one));
    for line in lines(&two) {
        let is_histogram = line.starts_with(b"Tag=service@");
        play.lines(0, &[if is_histogram { &line[..line.len() - 9] } else { line }]);
    }
    play.assert_reported_once(&["2/2: a line of it could not be read: the histogram is"]);
    let followed = play.finish();
    assert!(followed.doubts[0].starts_with("2/2: a line of it could not be read"), "{:?}", followed.doubts);
    assert!(failed(&followed, Require::All).unwrap().contains("2/2 (a line of it could not be read"));
}

#[test]
fn streams_without_a_log_are_a_failure() {
    let mut play = Play::of(&["stdin", "b"]);
    play.lines(0, &[b"a line"]);
    (0..2).for_each(|source| play.end(source));
    let Err(Failure::Run(message)) = finish(play.merger, false) else { panic!("there is a result") };
    assert_eq!(
        message,
        "nothing was measured: stdin (no line of a log, but `a line`), b (no line at all); follow what frameloop load writes with --hlog -"
    );
}

#[test]
fn interval_that_comes_late_counts_in_the_result() {
    let (one, two) = (text("1/2", 9), text("2/2", 9));
    let mut play = Play::of(&["stdin"]);
    // As an engine that keeps the lines of each until its end.
    play.lines(0, &lines(&one));
    play.lines(0, &lines(&two));
    play.end(0);
    play.assert_reported_once(&["2/2: its intervals come 9.00 s after those of the same time were shown"]);
    assert_eq!(play.rows, [(1, 2, 1_000); 9]);
    assert_eq!(merged(&play.finish().logs).frames, 18_000);
}
