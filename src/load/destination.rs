//! The addresses that connections are dialed to and from.
//!
//! Rule: connections are spread evenly over the source addresses, and over more than one as soon as those of one would be
//! slow to connect. The kernel first chooses every second port of the ephemeral range, and then probes the others one by
//! one (`__inet_hash_connect`): from half of the range on, a connection takes milliseconds of processor time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::address::{Address, Dial, PeerAddr};
use crate::load::plan::Plan;
use crate::load::sources::Sources;
use crate::wire::Framing;

/// The target's addresses and the sources of a run; each thread has its own copy.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    to: Address,
    /// All addresses of the target's name, if it has several.
    addrs: Vec<SocketAddr>,
    sources: SourceChoice,
    framing: Framing,
}

#[derive(Debug, Clone)]
enum SourceChoice {
    /// The kernel chooses.
    Kernel,
    /// Each of these in turn.
    InTurn(Sources),
    /// Addresses of 127.0.0.0/8 from number `first` on, `per_source` connections from each. The kernel chooses the first
    /// address if one is enough for all connections at a time.
    Loopback { per_source: usize, first: u32, begins_with_kernel: bool },
}

/// Of the ephemeral range, this part is used of one source before the next source: well below the half from which on
/// connecting is slow.
const SHARE_OF_RANGE: u64 = 3;

impl Destination {
    /// `ports` is the size of the ephemeral range. `instance` differs between the generators of one machine, so that they
    /// do not use the same addresses of the loopback network.
    pub(crate) fn new(plan: &Plan, to: &Address, ports: Option<u64>, instance: u32) -> Self {
        let addrs = match to {
            Address::Tcp(first) if !plan.other_addrs.is_empty() => {
                std::iter::once(first).chain(&plan.other_addrs).copied().collect()
            }
            Address::Tcp(_) | Address::Unix(_) => Vec::new(),
        };
        let sources = match to {
            Address::Unix(_) => SourceChoice::Kernel,
            Address::Tcp(_) if !plan.sources.is_empty() => SourceChoice::InTurn(plan.sources.clone()),
            Address::Tcp(to) if is_loopback_v4(to) && plan.other_addrs.iter().all(is_loopback_v4) => {
                let per_source = ports.map_or(PER_SOURCE, |ports| (ports / SHARE_OF_RANGE).max(1) as usize);
                let begins_with_kernel = plan.connections_total() <= per_source;
                SourceChoice::Loopback { per_source, first: first_source(instance), begins_with_kernel }
            }
            Address::Tcp(_) => SourceChoice::Kernel,
        };
        Self { to: to.clone(), addrs, sources, framing: plan.reply_framing() }
    }

    /// How the `nth` connection of the run is dialed. With churn and after failures there are more dials than links.
    pub(crate) fn dial(&self, nth: usize) -> Dial {
        let dial = match self.addrs.as_slice() {
            [] => Dial::to(self.to.clone()),
            addrs => Dial::any_of(addrs.to_vec()),
        };
        // Options take memory for each dial.
        let dial = if self.framing == Framing::default() { dial } else { dial.framing(self.framing) };
        match self.source(nth) {
            Some(ip) => dial.bind(ip),
            None => dial,
        }
    }

    fn source(&self, nth: usize) -> Option<IpAddr> {
        match &self.sources {
            SourceChoice::Kernel => None,
            SourceChoice::InTurn(sources) => sources.nth(nth),
            SourceChoice::Loopback { per_source, first, begins_with_kernel } => match nth / per_source {
                0 if *begins_with_kernel => None,
                chunk => Some(loopback(first.wrapping_add(chunk as u32))),
            },
        }
    }

    /// A connection to this address has opened: of several, it is tried first from now on.
    pub(crate) fn prefer(&mut self, made_to: &PeerAddr) {
        let Some(made_to) = made_to.socket_addr() else { return };
        if let Some(at @ 1..) = self.addrs.iter().position(|addr| *addr == made_to) {
            self.addrs[..=at].rotate_right(1);
        }
    }

    /// How many dials come from one source before the kernel searches for ports; `None` where that does not happen.
    pub(crate) fn fast_dials(&self, ports: Option<u64>) -> Option<u64> {
        let half = ports? / 2;
        match (&self.to, &self.sources) {
            (Address::Unix(_), _) | (_, SourceChoice::Loopback { .. }) => None,
            (_, SourceChoice::Kernel) => Some(half),
            (_, SourceChoice::InTurn(sources)) => u64::try_from(sources.count()).ok()?.checked_mul(half),
        }
    }
}

