//! `frameloop check`: grades any server that echoes frames.
//!
//! The grader knows the wire by itself (`wire`) and uses the standard library's blocking sockets: it shares nothing with the
//! server, so that no mistake of one is hidden by the other.
//!
//! Rule: whatever the server sends or does not, a run ends within its documented minute: every loop over what a server does
//! looks at the time that is left.

mod card;
mod case;
mod cases;
mod finding;
mod grade;
mod json;
mod list;
mod patience;
mod payloads;
mod peer;
mod process;
mod target;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValuesParser};
use clap::{Args, ValueHint};

use crate::address::{self, Endpoint};
use crate::check::case::{Case, Level};
use crate::check::grade::Grade;
use crate::check::patience::Patience;
use crate::check::payloads::Payloads;
use crate::check::process::Process;
use crate::check::target::Target;
use crate::check::wire::Wire;
use crate::environment::renamed;
use crate::exit::conclude;
use crate::failure::Failure;
use crate::page::Color;
use crate::results::figures::counted;
use crate::{machine, output, values};

/// Check: grade any server that echoes frames, and explain what is wrong with it
///
/// The cases range from a frame in one write to more clients than the server has descriptors; a run ends within a minute.
/// The grader needs only an address. With --pid it also measures the server's memory, descriptors and processor time.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    /// Server to grade: IP:PORT or NAME:PORT
    ///
    /// For a name, all addresses are tried, and the first that accepts a connection is graded.
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:7007", value_parser = tcp, value_hint = ValueHint::Hostname)]
    addr: String,

    /// Highest level to play; each level includes the ones before it
    #[arg(long, env = "FRAMELOOP_LEVEL", value_name = "LEVEL", value_enum, default_value = "hardened")]
    #[arg(help_heading = "What is played")]
    level: Level,
    /// Play only this case (repeatable)
    #[arg(long, env = "FRAMELOOP_CASE", value_name = "NAME", value_delimiter = ',', conflicts_with = "level")]
    #[arg(value_parser = PossibleValuesParser::new(cases::all().map(|case| case.name)), hide_possible_values = true)]
    #[arg(help_heading = "What is played")]
    case: Vec<String>,
    /// List the cases, with what each does and why, and exit
    #[arg(long, env = "FRAMELOOP_LIST", value_parser = BoolishValueParser::new(), help_heading = "What is played")]
    list: bool,

    /// Where a frame ends, as for serve: such as u32be, varint, lines or raw
    ///
    /// A case that does not apply to it is skipped, with a reason.
    #[arg(long, env = "FRAMELOOP_FRAMING", value_name = "SPEC", default_value = "u32be")]
    #[arg(value_parser = framing, help_heading = "The server")]
    framing: Wire,
    /// Longest payload that the server accepts
    #[arg(long, alias = "max-frame", env = renamed("FRAMELOOP_MAX_PAYLOAD", "FRAMELOOP_MAX_FRAME"))]
    #[arg(value_name = "SIZE", default_value = "16MiB")]
    #[arg(value_parser = max_payload, help_heading = "The server")]
    max_payload: u32,
    /// Process id of the server, on this machine, to measure what it uses
    #[arg(long, env = "FRAMELOOP_PID", value_name = "PID", help_heading = "The server")]
    pid: Option<u32>,
    /// The server's own deadline for an incomplete frame (0 = none)
    #[arg(long, env = "FRAMELOOP_FRAME_TIMEOUT", value_name = "DURATION", default_value = "0")]
    #[arg(value_parser = values::duration, help_heading = "The server")]
    frame_timeout: Duration,
    /// The server's own deadline for a client that does not read (0 = none)
    #[arg(long, env = "FRAMELOOP_WRITE_TIMEOUT", value_name = "DURATION", default_value = "0")]
    #[arg(value_parser = values::duration, help_heading = "The server")]
    write_timeout: Duration,

    /// Time that a reply may take
    ///
    /// Connecting, and sending or receiving many bytes, may take twice as long. The whole run takes at most a minute.
    #[arg(long, env = "FRAMELOOP_TIMEOUT", value_name = "DURATION", default_value = "2s")]
    #[arg(value_parser = wait, help_heading = "The grader")]
    timeout: Duration,
    /// Seed of the payloads; the same number gives the same payloads
    #[arg(long, env = "FRAMELOOP_SEED", value_name = "N", default_value = "1", help_heading = "The grader")]
    seed: u64,
    /// Print the results, or the list, as one JSON object
    #[arg(long, env = "FRAMELOOP_JSON", value_parser = BoolishValueParser::new(), help_heading = "The grader")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  frameloop check                                  all cases, on the server of 127.0.0.1:7007
  frameloop check --pid $(pgrep -n my-server)      also measure its process
  frameloop check --level basic 127.0.0.1:9000     only framing
  frameloop check --case header-2-2                one case, while you fix it
  frameloop check --framing lines 127.0.0.1:9000   a line is a frame
  frameloop check --list                           all cases, and why

Exit codes: 0 every case that was played holds, 1 a case failed or there was no time for it, 2 usage.";

pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let chosen = args.chosen();
    if args.list {
        return list::show(&chosen, args.json);
    }
    let mut target = args.target()?;
    let grade = Grade::of(&mut target, &chosen, args.level);
    let printed = match args.json {
        true => {
            json::text(args.pid, args.seed, &target, &grade).map_err(Failure::run).and_then(|text| output::line(&text))
        }
        false => output::bytes(Color::of(&std::io::stdout()).apply(card::text(&target, &grade)).as_bytes()),
    };
    conclude(printed, verdict(&grade))
}

