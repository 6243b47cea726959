//! The threads that wait for the server and for keys, so that the view waits for neither.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event};

use crate::address::Endpoint;
use crate::top::ask::{Answer, Ask};
use crate::top::client::Client;
use crate::top::events::Events;
use crate::top::model::Run;

/// What the threads send.
#[derive(Debug)]
pub(super) enum Message {
    Answer(Box<Result<Answer, String>>),
    Run(Box<Option<Run>>),
    Input(Event),
    /// The terminal cannot be read any more.
    InputEnded(io::Error),
}

/// Asks the server every `interval`, and at once for something else.
pub(super) fn poll(
    mut client: Client,
    interval: Duration,
    asks: Receiver<Ask>,
    messages: Sender<Message>,
) -> io::Result<()> {
    let work = move || {
        let mut ask = Ask::default();
        let mut due = Instant::now() + interval;
        loop {
            match asks.recv_timeout(due.saturating_duration_since(Instant::now())) {
                // Only the last counts.
                Ok(other) => ask = asks.try_iter().last().unwrap_or(other),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            due = Instant::now() + interval;
            let answer = Answer::fetch(&mut client, &ask);
            if messages.send(Message::Answer(Box::new(answer))).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("poll".into()).spawn(work).map(drop)
}

/// Follows the progress of a load. A stream that fails is opened again after `interval`; the poll reports why.
pub(super) fn follow(
    endpoint: Endpoint,
    timeout: Duration,
    interval: Duration,
    messages: Sender<Message>,
) -> io::Result<()> {
    let work = move || {
        loop {
            let mut has_shown = false;
            if let Ok(mut events) = Events::open(&endpoint, timeout) {
                while let Ok((name, data)) = events.next() {
                    if name != "run" {
                        continue;
                    }
                    let Ok(run) = serde_json::from_str(&data) else { break };
                    has_shown = true;
                    if messages.send(Message::Run(Box::new(Some(run)))).is_err() {
                        return;
                    }
                }
            }
            if has_shown && messages.send(Message::Run(Box::new(None))).is_err() {
                return;
            }
            thread::sleep(interval);
        }
    };
    thread::Builder::new().name("follow".into()).spawn(work).map(drop)
}

/// Reads keys and changes of the terminal's size.
pub(super) fn read_input(messages: Sender<Message>) -> io::Result<()> {
    let work = move || {
        loop {
            let (message, is_end) = match event::read() {
                Ok(event) => (Message::Input(event), false),
                Err(error) => (Message::InputEnded(error), true),
            };
            if messages.send(message).is_err() || is_end {
                return;
            }
        }
    };
    thread::Builder::new().name("input".into()).spawn(work).map(drop)
}
