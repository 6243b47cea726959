//! The servers that a load is put on, and the share of the connections that each gets.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use crate::address::Address;
use crate::load::sources::Sources;

/// A server to load, and its share of the connections.
///
/// # Examples
///
/// ```
/// use frameloop::load::{Plan, Target};
///
/// let servers: [std::net::SocketAddr; 2] = ["10.0.0.1:7007".parse()?, "10.0.0.2:7007".parse()?];
/// // Three of four connections go to the first.
/// let targets = vec![Target { weight: 3, ..Target::new(servers[0]) }, Target::new(servers[1])];
/// let plan = Plan { targets, ..Plan::default() };
/// assert!(plan.check().is_ok());
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Target {
    /// The address that is tried first.
    pub address: Address,
    /// Further addresses of its name. If connecting to one fails, the next is tried. Default: none.
    pub other_addrs: Vec<SocketAddr>,
    /// Its share of the connections, relative to the weights of the other targets. Default 1; at least 1.
    pub weight: u32,
}

impl Target {
    /// Creates a target with one address and a weight of 1.
    #[must_use]
    pub fn new(address: impl Into<Address>) -> Self {
        Self { address: address.into(), other_addrs: Vec::new(), weight: 1 }
    }

    /// Whether one of its addresses is of this family.
    fn has_family(&self, is_v4: bool) -> bool {
        let first = match &self.address {
            Address::Tcp(addr) => addr.is_ipv4() == is_v4,
            Address::Unix(_) => false,
        };
        first || self.other_addrs.iter().any(|addr| addr.is_ipv4() == is_v4)
    }

    /// The sources from which at least one of its addresses can be dialed.
    pub(crate) fn usable(&self, sources: &Sources) -> Sources {
        sources.filtered(|is_v4| self.has_family(is_v4))
    }
}

/// Checks the weights and addresses. Returns the mistake.
pub(crate) fn mistake(targets: &[Target]) -> Option<String> {
    let sum = reduced_weights(targets).into_iter().map(u64::from).sum::<u64>();
    let mut addresses = HashSet::new();
    let zero = targets.iter().find(|target| target.weight == 0);
    let twice = targets.iter().find(|target| !addresses.insert(&target.address));
    if let Some(target) = zero {
        Some(format!("the weight of target {} is 0 and must be at least 1", target.address))
    } else if let Some(target) = twice {
        Some(format!("target {} is given twice: give it once, with a weight", target.address))
    } else if sum > WEIGHTS_MAX {
        Some(format!("the weights of the targets add up to {sum} and must add up to at most {WEIGHTS_MAX}"))
    } else {
        None
    }
}

/// Rule: a source that cannot be used for any target, and a target that cannot be dialed from any source, are errors before anything
/// starts.
pub(crate) fn source_mistake(targets: &[Target], sources: &Sources) -> Option<String> {
    if sources.is_empty() {
        return None;
    }
    // The run's own server has an IPv4 address.
    let own = [Target::new(SocketAddr::from(([127, 0, 0, 1], 0)))];
    let name = |target: &Target| match targets {
        [] => "the run's own server".to_owned(),
        _ => target.address.to_string(),
    };
    let targets = if targets.is_empty() { &own } else { targets };
    if let Some(target) = targets.iter().find(|target| matches!(target.address, Address::Unix(_))) {
        return Some(format!("a source address is for TCP, and the target is {}: leave --source out", target.address));
    }
    let unusable = |source: &IpAddr| targets.iter().all(|target| !target.has_family(source.is_ipv4()));
    let without = targets.iter().find(|target| target.usable(sources).is_empty());
    let source = sources.first_addrs().find(unusable).or_else(|| without.and(sources.first_addrs().next()))?;
    let family = |is_v4: bool| if is_v4 { "IPv4" } else { "IPv6" };
    Some(format!(
        "source {source} is {} and the target {} is {}: give --source addresses of the target's family",
        family(source.is_ipv4()),
        name(without.unwrap_or(&targets[0])),
        family(!source.is_ipv4())
    ))
}

