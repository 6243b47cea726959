//! `frameloop report --follow`: generators that run, merged while they do.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeWriter, Write, pipe};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;
use tempfile::TempDir;

use crate::serve;
use crate::support::process::{Outcome, PATIENCE, Process, frameloop, outcome_with_input};

/// Generators whose logs come together line by line, as GNU parallel and others do it, and are recorded one by one.
struct Engine {
    loads: Vec<Process>,
    feeders: Vec<JoinHandle<()>>,
    /// Each line of a response latency, by generator.
    intervals: Receiver<usize>,
    folder: TempDir,
}

impl Engine {
    /// Starts three generators, each with a third of the load, and passes on their lines with a prefix.
    fn start(addr: &str, args: &[&str], prefix: &str, to: PipeWriter) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let to = Arc::new(Mutex::new(to));
        let (sender, intervals) = channel();
        let (mut loads, mut feeders) = (Vec::new(), Vec::new());
        for nth in 1..=3 {
            let segment = format!("{nth}/3");
            let args = [&["load", addr, "-c", "6", "-r", "600", "--warmup", "0", "--hlog", "-"], args].concat();
            let (log, writer) = pipe().unwrap();
            loads.push(Process::start_onto(writer, frameloop(&args).args(["--segment", &segment])));
            // The log of generator 2/3 is recorded as `2/3`, so its name is the same in both results.
            fs::create_dir(folder.path().join(nth.to_string())).unwrap();
            let mut record = File::create(folder.path().join(&segment)).unwrap();
            let (to, sender, prefix) = (Arc::clone(&to), sender.clone(), prefix.to_owned());
            feeders.push(thread::spawn(move || {
                for line in BufReader::new(log).lines() {
                    let line = line.unwrap() + "\n";
                    record.write_all(line.as_bytes()).unwrap();
                    // The other end may be gone.
                    let _ = to.lock().unwrap().write_all(format!("{prefix}{line}").as_bytes());
                    if line.starts_with("Tag=response@") {
                        let _ = sender.send(nth);
                    }
                }
            }));
        }
        Self { loads, feeders, intervals, folder }
    }

    fn load(&self, nth: usize) -> &Process {
        &self.loads[nth - 1]
    }

    /// Waits until each generator has reported an interval more.
    fn wait_for_intervals(&self) {
        let mut missing = vec![1, 2, 3];
        while !missing.is_empty() {
            let nth = self.intervals.recv_timeout(PATIENCE).unwrap();
            missing.retain(|other| *other != nth);
        }
    }

    /// Waits for the ends of all generators, and returns their exit codes.
    fn finish(self) -> (Vec<Option<i32>>, Recorded) {
        let codes = self.loads.into_iter().map(|load| load.outcome().code).collect();
        self.feeders.into_iter().for_each(|feeder| feeder.join().unwrap());
        (codes, Recorded(self.folder))
    }
}

/// The logs of three generators.
struct Recorded(TempDir);

impl Recorded {
    /// The result of the files.
    fn report(&self, args: &[&str]) -> Outcome {
        let mut command = frameloop(&[&["report", "1/3", "2/3", "3/3"], args].concat());
        crate::support::process::outcome(command.current_dir(&self.0))
    }

    /// The result of the same lines in one stream, which ends.
    fn follow(&self, args: &[&str]) -> Outcome {
        let logs = ["1/3", "2/3", "3/3"].map(|name| fs::read(self.0.path().join(name)).unwrap());
        outcome_with_input(&mut frameloop(&[&["report", "--follow", "-"], args].concat()), &logs.concat())
    }
}

/// Starts `report --follow -`, and returns what its stdin comes from.
fn follow(args: &[&str]) -> (Process, PipeWriter) {
    let (stdin, writer) = pipe().unwrap();
    let mut command = frameloop(&[&["report", "--follow", "-"], args].concat());
    let process = Process::start(command.stdin(stdin));
    (process, writer)
}

fn json(done: &Outcome) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

/// The last line of stderr, which is the error.
fn error(done: &Outcome) -> &str {
    let line = done.stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("error: "), "{done:?}");
    assert_eq!(done.stderr.matches("error: ").count(), 1, "{done:?}");
    line
}

