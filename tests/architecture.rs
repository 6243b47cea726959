//! Rules about the sources that no lint states; `Cargo.toml` and `clippy.toml` have the lints.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::{env, fs};

use proc_macro2::{TokenStream, TokenTree};

/// The crates, and the folders of each in which modules still import each other in a circle (none left: remove it).
const CRATES: [(&str, &[&str]); 3] = [
    ("src/lib.rs", &["addr", "fuzzing"]),
    ("src/bin/frameloop/main.rs", &["", "check::cases", "logging"]),
    ("benches/harness/main.rs", &[""]),
];
/// The library's modules by layer: each imports from lower layers or its own.
const LAYERS: [&str; 5] = ["wire config error addr", "conn", "handler net", "reactor", "client sim load fuzzing micro"];
/// Beginnings and ends of paths, and the only places where they may occur.
const PLACES: [(&str, &[&str]); 7] = [
    ("mio::", &["src/net/"]),
    ("slab::", &["src/reactor/"]),
    ("super::", &["benches/"]),
    ("unsafe_code", &["src/net/kernel.rs"]), // lifts the lint about `unsafe`
    ("disallowed_methods", &["src/lib.rs", "src/net/", "src/load/clock.rs"]), // lifts the one about clocks
    ("_be_bytes", &["src/wire.rs", "src/net/", "benches/"]),
    ("_le_bytes", &["src/wire.rs"]),
];
/// What names begin or end with that say nothing.
const VAGUE: [&str; 6] = ["get_", "do_", "manager", "util", "utils", "helper"];
const FILE_LINES_MAX: usize = 500;
const DEPENDENCIES: [&str; 5] = ["libc", "log", "mio", "slab", "socket2"];

/// The modules of a crate by their names: the file of each, and all paths in it outside tests, a word alone included.
type Modules = BTreeMap<String, (String, Vec<String>)>;

/// Adds the module in `file`, and those that it declares, which are in `folder`.
fn read(file: &str, folder: &str, name: &str, modules: &mut Modules) {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    assert!(code.lines().count() <= FILE_LINES_MAX, "{file} is longer than {FILE_LINES_MAX} lines");
    assert!(!["TODO", "FIXME", "XXX"].iter().any(|mark| text.contains(mark)), "{file} has a mark");
    let paths = paths(text.parse().unwrap(), "");
    for declared in paths.windows(2).filter(|two| two[0] == "mod").map(|two| &two[1]) {
        let (inner, name) = (format!("{folder}/{declared}"), format!("{name}::{declared}"));
        let files = [format!("{inner}.rs"), format!("{inner}/mod.rs")];
        if let Some(file) = files.iter().find(|file| fs::exists(file).unwrap()) {
            read(file, &inner, name.trim_start_matches(':'), modules);
        }
    }
    modules.insert(name.into(), (file.into(), paths));
}

