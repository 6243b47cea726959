//! Connections by the prefix of their address, where that is limited.
//!
//! Rule: the addresses that one client can choose among count as one. That is an IPv6 /64 and a single IPv4 address, unless
//! the settings say otherwise; an IPv4 address mapped into IPv6 is the IPv4 address, wherever addresses are compared.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::PeerAddr;
use crate::config::Config;

/// The number of connections from each prefix that has one.
#[derive(Debug)]
pub(crate) struct PerIp {
    /// `None`: no limit, and nothing is counted.
    max: Option<usize>,
    prefix_lens: (u8, u8),
    counts: HashMap<Prefix, usize>,
}

/// The addresses that count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Prefix {
    first: IpAddr,
    len: u8,
}

impl PerIp {
    pub(crate) fn new(config: &Config) -> Self {
        Self { max: config.max_per_ip, prefix_lens: config.ip_prefix, counts: HashMap::new() }
    }

    /// Returns the prefix of `peer` and the limit, if that prefix has reached it.
    pub(crate) fn full(&self, peer: &PeerAddr) -> Option<(Prefix, usize)> {
        let (max, prefix) = self.limited(peer)?;
        let is_full = self.counts.get(&prefix).is_some_and(|count| *count >= max);
        is_full.then_some((prefix, max))
    }

    /// Notes that a connection from `peer` was accepted.
    pub(crate) fn note_open(&mut self, peer: &PeerAddr) {
        if let Some((_, prefix)) = self.limited(peer) {
            *self.counts.entry(prefix).or_default() += 1;
        }
    }

    /// Notes that an accepted connection from `peer` has closed.
    pub(crate) fn note_ended(&mut self, peer: &PeerAddr) {
        if let Some((_, prefix)) = self.limited(peer)
            && let Some(count) = self.counts.get_mut(&prefix)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&prefix);
            }
        }
    }

    /// The limit and the prefix that counts; `None` if there is no limit, or no address.
    fn limited(&self, peer: &PeerAddr) -> Option<(usize, Prefix)> {
        let max = self.max?;
        let prefix = match peer.ip()? {
            IpAddr::V4(ip) => Prefix::v4(ip, self.prefix_lens.0),
            IpAddr::V6(ip) => Prefix::v6(ip, self.prefix_lens.1),
        };
        Some((max, prefix))
    }
}

impl Prefix {
    fn v4(ip: Ipv4Addr, len: u8) -> Self {
        let mask = u32::MAX.checked_shl(u32::BITS - u32::from(len)).unwrap_or(0);
        Self { first: Ipv4Addr::from_bits(ip.to_bits() & mask).into(), len }
    }

    fn v6(ip: Ipv6Addr, len: u8) -> Self {
        let mask = u128::MAX.checked_shl(u128::BITS - u32::from(len)).unwrap_or(0);
        Self { first: Ipv6Addr::from_bits(ip.to_bits() & mask).into(), len }
    }
}

impl fmt::Display for Prefix {
    /// An address if it is one, otherwise `2001:db8::/64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, len } = self;
        match (first, len) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => first.fmt(f),
            _ => write!(f, "{first}/{len}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn per_ip(lens: (u8, u8)) -> PerIp {
        let config = Config::builder().max_per_ip(Some(1)).ip_prefix(lens);
        PerIp::new(&config.build().unwrap())
    }

    fn peer(ip: &str) -> PeerAddr {
        SocketAddr::new(ip.parse().unwrap(), 40_000).into()
    }

    #[test]
    fn addresses_of_one_prefix_count_as_one_and_others_do_not() {
        let cases = [
            ((32, 64), "192.0.2.1", "192.0.2.1", true),
            ((32, 64), "192.0.2.1", "192.0.2.2", false),
            ((24, 64), "192.0.2.1", "192.0.2.255", true),
            ((24, 64), "192.0.2.1", "192.0.3.1", false),
            ((1, 64), "1.2.3.4", "127.255.255.255", true),
            ((1, 64), "127.255.255.255", "128.0.0.0", false),
            ((31, 64), "192.0.2.2", "192.0.2.3", true),
            ((31, 64), "192.0.2.1", "192.0.2.2", false),
            ((32, 64), "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ((32, 64), "2001:db8::1", "2001:db8:0:1::1", false),
            ((32, 128), "2001:db8::1", "2001:db8::2", false),
            ((32, 127), "2001:db8::2", "2001:db8::3", true),
            ((32, 1), "::1", "7fff::", true),
            ((32, 1), "7fff::", "8000::", false),
            ((32, 56), "2001:db8:0:100::1", "2001:db8:0:1ff::1", true),
            ((32, 56), "2001:db8:0:100::1", "2001:db8:0:200::1", false),
            // An IPv4 address mapped into IPv6 is counted with IPv4 addresses, and not with all that are mapped.
            ((32, 64), "192.0.2.1", "::ffff:192.0.2.1", true),
            ((32, 64), "::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ((24, 128), "::ffff:192.0.2.1", "192.0.2.9", true),
            ((32, 1), "0.0.0.1", "::1", false),
        ];
        for (lens, one, other, is_one) in cases {
            let mut per_ip = per_ip(lens);
            assert!(per_ip.full(&peer(one)).is_none());
            per_ip.note_open(&peer(one));
            assert_eq!(per_ip.full(&peer(other)).is_some(), is_one, "{one} and {other}, {lens:?}");
            assert!(per_ip.full(&peer(one)).is_some());
            assert!(per_ip.full(&PeerAddr::UNNAMED).is_none());
            per_ip.note_ended(&peer(one));
            assert!(per_ip.full(&peer(one)).is_none() && per_ip.counts.is_empty());
        }
    }

    #[test]
    fn a_prefix_is_shown_as_it_is_written() {
        let cases = [
            ((32, 64), "192.0.2.1", "192.0.2.1"),
            ((32, 64), "::ffff:192.0.2.1", "192.0.2.1"),
            ((24, 64), "192.0.2.1", "192.0.2.0/24"),
            ((32, 64), "2001:db8::1", "2001:db8::/64"),
            ((32, 128), "2001:db8::1", "2001:db8::1"),
        ];
        for (lens, ip, shown) in cases {
            assert_eq!(per_ip(lens).limited(&peer(ip)).map(|(_, prefix)| prefix.to_string()).as_deref(), Some(shown));
        }
    }

    #[test]
    fn only_prefixes_with_connections_have_entries() {
        let mut per_ip = per_ip((32, 64));
        for low in 0..10_000_u128 {
            let ip = Ipv6Addr::from_bits((0x2001_0db8 << 96) | low);
            if per_ip.full(&peer(&ip.to_string())).is_none() {
                per_ip.note_open(&peer(&ip.to_string()));
            }
        }
        assert_eq!(per_ip.counts.len(), 1);
    }
}
