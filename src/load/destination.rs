//! The addresses that connections are dialed to and from.
//!
//! Rule: connections are spread evenly over the source addresses, and over more than one as soon as those of one would be
//! slow to connect. The kernel first chooses every second port of the ephemeral range, and then probes the others one by
//! one (`__inet_hash_connect`): from half of the range on, a connection takes milliseconds of processor time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::address::{Address, Dial, PeerAddr};
use crate::load::plan::Plan;
use crate::load::sources::Sources;
use crate::load::target::{Target, TargetOrder};
use crate::wire::Framing;

/// The targets' addresses and the sources of a run; each thread has its own copy.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    routes: Vec<Route>,
    order: TargetOrder,
    framing: Framing,
    /// The thread that dials, and how many there are.
    thread: usize,
    threads: usize,
}

/// How one target is dialed.
#[derive(Debug, Clone)]
struct Route {
    to: Address,
    /// All addresses of the target's name, if it has several.
    addrs: Vec<SocketAddr>,
    sources: SourceChoice,
    /// How many connections this thread has dialed.
    dialed: usize,
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
    pub(crate) fn new(plan: &Plan, ports: Option<u64>, instance: u32) -> Self {
        Self {
            routes: plan.targets.iter().map(|target| Route::new(plan, target, ports, instance)).collect(),
            order: TargetOrder::new(&plan.targets),
            framing: plan.reply_framing(),
            thread: 0,
            threads: 1,
        }
    }

    /// The copy of a thread, which dials every `threads`-th connection.
    pub(crate) fn of_thread(self, thread: usize, threads: usize) -> Self {
        Self { thread, threads, ..self }
    }

    /// The copy of a thread that dials after so many other connections.
    pub(crate) fn after(mut self, dials: usize) -> Self {
        self.routes.iter_mut().for_each(|route| route.dialed = dials);
        self
    }

    /// The index of the target of a connection, by its number among all of the load.
    pub(crate) fn target_of(&self, number: u32) -> usize {
        self.order.target_of(number)
    }

    /// How the next connection is dialed, which has this number.
    pub(crate) fn dial(&mut self, number: u32) -> Dial {
        let route = &mut self.routes[self.order.target_of(number)];
        // With churn and after failures there are more dials than connections.
        let nth = route.dialed * self.threads + self.thread;
        route.dialed += 1;
        let dial = route.dial(nth);
        // Options take memory for each dial.
        if self.framing == Framing::default() { dial } else { dial.framing(self.framing) }
    }

    /// A connection has opened to this address of its target: of several, it is tried first from now on.
    pub(crate) fn prefer(&mut self, number: u32, made_to: &PeerAddr) {
        self.routes[self.order.target_of(number)].prefer(made_to);
    }

    /// How many dials it takes until the kernel searches for ports of one source; `None` where that does not happen.
    pub(crate) fn fast_dials(&self, ports: Option<u64>) -> Option<u64> {
        let of_routes = self.routes.iter().enumerate();
        of_routes.filter_map(|(target, route)| Some(self.order.all_when(target, route.fast_dials(ports)?))).min()
    }
}

impl Route {
    fn new(plan: &Plan, target: &Target, ports: Option<u64>, instance: u32) -> Self {
        let Target { address: to, other_addrs, .. } = target;
        let addrs = match to {
            Address::Tcp(first) if !other_addrs.is_empty() => {
                std::iter::once(first).chain(other_addrs).copied().collect()
            }
            Address::Tcp(_) | Address::Unix(_) => Vec::new(),
        };
        let sources = match to {
            Address::Unix(_) => SourceChoice::Kernel,
            Address::Tcp(_) if !plan.sources.is_empty() => SourceChoice::InTurn(target.usable(&plan.sources)),
            Address::Tcp(to) if is_loopback_v4(to) && other_addrs.iter().all(is_loopback_v4) => {
                let per_source = ports.map_or(PER_SOURCE, |ports| (ports / SHARE_OF_RANGE).max(1) as usize);
                let begins_with_kernel = plan.connections_total() <= per_source;
                SourceChoice::Loopback { per_source, first: first_source(instance), begins_with_kernel }
            }
            Address::Tcp(_) => SourceChoice::Kernel,
        };
        Self { to: to.clone(), addrs, sources, dialed: 0 }
    }

