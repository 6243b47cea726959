//! The copy of the sources that has the mutants in it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::table::{Mutant, root};

/// What `lib.rs` has only in the copy.
const SWITCH: &str = r#"
/// Whether a mutant is switched on.
fn mutant(name: &str) -> bool {
    static NAME: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    NAME.get_or_init(|| std::env::var("FRAMELOOP_MUTANT").unwrap_or_default()) == name
}
"#;

/// The files that have mutants, by their paths, with all of them applied.
///
/// # Errors
///
/// Which mutants do not fit, and why.
pub(crate) fn mutate(mutants: &[Mutant]) -> Result<BTreeMap<&str, String>, Vec<String>> {
    let mut files = BTreeMap::from([("src/lib.rs", Vec::new())]);
    let mut errors = Vec::new();
    for mutant in mutants {
        files.entry(mutant.file.as_str()).or_default().push(mutant);
    }
    let mut mutated = BTreeMap::new();
    for (file, mutants) in files {
        let mut text = fs::read_to_string(root().join(file)).unwrap_or_default();
        let mut places = Vec::new();
        for mutant in mutants {
            match text.matches(&mutant.original).count() {
                1 => places.extend(text.find(&mutant.original).map(|begin| (begin, mutant))),
                count => errors.push(format!("{}: found {count} times in {file}:\n{}", mutant.name, mutant.original)),
            }
        }
        places.sort_by_key(|(begin, _)| *begin);
        for pair in places.windows(2) {
            if pair[0].0 + pair[0].1.original.len() > pair[1].0 {
                errors.push(format!("{} and {} overlap in {file}", pair[0].1.name, pair[1].1.name));
            }
        }
        for (begin, mutant) in places.into_iter().rev() {
            let switched = mutant.mutated.replace("mutant()", &format!("crate::mutant({:?})", mutant.name));
            text.replace_range(begin..begin + mutant.original.len(), &switched);
        }
        mutated.insert(file, text);
    }
    if errors.is_empty() { Ok(mutated) } else { Err(errors) }
}

/// Builds the library's tests with all mutants. Returns the path of the test binary.
pub(crate) fn build(mutants: &[Mutant]) -> String {
    let target = target_dir();
    let copy = target.join("mutants");
    let mut files = mutate(mutants).unwrap_or_else(|errors| panic!("{}", errors.join("\n")));
    files.entry("src/lib.rs").and_modify(|text| *text += SWITCH);
    fs::create_dir_all(&copy).unwrap();
    for entry in fs::read_dir(root()).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        let is_linked = !["src", "Cargo.toml", "Cargo.lock", ".git"].map(OsStr::new).contains(&name.as_os_str());
        if is_linked && path != target && !copy.join(&name).exists() {
            symlink(path, copy.join(name)).unwrap();
        }
    }
    // Another version, so that cargo does not take the copy for the project itself, whose target directory it shares.
    let version = |suffix: &str| format!("name = \"frameloop\"\nversion = \"{}{suffix}\"", env!("CARGO_PKG_VERSION"));
    for file in ["Cargo.toml", "Cargo.lock"] {
        let text = fs::read_to_string(root().join(file)).unwrap().replace(&version(""), &version("+mutants"));
        assert!(text.contains("+mutants"), "{file} has no version");
        write(&copy.join(file), text.as_bytes());
    }
    copy_sources(Path::new("src"), &copy, &files);

    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--lib", "--no-run", "--message-format=json"]).current_dir(&copy);
    let output = cargo.env("CARGO_TARGET_DIR", &target).output().unwrap();
    let messages = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{messages}", String::from_utf8_lossy(&output.stderr));
    let mut binaries = messages.lines().filter_map(|line| line.split_once("\"executable\":\"")?.1.split('"').next());
    binaries.next_back().unwrap().to_owned()
}

/// The directory that this test was built in.
fn target_dir() -> PathBuf {
    let binary = std::env::current_exe().unwrap();
    binary.ancestors().nth(3).unwrap().to_owned()
}

/// Copies a folder of sources, with its mutants. What has not changed is not written, so that it is not built again.
fn copy_sources(folder: &Path, copy: &Path, files: &BTreeMap<&str, String>) {
    fs::create_dir_all(copy.join(folder)).unwrap();
    let names = |folder: PathBuf| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    for name in names(copy.join(folder)).filter(|name| !root().join(folder).join(name).exists()) {
        let gone = copy.join(folder).join(name);
        if gone.is_dir() { fs::remove_dir_all(gone) } else { fs::remove_file(gone) }.unwrap();
    }
    for path in names(root().join(folder)).map(|name| folder.join(name)) {
        if root().join(&path).is_dir() {
            copy_sources(&path, copy, files);
            continue;
        }
        let mutated = path.to_str().and_then(|path| files.get(path)).map(|text| text.clone().into_bytes());
        let text = mutated.unwrap_or_else(|| fs::read(root().join(&path)).unwrap());
        write(&copy.join(&path), &text);
    }
}

/// Writes a file, if that changes it.
fn write(path: &Path, text: &[u8]) {
    if fs::read(path).ok().is_none_or(|before| before != text) {
        fs::write(path, text).unwrap();
    }
}