#[test]
fn generators_are_merged_live_and_give_what_their_files_give() {
    let (_server, addr) = serve(&[]);
    // As `srun --label` marks each line.
    for prefix in ["", "0: "] {
        let (following, to) = follow(&["--json", "--expect", "errors==0"]);
        let engine = Engine::start(&addr, &["-d", "2s"], prefix, to);
        following.stderr_line_with(" has come: 3 of 3");
        following.stderr_line_with("3 of 3 instances | ");
        let (codes, recorded) = engine.finish();
        assert_eq!(codes, [Some(0); 3]);
        let done = following.outcome();
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(done.stdout, recorded.report(&["--json", "--expect", "errors==0"]).stdout, "{prefix:?}");
        let result = json(&done);
        assert_eq!((&result["latency"]["response"]["count"], &result["connections"]["up"]), (&1_200.into(), &6.into()));
        for form in ["--csv", "--prometheus"] {
            assert_eq!(recorded.follow(&[form]).stdout, recorded.report(&[form]).stdout, "{form}");
        }
        let page = recorded.0.path().join("page.html").display().to_string();
        let done = recorded.follow(&["--html", &page, "--expect", "p50<1ns"]);
        assert_eq!(done.code, Some(99), "{done:?}");
        assert!(done.stdout.contains("FAILED  p50<1ns") && fs::read_to_string(page).unwrap().contains("<html"));
        assert_eq!(recorded.follow(&["--expect", "rate>=100"]).code, Some(0));
    }
}

#[test]
fn killed_generator_fails_all_and_not_the_majority() {
    let (_server, addr) = serve(&[]);
    let (following, to) = follow(&["--json"]);
    let engine = Engine::start(&addr, &["-d", "1h"], "", to);
    engine.wait_for_intervals();
    engine.load(2).signal("KILL");
    [1, 3].iter().for_each(|nth| engine.load(*nth).signal("INT"));
    let (codes, recorded) = engine.finish();
    assert_eq!(codes, [Some(0), None, Some(0)]);
    let done = following.outcome();
    assert_eq!(done.code, Some(1));
    let message = error(&done);
    assert!(
        message.starts_with("error: 1 of 3 instances is not complete: 2/3 (it ended without its final record; "),
        "{message}"
    );
    // What it measured until then is in the sum, which says so.
    assert_eq!(done.stdout, recorded.report(&["--json"]).stdout);
    let result = json(&done);
    assert_eq!(result["is_partial"], true);
    let stated = "2/3: the log ends before its run did; its figures until then are part of the sum";
    assert!(result["taints"].as_array().unwrap().contains(&stated.into()), "{result}");
    let majority = recorded.follow(&["--json", "--require", "majority"]);
    assert_eq!((majority.code, &majority.stdout), (Some(0), &done.stdout), "{majority:?}");
    // Without all of them, what is expected of the sum is not the question.
    assert_eq!(recorded.follow(&["--expect", "p50<1ns"]).code, Some(1));
    assert_eq!(recorded.follow(&["--require", "majority", "--expect", "p50<1ns"]).code, Some(99));
    // Two of three are missing.
    fs::write(recorded.0.path().join("3/3"), "").unwrap();
    let failed = recorded.follow(&["--require", "majority"]);
    assert_eq!(failed.code, Some(1));
    assert!(error(&failed).contains("3/3 (it never came)"), "{failed:?}");
    assert!(failed.stdout.contains("3/3 is missing"), "{failed:?}");
}

#[test]
fn generator_that_stops_is_named_while_the_others_go_on() {
    let (_server, addr) = serve(&[]);
    let (following, to) = follow(&["--json"]);
    let engine = Engine::start(&addr, &["-d", "1h"], "2\t", to);
    engine.wait_for_intervals();
    engine.load(2).signal("STOP");
    let line = following.stderr_line_with("2/3 has fallen silent: no line for ");
    assert!(line.contains("its last interval ended at 20"), "{line}");
    following.stderr_line_with("2 of 3 instances | ");
    engine.load(2).signal("CONT");
    following.stderr_line_with("2/3 reports again after ");
    [1, 2, 3].iter().for_each(|nth| engine.load(*nth).signal("INT"));
    let (codes, _) = engine.finish();
    assert_eq!(codes, [Some(0); 3]);
    let done = following.outcome();
    assert_eq!(done.code, Some(0), "{done:?}");
    let taints = json(&done)["taints"].to_string();
    assert!(taints.contains("2/3 was silent for "), "{taints}");
}