fn verdict(grade: &Grade) -> Result<(), Failure> {
    let cases = |count: usize| counted(count as u64, "case");
    match (grade.failed(), grade.out_of_time()) {
        (0, 0) if grade.played() == 0 => Err(Failure::run("nothing was played: see the score card for the reasons")),
        (0, 0) => Ok(()),
        (0, late) => {
            Err(Failure::run(format_args!("there was no time for {}: play fewer, with --level or --case", cases(late))))
        }
        (failed, _) => {
            Err(Failure::run(format_args!("{failed} of {} failed: see the score card", cases(grade.played()))))
        }
    }
}

impl CheckArgs {
    fn chosen(&self) -> Vec<Case> {
        let is_chosen = |case: &Case| match self.case.is_empty() {
            true => case.level <= self.level,
            false => self.case.iter().any(|name| name == case.name),
        };
        cases::of(&self.framing).filter(is_chosen).collect()
    }

    fn target(&self) -> Result<Target, Failure> {
        self.framing.check(self.max_payload).map_err(Failure::usage)?;
        let patience = Patience::new(self.timeout, WHOLE);
        let own_descriptors = machine::raise_descriptor_limit();
        let process = self.pid.map(Process::of).transpose().map_err(Failure::run)?;
        let addr = reachable(&self.addr, address::resolve(&self.addr)?, patience)?;
        // The first case finds a server that has seen the grader come and go.
        std::thread::sleep(AT_REST);
        Ok(Target {
            addr,
            patience,
            max_payload: self.max_payload,
            process,
            frame_timeout: values::on(self.frame_timeout),
            write_timeout: values::on(self.write_timeout),
            own_descriptors,
            payloads: Payloads::new(self.seed, self.framing.clone()),
            served: Arc::default(),
        })
    }
}

/// Of a name's addresses, in their order, the first that accepts a connection: that one is graded.
fn reachable(name: &str, addrs: Vec<SocketAddr>, patience: Patience) -> Result<SocketAddr, Failure> {
    let mut failures = Vec::new();
    for addr in addrs {
        match std::net::TcpStream::connect_timeout(&addr, patience.long()) {
            Ok(_) => return Ok(addr),
            Err(error) if addr.to_string() == name => failures.push(error.to_string()),
            Err(error) => failures.push(format!("{addr}: {error}")),
        }
    }
    let failures = failures.join("; ");
    Err(Failure::run(format_args!("cannot connect to {name}: {failures}: is the server running?")))
}

/// An address that is graded: of TCP, of which half of the cases are about.
fn tcp(text: &str) -> Result<String, String> {
    match text.parse()? {
        Endpoint::Tcp(text) => Ok(text),
        Endpoint::Unix(_) => Err("the cases are about TCP: expected an address such as 127.0.0.1:7007".into()),
    }
}

/// A framing: what the library takes as one, and the grader knows by itself.
fn framing(text: &str) -> Result<Wire, String> {
    let text = values::framing(text)?;
    Wire::of(&text).ok_or_else(|| format!("the grader has no frames of {text}"))
}

/// The longest payload that a server takes: the cases that are about something else have short ones, and those have to fit.
fn max_payload(text: &str) -> Result<u32, String> {
    match values::size(text)? {
        len @ MAX_PAYLOAD_MIN.. => Ok(len),
        len => Err(format!("{len} bytes are too few to be graded with: expected {MAX_PAYLOAD_MIN} or more")),
    }
}

/// A time to wait; not zero.
fn wait(text: &str) -> Result<Duration, String> {
    values::on(values::duration(text)?)
        .ok_or_else(|| "an answer takes more than 0: expected a duration such as 2s".into())
}

/// More than the payloads of the ordinary cases.
const MAX_PAYLOAD_MIN: u32 = 512;
/// How long everything takes at most.
const WHOLE: Duration = Duration::from_secs(57);
/// Time for a server to accept a connection, and to close it.
const AT_REST: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Addresses at which nothing listens, of both families.
    fn refusing() -> [SocketAddr; 2] {
        ["127.0.0.1:0", "[::1]:0"].map(|addr| {
            let bound = TcpListener::bind(addr).or_else(|_| TcpListener::bind("127.0.0.1:0"));
            bound.unwrap().local_addr().unwrap()
        })
    }

    #[test]
    fn name_of_which_only_the_last_address_serves_is_graded_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let [v4, v6] = refusing();
        let serves = listener.local_addr().unwrap();
        let patience = Patience::new(Duration::from_secs(2), WHOLE);
        assert_eq!(reachable("name:7007", vec![v6, v4, serves], patience).unwrap(), serves);
        // The first that accepts, whatever is behind it.
        assert_eq!(reachable("name:7007", vec![serves, v6], patience).unwrap(), serves);
    }

    #[test]
    fn name_of_which_no_address_serves_is_reported_with_each() {
        let [v4, v6] = refusing();
        let patience = Patience::new(Duration::from_secs(2), WHOLE);
        let Err(Failure::Run(message)) = reachable("name:7007", vec![v6, v4], patience) else { panic!("connected") };
        assert!(message.starts_with(&format!("cannot connect to name:7007: {v6}: ")), "{message}");
        assert!(message.contains(&format!("; {v4}: ")) && message.lines().count() == 1, "{message}");
    }
}
