//! `frameloop top [ADDR]`: an admin endpoint, live on a terminal.
//!
//! Rule: the view never waits for the server, and the server cannot bring it down: whatever fails is a line on the screen.

mod app;
mod ask;
mod client;
mod connection;
mod events;
#[cfg(test)]
mod fixture;
mod keys;
mod model;
mod once;
mod poller;
mod screen;
mod view;

use std::env;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use clap::builder::BoolishValueParser;
use clap::{Args, ValueHint};
use ratatui::crossterm::event::Event;

use crate::address::Endpoint;
use crate::failure::Failure;
use crate::page::Color;
use crate::top::app::App;
use crate::top::ask::{Answer, Ask};
use crate::top::client::Client;
use crate::top::keys::Effect;
use crate::top::poller::Message;
use crate::top::screen::Screen;
use crate::top::view::Theme;
use crate::values;

/// Watch a server or a load on a terminal, through its --admin endpoint
///
/// Shows totals and rates, the connections that hold the most memory, and one connection with its states and events; of a load, the
/// run. Keys: arrows or j and k move, Enter opens a connection, Esc goes back, b, a and i sort by bytes, age and idle time, / filters,
/// ? explains, q or Ctrl-C quits.
///
/// It reconnects when the server has been away. Without colors if NO_COLOR is set.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopArgs {
    /// Admin endpoint to watch: IP:PORT, NAME:PORT or unix:PATH
    #[arg(default_value = "127.0.0.1:9100", value_hint = ValueHint::Hostname)]
    addr: Endpoint,
    /// Time from one request to the next (100ms or more)
    #[arg(long, env = "FRAMELOOP_INTERVAL", value_name = "DURATION", default_value = "1s")]
    #[arg(value_parser = interval)]
    interval: Duration,
    /// Time to wait for the connection, and for each response (10ms or more)
    #[arg(long, env = "FRAMELOOP_TIMEOUT", value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = timeout)]
    timeout: Duration,
    /// Print totals and largest holders once, as text, and exit
    #[arg(long, env = "FRAMELOOP_ONCE", value_parser = BoolishValueParser::new())]
    once: bool,
}

const EXAMPLES: &str = "\
Examples:
  frameloop serve --admin 127.0.0.1:9100           a server to watch
  frameloop top                                    watch it
  frameloop top unix:/run/frameloop-admin.sock     over a Unix socket
  frameloop top --once                             totals and holders as text, for scripts";

fn interval(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_millis(100), text)
}

fn timeout(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_millis(10), text)
}

fn at_least(min: Duration, text: &str) -> Result<Duration, String> {
    let duration = values::duration(text)?;
    if duration >= min { Ok(duration) } else { Err(format!("it is at least {}", humantime::format_duration(min))) }
}

pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    if !args.once {
        check_terminal()?;
    }
    let mut client = Client::new(args.addr.clone(), args.timeout);
    let first = Answer::fetch(&mut client, &Ask::default()).map_err(Failure::run)?;
    if args.once {
        return once::print(&args.addr, first, args.timeout);
    }
    let (messages, received) = mpsc::channel();
    let (asks, asked) = mpsc::channel();
    let cannot = |error: io::Error| Failure::run(format_args!("cannot start a thread: {error}"));
    let app = App::new(args.addr.to_string(), args.interval, first);
    let is_colored = Color::of(&io::stdout()) == Color::Always;
    let failure = |error: io::Error| Failure::run(format_args!("cannot use the terminal: {error}"));
    let screen = Screen::enter(is_colored).map_err(failure)?;
    poller::poll(client, args.interval, asked, messages.clone()).map_err(cannot)?;
    poller::read_input(messages.clone()).map_err(cannot)?;
    View { app, screen, asks, theme: Theme::new(is_colored), answered: Instant::now() }.show(args, &messages, &received)
}

/// Both ends must be a terminal that can be drawn on.
fn check_terminal() -> Result<(), Failure> {
    let what = if !io::stdout().is_terminal() {
        "stdout is not a terminal"
    } else if !io::stdin().is_terminal() {
        "stdin is not a terminal"
    } else if env::var_os("TERM").is_some_and(|term| term == "dumb") {
        "the terminal cannot be drawn on (TERM is dumb)"
    } else {
        return Ok(());
    };
    Err(Failure::usage(format_args!("{what}: use --once for a summary as text")))
}

/// How often the screen is brought up to date at least: the terminal may have another size.
const TICK: Duration = Duration::from_secs(1);

struct View {
    app: App,
    screen: Screen,
    asks: Sender<Ask>,
    theme: Theme,
    /// When the last answer arrived.
    answered: Instant,
}

impl View {
    fn show(mut self, args: &TopArgs, messages: &Sender<Message>, received: &Receiver<Message>) -> Result<(), Failure> {
        let failure = |error: io::Error| Failure::run(format_args!("cannot use the terminal: {error}"));
        let mut follows = false;
        loop {
            if self.app.answer.info.is_load() && !follows {
                follows = true;
                let follow = poller::follow(args.addr.clone(), args.timeout, args.interval, messages.clone());
                follow.map_err(|error| Failure::run(format_args!("cannot start a thread: {error}")))?;
            }
            self.app.silence = self.answered.elapsed();
            let (app, theme) = (&self.app, self.theme);
            self.screen.draw(|frame| view::render(frame, app, theme)).map_err(failure)?;
            let first = match received.recv_timeout(TICK) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::run("the view's threads have ended")),
            };
            // What waits is shown at once.
            for message in [first].into_iter().chain(received.try_iter()) {
                match self.on_message(message).map_err(failure)? {
                    Effect::Quit => return Ok(()),
                    Effect::Redraw => self.screen.forget().map_err(failure)?,
                    Effect::Ask => drop(self.asks.send(self.app.ask())),
                    Effect::None => {}
                }
            }
        }
    }

    fn on_message(&mut self, message: Message) -> io::Result<Effect> {
        match message {
            Message::Answer(answer) => {
                if answer.is_ok() {
                    self.answered = Instant::now();
                }
                let before = self.app.ask();
                self.app.on_answer(*answer);
                // A connection that is gone is not asked for any more.
                return Ok(if self.app.ask() == before { Effect::None } else { Effect::Ask });
            }
            Message::Run(run) => self.app.run = *run,
            Message::Input(Event::Key(key)) => return Ok(keys::on_key(&mut self.app, key)),
            // Another size is seen when the screen is drawn.
            Message::Input(_) => {}
            Message::InputEnded(error) => return Err(error),
        }
        Ok(Effect::None)
    }
}
