//! The table of mutants: one after the other, each with its name, its fault in one sentence, its file and the seed that finds
//! it, and the lines that it changes, as in a diff.

use std::fs;
use std::path::Path;

pub(crate) const TABLE: &str = "tests/mutants/mutants.diff";

#[derive(Clone)]
pub(crate) struct Mutant {
    pub(crate) section: String,
    pub(crate) name: String,
    pub(crate) fault: String,
    pub(crate) file: String,
    /// The first seed of the campaign that finds it.
    pub(crate) seed: u64,
    pub(crate) original: String,
    /// With `mutant()` in it, which is true while the mutant is switched on.
    pub(crate) mutated: String,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the table.
pub(crate) fn read_table() -> Vec<Mutant> {
    let text = fs::read_to_string(root().join(TABLE)).unwrap();
    let mut section = String::new();
    let mut mutants: Vec<Mutant> = Vec::new();
    for block in text.split("\n\n").map(str::trim_end).filter(|block| !block.is_empty()) {
        if let Some(name) = block.strip_prefix("== ") {
            section = name.to_owned();
        } else if !block.starts_with("//") {
            let mutant = parse(block, &section).unwrap_or_else(|| panic!("{TABLE}: not a mutant:\n{block}"));
            assert!(mutant.mutated.contains("mutant()"), "{TABLE}: {} has no switch", mutant.name);
            assert!(mutants.iter().all(|other| other.name != mutant.name), "{TABLE}: {} is there twice", mutant.name);
            mutants.push(mutant);
        }
    }
    mutants
}

fn parse(block: &str, section: &str) -> Option<Mutant> {
    let mut lines = block.lines();
    let name = lines.next()?.strip_prefix("# ")?.to_owned();
    let fault = lines.next()?.to_owned();
    let (file, seed) = lines.next()?.split_once(", seed ")?;
    let lines: Vec<(&str, &str)> = lines.map(|line| line.split_at_checked(1)).collect::<Option<_>>()?;
    let all_but = |mark: &str| {
        lines.iter().filter(|(first, _)| *first != mark).map(|(_, rest)| *rest).collect::<Vec<_>>().join("\n")
    };
    if !lines.iter().all(|(mark, _)| matches!(*mark, " " | "-" | "+")) {
        return None;
    }
    Some(Mutant {
        section: section.to_owned(),
        name,
        fault,
        file: file.to_owned(),
        seed: seed.parse().ok()?,
        original: all_but("+"),
        mutated: all_but("-"),
    })
}

/// Writes the seeds into the table.
pub(crate) fn write_seeds(mutants: &[Mutant]) {
    let mut text = fs::read_to_string(root().join(TABLE)).unwrap();
    for mutant in mutants {
        let head = format!("# {}\n{}\n{}, seed ", mutant.name, mutant.fault, mutant.file);
        let begin = text.find(&head).unwrap() + head.len();
        let end = begin + text[begin..].find('\n').unwrap();
        text.replace_range(begin..end, &mutant.seed.to_string());
    }
    fs::write(root().join(TABLE), text).unwrap();
}

/// The page, with the rows of the table in place of what it lists.
pub(crate) fn page_with(page: &str, mutants: &[Mutant]) -> String {
    const HEADING: &str = "## The mutants\n";
    let (before, _) = page.split_once(HEADING).unwrap();
    let mut page = format!("{before}{HEADING}");
    let mut section = "";
    for Mutant { section: of, name, fault, file, seed, .. } in mutants {
        if section != of {
            section = of;
            page += &format!("\n### {section}\n\n| name | fault | file | seed |\n|---|---|---|---|\n");
        }
        let shown = file.trim_start_matches("src/");
        page += &format!("| `{name}` | {fault} | [{shown}](../../{file}) | {seed} |\n");
    }
    page
}
