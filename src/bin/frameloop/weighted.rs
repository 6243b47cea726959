//! The ADDR[=WEIGHT] of `load`: a server, and its share of the connections.

use std::str::FromStr;

use crate::address::Endpoint;

/// A server, and its share relative to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WeightedEndpoint {
    pub(crate) endpoint: Endpoint,
    pub(crate) weight: u32,
}

impl FromStr for WeightedEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_number = |weight: &str| !weight.is_empty() && weight.bytes().all(|byte| byte.is_ascii_digit());
        let (address, weight) = match text.rsplit_once('=').filter(|(_, weight)| is_number(weight)) {
            Some((address, weight)) => (address, weight.parse().unwrap_or(u32::MAX)),
            None => (text, 1),
        };
        if !(1..=WEIGHT_MAX).contains(&weight) {
            return Err(format!("a weight is from 1 to {WEIGHT_MAX}"));
        }
        Ok(Self { endpoint: address.parse()?, weight })
    }
}

const WEIGHT_MAX: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_is_the_number_after_the_last_equals_sign() {
        for (text, address, weight) in [
            ("127.0.0.1:7=3", "127.0.0.1:7", 3),
            ("[::1]:7", "[::1]:7", 1),
            ("name:7=10000", "name:7", 10_000),
            ("unix:/run/a=b", "unix:/run/a=b", 1),
            ("unix:/run/a=5=1", "unix:/run/a=5", 1),
        ] {
            let expected = WeightedEndpoint { endpoint: address.parse().unwrap(), weight };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn weight_out_of_range_and_missing_address_are_refused() {
        for text in ["127.0.0.1:7=0", "127.0.0.1:7=10001", "127.0.0.1:7=99999999999"] {
            assert_eq!(text.parse::<WeightedEndpoint>(), Err("a weight is from 1 to 10000".into()), "{text}");
        }
        for text in ["=3", "127.0.0.1:7=", "127.0.0.1:7=-1", "127.0.0.1:7=x", ""] {
            assert!(text.parse::<WeightedEndpoint>().is_err(), "{text}");
        }
    }
}
