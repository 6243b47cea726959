//! Files that results go to; every failure is one line with the file's name.
//!
//! Rules: a file that cannot be written is reported before the run where that can be known; what a path held stays there
//! until what replaces it is whole; no two outputs of a command go to the same file; and no output replaces an input.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::output;
use crate::streams::Stream;

/// The destination of an output, checked to be writable.
#[derive(Debug)]
pub(crate) struct Destination {
    /// The path as given.
    name: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Stdout,
    /// A device or a pipe, which nothing can replace.
    Opened(File),
    /// A file, with all links followed.
    File(PathBuf),
}

/// An open output. A file gets its name when it is finished.
#[derive(Debug)]
pub(crate) struct Output {
    name: String,
    out: Out,
    /// The temporary path of a file, and its own.
    rename: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug)]
enum Out {
    Stdout(Stream<io::Stdout>),
    File(File),
}

impl Destination {
    /// Checks that a path can be written; `-` is stdout. The file keeps its content.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        if path == Path::new("-") || is_stdout(path) {
            return Ok(Self { name, place: Place::Stdout });
        }
        let place = place_of(path).map_err(|error| cannot_write(&name, &error))?;
        Ok(Self { name, place })
    }

    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self.place, Place::Stdout)
    }

    /// Whether both are the same file. Several outputs may go to one device or pipe.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Place::Stdout, Place::Stdout) => true,
            (Place::File(ours), Place::File(theirs)) => {
                ours == theirs || inode_of(ours).is_some_and(|ours| inode_of(theirs) == Some(ours))
            }
            _ => false,
        }
    }

    /// Whether writing the output would replace the file that `path` leads to; `-` is stdin.
    pub(crate) fn replaces(&self, path: &Path) -> bool {
        let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
        match &self.place {
            Place::File(ours) => inode_of(ours).is_some_and(|ours| inode_of(path) == Some(ours)),
            Place::Stdout | Place::Opened(_) => false,
        }
    }

    /// Opens the output.
    pub(crate) fn open(self) -> Result<Output, Failure> {
        let Self { name, place } = self;
        let (out, rename) = match place {
            Place::Stdout => (Out::Stdout(output::open().map_err(Failure::Stdout)?), None),
            Place::Opened(file) => (Out::File(file), None),
            Place::File(path) => {
                let (temporary, file) = temporary_for(&path).map_err(|error| cannot_write(&name, &error))?;
                (Out::File(file), Some((temporary, path)))
            }
        };
        Ok(Output { name, out, rename })
    }

    /// Writes all bytes, and removes the temporary file if that fails.
    pub(crate) fn write(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut output = self.open()?;
        match output.write_all(bytes) {
            Ok(()) => output.finish(),
            Err(error) => {
                if let Some((temporary, _)) = &output.rename {
                    let _ = fs::remove_file(temporary);
                }
                Err(output.failure(&error))
            }
        }
    }
}

impl Output {
    /// Gives a file its name, after the last write.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Some((temporary, path)) = &self.rename else { return Ok(()) };
        // The new file has the permissions of the one that it replaces.
        if let Ok(replaced) = fs::metadata(path) {
            let _ = fs::set_permissions(temporary, replaced.permissions());
        }
        fs::rename(temporary, path).map_err(|error| self.failure(&error))
    }

    /// The failure of a write.
    pub(crate) fn failure(&self, error: &io::Error) -> Failure {
        if matches!(self.out, Out::Stdout(_)) {
            return Failure::Stdout(io::Error::from(error.kind()));
        }
        match &self.rename {
            Some((temporary, _)) if temporary.exists() => Failure::run(format_args!(
                "cannot write {}: {error}; what was written before is in {}",
                self.name,
                temporary.display()
            )),
            _ => cannot_write(&self.name, error),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Out::Stdout(stdout) => stdout.write(bytes),
            Out::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cannot_write(name: &str, error: &io::Error) -> Failure {
    Failure::run(format_args!("cannot write {name}: {error}"))
}

fn place_of(path: &Path) -> io::Result<Place> {
    let path = followed(path)?;
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return Err(ErrorKind::IsADirectory.into()),
        Ok(metadata) if !metadata.is_file() => return OpenOptions::new().write(true).open(path).map(Place::Opened),
        // The file is replaced as a whole, but only if it may be written.
        Ok(_) => drop(OpenOptions::new().append(true).open(&path)?),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let (temporary, _) = temporary_for(&path)?;
    fs::remove_file(temporary)?;
    Ok(Place::File(path))
}

/// The path with all links followed, even if it leads to no file yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::canonicalize(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            outcome => return outcome,
        }
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let folder = fs::canonicalize(folder)?;
        match fs::read_link(&path) {
            Ok(target) => path = folder.join(target),
            Err(_) => return path.file_name().map(|name| folder.join(name)).ok_or(ErrorKind::NotFound.into()),
        }
    }
    Err(io::Error::other("too many links"))
}

/// The kernel's own limit (`path_resolution(7)`).
const LINKS_MAX: usize = 40;

/// A new file in the same folder. The files of earlier runs are kept.
fn temporary_for(path: &Path) -> io::Result<(PathBuf, File)> {
    for number in 1.. {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let temporary = path.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Whether the path leads to the same file as stdout, unless that is a device.
fn is_stdout(path: &Path) -> bool {
    let stdout = fs::metadata("/dev/stdout").ok().filter(|stdout| !stdout.file_type().is_char_device());
    let stdout = stdout.map(|stdout| (stdout.dev(), stdout.ino()));
    stdout.is_some() && inode_of(path) == stdout
}

fn inode_of(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_holds_what_it_held_until_its_replacement_is_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let path = folder.join("a");
        fs::write(&path, "old").unwrap();
        let mut output = Destination::of(&path).unwrap().open().unwrap();
        output.write_all(b"ne").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read(folder.join("a.partial")).unwrap(), b"ne", "each write is there at once");
        // Another run does not touch it.
        Destination::of(&path).unwrap().write(b"other").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), fs::read(folder.join("a.partial")).unwrap()),
            (b"other".into(), b"ne".into())
        );
        output.write_all(b"w").unwrap();
        output.finish().unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(folder).unwrap().count()), (b"new".into(), 1));
    }

    #[test]
    fn paths_of_one_file_are_the_same_whatever_they_are_written_as() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let (path, other) = (folder.join("a"), folder.join("b"));
        let same = |other: &Path| Destination::of(&path).unwrap().is_same(&Destination::of(other).unwrap());
        std::os::unix::fs::symlink("a", folder.join("link")).unwrap();
        for exists in [false, true] {
            for form in ["a", "./a", "../{}/a", "link"] {
                let form = form.replace("{}", folder.file_name().unwrap().to_str().unwrap());
                assert!(same(&folder.join(&form)), "{form} {exists}");
            }
            assert!(!same(&other));
            fs::write(&path, "x").unwrap();
        }
        fs::hard_link(&path, &other).unwrap();
        assert!(same(&other));
        let null = || Destination::of(Path::new("/dev/null")).unwrap();
        assert!(!null().is_same(&null()) && null().write(b"x").is_ok());
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device(), "it is not replaced");
    }
}
