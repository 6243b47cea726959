//! Finds and compiles the C programs of the benchmarks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Result;

/// The compiled helpers.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) floor: PathBuf,
    pub(crate) load: PathBuf,
    pub(crate) leash: PathBuf,
    /// Where they lie, and where servers log.
    pub(crate) folder: PathBuf,
}

const LOAD: [&str; 9] = ["load.c", "net.c", "stream.c", "hist.c", "echo.c", "churn.c", "silent.c", "pace.c", "open.c"];

/// Compiles all three, every time: it takes less than a second.
pub(crate) fn tools() -> Result<Tools> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    let one = |name: &str, files: &[&str], within: &str| {
        let files: Vec<_> = files.iter().map(|file| sources.join(within).join(file)).collect();
        compile(&files, folder.join(name))
    };
    Ok(Tools {
        floor: one("floor", &["floor.c"], "peers")?,
        load: one("load", &LOAD, "load")?,
        leash: one("leash", &["leash.c"], "load")?,
        folder,
    })
}

/// One for each process: two runs at once must not share their binaries.
fn folder() -> PathBuf {
    let base = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    base.join(format!("floor-{}", std::process::id()))
}

fn compile(sources: &[PathBuf], binary: PathBuf) -> Result<PathBuf> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(&compiler)
        .args(["-std=gnu11", "-O2", "-o"])
        .arg(&binary)
        .args(sources)
        .status()
        .map_err(|error| format!("a C compiler is needed, and {compiler} does not run: {error}"))?;
    if !status.success() {
        return Err(format!("{compiler} could not compile {}", binary.display()).into());
    }
    Ok(binary)
}

/// Whether a program can be run at all.
pub(crate) fn installed(program: &str, version: &str) -> bool {
    Command::new(program).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

impl Drop for Tools {
    fn drop(&mut self) {
        // Nothing is lost when this fails: the folder lies below `target`.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