/// The paths among tokens, those of a `use` with braces one by one, without items that only tests have.
fn paths(tokens: TokenStream, prefix: &str) -> Vec<String> {
    let (tokens, mut found, mut at) = (tokens.into_iter().collect::<Vec<_>>(), Vec::new(), 0);
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.to_string() == text);
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Punct(_) if is(at, "#") && is(at + 1, "[cfg (test)]") => {
                let ends = |token: &TokenTree| matches!(token.to_string().as_bytes(), [b'{', ..] | b";");
                at += tokens[at..].iter().take_while(|token| !ends(token)).count();
            }
            TokenTree::Group(group) => found.extend(paths(group.stream(), "")),
            TokenTree::Ident(word) if word == "as" => at += 1,
            TokenTree::Ident(word) => {
                let mut path = format!("{prefix}{word}");
                while is(at + 1, ":") && is(at + 2, ":") {
                    at += 3;
                    match tokens.get(at) {
                        Some(TokenTree::Ident(next)) => path += &format!("::{next}"),
                        Some(TokenTree::Group(group)) => found.extend(paths(group.stream(), &format!("{path}::"))),
                        _ => break,
                    }
                }
                found.push(path);
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The paths and names in a file that break a rule.
fn broken(file: &str, paths: &[String]) -> String {
    let layer = |name: &str| LAYERS.iter().position(|names| names.split(' ').any(|own| own == name));
    let own = file.split(['/', '.']).nth(1).and_then(layer);
    let is_broken = |path: &&String| {
        let is_misplaced = |(part, places): &(&str, &[&str])| {
            (path.starts_with(part) || path.ends_with(part)) && !places.iter().any(|place| file.starts_with(place))
        };
        let imported = path.strip_prefix("crate::").map(|path| layer(path.split(':').next().unwrap()));
        let is_upward = own.is_some() && imported.is_some_and(|layer| !(Some(0)..=own).contains(&layer));
        PLACES.iter().any(is_misplaced) || is_upward || path.starts_with("frameloop::") && file.contains("/check/")
    };
    let items = paths.windows(2).filter(|two| ["fn", "mod", "struct", "enum", "trait"].contains(&&two[0][..]));
    let is_vague = |name: &&String| VAGUE.iter().any(|part| name.starts_with(part) || name.ends_with(part));
    let vague = items.map(|two| &two[1]).filter(is_vague);
    paths.iter().filter(is_broken).chain(vague).cloned().collect::<Vec<_>>().join(" ")
}

/// The modules that import themselves by way of others. A module imports the longest prefix of each path that is one.
fn on_cycles(modules: &Modules) -> Vec<&String> {
    let imports = |from: &String| {
        let paths = modules[from].1.iter().filter(|path| path.contains("::"));
        let found = paths.map(|path| {
            let path = path.strip_prefix("crate::").map_or(format!("{from}::{path}"), String::from);
            let mut prefix = path.trim_start_matches(':');
            while !modules.contains_key(prefix) {
                prefix = prefix.rsplit_once("::").map_or("", |(shorter, _)| shorter);
            }
            prefix.to_owned()
        });
        found.filter(|name| name != from).collect::<BTreeSet<_>>()
    };
    let imports: BTreeMap<_, _> = modules.keys().map(|name| (name, imports(name))).collect();
    let is_on_cycle = |name: &&String| {
        let (mut seen, mut queue) = (BTreeSet::new(), vec![*name]);
        while let Some(from) = queue.pop() {
            queue.extend(imports[from].iter().filter(|import| seen.insert(*import)));
        }
        seen.contains(name)
    };
    modules.keys().filter(is_on_cycle).collect()
}

#[test]
fn modules_keep_the_rules() {
    for (root, cyclic) in CRATES {
        let mut modules = Modules::new();
        read(root, root.rsplit_once('/').unwrap().0, "", &mut modules);
        for (file, paths) in modules.values() {
            assert_eq!(broken(file, paths), "", "{file}");
        }
        let mut found = on_cycles(&modules);
        assert!(cyclic.iter().all(|entry| found.iter().any(|name| name.starts_with(entry))), "outdated: {cyclic:?}");
        found.retain(|name| !cyclic.iter().any(|entry| name.starts_with(entry)));
        assert!(found.is_empty(), "modules of {root} import each other in a circle: {found:?}");
    }
}

#[test]
fn violations_are_found() {
    let broken = |file: &str, text: &str| broken(file, &paths(text.parse().unwrap(), ""));
    let text = "use crate::{wire::A, reactor::B}; fn f(x: A) { assert!(crate::sim::g(mio::C, \"mio::D\")) } // slab::E";
    assert_eq!(broken("src/conn/turn.rs", text), "crate::reactor::B crate::sim::g mio::C");
    assert_eq!(broken("src/reactor/turn.rs", text), "crate::sim::g mio::C");
    assert_eq!(broken("src/conn/turn.rs", "#[cfg(test)] mod tests { use mio::A; } use super::B;"), "super::B");
    assert_eq!(broken("src/addr.rs", "fn get_a() { b.to_be_bytes() } mod util;"), "to_be_bytes get_a util");
    assert_eq!(
        broken("src/bin/frameloop/check/wire.rs", "use frameloop::A; #[allow(unsafe_code)] mod b;"),
        "frameloop::A unsafe_code"
    );
    let module = |name: &str, text: &str| (name.into(), (name.into(), paths(text.parse().unwrap(), "")));
    let mut modules = Modules::from([module("", "pub use a::A;"), module("a", "use b::B;"), module("a::b", "")]);
    assert_eq!(on_cycles(&modules), [""; 0]);
    modules.extend([module("a::b", "fn f() { crate::a::C }")]);
    assert_eq!(on_cycles(&modules), ["a", "a::b"]);
}

#[test]
fn embedder_gets_few_crates() {
    let tree = ["tree", "-e", "normal", "--no-default-features", "--prefix", "depth", "--locked", "--offline"];
    let output = Command::new(env!("CARGO")).args(tree).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap().replace(" (*)", "");
    let direct = tree.lines().filter_map(|line| line.strip_prefix('1')?.split(' ').next());
    assert_eq!(direct.collect::<Vec<_>>(), DEPENDENCIES);
    assert!(tree.lines().map(|line| &line[1..]).collect::<BTreeSet<_>>().len() <= 12, "{tree}");
}
