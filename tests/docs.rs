//! What the pages say about the program is what the program says about itself.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use frameloop::{CloseKind, CloseReason};

const README: &str = include_str!("../README.md");
const OPERATIONS: &str = include_str!("../docs/OPERATIONS.md");
const RELIABILITY: &str = include_str!("../docs/RELIABILITY.md");
#[cfg(feature = "cli")]
const CHECK: &str = include_str!("../docs/CHECK.md");
#[cfg(feature = "cli")]
const PROTOCOL: &str = include_str!("../docs/PROTOCOL.md");

#[test]
fn the_readme_shows_an_example_that_compiles() {
    let shown = README.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    let file = include_str!("../examples/upper.rs");
    let code = file.split_once("\n\n").unwrap().1;
    assert_eq!(shown, code, "the README and examples/upper.rs differ");
}

#[cfg(feature = "cli")]
#[test]
fn every_flag_has_the_default_that_the_tables_give() {
    let pages = [("PROTOCOL", PROTOCOL, "serve"), ("OPERATIONS", OPERATIONS, "serve")];
    for (page, text, subcommand) in pages {
        let defaults = defaults_of(subcommand);
        let rows = text.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| `--")?.split(" | ");
            let flag = cells.next()?.split(['`', ' ']).next()?;
            Some((flag, cells.next()?))
        });
        let mut count = 0;
        for (flag, shown) in rows {
            let default = defaults.get(flag).unwrap_or_else(|| panic!("{page}: {subcommand} has no --{flag}"));
            if let Some(default) = default {
                assert_eq!(shown, default, "{page}: --{flag}");
            }
            count += 1;
        }
        assert!(count > 2, "{page}: only {count} flags were found");
    }
}

#[cfg(feature = "cli")]
#[test]
fn every_case_of_the_grader_is_in_its_page() {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_frameloop")).args(["check", "--list", "--json"]).output();
    let list: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let rows: Vec<&str> = CHECK.lines().filter(|line| line.starts_with("| `") && line.contains("](study/")).collect();
    let cases = list["cases"].as_array().unwrap();
    for (case, row) in cases.iter().zip(&rows) {
        let text = |name: &str| case[name].as_str().unwrap();
        let begin = format!("| `{}` | {} | [", text("name"), text("does"));
        assert!(row.starts_with(&begin) && row.contains(&format!("](study/{})", text("chapter"))), "{row}\n{case}");
    }
    assert_eq!(rows.len(), cases.len());
}

#[test]
fn every_reason_to_close_is_in_the_operations_page() {
    let Err(too_long) = frameloop::wire::announced_len(&[0, 0, 0, 9], 8) else { panic!("9 bytes are within 8") };
    let reasons = [
        CloseReason::PeerFinished,
        CloseReason::TruncatedFrame { received: 2 },
        CloseReason::Reset,
        CloseReason::FrameTooLong(too_long),
        CloseReason::IdleTimeout,
        CloseReason::FrameTimeout,
        CloseReason::WriteTimeout,
        CloseReason::Evicted { input: 2, output: 1 },
        CloseReason::WriteZero,
        CloseReason::Io(std::io::ErrorKind::TimedOut),
        CloseReason::ClosedByHandler,
        CloseReason::AbortedByHandler,
        CloseReason::Detached,
        CloseReason::HandlerPanicked,
        CloseReason::Drained,
        CloseReason::Cut,
    ];
    let rows: Vec<&str> = OPERATIONS.lines().filter(|line| line.starts_with("| ")).collect();
    for kind in CloseKind::ALL {
        assert!(rows.iter().any(|row| row.starts_with(&format!("| {} | ", kind.name()))), "no row for {kind:?}");
    }
    for reason in reasons {
        let name = reason.name();
        let row = rows.iter().find(|row| row.split(" | ").next().is_some_and(|cell| cell.contains(name)));
        let row = row.unwrap_or_else(|| panic!("there is no row for {name:?}"));
        let message = reason.to_string();
        let opening = message.split(|c: char| c.is_numeric() || c == ':').next().unwrap_or_default().trim();
        assert!(row.contains(opening), "{row} does not say {message:?}");
    }
}

