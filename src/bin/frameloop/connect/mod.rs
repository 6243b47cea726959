//! `frameloop connect [ADDR]`: a frame for each line, or one for a file.

mod event;
mod exchange;
mod input;
mod receive;
mod upload;
mod whole;

use std::io::{self, IsTerminal, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueHint};
use frameloop::client::{Client, ClientError};
use frameloop::wire::{Framing, PAYLOAD_LEN_MAX};

use crate::address::{self, Endpoint};
use crate::connect::event::{Event, Request};
use crate::connect::exchange::{Ends, Exchange};
use crate::connect::input::Input;
use crate::connect::receive::Source;
use crate::connect::upload::Upload;
use crate::failure::Failure;
use crate::text::Form;
use crate::values;

/// Connect to a server and speak frames with it: from a prompt, a pipe or a file
///
/// On a terminal there is a prompt with line editing and the history of this session. Otherwise each line of stdin, without
/// its newline, is sent as a frame, and each reply is a line on stdout. An empty line is an empty frame. Each pasted line, and
/// each line typed ahead, is a frame of its own.
///
/// A frame that arrives while no reply is pending is printed on stderr, after "unsolicited: ".
///
/// `quit`, `exit`, the end of input, and Ctrl-D or Ctrl-C at the prompt leave. To send these words, add a space, or use --hex
/// (71756974, 65786974).
///
/// A reply of printable UTF-8 and tabs is shown unchanged. Any other reply is escaped: \n, \r, \\ for a backslash, and \xNN
/// for each byte that is not printable. To distinguish the two forms, use --hex. A reply of more than 64 KiB is shown while it
/// arrives, and its backslashes are always doubled.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConnectArgs {
    /// Server to connect to: IP:PORT, NAME:PORT or unix:PATH
    #[arg(default_value = "127.0.0.1:7007", value_hint = ValueHint::Hostname)]
    addr: Endpoint,
    /// Where a frame ends, such as u32be, varint, lines or raw
    ///
    /// A length of 1, 2, 3, 4 or 8 bytes (u8, u16be, u16le, u24be, u24le, u32be, u32le, u64be, u64le) or varint, each with
    /// optional ,offset=N (bytes before the field), ,adjust=N (added to the length) and ,header (the payload includes it); a
    /// delimiter (lines, crlf, delim:HEX, with optional ,keep); exact:N bytes; or raw: whatever arrives.
    ///
    /// A line or a file must be one frame, so it cannot contain the delimiter. With exact, keep, header or offset it is sent
    /// unchanged. Where an empty frame has no bytes, an empty line sends nothing.
    ///
    /// With raw, the reply to a line is what one read returns, and what comes later is shown as well. The reply to a file is
    /// everything until the server closes, after the client has sent the end of the stream.
    #[arg(long, env = "FRAMELOOP_FRAMING", value_name = "SPEC", default_value = "u32be")]
    framing: Framing,
    /// Read and print hexadecimal: two digits per byte, spaces allowed
    #[arg(long, env = "FRAMELOOP_HEX", value_parser = BoolishValueParser::new())]
    hex: bool,
    /// Send a file as one frame, and write the reply's raw bytes to stdout
    ///
    /// Both are streamed, whatever their length. The content of a pipe is copied to a temporary file first, to learn its length.
    #[arg(long, env = "FRAMELOOP_FILE", value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "hex")]
    file: Option<PathBuf>,
    /// Time to wait for the connection, and for each reply (0 = forever)
    ///
    /// It applies to each address of a name, to the header of a reply, and to each further 4 KiB of its payload. A request is
    /// sent for as long as the server accepts bytes of it.
    #[arg(long, env = "FRAMELOOP_TIMEOUT", value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = values::duration)]
    timeout: Duration,
}

const EXAMPLES: &str = "\
Examples:
  frameloop connect                                a prompt, where a line is a frame
  frameloop connect [::1]:7007                     over IPv6
  frameloop connect unix:/run/frameloop.sock       over a Unix socket
  echo hello | frameloop connect                   one frame, its reply on stdout
  echo '00 ff' | frameloop connect --hex           bytes that are not text
  frameloop connect --file in.bin > out.bin        a file as one frame
  frameloop connect --framing crlf localhost:6379  another protocol";

pub(crate) fn run(args: &ConnectArgs) -> Result<(), Failure> {
    let upload = args.file.as_deref().map(|path| Upload::open(path, args.framing)).transpose()?;
    let timeout = values::on(args.timeout);
    match &args.addr {
        Endpoint::Tcp(text) => speak(Client::connect(&address::resolve(text)?[..], timeout)?, args, upload),
        Endpoint::Unix(path) => speak(Client::connect_unix(path, timeout)?, args, upload),
    }
}

fn speak<S: Stream>(mut client: Client<S>, args: &ConnectArgs, upload: Option<Upload>) -> Result<(), Failure> {
    let refusal = |error| Failure::run(format_args!("cannot read the connection: {error}"));
    // Few, as each can be a large piece of a reply.
    let (events, received) = mpsc::sync_channel(4);
    let stream = client.stream().duplicate().map_err(refusal)?;
    // A reply that is awaited too long is noticed where it is awaited.
    stream.read_forever().map_err(refusal)?;
    let is_waiting = Arc::new(AtomicBool::new(false));
    let mut replies = Client::new(Source { stream, is_waiting: Arc::clone(&is_waiting) });
    if upload.is_some() {
        replies.set_payload_len_max(PAYLOAD_LEN_MAX);
    }
    client.set_framing(args.framing).and(replies.set_framing(args.framing)).map_err(Failure::usage)?;
    let to_main = events.clone();
    thread::spawn(move || receive::run(replies, &to_main));
    let (requests, to_send) = mpsc::sync_channel(0);
    let to_main = events.clone();
    thread::spawn(move || send_all(client, &to_send, &to_main));

    let form = if args.hex { Form::Hex } else { Form::Text };
    let ends = Ends { events: received, requests, is_waiting };
    let mut exchange = Exchange::new(ends, args.framing, form, values::on(args.timeout));
    if let Some(upload) = upload {
        return exchange.upload(upload);
    }
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        let (input, above) = Input::prompt(&args.addr)?;
        exchange.converse(input, above, events)
    } else {
        exchange.converse(Input::pipe(), None, events)
    }
}

/// Sends each request, and says what became of it.
fn send_all<S: Stream>(mut client: Client<S>, requests: &Receiver<Request>, events: &SyncSender<Event>) {
    while let Ok(request) = requests.recv() {
        let outcome = match request {
            Request::Payload(payload) => client.send(&payload),
            Request::Upload(upload) => client.send_from(upload.payload_len, upload.payload).and_then(|()| {
                let end = if upload.ends_stream { client.stream().half_close() } else { Ok(()) };
                end.map_err(ClientError::Lost)
            }),
        };
        if events.send(Event::Sent(outcome)).is_err() {
            return;
        }
    }
}

/// A stream that two threads use, one to read and one to write.
trait Stream: Read + Write + Send + Sized + 'static {
    fn duplicate(&self) -> io::Result<Self>;

    /// Takes the timeout of reading away.
    fn read_forever(&self) -> io::Result<()>;

    fn half_close(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn duplicate(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn read_forever(&self) -> io::Result<()> {
        self.set_read_timeout(None)
    }

    fn half_close(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for UnixStream {
    fn duplicate(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn read_forever(&self) -> io::Result<()> {
        self.set_read_timeout(None)
    }

    fn half_close(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}
