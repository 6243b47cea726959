//! Listens on addresses and stops, between turns and when a handler asks for it.

use log::debug;

use crate::address::Address;
use crate::conn::profile::Profile;
use crate::error::Error;
use crate::handler::Handler;
use crate::id::ListenerId;
use crate::info::Listening;
use crate::net::Net;
use crate::options::ListenOptions;
use crate::reach::ListenerRequest;
use crate::reactor::Reactor;
use crate::reactor::callbacks::About;
use crate::reactor::log_limit::LOOP;
use crate::reactor::token::Subject;

impl<H: Handler, N: Net> Reactor<H, N> {
    /// Binds a socket and listens on it. Returns the bound address, with the port that the kernel chose if the port was 0.
    ///
    /// A reactor may listen on several addresses, also while it runs.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] with the address and the kernel's error; [`Error::Ending`] while the reactor drains and after it has
    /// stopped.
    pub fn listen(&mut self, addr: &Address) -> Result<Address, Error> {
        self.listen_with(addr, ListenOptions::default()).map(|listening| listening.addr)
    }

    /// Does the same with options: another framing, other limits, a name. Returns the id of the listener with its address.
    ///
    /// # Errors
    ///
    /// As for [`listen`](Self::listen); [`Error::Config`] if an option is out of its range.
    pub fn listen_with(&mut self, addr: &Address, options: ListenOptions) -> Result<Listening, Error> {
        self.connections.work.admit_listen(addr)?;
        options.check(&self.config)?;
        let options = options.or_of(&self.config);
        let id = self.listeners.next_id();
        let bound = self.net.listen(addr, &self.config, &options, Subject::Listener(id).token());
        let (listener, addr) = bound.map_err(|source| Error::Listen { addr: addr.clone(), source })?;
        self.begin_listening(listener, &options);
        debug!(target: LOOP, "listening on {addr}{}", options.named());
        Ok(Listening { id, addr })
    }

    /// Does what handlers have asked for, in order.
    pub(super) fn listen_as_asked(&mut self) {
        for request in self.connections.work.take_listener_requests() {
            match request {
                ListenerRequest::Listen(addr, options) => {
                    let outcome = self.listen_with(&addr, options);
                    self.call("on_listen", About::NoConn, |handler, cx| handler.on_listen(cx, &addr, outcome));
                }
                // There may be none any more.
                ListenerRequest::Unlisten(id) => _ = self.listeners.begin_close(id),
            }
        }
    }

    pub(super) fn begin_listening(&mut self, listener: N::Listener, options: &ListenOptions) {
        let id = self.listeners.next_id();
        let limits = options.limits.unwrap_or(self.shared.profiles.usual());
        let profile = Profile { framing: options.framing, limits, listener: Some(id) };
        let profile = self.shared.profiles.acquire(profile);
        self.shared.profiles.name_listener(id, &options.name);
        let backlog = options.backlog.unwrap_or(self.config.backlog);
        self.listeners.push(listener, profile, backlog, options.max_connections);
    }

    /// Stops listening, without a drain: accepts the connections that wait in the listen queue, and closes the listener, in this call
    /// unless there are many. Its connections continue. Returns `false` if there is no such listener any more.
    pub fn unlisten(&mut self, id: ListenerId) -> bool {
        let is_found = self.listeners.begin_close(Some(id));
        self.shared.now = self.net.now();
        self.accept();
        is_found
    }

    /// Stops listening on every address, as [`unlisten`](Self::unlisten) does on one.
    pub fn unlisten_all(&mut self) {
        self.listeners.begin_close(None);
        self.shared.now = self.net.now();
        self.accept();
    }
}