#[test]
fn pipes_and_growing_files_are_followed_by_name() {
    let (_server, addr) = serve(&[]);
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (fifo, file) = (path("fifo"), path("file"));
    mkfifo(Path::new(&fifo), Mode::S_IRWXU).unwrap();
    let load = |segment: &str, log: &str| {
        let args = ["load", &addr, "-c", "2", "-n", "600", "--warmup", "0", "--segment", segment, "--hlog", log];
        Process::start(&mut frameloop(&args))
    };
    assert_eq!(load("2/2", &path("log")).outcome().code, Some(0));
    let log = fs::read(path("log")).unwrap();
    let (head, rest) = log.split_at(log.len() - 100);
    fs::write(&file, head).unwrap();
    let mut following = Process::start(&mut frameloop(&["report", "--follow", &fifo, &file, "--json"]));
    following.stderr_line_with("2/2 has come");
    assert_eq!(load("1/2", &fifo).outcome().code, Some(0));
    assert!(following.is_running());
    // With its end, a file is over.
    File::options().append(true).open(&file).unwrap().write_all(rest).unwrap();
    let done = following.outcome();
    assert_eq!((done.code, &json(&done)["frames"]), (Some(0), &600.into()), "{done:?}");
    assert_eq!(json(&done)["title"], "1/2, 2/2");
}

#[test]
fn interrupted_follow_prints_what_was_merged() {
    let (_server, addr) = serve(&[]);
    let (following, to) = follow(&["--json", "--expect", "errors==0"]);
    let engine = Engine::start(&addr, &["-d", "1h"], "", to);
    following.stderr_line_with("3 of 3 instances | ");
    following.signal("INT");
    let done = following.outcome();
    assert_eq!(done.code, Some(0), "{done:?}");
    let result = json(&done);
    assert_eq!(result["was_interrupted"], true);
    assert!(result["frames"].as_u64().unwrap() >= 300, "{result}");
    [1, 2, 3].iter().for_each(|nth| engine.load(*nth).signal("INT"));
    engine.finish();
}

#[test]
fn log_on_stdout_is_streamed_and_its_lost_reader_hides_no_failure() {
    let (_server, addr) = serve(&[]);
    let (log, writer) = pipe().unwrap();
    let load =
        Process::start_onto(writer, &mut frameloop(&["load", &addr, "-d", "1h", "--warmup", "0", "--hlog", "-"]));
    let name = {
        let mut lines = BufReader::new(log).lines().map(Result::unwrap);
        // It comes with each second, and not at the end, which is far.
        let second = lines.by_ref().filter(|line| line.starts_with("Tag=service@")).nth(1).unwrap();
        second["Tag=service@".len()..].split(',').next().unwrap().to_owned()
    };
    assert!(name.ends_with(&format!(":{}", load.id())), "{name}");
    // Now the reader is gone.
    load.signal("INT");
    assert_eq!(load.outcome().code, Some(0));
    for (args, code) in
        [(&["--expect", "p50<1ns"][..], 99), (&["--expect", "errors==1"], 99), (&["--check", "prefix:00ff00ff00"], 1)]
    {
        let (log, writer) = pipe().unwrap();
        drop(log);
        let args = [&["load", &addr, "-n", "50", "--warmup", "0", "--hlog", "-"], args].concat();
        let done = Process::start_onto(writer, &mut frameloop(&args)).outcome();
        assert_eq!(done.code, Some(code), "{args:?}: {done:?}");
    }
}

#[test]
fn follow_whose_reader_is_gone_hides_no_failure() {
    let (_server, addr) = serve(&[]);
    let (_, to) = pipe().unwrap();
    let (codes, recorded) = Engine::start(&addr, &["-n", "60"], "", to).finish();
    assert_eq!(codes, [Some(0); 3]);
    for (args, missing, code) in [(&["--expect", "p50<1ns"][..], "", 99), (&[], "3/3", 1), (&[], "", 0)] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let names = ["1/3", "2/3", "3/3"].into_iter().filter(|name| *name != missing);
        let names: Vec<String> = names.map(|name| recorded.0.path().join(name).display().to_string()).collect();
        let mut command = frameloop(&[&["report", "--follow", "--json"], args].concat());
        let done = Process::start_onto(writer, command.args(names)).outcome();
        assert_eq!(done.code, Some(code), "{args:?} {missing}: {done:?}");
    }
}

#[test]
fn streams_of_no_log_and_wrong_usage_are_one_error_line() {
    let done = outcome_with_input(&mut frameloop(&["report", "--follow", "-"]), b"hello\nworld");
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""));
    assert!(error(&done).contains("nothing was measured: stdin (no line of a log, but `hello`)"), "{done:?}");
    let done = crate::support::process::outcome(&mut frameloop(&["report", "--follow", "/nonexistent"]));
    assert_eq!(done.code, Some(1));
    assert!(error(&done).contains("cannot read /nonexistent: No such file"), "{done:?}");
    let done = crate::support::process::outcome(&mut frameloop(&["report", "--require", "all", "a.hlog"]));
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains("--follow"), "{done:?}");
}
