//! A listening socket, and the path that a Unix socket is bound to.

use std::fs::{File, Permissions};
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::address::{Address, PeerAddr, UnixAddr, explain_listen, is_mapped};
use crate::config::Config;
use crate::net::owner::Owner;
use crate::net::socket::{OPTIONS_ARE_INHERITED, Stream, set_options};
use crate::options::ListenOptions;

/// Holds a listening socket.
///
/// In the process that bound it, dropping it stops listening, and removes the path of a Unix socket. In any other process, and if
/// the socket was adopted, it only closes the descriptor.
#[derive(Debug)]
pub struct Listener {
    // Before the socket, which holds the file's inode: no other file can have its number until the path is removed.
    path: Option<BoundPath>,
    socket: ListenSocket,
    /// `None` if it was bound elsewhere, and others may listen on it.
    owner: Option<Owner>,
}

#[derive(Debug)]
pub(crate) enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn bind(addr: &Address, config: &Config, options: &ListenOptions) -> io::Result<(Self, Address)> {
        Self::try_bind(addr, config, options).map_err(|error| explain_listen(addr, error))
    }

    fn try_bind(addr: &Address, config: &Config, options: &ListenOptions) -> io::Result<(Self, Address)> {
        let (domain, sock_addr) = match addr {
            // The kernel returns EINVAL for this and much else.
            Address::Tcp(addr) if is_mapped(*addr) => return Err(io::ErrorKind::InvalidInput.into()),
            Address::Tcp(addr) => (Domain::for_address(*addr), SockAddr::from(*addr)),
            Address::Unix(path) => (Domain::UNIX, UnixAddr::of(path).sock_addr()?),
        };
        let protocol = matches!(addr, Address::Tcp(_)).then_some(Protocol::TCP);
        let socket = Socket::new(domain, Type::STREAM, protocol)?;
        socket.set_nonblocking(true)?;
        if let Address::Tcp(addr) = addr {
            socket.set_reuse_address(true)?;
            if options.reuse_port.unwrap_or(config.reuse_port) {
                socket.set_reuse_port(true)?;
            }
            if addr.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            set_options(&SockRef::from(&socket), config)?;
        }
        let mode = options.mode.filter(|_| matches!(addr, Address::Unix(_)));
        if let Some(mode) = mode {
            // The file gets the permissions of the socket, as far as the umask allows (`unix(7)`), so it never has more.
            set_mode(&socket, mode)?;
        }
        socket.bind(&sock_addr)?;
        // From here on the path is removed, whatever fails.
        let path = match addr {
            Address::Unix(path) => match UnixAddr::of(path) {
                UnixAddr::Path(path) => Some(BoundPath::of(path)?),
                UnixAddr::Abstract(_) => None,
            },
            Address::Tcp(_) => None,
        };
        if let (Some(BoundPath { path, .. }), Some(mode)) = (&path, mode) {
            // What the umask has left out, and what other systems than Linux do not take from the socket.
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        // `build` has checked that the backlog fits.
        let backlog = options.backlog.unwrap_or(config.backlog);
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let (socket, bound) = match addr {
            Address::Tcp(_) => {
                let listener = TcpListener::from_std(socket.into());
                let bound = Address::Tcp(listener.local_addr()?);
                (ListenSocket::Tcp(listener), bound)
            }
            Address::Unix(_) => (ListenSocket::Unix(UnixListener::from_std(socket.into())), addr.clone()),
        };
        Ok((Self { path, socket, owner: Some(Owner::this_process()) }, bound))
    }

    /// Returns a listener for a socket that was bound elsewhere.
    pub(crate) fn shared(socket: ListenSocket) -> Self {
        Self { path: None, socket, owner: None }
    }

    pub(crate) fn accept(&self, config: &Config) -> io::Result<(Stream, PeerAddr)> {
        match &self.socket {
            ListenSocket::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                if !OPTIONS_ARE_INHERITED {
                    set_options(&SockRef::from(&stream), config)?;
                }
                Ok((Stream::tcp(stream), peer.into()))
            }
            ListenSocket::Unix(socket) => Ok((Stream::unix(socket.accept()?.0), PeerAddr::UNNAMED)),
        }
    }

    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match &mut self.socket {
            ListenSocket::Tcp(socket) => socket,
            ListenSocket::Unix(socket) => socket,
        }
    }
}

