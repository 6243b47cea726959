//! Rules about the sources, checked by reading them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "architecture/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use source::{Source, Token};

/// Modules by layer. A module imports from lower layers, and from its own layer where that makes no cycle.
const LAYERS: &[(&str, u8)] = &[
    ("frame", 0),
    ("config", 0),
    ("error", 0),
    ("addr", 0),
    ("planted", 0),
    ("conn", 1),
    ("handler", 2),
    ("reactor", 3),
    ("client", 4),
    ("sim", 4),
    ("load", 4),
    ("fuzzing", 4),
    ("micro", 4),
    // No file: what `lib.rs` shows of the seam. Whoever is part of it imports from where it is defined.
    ("net", 4),
];

/// Modules that import from these and no others, whatever their layer.
const IMPORTS_ONLY: [(&str, &[&str]); 1] = [("client", &["addr", "frame"])];

/// Crates, and where alone they may be named.
const CRATES: [(&str, &str); 2] = [("mio", "src/reactor/"), ("slab", "src/reactor/")];

/// Where the clock may be read.
const CLOCK: [&str; 3] = ["src/reactor/net.rs", "src/load/clock.rs", "src/bin/"];

/// The only file that knows the wire format.
const WIRE: &str = "src/frame.rs";

/// The only other one that turns integers into bytes: it talks to the kernel.
const NETLINK: &str = "src/reactor/net/unix_queue.rs";

/// Where the grader lies.
const GRADER: &str = "src/bin/frameloop/check/";

/// What turns integers into bytes of an order, and back.
const BYTE_ORDER: [&str; 11] = [
    "to_be_bytes",
    "from_be_bytes",
    "to_le_bytes",
    "from_le_bytes",
    "to_ne_bytes",
    "from_ne_bytes",
    "swap_bytes",
    "to_be",
    "from_be",
    "to_le",
    "from_le",
];

const FILE_LINES_MAX: usize = 500;
const FN_LINES_MAX: usize = 70;

/// Marks of something left undone, written apart, so that this file has none of them.
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
/// Beginnings and ends of names that say nothing.
const EMPTY_PREFIXES: [&str; 2] = ["get_", "do_"];
const EMPTY_SUFFIXES: [&str; 5] = ["manager", "util", "utils", "helper", "helpers"];

/// Crates that an embedder gets with the library, itself included, at most.
const CRATES_MAX: usize = 12;
/// Crates that only the command line needs.
const CLI_CRATES: [&str; 3] = ["clap", "env_logger", "signal-hook"];

type Rule = fn(&Source) -> Vec<String>;

