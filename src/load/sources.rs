//! The addresses that connections are dialed from.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Holds the addresses to connect from: networks and single addresses.
///
/// It is parsed from a list with commas.
///
/// # Examples
///
/// ```
/// let sources: frameloop::load::Sources = "10.0.0.5,127.0.0.0/8".parse()?;
/// assert_eq!(sources.nth(1), Some([127, 0, 0, 1].into()));
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    networks: Vec<IpNet>,
}

impl Sources {
    /// Returns whether there are none; then the kernel chooses.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Returns how many addresses there are. The first and the last of an IPv4 network are not used (RFC 919).
    #[must_use]
    pub fn count(&self) -> u128 {
        self.networks.iter().map(host_count).fold(0, u128::saturating_add)
    }

    /// Those of the networks whose family is wanted; it is given as whether it is IPv4.
    pub(crate) fn filtered(&self, is_wanted: impl Fn(bool) -> bool) -> Self {
        let networks = self.networks.iter().filter(|network| is_wanted(network.addr().is_ipv4()));
        Self { networks: networks.copied().collect() }
    }

    /// The first address of each network.
    pub(crate) fn first_addrs(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.networks.iter().filter_map(|network| network.hosts().next())
    }

    /// Returns the address for connection number `nth`, from 0, in turn; `None` if there are none.
    #[must_use]
    pub fn nth(&self, nth: usize) -> Option<IpAddr> {
        let mut nth = (nth as u128).checked_rem(self.count())?;
        for network in &self.networks {
            match nth.checked_sub(host_count(network)) {
                Some(rest) => nth = rest,
                None => return network.hosts().nth(nth as usize),
            }
        }
        None
    }
}

/// How many addresses of a network are used: the first and the last of an IPv4 network only if it has no others (RFC 919).
fn host_count(network: &IpNet) -> u128 {
    let host_bits = network.max_prefix_len() - network.prefix_len();
    let size = 1_u128.checked_shl(host_bits.into()).unwrap_or(u128::MAX);
    if network.addr().is_ipv4() && host_bits > 1 { size - 2 } else { size }
}

impl FromStr for Sources {
    type Err = String;

    /// Parses addresses and networks with commas between them, such as `127.0.0.0/8` or `10.0.0.5,10.0.0.6`.
    fn from_str(text: &str) -> Result<Self, String> {
        let network = |item: &str| item.parse().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
        let networks = text.split(',').map(|item| network(item).map_err(|_| FORM.to_owned()));
        Ok(Self { networks: networks.collect::<Result<_, _>>()? })
    }
}

const FORM: &str = "expected addresses or networks such as 127.0.0.0/8 or 10.0.0.5,10.0.0.6";

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(text: &str, count: usize) -> Vec<String> {
        let sources: Sources = text.parse().unwrap();
        (0..count).filter_map(|nth| sources.nth(nth)).map(|ip| ip.to_string()).collect()
    }

    #[test]
    fn sources_are_used_in_turn() {
        assert_eq!(ips("10.0.0.5,10.0.0.9", 3), ["10.0.0.5", "10.0.0.9", "10.0.0.5"]);
        assert_eq!(ips("127.0.0.0/8", 3), ["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
        assert_eq!(ips("10.1.2.3/30,::1", 4), ["10.1.2.1", "10.1.2.2", "::1", "10.1.2.1"]);
        assert_eq!(ips("10.0.0.4/31", 2), ["10.0.0.4", "10.0.0.5"]);
        assert_eq!(ips("fd00::/127", 3), ["fd00::", "fd00::1", "fd00::"]);
        assert_eq!("127.0.0.0/8".parse::<Sources>().unwrap().count(), (1 << 24) - 2);
        assert_eq!("::/0".parse::<Sources>().unwrap().nth(1), Some("::1".parse().unwrap()));
        assert_eq!(Sources::default().nth(7), None);
    }

    #[test]
    fn what_is_no_source_is_answered_with_the_form() {
        for text in ["", "127.0.0.1/33", "localhost", "127.0.0.1,", "10.0.0.0/x", "::/129"] {
            assert_eq!(text.parse::<Sources>(), Err(FORM.into()), "{text}");
        }
    }
}
