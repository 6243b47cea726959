//! Files that results go to; every failure is one line with the file's name.

use std::fs::{self, OpenOptions};
use std::path::Path;

use crate::failure::Failure;

/// Sees whether a file can be written, before the run whose results go there. What it holds is left alone.
pub(crate) fn check_writable(path: &Path) -> Result<(), Failure> {
    let existed = path.exists();
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| Failure::run(format_args!("cannot write {}: {error}", path.display())))?;
    if !existed {
        // Nothing was written to it.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| Failure::run(format_args!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_whether_a_file_can_be_written_changes_nothing() {
        let path = std::env::temp_dir().join(format!("frameloop-file-{}", std::process::id()));
        check_writable(&path).unwrap();
        assert!(!path.exists());
        write(&path, b"kept").unwrap();
        check_writable(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        fs::remove_file(&path).unwrap();
        assert!(check_writable(&std::env::temp_dir()).is_err());
    }
}