impl Drop for Listener {
    /// A listening socket that is shut down refuses connections, whichever process holds it (on Linux: `inet_shutdown`,
    /// `unix_shutdown`).
    fn drop(&mut self) {
        self.path = None;
        if self.owner.is_some_and(Owner::is_this_process) {
            let socket = match &self.socket {
                ListenSocket::Tcp(socket) => SockRef::from(socket),
                ListenSocket::Unix(socket) => SockRef::from(socket),
            };
            // It fails on systems where a listening socket cannot be shut down; then it is only closed.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Sets the permissions of a socket's inode.
fn set_mode(socket: &Socket, mode: u32) -> io::Result<()> {
    File::from(OwnedFd::from(socket.try_clone()?)).set_permissions(Permissions::from_mode(mode))
}

/// The path of a Unix socket, and the file that it named when it was bound.
#[derive(Debug)]
struct BoundPath {
    /// From the root: the process may change its directory.
    path: PathBuf,
    file: (u64, u64),
    owner: Owner,
}

impl BoundPath {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { file: file_at(path)?, path: std::path::absolute(path)?, owner: Owner::this_process() })
    }
}

impl Drop for BoundPath {
    /// Removes the path, unless another process has put another file there meanwhile, or this one is a child of the one
    /// that bound it.
    fn drop(&mut self) {
        if self.owner.is_this_process() && file_at(&self.path).is_ok_and(|file| file == self.file) {
            // It fails if the path was removed meanwhile.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Device and inode.
fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> Listener {
        Listener::bind(&Address::Unix(path.into()), &Config::default(), &ListenOptions::default()).unwrap().0
    }

    #[test]
    fn dropping_a_unix_listener_removes_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("listener");
        let listener = bind(&path);
        assert!(path.exists());
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_that_is_another_servers_by_now_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        let first = bind(&path);
        std::fs::remove_file(&path).unwrap();
        let _second = bind(&path);
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn process_that_did_not_bind_removes_no_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("forked");
        let mut listener = bind(&path);
        let ListenSocket::Unix(socket) = &listener.socket else { panic!("no Unix socket") };
        // As in a forked child: a copy of the descriptor, and one more fork.
        let copy: std::os::fd::OwnedFd = std::os::fd::AsFd::as_fd(socket).try_clone_to_owned().unwrap();
        listener.owner = Some(Owner::another_process());
        if let Some(path) = &mut listener.path {
            path.owner = Owner::another_process();
        }
        drop(listener);
        assert!(path.exists());
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(copy);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_dropped_listener_refuses_while_a_child_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("held");
        let any_port: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (tcp, Address::Tcp(addr)) =
            Listener::bind(&any_port.into(), &Config::default(), &ListenOptions::default()).unwrap()
        else {
            panic!("no TCP address")
        };
        let unix = bind(&path);
        let link = path.with_extension("link");
        std::fs::hard_link(&path, &link).unwrap();
        let copies = [&tcp, &unix].map(|listener| match &listener.socket {
            ListenSocket::Tcp(socket) => std::os::fd::AsFd::as_fd(socket).try_clone_to_owned().unwrap(),
            ListenSocket::Unix(socket) => std::os::fd::AsFd::as_fd(socket).try_clone_to_owned().unwrap(),
        });
        drop((tcp, unix));
        let refusals = [
            std::net::TcpStream::connect(addr).map(drop).map_err(|error| error.kind()),
            std::os::unix::net::UnixStream::connect(&link).map(drop).map_err(|error| error.kind()),
        ];
        std::fs::remove_file(&link).unwrap();
        assert_eq!(refusals, [Err(io::ErrorKind::ConnectionRefused); 2]);
        drop(copies);
    }
}
