//! Requests and their replies.
//!
//! Rule: a frame is the reply to a request only if it began after the request was sent and the request before it has its
//! reply; every other frame is unsolicited, is shown as such, and is never taken for a reply.
//!
//! Frames carry no mark of what they answer. So before a request is sent, everything that has come is taken, and a short
//! pause shows whether more is coming: as long as the last reply took, and at first long enough for a greeting. What an
//! unasking server sends while a reply is awaited cannot be distinguished from the reply.
//!
//! Rule: each wait for a server ends after the timeout unless there was a step: the request was sent, the length of a payload
//! became known, or another 4 KiB of it came. So a reply of N bytes takes at most 2 + N / 4 KiB timeouts, however it drips.
//!
//! Raw bytes have no frames, so nothing of them is unsolicited: what comes after the read that counts as the reply is shown as
//! well. A raw file ends with the end of the stream, and so does its reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};
use std::{mem, thread};

use frameloop::client::ClientError;
use frameloop::wire::Framing;

use crate::connect::event::{Event, Received, Request};
use crate::connect::input::{Above, Input};
use crate::connect::upload::Upload;
use crate::connect::whole;
use crate::failure::Failure;
use crate::text::{Form, Shown};
use crate::{logging, output, terminal};

/// The main thread's ends of what it shares with the others.
pub(super) struct Ends {
    pub(super) events: Receiver<Event>,
    pub(super) requests: SyncSender<Request>,
    /// Whether the reading thread has passed on everything.
    pub(super) is_waiting: Arc<AtomicBool>,
}

pub(super) struct Exchange {
    ends: Ends,
    framing: Framing,
    form: Form,
    /// Whether the request is a file, whose reply is written as it is.
    is_upload: bool,
    /// Whether only the end of the stream shows the end of the reply.
    awaits_end: bool,
    timeout: Option<Duration>,
    /// The frame that is coming.
    incoming: Incoming,
    /// Whether a request waits for its reply to begin.
    is_awaiting: bool,
    /// Why no more will come, once that is known.
    end: Option<ClientError>,
    /// When the connection, or the last reply, came, and how long it is waited for more before a request.
    quiet_since: Instant,
    quiet: Duration,
    /// When the last step was, and how many bytes of a payload have come since.
    step_at: Instant,
    bytes_since_step: usize,
    /// Shows something above the prompt while a line is edited.
    above: Option<Above>,
    is_at_prompt: bool,
}

/// A frame of which something has come.
enum Incoming {
    None,
    Reply {
        /// How many bytes of its payload are missing, if that is known.
        missing: Option<u64>,
        sink: Sink,
    },
    Unsolicited {
        /// How many bytes of its payload have come.
        len: u64,
        front: Vec<u8>,
    },
}

/// What becomes of a reply's bytes.
enum Sink {
    Raw,
    Line(Shown),
}

impl Exchange {
    pub(super) fn new(ends: Ends, framing: Framing, form: Form, timeout: Option<Duration>) -> Self {
        Self {
            ends,
            framing,
            form,
            is_upload: false,
            awaits_end: false,
            timeout,
            incoming: Incoming::None,
            is_awaiting: false,
            end: None,
            quiet_since: Instant::now(),
            quiet: GREETING_PAUSE,
            step_at: Instant::now(),
            bytes_since_step: 0,
            above: None,
            is_at_prompt: false,
        }
    }

    /// Sends each line and shows its reply, until there is no more or a word says so.
    pub(super) fn converse(
        &mut self,
        mut input: Input,
        above: Option<Above>,
        events: SyncSender<Event>,
    ) -> Result<(), Failure> {
        let is_prompt = input.is_prompt();
        self.above = above;
        let (ask, asked) = std::sync::mpsc::sync_channel::<Option<String>>(0);
        thread::spawn(move || {
            while let Ok(refusal) = asked.recv() {
                let line = refusal.map_or(Ok(()), |refusal| input.refuse(&refusal)).and_then(|()| input.next());
                if events.send(Event::Line(line)).is_err() {
                    return;
                }
            }
        });
        let mut refusal = None;
        loop {
            let is_asked = ask.send(refusal.take()).is_ok();
            let line = if is_asked { self.line(is_prompt)? } else { None };
            let Some(line) = line else { return self.farewell() };
            match self.form.payload_of(line) {
                Ok(payload) if payload.is_empty() && whole::empty_is_nothing(self.framing) => {}
                Ok(payload) => match whole::check(self.framing, payload.len(), &payload[..]) {
                    Ok(()) => self.call(Request::Payload(payload))?,
                    Err(text) => refusal = Some(text),
                },
                Err(text) => refusal = Some(text),
            }
        }
    }

