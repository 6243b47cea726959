//! The book under docs/study is complete, and says of the grader what the grader says of itself.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[test]
fn every_case_is_named_in_the_chapter_that_grades_it() {
    let cases = cases();
    let names: Vec<&String> = cases.keys().collect();
    assert!(cases.len() > 30, "only {names:?}");
    for (case, chapter) in &cases {
        let text =
            fs::read_to_string(folder().join(chapter)).unwrap_or_else(|error| panic!("{case}: {chapter}: {error}"));
        let section = grading(&text).unwrap_or_default();
        assert!(section.contains(case.as_str()), "{chapter} does not say that {case} grades it");
    }
}

#[test]
fn every_case_that_a_page_plays_is_there() {
    let cases = cases();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let lists = text.split("--case ").skip(1).filter_map(|rest| rest.split([' ', '`', '\n']).next());
        for named in lists.flat_map(|list| list.split(',')).filter(|named| *named != "NAME") {
            assert!(cases.contains_key(named), "{}: there is no case {named:?}", page.display());
        }
    }
}

#[test]
fn every_chapter_has_all_its_parts() {
    let is_list = |page: &PathBuf| page.ends_with("mutants.md") || page.ends_with("symptoms.md");
    for page in chapters().into_iter().filter(|page| !is_list(page)) {
        let text = fs::read_to_string(&page).unwrap();
        let missing = |what: &str| panic!("{} has no {what}", page.display());
        if !text.contains("\n```text\n") {
            missing("picture");
        }
        if !text.contains("frameloop serve -vv") || !text.contains("\n[…") || !text.contains("[0.1] ") {
            missing("trace of `frameloop serve -vv`");
        }
        if !text.contains("\n## Exercise") || !text.contains("Hint:") {
            missing("exercise with a hint");
        }
        let section = grading(&text).unwrap_or_else(|| missing("section on what grades it"));
        if !section.contains("frameloop check ") && !section.contains("--expect") {
            missing("command that grades it");
        }
    }
}

#[test]
fn the_summary_lists_every_chapter_by_its_title() {
    let summary = fs::read_to_string(folder().join("SUMMARY.md")).unwrap();
    let listed = summary.lines().filter(|line| line.starts_with("- ["));
    let mut pages: Vec<PathBuf> = chapters();
    for line in listed {
        let (title, file) = line[3..].split_once("](").unwrap();
        let page = folder().join(file.trim_end_matches(')'));
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(text.lines().next().unwrap(), format!("# {title}"), "{file}");
        pages.retain(|other| *other != page);
    }
    assert!(pages.is_empty(), "SUMMARY.md does not list {pages:?}");
}

/// Files of the repository may be linked to as they are; another page would have to become a page of the book.
#[test]
fn the_book_links_to_no_page_outside_itself() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("https://") && !link.starts_with("http://")) {
            assert!(!link.contains('/') || !link.contains(".md"), "{}: {link}", page.display());
        }
    }
}

/// The cases of the grader, with the chapter that each names.
fn cases() -> BTreeMap<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_frameloop")).args(["check", "--list", "--json"]).env_clear().output();
    let list: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let text = |case: &Value, key: &str| case[key].as_str().unwrap().to_owned();
    list["cases"].as_array().unwrap().iter().map(|case| (text(case, "name"), text(case, "chapter"))).collect()
}

/// What stands below the heading about grading.
fn grading(text: &str) -> Option<&str> {
    let (_, section) = text.split_once("\n## What grades it\n")?;
    Some(section.split("\n## ").next().unwrap_or(section))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/study")
}

fn pages() -> Vec<PathBuf> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

fn chapters() -> Vec<PathBuf> {
    let is_chapter = |path: &PathBuf| path.file_name().is_some_and(|name| name != "README.md" && name != "SUMMARY.md");
    pages().into_iter().filter(is_chapter).collect()
}
