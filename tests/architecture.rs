//! Rules about the sources that no lint states; `Cargo.toml` and `clippy.toml` have the lints.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, iter, process};

use proc_macro2::{TokenStream, TokenTree};

/// The roots of the crates, within which modules import each other without cycles.
const CRATES: [&str; 3] = ["src/lib.rs", "src/bin/frameloop/main.rs", "benches/harness/main.rs"];
/// The library's modules by layer: each imports from lower layers or its own.
const LAYERS: [&str; 5] = [
    "wire config error address id lint options histogram",
    "conn",
    "handler reach info net stats",
    "reactor",
    "client sim load fuzzing micro",
];
/// Beginnings and ends of paths, and the only places where they may occur: two of them lift lints (clocks, `unsafe`).
const PLACES: [(&[&str], &[&str]); 6] = [
    (&["mio::"], &["src/net/"]),
    (&["slab::"], &["src/reactor/"]),
    (&["super::"], &["benches/"]),
    (&["unsafe_code"], &["src/net/kernel.rs"]),
    (&["disallowed_methods"], &["src/lib.rs", "src/net/", "src/load/clock.rs"]),
    (&["_be_bytes", "_le_bytes"], &["src/wire", "src/net/", "benches/"]),
];

/// The modules of a crate by their names: the file of each, and all paths in it outside tests, a word alone included.
type Modules = BTreeMap<String, (String, Vec<String>)>;

/// Adds the module in `file`, and those that it declares, which are in `folder`.
fn read(file: &str, folder: &str, name: &str, modules: &mut Modules) {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count();
    let is_done =
        ![concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")].iter().any(|mark| text.contains(mark));
    assert!(lines <= 500 && is_done, "{file} has {lines} lines, or is marked as not done");
    let paths = paths(text.parse().unwrap(), "");
    for declared in paths.windows(2).filter(|two| two[0] == "mod").map(|two| &two[1]) {
        let (inner, name) = (format!("{folder}/{declared}"), format!("{name}::{declared}"));
        let files = [format!("{inner}.rs"), format!("{inner}/mod.rs")].into_iter();
        let mut found = files.filter(|file| fs::exists(file).unwrap());
        found.next().inspect(|file| read(file, &inner, name.trim_start_matches(':'), modules));
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
                let is_end = |token: &&TokenTree| b"{;".contains(&token.to_string().as_bytes()[0]);
                at += tokens[at..].iter().take_while(|token| !is_end(token)).count();
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
        let is_misplaced = |(parts, places): &(&[&str], &[&str])| {
            let occurs = parts.iter().any(|part| path.starts_with(part) || path.ends_with(part));
            occurs && !places.iter().any(|place| file.starts_with(place))
        };
        let imported = path.strip_prefix("crate::").map(|path| layer(path.split(':').next().unwrap()));
        let is_upward = own.is_some() && imported.is_some_and(|layer| !(Some(0)..=own).contains(&layer));
        PLACES.iter().any(is_misplaced) || is_upward || path.starts_with("frameloop::") && file.contains("/check/")
    };
    let items = paths.windows(2).filter(|two| ["fn", "mod", "struct", "enum", "trait"].contains(&&two[0][..]));
    let vague = ["get_", "do_", "manager", "util", "utils", "helper"];
    let is_vague = |name: &&String| vague.iter().any(|part| name.starts_with(part) || name.ends_with(part));
    let found = paths.iter().filter(is_broken).chain(items.map(|two| &two[1]).filter(is_vague));
    found.cloned().collect::<Vec<_>>().join(" ")
}

/// The modules on cycles of imports, and between two such cycles. A module imports the longest prefix of each path that is one.
fn on_cycles(modules: &Modules) -> Vec<&String> {
    let imports = |from: &String| {
        let paths = modules[from].1.iter().filter(|path| path.contains("::"));
        let found = paths.map(|path| {
            let path = path.strip_prefix("crate::").map_or(format!("{from}::{path}"), String::from);
            let mut prefixes =
                iter::successors(Some(path.trim_start_matches(':')), |path| Some(path.rsplit_once("::")?.0));
            prefixes.find(|prefix| modules.contains_key(*prefix)).unwrap_or_default().to_owned()
        });
        found.filter(|name| name != from).collect::<BTreeSet<_>>()
    };
    let mut left: BTreeMap<_, _> = modules.keys().map(|name| (name, imports(name))).collect();
    let is_free = |left: &BTreeMap<&String, BTreeSet<String>>, name: &String| {
        !left[name].iter().any(|import| left.contains_key(import)) || !left.values().any(|found| found.contains(name))
    };
    while let Some(name) = left.keys().copied().find(|name| is_free(&left, name)) {
        left.remove(name);
    }
    left.into_keys().collect()
}

#[test]
fn modules_keep_the_rules() {
    let mut cyclic = Vec::new();
    for root in CRATES {
        let mut modules = Modules::new();
        read(root, root.rsplit_once('/').unwrap().0, "", &mut modules);
        modules.values().for_each(|(file, paths)| assert_eq!(broken(file, paths), "", "{file}"));
        cyclic.extend(on_cycles(&modules).into_iter().map(|name| modules[name].0.clone()));
    }
    assert_eq!(cyclic, Vec::<String>::new(), "are on cycles of imports");
}

#[test]
fn violations_are_found() {
    let broken = |file: &str, text: &str| broken(file, &paths(text.parse().unwrap(), ""));
    let text = "use crate::{wire::A, reactor::B}; fn f(x: A) { assert!(crate::sim::g(mio::C, \"mio::D\")) } // slab::E";
    assert_eq!(broken("src/conn/turn.rs", text), "crate::reactor::B crate::sim::g mio::C");
    assert_eq!(broken("src/conn/turn.rs", "#[cfg(test)] mod tests { use mio::A; } use super::B;"), "super::B");
    assert_eq!(broken("src/address.rs", "fn get_a() { b.to_be_bytes() } mod util;"), "to_be_bytes get_a util");
    assert_eq!(broken("src/bin/check/a.rs", "use frameloop::A; #[x(unsafe_code)] b;"), "frameloop::A unsafe_code");
    let module = |name: &str, text: &str| (name.into(), (name.into(), paths(text.parse().unwrap(), "")));
    let texts = [module("", "pub use a::A;"), module("a", "use b::{c, d};"), module("a::b", "fn f() { crate::a::C }")];
    assert_eq!(on_cycles(&Modules::from(texts)), ["a", "a::b"]);
}

#[test]
fn embedder_gets_few_crates() {
    let tree = ["tree", "-e", "normal", "--no-default-features", "--prefix", "none", "--locked", "--offline"];
    let output = process::Command::new(env!("CARGO")).args(tree).output().unwrap();
    let tree = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(crates, BTreeSet::from(["bytes", "frameloop", "libc", "log", "mio", "slab", "socket2"]), "{output:?}");
}
