//! Networks of client addresses: requests are counted by them before the sender is known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The networks around a client address. A person has one IPv4 address or one IPv6 /64; a company or an attacker may
/// have the wider one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The IPv4 address, or the IPv6 /64.
    pub narrow: IpAddr,
    /// The IPv4 /24, or the IPv6 /48.
    pub wide: IpAddr,
}

impl Network {
    /// Returns the networks of an address. All requests without an address count as one network.
    pub fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(v4)) => {
                let wide = Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << 8));
                Self { narrow: v4.into(), wide: wide.into() }
            }
            Some(IpAddr::V6(v6)) => {
                let first = |bits: u32| IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - bits))));
                Self { narrow: first(64), wide: first(48) }
            }
            None => Self { narrow: Ipv6Addr::UNSPECIFIED.into(), wide: Ipv6Addr::UNSPECIFIED.into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_narrow_and_a_wide_network() {
        let of = |text: &str| {
            let network = Network::of(Some(text.parse().unwrap()));
            (network.narrow.to_string(), network.wide.to_string())
        };
        assert_eq!(of("192.0.2.7"), ("192.0.2.7".into(), "192.0.2.0".into()));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), ("2001:db8:1:2::".into(), "2001:db8:1::".into()));
    }
}