    /// Sends a file and writes the reply as it is.
    pub(super) fn upload(&mut self, upload: Upload) -> Result<(), Failure> {
        let path = upload.path.clone();
        (self.is_upload, self.awaits_end) = (true, upload.ends_stream);
        self.call(Request::Upload(upload)).map_err(|failure| match failure {
            CallError::Client(error @ ClientError::Payload(_)) => {
                Failure::run(format_args!("cannot send {}: {error}", path.display()))
            }
            other => other.into(),
        })
    }

    /// The next line, while unsolicited frames are shown. At a prompt a lost connection does not wait for it.
    fn line(&mut self, is_prompt: bool) -> Result<Option<Vec<u8>>, Failure> {
        self.is_at_prompt = is_prompt;
        loop {
            if let Some(end) = self.end.take_if(|_| is_prompt) {
                terminal::restore();
                return Err(end.into());
            }
            match self.ends.events.recv() {
                Ok(Event::Line(line)) => {
                    self.is_at_prompt = false;
                    return line;
                }
                Ok(event) => self.take(event)?,
                Err(_) => return Ok(None),
            }
        }
    }

    /// The end of the input. What comes until then is shown; how the server closes does not matter any more.
    fn farewell(&mut self) -> Result<(), Failure> {
        match self.settle() {
            Err(CallError::Client(end @ (ClientError::ReplyTooLong(_) | ClientError::InvalidLength(_)))) => {
                Err(end.into())
            }
            Err(CallError::Failure(failure)) => Err(failure),
            Ok(()) | Err(CallError::Client(_) | CallError::Restless(_) | CallError::TooSlow(..)) => Ok(()),
        }
    }

    /// Sends a request and waits for its reply.
    fn call(&mut self, request: Request) -> Result<(), CallError> {
        self.settle()?;
        let begun = Instant::now();
        self.is_awaiting = true;
        // The thread that sends waits for it.
        self.ends.requests.send(request).map_err(|_| ClientError::Closed)?;
        let (mut is_sent, mut is_answered) = (false, false);
        while !is_sent || !is_answered {
            let left = self.timeout.map(|timeout| timeout.saturating_sub(self.step_at.elapsed()));
            match self.event(if is_sent { left } else { None })? {
                Some(Event::Sent(outcome)) => {
                    outcome?;
                    self.step();
                    is_sent = true;
                }
                Some(event) => {
                    let was_awaiting = self.is_awaiting;
                    self.take(event)?;
                    if was_awaiting && !self.is_awaiting {
                        self.quiet = begun.elapsed().min(QUIET_MAX);
                    }
                }
                None => return Err(self.too_late()),
            }
            is_answered = self.is_answered();
            if let Some(end) = self.end.take_if(|_| !is_answered) {
                return Err(end.into());
            }
        }
        self.quiet_since = Instant::now();
        Ok(())
    }

    /// Whether the reply to a request that was sent is complete.
    fn is_answered(&self) -> bool {
        if self.awaits_end {
            return matches!(self.end, Some(ClientError::Closed));
        }
        !self.is_awaiting && !matches!(self.incoming, Incoming::Reply { .. })
    }

    /// Takes what has come, until nothing more comes. What began before a request is no reply to it.
    fn settle(&mut self) -> Result<(), CallError> {
        let begun = Instant::now();
        loop {
            if let Some(end) = self.end.take() {
                return Err(end.into());
            }
            let mut left = self.quiet.saturating_sub(self.quiet_since.elapsed());
            if !self.ends.is_waiting.load(Ordering::SeqCst) {
                left = left.max(HANDING_ON_PAUSE);
            }
            match self.event(Some(left))? {
                Some(event) => self.take(event)?,
                None if self.ends.is_waiting.load(Ordering::SeqCst) => return Ok(()),
                None => continue,
            }
            let restless = self.timeout.map(|timeout| timeout.max(2 * GREETING_PAUSE));
            if let Some(limit) = restless.filter(|limit| begun.elapsed() > *limit) {
                return Err(CallError::Restless(limit));
            }
        }
    }

    fn step(&mut self) {
        (self.step_at, self.bytes_since_step) = (Instant::now(), 0);
    }

    /// That there was no step for the timeout.
    fn too_late(&self) -> CallError {
        match (&self.incoming, self.timeout) {
            (Incoming::Reply { missing: Some(missing), .. }, Some(timeout)) => CallError::TooSlow(*missing, timeout),
            _ => ClientError::ReplyTimeout(self.timeout).into(),
        }
    }