#[track_caller]
fn assert_holds(rule: Rule) {
    let broken: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn sources() -> Vec<Source> {
    let sources = Source::all(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(sources.len() > 10, "only {} sources were found", sources.len());
    sources
}

// What each rule says.

fn imports_point_downward(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some(layer) = layer_of(module) else {
        return vec![source.at(1, &format!("the module `{module}` has no layer"))];
    };
    let mut broken = Vec::new();
    for (line, import) in source.imports() {
        if import == module {
            continue;
        }
        let only = IMPORTS_ONLY.iter().find(|(name, _)| *name == module);
        let complaint = match (layer_of(import), only) {
            (None, _) => format!("`crate::{import}` is no module with a layer; import from where it is defined"),
            (Some(_), Some((_, allowed))) if !allowed.contains(&import) => {
                format!("`{module}` may import {allowed:?} only, and imports `{import}`")
            }
            (Some(other), None) if other > layer => {
                format!("`{module}` (layer {layer}) imports upward from `{import}` (layer {other})")
            }
            _ => continue,
        };
        broken.push(source.at(line, &complaint));
    }
    let parents = source.code.windows(2).filter(|pair| pair[0].text == "super" && pair[1].text == "::");
    broken.extend(parents.map(|pair| source.at(pair[0].line, "`super::`: write the path from the crate's root")));
    broken
}

fn layer_of(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// A cycle among modules, as the names on it.
fn cycle(sources: &[Source]) -> Option<Vec<String>> {
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in sources {
        let Some(module) = source.module() else { continue };
        let imports = source.imports().into_iter().map(|(_, import)| import).filter(|import| *import != module);
        graph.entry(module).or_default().extend(imports);
    }
    graph.keys().find_map(|start| path_back(&graph, start, start, &mut BTreeSet::new()))
}

fn path_back<'a>(
    graph: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    from: &'a str,
    to: &str,
    seen: &mut BTreeSet<&'a str>,
) -> Option<Vec<String>> {
    graph.get(from)?.iter().find_map(|&next| {
        if next == to {
            return Some(vec![from.into(), next.into()]);
        }
        if !seen.insert(next) {
            return None;
        }
        let mut path = path_back(graph, next, to, seen)?;
        path.insert(0, from.into());
        Some(path)
    })
}

fn crates_are_named_only_in_their_place(source: &Source) -> Vec<String> {
    let named = |pair: &[Token]| {
        let (name, place) = CRATES.iter().find(|(name, _)| {
            (pair[0].text == *name && pair[1].text == "::") || (pair[0].text == "use" && pair[1].text == *name)
        })?;
        (!source.path.starts_with(place)).then(|| source.at(pair[1].line, &format!("`{name}` belongs under {place}")))
    };
    source.code.windows(2).filter_map(named).collect()
}

fn the_clock_is_read_only_at_the_seam(source: &Source) -> Vec<String> {
    if CLOCK.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let reads = |three: &[Token]| {
        let [a, b, c] = three else { return false };
        let is_clock = a.text == "Instant" || a.text == "SystemTime";
        (is_clock && b.text == "::" && c.text == "now") || (a.text == "." && b.text == "elapsed" && c.text == "(")
    };
    let read = source.code.windows(3).filter(|three| reads(three));
    read.map(|three| source.at(three[2].line, &format!("the clock is read only in {CLOCK:?}"))).collect()
}

fn only_one_file_knows_the_wire(source: &Source) -> Vec<String> {
    if source.path == WIRE || source.path == NETLINK {
        return Vec::new();
    }
    let orders = source.code.iter().filter(|token| BYTE_ORDER.contains(&token.text.as_str()));
    orders.map(|token| source.at(token.line, &format!("`{}` belongs into {WIRE}", token.text))).collect()
}

/// The grader, which must not share the server's mistakes.
fn the_grader_imports_nothing_of_the_library(source: &Source) -> Vec<String> {
    if !source.path.starts_with(GRADER) {
        return Vec::new();
    }
    let imports = source.tokens.windows(2).filter(|two| two[0].text == "frameloop" && two[1].text == "::");
    imports.map(|two| source.at(two[0].line, "the grader shares nothing with the server")).collect()
}

/// The only file that may call the kernel by way of `unsafe`.
const UNSAFE: &str = "src/reactor/net/kernel.rs";

fn nothing_else_is_unsafe(source: &Source) -> Vec<String> {
    let is_word = |text: &str| text == "unsafe" || text == "unsafe_code";
    let unsafes = source.tokens.iter().filter(|token| is_word(&token.text) && source.path != UNSAFE);
    unsafes.map(|token| source.at(token.line, "`unsafe`")).collect()
}

fn files_and_functions_are_short(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    let lines = source.code.last().map_or(0, |token| token.line);
    if lines > FILE_LINES_MAX {
        let complaint = format!("{lines} lines before the tests, and {FILE_LINES_MAX} are allowed");
        broken.push(source.at(lines, &complaint));
    }
    for (name, first, last) in source.functions() {
        let lines = last - first + 1;
        if lines > FN_LINES_MAX {
            let complaint = format!("`{name}` has {lines} lines, and {FN_LINES_MAX} are allowed");
            broken.push(source.at(first, &complaint));
        }
    }
    broken
}

fn nothing_is_marked_as_left_undone(source: &Source) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let lines = source.text.lines().enumerate();
    lines
        .flat_map(|(index, line)| {
            let marks = line.split(|c| !is_word(c)).filter(|word| MARKS.contains(word));
            marks.map(move |mark| source.at(index + 1, mark))
        })
        .collect()
}

fn names_say_something(source: &Source) -> Vec<String> {
    let says_nothing = |name: &str| {
        let lower = name.to_lowercase();
        EMPTY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || EMPTY_SUFFIXES.iter().any(|suffix| lower.ends_with(suffix))
    };
    let named = source.tokens.windows(2).filter(|pair| {
        let is_definition = ["fn", "mod", "struct", "enum", "trait", "type"].contains(&pair[0].text.as_str());
        is_definition && says_nothing(&pair[1].text)
    });
    named.map(|pair| source.at(pair[1].line, &format!("the name `{}` says nothing", pair[1].text))).collect()
}

fn every_state_is_named_where_the_state_decides(source: &Source) -> Vec<String> {
    if !source.path.starts_with("src/conn/") {
        return Vec::new();
    }
    let code = &source.code;
    let head = ["match", "self", ".", "state", "{"];
    let matches = (0..code.len()).filter(|at| {
        let texts = code[*at..].iter().map(|token| token.text.as_str());
        texts.take(head.len()).eq(head)
    });
    let mut broken = Vec::new();
    for at in matches {
        let open = at + head.len() - 1;
        let mut depth = 0;
        for index in open..source::closing(code, open) {
            depth += source::depth_change(&code[index].text);
            let begins_arm = depth == 1 && ["{", "}", ",", "|"].contains(&code[index].text.as_str());
            if begins_arm && code[index + 1].text == "_" {
                broken.push(source.at(code[index + 1].line, "`_` in a match on the state: name the states"));
            }
        }
    }
    broken
}

// That they hold.

#[test]
fn imports_point_downward_only() {
    assert_holds(imports_point_downward);
}

#[test]
fn modules_do_not_import_each_other_in_a_circle() {
    assert_eq!(cycle(&sources()), None);
}

#[test]
fn mio_and_slab_are_named_only_in_the_reactor() {
    assert_holds(crates_are_named_only_in_their_place);
}

#[test]
fn the_clock_is_read_in_one_place() {
    assert_holds(the_clock_is_read_only_at_the_seam);
}

#[test]
fn the_wire_format_is_known_to_one_file() {
    assert_holds(only_one_file_knows_the_wire);
}

#[test]
fn the_grader_shares_nothing_with_the_server() {
    assert_holds(the_grader_imports_nothing_of_the_library);
}

#[test]
fn unsafe_code_is_denied_and_stands_in_one_file() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let lints = manifest.split("[lints.rust]").nth(1).expect("Cargo.toml has no [lints.rust]");
    let lints = lints.split("\n[").next().unwrap();
    assert!(lints.lines().any(|line| line == "unsafe_code = \"deny\""), "Cargo.toml does not deny unsafe code");
    assert_holds(nothing_else_is_unsafe);
    assert!(sources().iter().any(|source| source.path == UNSAFE), "{UNSAFE} is allowed and not there");
}

