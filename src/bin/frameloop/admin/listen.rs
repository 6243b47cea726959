//! The flags of the endpoint, and its listener.

use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::BoolishValueParser;
use frameloop::{Address, Config, Limits, ListenOptions, Reactor};
use log::warn;

use crate::address::{self, Endpoint};
use crate::admin::access::{Access, is_private};
use crate::admin::endpoint::{Admin, CLIENTS_MAX, FIRST_BYTE, Observed};
use crate::admin::http::HEAD_LEN_MAX;
use crate::admin::served::Served;
use crate::admin::service::begin_probes;
use crate::failure::Failure;
use crate::logging;

/// Where the endpoint listens.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    /// Address of the admin endpoint: 127.0.0.1:PORT, [::1]:PORT or unix:PATH
    ///
    /// It serves a live page, metrics for Prometheus, health checks and connections as JSON over HTTP. A path gets the mode 0600. Other
    /// addresses need --admin-public. At most 64 clients are served at a time.
    #[arg(long, env = "FRAMELOOP_ADMIN", value_name = "ADDR", help_heading = "Admin endpoint")]
    #[arg(value_parser = address::to_listen_on)]
    admin: Option<Endpoint>,
    /// Permit an --admin address that other machines or users can reach
    ///
    /// The endpoint has no passwords and no encryption: let a firewall or a proxy choose the clients.
    #[arg(long, env = "FRAMELOOP_ADMIN_PUBLIC", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = "Admin endpoint", requires = "admin")]
    admin_public: bool,
}

/// Where the endpoint may listen.
#[derive(Debug)]
pub(crate) struct Place {
    endpoint: Endpoint,
    candidates: Vec<Address>,
}

/// The most bytes of a response that are queued: the page, or 300 samples.
const OUTPUT_HIGH_WATER: usize = 256 << 10;

/// How long a client may not read, also where others may longer: a stream without a reader would take one of a few places.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the limit of memory has to have room for besides pending output: four chunks of 68 KiB.
const FOUR_CHUNKS: usize = 4 * (68 << 10);

/// A client that reads less than this many bytes per second is disconnected as well.
const WRITE_RATE_MIN: usize = 1 << 10;

impl AdminArgs {
    pub(crate) fn is_given(&self) -> bool {
        self.admin.is_some()
    }

    /// The descriptors that the endpoint needs.
    pub(crate) fn descriptors(&self) -> usize {
        if self.is_given() { CLIENTS_MAX + 1 } else { 0 }
    }

    /// Resolves the address, and checks that it is permitted.
    pub(crate) fn place(&self) -> Result<Option<Place>, Failure> {
        let Some(endpoint) = self.admin.clone() else { return Ok(None) };
        let candidates = address::candidates(&endpoint)?;
        if let Some(public) = candidates.iter().find(|candidate| !is_private(candidate)) {
            if !self.admin_public {
                return Err(Failure::usage(format_args!(
                    "--admin is {endpoint} and must be a loopback address or the path of a Unix socket; add --admin-public to permit it, \
                     since every client that reaches {public} can read the endpoint"
                )));
            }
            warn!(target: logging::TARGET, "the admin endpoint has no passwords, and every client that reaches {public} can read it");
        }
        Ok(Some(Place { endpoint, candidates }))
    }
}

impl Place {
    /// Listens on the first candidate that can be listened on, and returns the address.
    pub(crate) fn listen(
        self,
        reactor: &mut Reactor<Served>,
        config: &Config,
        memory: usize,
        observed: Observed,
    ) -> Result<Address, Failure> {
        let Self { endpoint, candidates } = self;
        // Requests may take long only as far as the endpoint permits it itself, and a client that does not read is always disconnected.
        let high = OUTPUT_HIGH_WATER.min(memory.saturating_sub(FOUR_CHUNKS)).max(1);
        let limits = Limits::of(config).max_payload(HEAD_LEN_MAX).idle_timeout(None).frame_timeout(None);
        let limits =
            limits.write_timeout(Some(observed.write_timeout().map_or(WRITE_TIMEOUT, |own| own.min(WRITE_TIMEOUT))));
        let limits = limits.output_high_water(high).output_low_water(high / 4);
        let limits = limits.write_rate_min(WRITE_RATE_MIN);
        let options = ListenOptions::default().framing(FIRST_BYTE).limits(limits).name("admin");
        let options = options.mode(0o600).max_connections(CLIENTS_MAX).reuse_port(false);
        let listening = address::listen(reactor, &endpoint, &candidates, &options)?;
        let (now, stats) = (Instant::now(), reactor.stats());
        let mut admin = Admin::new(listening.id, Access::of(&endpoint), observed, now, stats);
        admin.add_listener(listening.id, "admin", listening.addr.to_string());
        reactor.handler_mut().admin = Some(Box::new(admin));
        begin_probes(reactor);
        Ok(listening.addr)
    }
}
