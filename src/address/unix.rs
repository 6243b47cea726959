//! Addresses of Unix sockets: a path, or on Linux a name that is no file (`unix(7)`, "Abstract sockets").
//!
//! Rule: an error about an address names its cause, the value, and what to do.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::address::explained::Explained;

/// The longest path or abstract name, in bytes: one less than the size of `sun_path`.
pub(crate) const LEN_MAX: usize =
    size_of::<libc::sockaddr_un>() - std::mem::offset_of!(libc::sockaddr_un, sun_path) - 1;

/// The address of a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnixAddr<'a> {
    Path(&'a Path),
    /// The name, without the mark `@` or `\0`.
    Abstract(&'a [u8]),
}

impl<'a> UnixAddr<'a> {
    /// `@name` as a user writes it, or `\0name` as the kernel does, is an abstract name. A file of that name is `./@name`.
    pub(crate) fn of(path: &'a Path) -> Self {
        match path.as_os_str().as_bytes() {
            [b'@' | 0, name @ ..] => Self::Abstract(name),
            _ => Self::Path(path),
        }
    }

    pub(crate) fn sock_addr(self) -> io::Result<SockAddr> {
        self.check()?;
        match self {
            Self::Path(path) => SockAddr::unix(path),
            Self::Abstract(name) => SockAddr::unix(OsStr::from_bytes(&[&[0], name].concat())),
        }
    }

    pub(crate) fn socket_addr(self) -> io::Result<SocketAddr> {
        self.check()?;
        match self {
            Self::Path(path) => SocketAddr::from_pathname(path),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Self::Abstract(name) => {
                #[cfg(target_os = "android")]
                use std::os::android::net::SocketAddrExt;
                #[cfg(target_os = "linux")]
                use std::os::linux::net::SocketAddrExt;
                SocketAddr::from_abstract_name(name)
            }
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            Self::Abstract(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Returns an error if no kernel could accept it.
    fn check(self) -> io::Result<()> {
        let (what, bytes, shorter) = match self {
            Self::Path(path) => ("path", path.as_os_str().as_bytes(), ": use a shorter one, or a relative one"),
            Self::Abstract(name) => ("abstract name", name, ": use a shorter one"),
        };
        let (kind, problem) = match self {
            Self::Abstract(_) if !cfg!(any(target_os = "linux", target_os = "android")) => {
                (ErrorKind::Unsupported, "abstract names exist on Linux only: use a path".into())
            }
            _ if bytes.is_empty() => (ErrorKind::InvalidInput, format!("the {what} is empty")),
            Self::Path(_) if bytes.contains(&0) => {
                (ErrorKind::InvalidInput, "the path has a byte of zero in it".into())
            }
            _ if bytes.len() > LEN_MAX => {
                let len = bytes.len();
                (ErrorKind::InvalidInput, format!("the {what} has {len} bytes and may have {LEN_MAX}{shorter}"))
            }
            _ => return Ok(()),
        };
        Err(io::Error::new(kind, problem))
    }
}

impl fmt::Display for UnixAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
        }
    }
}

/// Connects a blocking stream.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let addr = UnixAddr::of(path).socket_addr()?;
    UnixStream::connect_addr(&addr).map_err(|error| explain_connect(path, error))
}

/// The state of a path at which a socket is to be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// A process listens on it.
    Live,
    /// No process listens on it.
    Stale,
    /// Unknown: this user may not connect.
    Unknown,
    /// A socket of another type.
    NotStream,
    Directory,
    Link,
    /// Another file.
    File,
    Nothing,
}

fn found(path: &Path) -> Found {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Found::Nothing };
    let file_type = metadata.file_type();
    if file_type.is_dir() {
        Found::Directory
    } else if file_type.is_symlink() {
        Found::Link
    } else if file_type.is_socket() {
        probe(path)
    } else {
        Found::File
    }
}