#[test]
fn no_file_and_no_function_is_long() {
    assert_holds(files_and_functions_are_short);
}

#[test]
fn nothing_is_left_undone() {
    assert_holds(nothing_is_marked_as_left_undone);
}

#[test]
fn no_name_is_empty_of_meaning() {
    assert_holds(names_say_something);
}

#[test]
fn no_state_of_a_connection_is_left_to_a_wildcard() {
    assert_holds(every_state_is_named_where_the_state_decides);
}

#[test]
fn an_embedder_gets_few_crates_and_none_of_the_command_line() {
    let tree = ["tree", "-e", "normal", "--no-default-features", "--prefix", "none", "--locked", "--offline"];
    let output = Command::new(env!("CARGO")).args(tree).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    if !output.status.success() {
        println!("skipped: cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    assert_eq!(too_many_crates(&String::from_utf8(output.stdout).unwrap()), None);
}

fn too_many_crates(tree: &str) -> Option<String> {
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let of_cli: Vec<_> = names.iter().filter(|name| CLI_CRATES.contains(name)).collect();
    if names.len() > CRATES_MAX || names.is_empty() {
        return Some(format!("{} crates, and {CRATES_MAX} are allowed: {names:?}", names.len()));
    }
    (!of_cli.is_empty()).then(|| format!("the library does not need {of_cli:?}"))
}

// That they would be found broken.

/// The lines on which a rule finds a file of this path and text broken.
fn lines_broken(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    let broken = rule(&Source::new(path, text));
    broken.iter().map(|complaint| complaint.split(':').nth(1).unwrap().parse().unwrap()).collect()
}

#[test]
fn an_upward_import_is_found() {
    let rule = imports_point_downward;
    let text = "use crate::frame::A;\nuse crate::reactor::B;\nuse crate::{error::C, handler::{D, E}};\n\
                fn f() { crate::handler::g() }\n#[cfg(test)]\nmod tests { use crate::reactor::H; use super::*; }\n";
    assert_eq!(lines_broken(rule, "src/conn/run.rs", text), [2, 3, 4]);
    assert_eq!(lines_broken(rule, "src/reactor/mod.rs", text), []);
    assert_eq!(lines_broken(rule, "src/conn/run.rs", "use crate::Reactor;\nuse super::B;\n"), [1, 2]);
    assert_eq!(lines_broken(rule, "src/client.rs", "use crate::frame::A;\nuse crate::config::B;\n"), [2]);
    assert_eq!(lines_broken(rule, "src/unheard_of.rs", ""), [1]);
    assert_eq!(
        lines_broken(rule, "src/conn/mod.rs", "// use crate::reactor::A;\nconst S: &str = \"crate::sim::B\";"),
        []
    );
}

#[test]
fn a_circle_is_found() {
    let file = |path, text| Source::new(path, text);
    let mut sources = vec![
        file("src/error.rs", "use crate::addr::A;"),
        file("src/addr.rs", "use crate::config::B;"),
        file("src/config.rs", "use crate::frame::C;"),
    ];
    assert_eq!(cycle(&sources), None);
    sources.push(file("src/config.rs", "use crate::{error::D};"));
    let names = cycle(&sources).unwrap();
    assert_eq!((names.len(), names.first()), (4, names.last()));
}

#[test]
fn a_crate_out_of_its_place_is_found() {
    let rule = crates_are_named_only_in_their_place;
    let text =
        "use mio::Poll;\nfn f(poll: &mio::Poll) { self.slab.get(1); }\nuse slab::Slab;\n/// mio::Poll\nfn g() {}";
    assert_eq!(lines_broken(rule, "src/conn/mod.rs", text), [1, 1, 2, 3, 3]);
    assert_eq!(lines_broken(rule, "src/reactor/net.rs", text), []);
}

#[test]
fn a_look_at_the_clock_is_found() {
    let rule = the_clock_is_read_only_at_the_seam;
    let text = "fn f() {\n let a = Instant::now();\n a.elapsed();\n std::time::SystemTime::now();\n}\n\
                fn g(now: Instant) {}\n#[cfg(test)]\nmod tests { fn f() { Instant::now() } }";
    assert_eq!(lines_broken(rule, "src/reactor/mod.rs", text), [2, 3, 4]);
    assert_eq!(lines_broken(rule, "src/reactor/net.rs", text), []);
    assert_eq!(lines_broken(rule, "src/bin/frameloop/serve.rs", text), []);
}

#[test]
fn knowledge_of_the_wire_is_found() {
    let rule = only_one_file_knows_the_wire;
    let text = "/// x.to_be_bytes()\nfn f(x: u32) {\n x.to_be_bytes();\n u32::from_le_bytes(y); x.swap_bytes();\n}";
    assert_eq!(lines_broken(rule, "src/conn/decoder.rs", text), [3, 4, 4]);
    assert_eq!(lines_broken(rule, "src/frame.rs", text), []);
}

#[test]
fn an_import_of_the_library_is_found_in_the_grader() {
    let rule = the_grader_imports_nothing_of_the_library;
    let text =
        "//! frameloop::frame\nuse crate::check::wire;\nuse frameloop::frame;\nconst NAME: &str = \"frameloop\";";
    assert_eq!(lines_broken(rule, "src/bin/frameloop/check/peer.rs", text), [3]);
    assert_eq!(lines_broken(rule, "src/bin/frameloop/load.rs", text), []);
}

#[test]
fn unsafe_code_is_found_also_in_tests() {
    let text = "// unsafe\nconst S: &str = \"unsafe\";\n#[cfg(test)]\nmod tests {\n unsafe fn f() {}\n}";
    assert_eq!(lines_broken(nothing_else_is_unsafe, "src/frame.rs", text), [5]);
    assert_eq!(lines_broken(nothing_else_is_unsafe, UNSAFE, text), []);
    assert_eq!(lines_broken(nothing_else_is_unsafe, "src/frame.rs", "#![allow(unsafe_code)]\n"), [1]);
}

#[test]
fn a_long_file_and_a_long_function_are_found() {
    let rule = files_and_functions_are_short;
    let function = |lines: usize| format!("fn f(a: [u8; 4])\nwhere A: B,\n{{{}}}\n", "x();\n".repeat(lines - 3));
    assert_eq!(lines_broken(rule, "src/frame.rs", &function(FN_LINES_MAX)), []);
    assert_eq!(lines_broken(rule, "src/frame.rs", &function(FN_LINES_MAX + 1)), [1]);
    let braces = "fn f() {\n let a = '{'; let b = \"{\"; let c: &'a str = r#\"{\"#; // {\n}\n".to_owned();
    assert_eq!(lines_broken(rule, "src/frame.rs", &(braces + &"const A: u8 = 1;\n".repeat(80))), []);

    let long = "const A: u8 = 1;\n".repeat(FILE_LINES_MAX);
    let tests = "#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(lines_broken(rule, "src/frame.rs", &format!("{long}{tests}")), []);
    assert_eq!(lines_broken(rule, "src/frame.rs", &format!("{long}const B: u8 = 1;\n{tests}")), [FILE_LINES_MAX + 1]);
}

#[test]
fn a_mark_of_something_left_undone_is_found() {
    let [todo, fixme, xxx] = MARKS;
    let text = format!("// nothing to do\n// {todo}: this\nfn f() {{}} // {fixme}\n// {xxx}_ is another word\n");
    assert_eq!(lines_broken(nothing_is_marked_as_left_undone, "src/frame.rs", &text), [2, 3]);
}

#[test]
fn a_name_empty_of_meaning_is_found() {
    let text = "fn get_frame() {}\nfn target() {}\nmod util {}\nstruct ConnManager;\nfn do_it() {}\nfn undo_it() {}";
    assert_eq!(lines_broken(names_say_something, "src/frame.rs", text), [1, 3, 4, 5]);
}

#[test]
fn a_wildcard_over_the_states_is_found() {
    let rule = every_state_is_named_where_the_state_decides;
    let text = "fn f(&self) {\n match self.state {\n  State::A { x: _, .. } => { match y { _ => 1 } }\n  _ => 2,\n }\n}\n\
                fn g(&self) {\n match self.state {\n  State::A(_) => 1,\n  _ if true => 2,\n }\n match x { _ => 3 }\n}";
    assert_eq!(lines_broken(rule, "src/conn/mod.rs", text), [4, 10]);
    assert_eq!(lines_broken(rule, "src/client.rs", text), []);
}

#[test]
fn too_many_crates_and_those_of_the_command_line_are_found() {
    assert_eq!(too_many_crates("frameloop v0.1.0 (/x)\nlog v0.4.0\nlog v0.4.0\n"), None);
    assert!(too_many_crates("frameloop v0.1.0\nclap v4.0.0\n").unwrap().contains("clap"));
    let many: String = (0..=CRATES_MAX).map(|number| format!("crate-{number} v1.0.0\n")).collect();
    assert!(too_many_crates(&many).unwrap().starts_with("13 crates"));
    assert!(too_many_crates("").is_some());
}
