//! Where requests come from.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use leadway_config::Network;

/// Whoever opens connections: an IPv4 address, or an IPv6 network of 64 bits, which one customer of a provider gets whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin(IpAddr);

impl Origin {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 64)).into(),
            four => four,
        })
    }
}

/// As it may stand in a log: without the part that names one machine.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(four) => {
                let [a, b, c, _] = four.octets();
                write!(f, "{a}.{b}.{c}.0/24")
            }
            IpAddr::V6(six) => write!(f, "{}/48", Ipv6Addr::from_bits(six.to_bits() & (u128::MAX << 80))),
        }
    }
}

/// Whether the address is that of a proxy or load balancer in front.
pub(crate) fn is_proxy(address: IpAddr, proxies: &[Network]) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|network| network.contains(address))
}

/// The client behind trusted proxies: the last address that `X-Forwarded-For` names and that is none of them. What stands
/// before it was said by the client itself.
pub(crate) fn forwarded(headers: &HeaderMap, proxies: &[Network]) -> Option<Origin> {
    let values = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    let addresses = hops.into_iter().rev().map_while(address);
    addresses.into_iter().find(|hop| !is_proxy(*hop, proxies)).map(Origin::of)
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    plain.parse().ok().or_else(|| text.parse().ok().map(|socket: std::net::SocketAddr| socket.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_of_itself_behind_a_proxy_does_not_count() {
        let proxies = ["10.0.0.0/8", "192.0.2.1"].map(|text| Network::try_from(text.to_owned()).unwrap());
        let from = |values: &[&str]| {
            let headers = values.iter().map(|v| (http::HeaderName::from_static("x-forwarded-for"), v.parse().unwrap()));
            let mut map = HeaderMap::new();
            headers.for_each(|(name, value)| _ = map.append(name, value));
            forwarded(&map, &proxies)
        };
        let origin = |text: &str| Some(Origin::of(text.parse().unwrap()));
        assert_eq!(from(&["203.0.113.9"]), origin("203.0.113.9"));
        assert_eq!(from(&["1.2.3.4, 203.0.113.9, 10.1.1.1"]), origin("203.0.113.9"));
        assert_eq!(from(&["1.2.3.4", "203.0.113.9:4711, 192.0.2.1"]), origin("203.0.113.9"));
        assert_eq!(from(&["[2001:db8::1]:80"]), origin("2001:db8::ffff"));
        assert_eq!(from(&["203.0.113.9, nonsense"]), None, "a proxy does not write this");
        assert_eq!(from(&[]), None);
    }

    #[test]
    fn logs_name_networks() {
        for (address, shown) in [
            ("203.0.113.9", "203.0.113.0/24"),
            ("::ffff:203.0.113.9", "203.0.113.0/24"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ] {
            assert_eq!(Origin::of(address.parse().unwrap()).to_string(), shown);
        }
    }
}