/// Probes the path by connecting, without waiting. A server with a full listen queue is live.
fn probe(path: &Path) -> Found {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&UnixAddr::Path(path).sock_addr()?)
    };
    match connect() {
        Ok(()) => Found::Live,
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => Found::NotStream,
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock => Found::Live,
            ErrorKind::ConnectionRefused => Found::Stale,
            _ => Found::Unknown,
        },
    }
}

/// Explains why listening on a Unix socket failed, and what to do.
pub(crate) fn explain_listen(path: &Path, error: io::Error) -> io::Error {
    let path = match UnixAddr::of(path) {
        UnixAddr::Path(path) => path,
        UnixAddr::Abstract(_) if error.kind() == ErrorKind::AddrInUse => {
            return Explained::error(error, "another process listens on it: stop that, or use another name (ss -xlp)");
        }
        UnixAddr::Abstract(_) => return error,
    };
    let shown = path.display();
    let directory = directory_of(path);
    let in_directory = directory.display();
    let text = match error.kind() {
        ErrorKind::AddrInUse => match found(path) {
            Found::Live => "another server listens on it: stop that, or use another path (ss -xlp)".into(),
            Found::Stale => {
                format!("nothing listens on it, its server left it behind when it was killed: remove it (rm {shown})")
            }
            Found::Unknown => "it is a socket that this user may not connect to: use another path".into(),
            Found::NotStream => "a socket of another type is in its place: use another path".into(),
            Found::Directory => format!("it is a directory: use a path in it, such as {shown}/frameloop.sock"),
            Found::Link => "a symbolic link is in its place: remove it, or use another path".into(),
            Found::File | Found::Nothing => "another file is in its place: remove it, or use another path".into(),
        },
        ErrorKind::NotFound => format!("the directory {in_directory} does not exist: create it, or correct the path"),
        ErrorKind::NotADirectory => format!("{in_directory} is no directory: correct the path"),
        ErrorKind::PermissionDenied => format!(
            "this user may not create files in {in_directory}: change its owner or permissions, or use another directory"
        ),
        ErrorKind::ReadOnlyFilesystem => format!("{in_directory} can only be read from: use another directory"),
        _ => return error,
    };
    Explained::error(error, text)
}

/// Explains why connecting to a Unix socket failed, and what to do.
fn explain_connect(path: &Path, error: io::Error) -> io::Error {
    let path = match UnixAddr::of(path) {
        UnixAddr::Path(path) => path,
        UnixAddr::Abstract(_) if error.kind() == ErrorKind::ConnectionRefused => {
            return Explained::error(error, "no process listens on it: start the server, or correct the name (ss -xl)");
        }
        UnixAddr::Abstract(_) => return error,
    };
    let directory = directory_of(path);
    let text = match error.kind() {
        ErrorKind::NotFound if directory.is_dir() => {
            "there is no such file: start the server, or correct the path".into()
        }
        ErrorKind::NotFound => {
            format!("the directory {} does not exist: start the server, or correct the path", directory.display())
        }
        ErrorKind::NotADirectory => format!("{} is no directory: correct the path", directory.display()),
        ErrorKind::ConnectionRefused => match std::fs::metadata(path).map(|metadata| metadata.file_type()) {
            Ok(file_type) if file_type.is_socket() => {
                "nothing listens on it, its server has ended and left it behind: start the server".into()
            }
            Ok(file_type) if file_type.is_dir() => "it is a directory and no socket: correct the path".into(),
            _ => "it is not a socket: correct the path".into(),
        },
        ErrorKind::PermissionDenied => {
            "this user may not connect to it: that takes write permission on the file, and search permission on its \
             directories"
                .into()
        }
        _ if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
            "it is a socket of another type, not a stream socket: correct the path".into()
        }
        _ => return error,
    };
    Explained::error(error, text)
}

/// The directory that a path is in; the working directory for a path of one name.
fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.into(),
        _ => ".".into(),
    }
}
