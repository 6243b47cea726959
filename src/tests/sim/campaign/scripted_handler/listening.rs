//! The listeners that the handler asks for.

use crate::error::Error;
use crate::handler::Context;
use crate::id::ListenerId;
use crate::options::ListenOptions;
use crate::tests::sim::campaign::scripted_handler::ScriptedHandler;
use crate::{Address, Listening as NewListener};

/// The handler moves one listener from address to address: it listens on the next one, and then no more on the last.
#[derive(Debug, Default)]
pub(in crate::tests::sim::campaign) struct Listening {
    /// The last of them is in use.
    pub(in crate::tests::sim::campaign) addrs: Vec<Address>,
    asked: u64,
    waiting: Option<Address>,
    /// The listener that is in use.
    current: Option<(ListenerId, Address)>,
    /// An address that the handler has left. Its listener accepts what waits in its queue, and is closed then.
    left: Option<Address>,
}

/// One of so many messages asks for another listener.
const LISTENS: u64 = 3;

impl Listening {
    /// Where peers can connect.
    pub(in crate::tests::sim::campaign) fn addr(&self) -> Option<&Address> {
        self.current.as_ref().map(|(_, addr)| addr)
    }
}

impl ScriptedHandler {
    pub(super) fn listen_elsewhere(&mut self, cx: &mut Context<'_>) {
        let stats = cx.stats();
        let is_same = (stats.connections as usize, stats.messages) == (self.open.get(), self.messages);
        self.require(is_same, "the counters differ from what the handler has seen");
        if !self.messages.is_multiple_of(LISTENS) || self.listening.waiting.is_some() {
            return;
        }
        let at = self.listening.asked as usize % self.listening.addrs.len();
        self.listening.asked += 1;
        let addr = self.listening.addrs[at].clone();
        let asked = cx.listen(addr.clone(), ListenOptions::default());
        self.trace.note(format!("    to listen on {addr}: {asked:?}"));
        let is_refused = matches!(asked, Err(Error::Ending { .. }));
        self.require(self.is_ending || !is_refused, "a listener was refused without an end");
        self.listening.waiting = asked.ok().map(|()| addr);
    }

    pub(super) fn note_listening(
        &mut self,
        cx: &mut Context<'_>,
        asked: &Address,
        outcome: Result<NewListener, Error>,
    ) {
        self.trace.note(format!("    listener on {asked}: {outcome:?}"));
        let waiting = self.listening.waiting.take();
        self.require(waiting.as_ref() == Some(asked), "a listener was reported that was not asked for");
        let is_used = self.listening.addrs.last() == Some(asked) || self.listening.addr() == Some(asked);
        let may_be_used = is_used || self.listening.left.as_ref() == Some(asked);
        match outcome {
            Ok(NewListener { id, addr }) => {
                self.require(addr == *asked && !is_used, "a listener has another address, or one in use");
                if let Some((last, left)) = self.listening.current.replace((id, addr)) {
                    cx.unlisten(last);
                    self.listening.left = Some(left);
                }
            }
            Err(Error::Listen { addr, .. }) => {
                self.require(addr == *asked && may_be_used, "an unused address was refused");
            }
            Err(error) => self.require(self.is_ending, &error.to_string()),
        }
    }
}