    /// How the `nth` connection to this target is dialed.
    fn dial(&self, nth: usize) -> Dial {
        let dial = match self.addrs.as_slice() {
            [] => Dial::to(self.to.clone()),
            addrs => Dial::any_of(addrs.to_vec()),
        };
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

    fn prefer(&mut self, made_to: &PeerAddr) {
        let Some(made_to) = made_to.socket_addr() else { return };
        if let Some(at @ 1..) = self.addrs.iter().position(|addr| *addr == made_to) {
            self.addrs[..=at].rotate_right(1);
        }
    }

    /// How many dials come from one source before the kernel searches for ports; `None` where that does not happen.
    fn fast_dials(&self, ports: Option<u64>) -> Option<u64> {
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
    use std::collections::{HashMap, HashSet};

    use super::*;

    const PORTS: u64 = 28_232;

    fn destination(to: &str, plan: &Plan) -> Destination {
        let targets = to.split(' ').map(|to| Target::new(to.parse::<SocketAddr>().unwrap())).collect();
        Destination::new(&Plan { targets, ..plan.clone() }, Some(PORTS), 7)
    }

    /// How many of `dials` come from each source.
    fn uses(destination: &Destination, dials: usize) -> HashMap<Option<IpAddr>, usize> {
        let mut uses = HashMap::new();
        (0..dials).for_each(|nth| *uses.entry(destination.routes[0].source(nth)).or_default() += 1);
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
        let all: HashSet<u32> = (0..4_096).map(first_source).collect();
        assert_eq!(all.len(), 4_096);
        assert_eq!(loopback(2), IpAddr::from([127, 0, 0, 2]));
        assert!((0..4_096).all(|nth| loopback(first_source(nth)).is_loopback()));
    }

    #[test]
    fn address_that_accepted_is_tried_first_from_then_on() {
        let addrs: [SocketAddr; 3] = ["[::1]:1", "127.0.0.1:1", "[::2]:1"].map(|text| text.parse().unwrap());
        let target = Target { other_addrs: addrs[1..].to_vec(), ..Target::new(addrs[0]) };
        let mut destination = Destination::new(&Plan { targets: vec![target], ..Plan::default() }, None, 0);
        destination.prefer(0, &PeerAddr::from(addrs[2]));
        let preferred = [addrs[2], addrs[0], addrs[1]];
        assert_eq!(destination.dial(0), Dial::any_of(preferred.to_vec()));
    }

    #[test]
    fn ports_of_a_source_are_counted_for_each_target() {
        let plan = Plan { connections: 40_000, ..Plan::default() };
        let mut destination = destination("127.0.0.1:7 127.0.0.1:8", &plan);
        let dials: Vec<String> = (0..40_000).map(|number| destination.dial(number).to_string()).collect();
        let mut uses: HashMap<&str, usize> = HashMap::new();
        dials.iter().for_each(|dial| *uses.entry(dial).or_default() += 1);
        // Three sources for 20,000 connections, and the same ones for both targets.
        assert_eq!(uses.len(), 6, "{uses:?}");
        assert!(uses.values().all(|count| *count as u64 <= PORTS / 3), "{uses:?}");
        let sources: HashSet<&str> = uses.keys().map(|dial| dial.rsplit_once(' ').unwrap().1).collect();
        assert_eq!(sources.len(), 3, "{uses:?}");
    }

    #[test]
    fn mixed_targets_are_dialed_from_sources_of_their_family() {
        let sources = "10.0.0.8/31,fd00::/127,10.0.0.16/31".parse().unwrap();
        let mut destination = destination("192.0.2.1:7 [2001:db8::1]:7", &Plan { sources, ..Plan::default() });
        let dials: Vec<String> = (0..6).map(|number| destination.dial(number).to_string()).collect();
        let expected = ["10.0.0.8", "fd00::", "10.0.0.9", "fd00::1", "10.0.0.16", "fd00::"];
        assert!(
            dials.iter().zip(expected).all(|(dial, source)| dial.ends_with(&format!(" from {source}"))),
            "{dials:?}"
        );
        assert_eq!(destination.fast_dials(Some(PORTS)), Some(2 * 2 * (PORTS / 2)), "the two of IPv6 are used up first");
    }

    #[test]
    fn threads_dial_different_connections_of_the_sources() {
        let plan = Plan { connections: 30_000, threads: 3, ..Plan::default() };
        let mut uses: HashMap<String, usize> = HashMap::new();
        for thread in 0..3 {
            let mut destination = destination("127.0.0.1:7", &plan).of_thread(thread, 3);
            for number in 0..10_000 {
                *uses.entry(destination.dial(number).to_string()).or_default() += 1;
            }
        }
        assert_eq!(uses.len(), 4, "{uses:?}");
        assert!(uses.values().all(|count| *count as u64 <= PORTS / 3), "{uses:?}");
    }
}