/// The weights divided by their greatest common divisor.
fn reduced_weights(targets: &[Target]) -> Vec<u32> {
    let divisor = targets.iter().fold(0, |divisor, target| greatest_common_divisor(target.weight, divisor)).max(1);
    targets.iter().map(|target| target.weight / divisor).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The order in which connections are distributed over the targets, by the number of the connection among all of the load.
///
/// Rule: the target of a connection follows from its number alone. So a connection that is replaced goes to the same target, and all
/// threads and segments together keep the weights.
#[derive(Debug, Clone)]
pub(crate) struct TargetOrder {
    /// The indexes of the targets, for connection 0, 1, 2 and so on; then again from the first.
    turns: Vec<u16>,
    weights: Vec<u32>,
}

impl TargetOrder {
    pub(crate) fn new(targets: &[Target]) -> Self {
        let weights = reduced_weights(targets);
        // The k-th connection of a target with weight w belongs in the middle of the k-th of w equal parts of a round.
        let turns = weights.iter().zip(0..).flat_map(|(weight, target)| (0..*weight).map(move |nth| (target, nth)));
        let mut turns: Vec<(u16, u32)> = turns.collect();
        let place = |(target, nth): &(u16, u32)| {
            let parts = 2 * u64::from(weights[usize::from(*target)]);
            (2 * u64::from(*nth) + 1, parts)
        };
        turns.sort_by(|a, b| {
            let ((a_at, a_parts), (b_at, b_parts)) = (place(a), place(b));
            (a_at * b_parts).cmp(&(b_at * a_parts))
        });
        Self { turns: turns.into_iter().map(|(target, _)| target).collect(), weights }
    }

    /// The index of the target of a connection.
    pub(crate) fn target_of(&self, number: u32) -> usize {
        match self.turns.len() {
            0 => 0,
            len => usize::from(self.turns[number as usize % len]),
        }
    }

    /// How many connections are made in all before a target has `count`, about.
    pub(crate) fn all_when(&self, target: usize, count: u64) -> u64 {
        let weight = u64::from(self.weights.get(target).copied().unwrap_or(1)).max(1);
        count.saturating_mul(self.turns.len().max(1) as u64) / weight
    }
}

/// A round has so many connections at most, and so there are at most so many targets.
const WEIGHTS_MAX: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(weights: &[u32]) -> Vec<Target> {
        let target = |(weight, port): (&u32, u16)| Target {
            weight: *weight,
            ..Target::new(SocketAddr::from(([127, 0, 0, 1], port)))
        };
        weights.iter().zip(1..).map(target).collect()
    }

    fn order(weights: &[u32], count: u32) -> Vec<usize> {
        let order = TargetOrder::new(&targets(weights));
        (0..count).map(|number| order.target_of(number)).collect()
    }

    #[test]
    fn connections_take_turns_by_weight() {
        assert_eq!(order(&[1], 3), [0, 0, 0]);
        assert_eq!(order(&[7, 7, 7], 5), [0, 1, 2, 0, 1]);
        assert_eq!(order(&[3, 1], 8), [0, 0, 1, 0, 0, 0, 1, 0]);
        for weights in [[5, 3, 2], [1, 100, 899], [10, 10, 1]] {
            let sum: u32 = weights.iter().sum();
            let counts = order(&weights, 3 * sum).into_iter().fold([0; 3], |mut counts, target| {
                counts[target] += 1;
                counts
            });
            assert_eq!(counts, weights.map(|weight| 3 * weight));
        }
        let order = TargetOrder::new(&targets(&[3, 1]));
        assert_eq!((order.all_when(0, 300), order.all_when(1, 300)), (400, 1_200));
    }

    #[test]
    fn weights_and_addresses_of_targets_are_checked() {
        assert_eq!(mistake(&targets(&[1, 2])), None);
        assert_eq!(mistake(&[]), None);
        assert_eq!(
            mistake(&targets(&[1, 0])).as_deref(),
            Some("the weight of target 127.0.0.1:2 is 0 and must be at least 1")
        );
        let twice = [targets(&[1]), targets(&[2])].concat();
        assert_eq!(mistake(&twice).as_deref(), Some("target 127.0.0.1:1 is given twice: give it once, with a weight"));
        assert_eq!(
            mistake(&targets(&[9_999, 2])).as_deref(),
            Some("the weights of the targets add up to 10001 and must add up to at most 10000")
        );
        assert_eq!(mistake(&targets(&[1_000_000, 3_000_000])), None, "reduced to 1 and 3");
    }

    #[test]
    fn sources_are_used_for_the_targets_of_their_family() {
        let [v4, v6] = ["10.0.0.1:7", "[fd00::1]:7"].map(|text| Target::new(text.parse::<SocketAddr>().unwrap()));
        let sources: Sources = "10.0.0.8/30,fd00::/120,10.1.0.0/16".parse().unwrap();
        assert_eq!(v4.usable(&sources), "10.0.0.8/30,10.1.0.0/16".parse().unwrap());
        assert_eq!(v6.usable(&sources), "fd00::/120".parse().unwrap());
        let both = [v4.clone(), v6.clone()];
        assert_eq!(source_mistake(&both, &sources), None);
        let only_v4: Sources = "10.0.0.8/30".parse().unwrap();
        assert_eq!(
            source_mistake(&both, &only_v4).as_deref(),
            Some(
                "source 10.0.0.9 is IPv4 and the target [fd00::1]:7 is IPv6: give --source addresses of the target's family"
            )
        );
        assert!(source_mistake(&[v6], &sources).unwrap().starts_with("source 10.0.0.9 is IPv4"));
        assert_eq!(source_mistake(&[v4], &Sources::default()), None);
    }
}
