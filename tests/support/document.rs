//! Sections of documents that a test generates.

use std::path::Path;
use std::{env, fs};

/// Writes the section `name` of a page under docs/ if FRAMELOOP_UPDATE is set, and compares it otherwise.
#[track_caller]
pub(crate) fn check(page: &str, name: &str, section: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let (before, rest) = text.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    let current = format!("{before}{begin}{section}{end}{after}");
    if env::var_os("FRAMELOOP_UPDATE").is_some() {
        fs::write(&path, current).unwrap();
    } else {
        assert!(text == current, "docs/{page} is out of date: run FRAMELOOP_UPDATE=1 cargo test");
    }
}