#[test]
fn every_alert_is_in_the_operations_page_with_its_query() {
    let rules =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus-alerts.yml")).unwrap();
    let section = OPERATIONS.split("\n## ").find(|section| section.starts_with("Recommended alerts\n")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| Frameloop")).map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        (cells[0].to_owned(), cells[1].replace("\\|", "|"))
    });
    let expected = rules.split("- alert: Frameloop").skip(1).map(|rule| {
        let (name, rest) = rule.split_once('\n').unwrap();
        let query = rest.split_once("expr:").unwrap().1.split("\n        for:").next().unwrap();
        let query = query.split("\n        labels:").next().unwrap().split_whitespace().filter(|word| *word != ">-");
        let time = rest.lines().find_map(|line| line.trim().strip_prefix("for: "));
        let time = time.map_or(String::new(), |time| format!(", {time}"));
        (name.to_owned(), format!("`{}`{time}", query.collect::<Vec<_>>().join(" ")))
    });
    let expected: Vec<_> = expected.collect();
    assert!(expected.len() > 10, "only {} alerts were found", expected.len());
    assert_eq!(rows.collect::<Vec<_>>(), expected);
}

#[test]
fn every_test_that_the_reliability_page_names_is_in_its_file() {
    let section = RELIABILITY.split("\n## ").find(|section| section.starts_with("What must not hurt it\n")).unwrap();
    let mut rows =
        section.lines().filter(|line| line.starts_with('|')).map(|line| line.split(" | ").collect::<Vec<_>>());
    let heads = rows.next().unwrap();
    let column = heads.iter().position(|head| *head == "test").unwrap();
    let mut count = 0;
    for row in rows.skip(1) {
        assert_eq!(row.len(), heads.len(), "{row:?}");
        let missing = missing_tests(row[column]);
        assert!(missing.is_empty(), "{}: {missing:?}", row[0]);
        count += 1;
    }
    assert!(count > 20, "only {count} rows were found");
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    let here = "`tests/docs.rs`: `a_test_that_is_not_there_is_missed`, `missing_tests`; `src/wire.rs`: `announced_len`";
    assert_eq!(missing_tests(here), ["tests/docs.rs: missing_tests", "src/wire.rs: announced_len"]);
    assert_eq!(missing_tests("`no/such/file.rs`: `a_test`"), ["no/such/file.rs: a_test"]);
    assert_eq!(missing_tests("none"), ["none is no list of files and tests"]);
}

/// What is named and not there, of a list like "`file`: `test`, `test`; `file`: `test`".
fn missing_tests(list: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for part in list.split("; ") {
        let Some((file, names)) = part.split_once(": ") else {
            missing.push(format!("{part} is no list of files and tests"));
            continue;
        };
        let file = file.trim_matches('`');
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
        let names = names.split(", ").map(|name| name.trim_matches('`'));
        missing.extend(names.filter(|name| !has_test(&text, name)).map(|name| format!("{file}: {name}")));
    }
    missing
}

/// Whether a function of this name is a test: nothing but further attributes is between it and `#[test]`.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let is_named = |line: &str| {
        line.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('))
    };
    lines.iter().enumerate().filter(|(_, line)| is_named(line)).any(|(at, _)| {
        let mut attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        attributes.any(|line| *line == "#[test]")
    })
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let is_outside = link.starts_with("https://") || link.starts_with("http://");
            if is_outside || link.contains(char::is_whitespace) {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link} does not exist", page.display());
            let has_anchor = anchor.is_empty() || anchors(&target).iter().any(|heading| heading == anchor);
            assert!(has_anchor, "{}: {link}: there is no such heading", page.display());
        }
    }
}

/// The flags of `serve` with their defaults, as `--help` shows them.
#[cfg(feature = "cli")]
fn defaults_of(subcommand: &str) -> std::collections::BTreeMap<String, Option<String>> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_frameloop"));
    let output = command.args([subcommand, "--help"]).env_clear().output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut defaults = std::collections::BTreeMap::new();
    let mut flag = None;
    for line in help.lines().map(str::trim_start) {
        let with_short = || line.split_once(", --").filter(|(short, _)| short.len() == 2).map(|(_, long)| long);
        if let Some(rest) = line.strip_prefix("--").or_else(with_short) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '-').collect();
            defaults.insert(name.clone(), None);
            flag = Some(name);
        }
        let default = line.strip_prefix("[default: ").and_then(|rest| rest.strip_suffix(']'));
        if let (Some(flag), Some(default)) = (&flag, default) {
            defaults.insert(flag.clone(), Some(default.to_owned()));
        }
    }
    defaults
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["", "docs", "docs/load", "docs/load/ansible", "docs/load/kubernetes", "docs/study"]
        .map(|folder| root.join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The headings of a page, as links name them.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
    };
    headings.map(slug).collect()
}