    /// The next event, or nothing if none came for so long.
    fn event(&self, patience: Option<Duration>) -> Result<Option<Event>, CallError> {
        match patience {
            Some(patience) => match self.ends.events.recv_timeout(patience) {
                Ok(event) => Ok(Some(event)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err(ClientError::Closed.into()),
            },
            None => self.ends.events.recv().map(Some).map_err(|_| ClientError::Closed.into()),
        }
    }

    /// Takes what has come from the server.
    fn take(&mut self, event: Event) -> Result<(), Failure> {
        let Event::Received(received) = event else { return Ok(()) };
        match received {
            Received::Begun => self.incoming = self.begun(),
            Received::Announced(payload_len) => {
                self.step();
                if let Incoming::Reply { missing, .. } = &mut self.incoming {
                    *missing = Some(payload_len);
                }
            }
            Received::Piece(piece) => {
                self.bytes_since_step += piece.len();
                if self.bytes_since_step >= STEP_BYTES {
                    self.step();
                }
                return self.incoming.push(&piece);
            }
            Received::Complete => match mem::replace(&mut self.incoming, Incoming::None) {
                Incoming::Reply { sink, .. } => return sink.finish(),
                Incoming::Unsolicited { len, front } => self.unsolicited(len, &front),
                Incoming::None => {}
            },
            // A wait for the rest of a frame is a wait for the end.
            Received::End(end) => self.end = Some(end),
        }
        Ok(())
    }

    fn begun(&mut self) -> Incoming {
        let is_reply = mem::take(&mut self.is_awaiting) || self.framing == Framing::Raw && !self.is_at_prompt;
        match (is_reply, self.is_upload) {
            (true, true) => Incoming::Reply { missing: None, sink: Sink::Raw },
            (true, false) => Incoming::Reply { missing: None, sink: Sink::Line(Shown::new(self.form)) },
            (false, _) => Incoming::Unsolicited { len: 0, front: Vec::new() },
        }
    }

    fn unsolicited(&mut self, len: u64, front: &[u8]) {
        let mark = if self.framing == Framing::Raw { "" } else { "unsolicited: " };
        let shown = self.form.line_of(front);
        let rest = if (front.len() as u64) < len { format!("... ({len} bytes)") } else { String::new() };
        let line = format!("{mark}{shown}{rest}");
        let above = self.above.as_mut().filter(|_| self.is_at_prompt);
        if above.is_none_or(|above| above.print(format!("{line}\n")).is_err()) {
            logging::say(&line);
        }
    }
}

impl Incoming {
    /// Takes the next bytes of the payload.
    fn push(&mut self, piece: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Reply { missing, sink } => {
                *missing = missing.map(|missing| missing.saturating_sub(piece.len() as u64));
                sink.push(piece)
            }
            Self::Unsolicited { len, front } => {
                *len += piece.len() as u64;
                front.extend_from_slice(&piece[..piece.len().min(FRONT_BYTES_MAX - front.len())]);
                Ok(())
            }
            Self::None => Ok(()),
        }
    }
}

impl Sink {
    fn push(&mut self, piece: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Raw => output::bytes(piece),
            Self::Line(shown) => output::bytes(shown.push(piece).as_bytes()),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Raw => Ok(()),
            Self::Line(mut shown) => output::line(&shown.finish()),
        }
    }
}

/// Why a request has no reply.
enum CallError {
    Client(ClientError),
    /// The server has sent frames for so long, without a pause in which to send a request.
    Restless(Duration),
    /// So many bytes of it are missing, and few came in so long.
    TooSlow(u64, Duration),
    Failure(Failure),
}

impl From<ClientError> for CallError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Client(error) => error.into(),
            CallError::Restless(waited) => Self::run(format_args!(
                "the server has sent unsolicited frames for {waited:?} without a pause: no reply could be told from them"
            )),
            CallError::TooSlow(missing, waited) => Self::run(format_args!(
                "{missing} bytes of the reply are missing, and less than {STEP_BYTES} came in {waited:?}: a slow server needs \
                 a longer --timeout"
            )),
            CallError::Failure(failure) => failure,
        }
    }
}

/// A server that greets does so within this time of the connection.
const GREETING_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause before a request.
const QUIET_MAX: Duration = Duration::from_millis(10);
/// How long to wait for what was read and is being passed on, before checking again.
const HANDING_ON_PAUSE: Duration = Duration::from_millis(1);
/// How many bytes of a payload have to come within the timeout, if as many are missing.
const STEP_BYTES: usize = 4 << 10;
/// How much of an unsolicited frame is shown.
const FRONT_BYTES_MAX: usize = 4 << 10;
