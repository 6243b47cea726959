//! Sockets that were made elsewhere: what they are, and what is set on them before a reactor uses them.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::address::{Address, PeerAddr};
use crate::config::Config;
use crate::error::AdoptError;
use crate::net::listener::{ListenSocket, Listener};
use crate::net::socket::{Stream, set_options};

const LISTENER: &str = "a listening TCP or Unix stream socket";
const STREAM: &str = "a connected TCP or Unix stream socket";

/// The address of a stream socket.
enum Local {
    Tcp(SocketAddr),
    Unix(SockAddr),
}

impl Listener {
    /// Adopts a listening socket. Returns its address.
    pub(crate) fn adopt(fd: OwnedFd, config: &Config) -> Result<(Self, Address), AdoptError> {
        let socket = Socket::from(fd);
        let local = local(&socket, LISTENER)?;
        if is_listening(&socket)? == Some(false) {
            return Err(unfit("a stream socket that does not listen", LISTENER));
        }
        prepare(&socket, &local, config)?;
        let (socket, addr) = match local {
            Local::Tcp(addr) => (ListenSocket::Tcp(TcpListener::from_std(socket.into())), Address::Tcp(addr)),
            Local::Unix(addr) => {
                (ListenSocket::Unix(UnixListener::from_std(socket.into())), Address::Unix(path_of(&addr)))
            }
        };
        Ok((Self::shared(socket), addr))
    }
}

impl Stream {
    /// Adopts a connected socket. Returns its peer's address.
    pub(crate) fn adopt(fd: OwnedFd, config: &Config) -> Result<(Self, PeerAddr), AdoptError> {
        let socket = Socket::from(fd);
        let local = local(&socket, STREAM)?;
        let peer = match socket.peer_addr() {
            Ok(peer) => peer,
            Err(error) if error.kind() != io::ErrorKind::NotConnected => return Err(error.into()),
            Err(_) if is_listening(&socket)? == Some(true) => return Err(unfit("a listening socket", STREAM)),
            Err(_) => return Err(unfit("a stream socket that is not connected", STREAM)),
        };
        prepare(&socket, &local, config)?;
        Ok(match local {
            Local::Tcp(_) => {
                let peer = peer.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
                (Self::tcp(TcpStream::from_std(socket.into())), peer.into())
            }
            Local::Unix(_) => (Self::unix(UnixStream::from_std(socket.into())), PeerAddr::UNNAMED),
        })
    }
}

/// The address of a TCP or Unix stream socket.
fn local(socket: &Socket, expected: &'static str) -> Result<Local, AdoptError> {
    let kind = match socket.r#type() {
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => return Err(unfit("not a socket", expected)),
        kind => kind?,
    };
    let addr = socket.local_addr()?;
    let family = match addr.domain() {
        Domain::IPV4 | Domain::IPV6 => "an IP",
        Domain::UNIX => "a Unix",
        other => return Err(unfit(&format!("a socket of the address family {other:?}"), expected)),
    };
    if kind != Type::STREAM {
        return Err(unfit(&format!("{family} socket of the type {kind:?}"), expected));
    }
    Ok(addr.as_socket().map_or(Local::Unix(addr), Local::Tcp))
}

/// Whether a socket listens. `None` where the system does not report it: then the first accept fails if it does not.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn is_listening(socket: &Socket) -> io::Result<Option<bool>> {
    socket.is_listener().map(Some)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn is_listening(_socket: &Socket) -> io::Result<Option<bool>> {
    Ok(None)
}

/// Sets what a reactor needs. A child that this process starts does not inherit the descriptor.
fn prepare(socket: &Socket, local: &Local, config: &Config) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    match local {
        Local::Tcp(_) => set_options(&SockRef::from(socket), config),
        Local::Unix(_) => Ok(()),
    }
}

/// The path of a Unix socket, with `@` for an abstract name; empty if it has no name.
fn path_of(addr: &SockAddr) -> PathBuf {
    if let Some(path) = addr.as_pathname() {
        return path.to_owned();
    }
    match addr.as_abstract_namespace() {
        Some(name) => OsString::from_vec([b"@", name].concat()).into(),
        None => PathBuf::new(),
    }
}

fn unfit(observed: &str, expected: &'static str) -> AdoptError {
    AdoptError::Unfit { observed: observed.to_owned(), expected }
}
