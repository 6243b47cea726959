//! The grader and the zoo hold each other to their word: each beast fails the cases that its file names and no others, and
//! each case is failed by some beast.

#![cfg(all(feature = "cli", target_os = "linux", target_endian = "little"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod beasts;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use serde_json::Value;

use beasts::{BEASTS, Beast, DEADLINES};
use support::example;
use support::process::{Process, frameloop, outcome};

#[test]
fn each_beast_fails_its_own_cases_and_no_others() {
    // Those that take longest come first.
    let mut rest: Vec<Round> = BEASTS.iter().flat_map(Round::all_of).collect();
    rest.sort_by_key(|round| round.beast.rank);
    rest.reverse();
    let (rest, wrong) = (Mutex::new(rest), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(round) = next(&rest) {
                    let surprises = round.play();
                    wrong.lock().unwrap().extend(surprises);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} surprises:\n{}", wrong.len(), wrong.join("\n"));
}

fn next(rest: &Mutex<Vec<Round>>) -> Option<Round> {
    rest.lock().unwrap().pop()
}

/// A beast, and the cases that are played with it.
struct Round {
    beast: &'static Beast,
    /// One case on a server of its own, since an earlier one has ended the other; else all.
    alone: Option<&'static str>,
}

impl Round {
    fn all_of(beast: &'static Beast) -> Vec<Self> {
        let alone = beast.alone.iter().map(|case| Self { beast, alone: Some(case) });
        std::iter::once(Self { beast, alone: None }).chain(alone).collect()
    }

    /// Says what is otherwise than it should be.
    fn play(&self) -> Vec<String> {
        let (server, addr) = start(self.beast.name);
        let pid = server.id().to_string();
        let mut args = vec!["check", &addr, "--pid", &pid, "--json", "--timeout", self.beast.patience];
        if let Some(case) = self.alone {
            args.extend(["--case", case]);
        } else {
            args.extend(self.beast.only.iter().flat_map(|case| ["--case", case]));
            args.extend(self.beast.args);
        }
        // It bounds its time itself, and says nothing until it is over.
        let graded = frameloop(&args).output().unwrap();
        let grade: Value = serde_json::from_slice(&graded.stdout).unwrap_or_else(|_| panic!("{args:?}: {graded:?}"));
        let cases = grade["cases"].as_array().unwrap();
        assert!(!cases.is_empty(), "{args:?}: {graded:?}");
        cases.iter().filter_map(|case| self.surprise(case)).collect()
    }

    /// What became of a case, if it is not what should have.
    fn surprise(&self, case: &Value) -> Option<String> {
        let (name, came) = (case["name"].as_str().unwrap(), case["outcome"].as_str().unwrap());
        let is_expected = match came {
            "fails" => self.must_fail(name) || self.beast.chance.contains(&name),
            "holds" => !self.must_fail(name),
            _ => self.is_lost(case["reason"].as_str().unwrap()) || DEADLINES.contains(&name),
        };
        (!is_expected).then(|| format!("{}: {name} {came}: {} {}", self.beast.name, case["failure"], case["reason"]))
    }

    fn must_fail(&self, name: &str) -> bool {
        self.alone.map_or_else(|| self.beast.fails.contains(&name), |case| case == name)
    }

    /// Cases are skipped after one that ends the beast.
    fn is_lost(&self, reason: &str) -> bool {
        self.beast.ends_in.is_some_and(|case| reason == format!("nobody is served since {case}"))
    }
}

/// Starts a beast that may open 1,500 descriptors.
fn start(name: &str) -> (Process, String) {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 1500; exec \"$0\" \"$@\""])
        .arg(example("zoo"))
        .args([name, "127.0.0.1:0"])
        .env_clear();
    let server = Process::start(&mut command);
    let addr = server.listening_on();
    (server, addr)
}

#[test]
fn each_case_is_failed_by_some_beast() {
    let listed = outcome(&mut frameloop(&["check", "--list", "--json"]));
    let list: Value = serde_json::from_str(&listed.stdout).unwrap();
    let cases = list["cases"].as_array().unwrap().iter().map(|case| case["name"].as_str().unwrap());
    let failed: BTreeSet<&str> = BEASTS.iter().flat_map(|beast| [beast.fails, beast.alone].concat()).collect();
    assert_eq!(cases.collect::<BTreeSet<_>>(), failed);
}

#[test]
fn each_beast_that_is_listed_is_graded() {
    let listed = outcome(Command::new(example("zoo")).arg("list"));
    let listed: Vec<&str> = listed.stdout.lines().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(listed, BEASTS.iter().map(|beast| beast.name).collect::<Vec<_>>());
}

#[test]
fn the_file_of_a_beast_names_its_cases_and_a_public_bug() {
    for beast in BEASTS {
        let path = format!("{}/examples/zoo/beasts/{}.rs", env!("CARGO_MANIFEST_DIR"), beast.name);
        let source = std::fs::read_to_string(path).unwrap();
        let docs: String = source.lines().map_while(|line| line.strip_prefix("//!")).collect();
        for case in [beast.fails, beast.alone, beast.chance].concat() {
            assert!(docs.contains(&format!("`{case}`")), "{}: {case}", beast.name);
        }
        assert!(docs.contains("<https://github.com/"), "{}", beast.name);
    }
}

#[test]
fn a_name_that_no_beast_has_is_a_line_and_exit_code_2() {
    let outcome = outcome(Command::new(example("zoo")).arg("unicorn"));
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(2), 1), "{outcome:?}");
    assert!(outcome.stderr.contains("\"unicorn\"") && outcome.stdout.is_empty(), "{outcome:?}");
}

/// How many beasts are graded at a time. Most of a grade is waiting.
const AT_ONCE: usize = 14;