fn is_loopback_v4(addr: &SocketAddr) -> bool {
    matches!(addr.ip(), IpAddr::V4(ip) if ip.is_loopback())
}

/// The number of an instance's first address of the loopback network: 4,096 instances have 4,094 addresses each, without
/// 127.0.0.1, which the kernel chooses by itself.
fn first_source(instance: u32) -> u32 {
    2 + (instance % 4_096) * 4_094
}

/// The address with this number in 127.0.0.0/8.
fn loopback(number: u32) -> IpAddr {
    // Without the network's first and last address.
    Ipv4Addr::from_bits((127 << 24) + 1 + (number - 1) % ((1 << 24) - 2)).into()
}

/// Where the ephemeral range is not known: a third of the usual one.
const PER_SOURCE: usize = 9_410;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const PORTS: u64 = 28_232;

    fn destination(to: &str, plan: &Plan) -> Destination {
        Destination::new(plan, &Address::Tcp(to.parse().unwrap()), Some(PORTS), 7)
    }

    /// How many of `dials` come from each source.
    fn uses(destination: &Destination, dials: usize) -> HashMap<Option<IpAddr>, usize> {
        let mut uses = HashMap::new();
        (0..dials).for_each(|nth| *uses.entry(destination.source(nth)).or_default() += 1);
        uses
    }

    #[test]
    fn loopback_target_uses_more_sources_from_a_third_of_the_range() {
        for (connections, dials, sources) in
            [(50, 50, 1), (9_410, 9_410, 1), (9_411, 9_411, 2), (19_000, 19_000, 3), (50, 1_000_000, 107)]
        {
            let plan = Plan { connections, ..Plan::default() };
            let uses = uses(&destination("127.0.0.1:7", &plan), dials);
            assert_eq!(uses.len(), sources, "{connections} {dials}");
            assert!(uses.values().all(|count| *count as u64 <= PORTS / 3), "{uses:?}");
            assert_eq!(uses.contains_key(&None), connections <= 9_410, "{connections}");
        }
    }

    #[test]
    fn other_targets_use_all_sources_evenly() {
        for (target, text) in [("192.0.2.1:7", ""), ("[::1]:7", ""), ("127.0.0.1:7", "127.0.0.5,127.0.0.6")] {
            let sources = if text.is_empty() { Sources::default() } else { text.parse().unwrap() };
            let plan = Plan { connections: 19_000, sources, ..Plan::default() };
            let uses = uses(&destination(target, &plan), 19_000);
            assert_eq!(uses.len(), if text.is_empty() { 1 } else { 2 }, "{target}");
            assert!(uses.values().all(|count| 19_000 % count == 0), "{uses:?}");
        }
    }

    #[test]
    fn connecting_is_slow_from_half_of_the_range_of_each_source_on() {
        let plan = |text: &str| Plan { sources: text.parse().unwrap_or_default(), ..Plan::default() };
        let fast = |to: &str, text: &str| destination(to, &plan(text)).fast_dials(Some(PORTS));
        assert_eq!(fast("192.0.2.1:7", ""), Some(PORTS / 2));
        assert_eq!(fast("[::1]:7", ""), Some(PORTS / 2));
        assert_eq!(fast("192.0.2.1:7", "10.0.0.1,10.0.0.2"), Some(PORTS));
        assert_eq!(fast("127.0.0.1:7", ""), None);
    }

    #[test]
    fn instances_do_not_share_loopback_sources() {
        let all: std::collections::HashSet<u32> = (0..4_096).map(first_source).collect();
        assert_eq!(all.len(), 4_096);
        assert_eq!(loopback(2), IpAddr::from([127, 0, 0, 2]));
        assert!((0..4_096).all(|nth| loopback(first_source(nth)).is_loopback()));
    }

    #[test]
    fn address_that_accepted_is_tried_first_from_then_on() {
        let addrs: [SocketAddr; 3] = ["[::1]:1", "127.0.0.1:1", "[::2]:1"].map(|text| text.parse().unwrap());
        let plan = Plan { other_addrs: addrs[1..].to_vec(), ..Plan::default() };
        let mut destination = Destination::new(&plan, &Address::Tcp(addrs[0]), None, 0);
        destination.prefer(&PeerAddr::from(addrs[2]));
        assert_eq!(destination.addrs, [addrs[2], addrs[0], addrs[1]]);
        assert_eq!(destination.dial(0), Dial::any_of(destination.addrs.clone()));
    }
}
