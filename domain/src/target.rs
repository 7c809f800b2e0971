//! Where webhooks may go: not into the operator's own network (server-side request forgery).
//!
//! The same rules hold when a URL is stored and when it is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Why a webhook may not go there. The text says the rule and the way out, to be shown after the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The scheme is another.
    #[error("must begin with https:// or http://")]
    Scheme,
    /// The URL carries credentials.
    #[error("must not hold a user name or password: deliveries are signed instead")]
    Credentials,
    /// The URL has no host.
    #[error("must name a host")]
    NoHost,
    /// The host is this machine by its name, or its address is not one of the public internet.
    #[error(
        "must not lead to {0}: it is not on the public internet; to allow it (for tests), set \
         LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS=true"
    )]
    NotPublic(String),
    /// Without TLS, what is delivered would go over the public internet for everybody to read and change.
    #[error(
        "must begin with https://: plain http is sent only to private addresses, and only where \
         LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS=true allows these; {0} is none that is allowed"
    )]
    Plain(String),
}

/// Checks what can be told from the URL alone: scheme, credentials, a name that means this machine, and the address if
/// the host is written as one. Other names are to be checked with [`check_address`] whenever they have been resolved.
pub fn check_target(url: &Url, allow_private: bool) -> Result<(), TargetError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(TargetError::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(TargetError::Credentials);
    }
    match url.host() {
        None => Err(TargetError::NoHost),
        Some(Host::Domain(name)) if !allow_private && is_localhost(name) => {
            Err(TargetError::NotPublic(name.to_owned()))
        }
        Some(Host::Domain(_)) => Ok(()),
        Some(Host::Ipv4(v4)) => check_address(IpAddr::V4(v4), allow_private),
        Some(Host::Ipv6(v6)) => check_address(IpAddr::V6(v6), allow_private),
    }
}

/// Checks an address that is about to be connected to.
pub fn check_address(address: IpAddr, allow_private: bool) -> Result<(), TargetError> {
    if allow_private || is_public(address) { Ok(()) } else { Err(TargetError::NotPublic(address.to_string())) }
}

/// Checks what can be told from the URL alone about sending there without TLS. What a name leads to is to be checked with
/// [`check_plain_address`] whenever it has been resolved.
pub fn check_plain(url: &Url, allow_private: bool) -> Result<(), TargetError> {
    match url.host() {
        _ if url.scheme() != "http" => Ok(()),
        Some(Host::Domain(_)) if allow_private => Ok(()),
        Some(Host::Ipv4(v4)) => check_plain_address(IpAddr::V4(v4), allow_private),
        Some(Host::Ipv6(v6)) => check_plain_address(IpAddr::V6(v6), allow_private),
        Some(Host::Domain(name)) => Err(TargetError::Plain(name.to_owned())),
        None => Err(TargetError::NoHost),
    }
}

/// Checks an address that is about to be connected to without TLS.
pub fn check_plain_address(address: IpAddr, allow_private: bool) -> Result<(), TargetError> {
    if allow_private && !is_public(address) { Ok(()) } else { Err(TargetError::Plain(address.to_string())) }
}

/// `localhost` and the names below it always mean this machine (RFC 6761, 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether an address belongs to the public internet: none of the special ranges of the IANA registries (RFC 6890), and
/// no IPv6 form of such an IPv4 address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local() // holds the clouds' metadata service, 169.254.169.254
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b)) // shared by carriers (CGNAT)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || [a, b, c, d] == [168, 63, 129, 16]) // Azure's host service: public by its number, private by its meaning
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([w, x], [y, z]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(w, x, y, z))
    };
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] => embedded(g, h),      // IPv4-mapped
        [0x64, 0xff9b, 0, 0, 0, 0] => embedded(g, h),   // NAT64
        [0x2002, high, low, ..] => embedded(high, low), // 6to4
        [0x2001, 0..=0x1ff, ..] => false,               // Teredo, ORCHID and other protocol assignments
        [0x2001, 0xdb8, ..] | [0x3fff, ..] => false,    // documentation
        _ => (0x2000..0x4000).contains(&a),             // only 2000::/3 is given out as global unicast
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_private_addresses_only_and_only_where_they_are_allowed() {
        for (url, allowed, anyway) in [
            ("https://client.example/", true, true),
            ("https://8.8.8.8/", true, true),
            ("http://10.0.0.8/", true, false),
            ("http://127.0.0.1:8080/", true, false),
            ("http://[fd00::1]/", true, false),
            ("http://client.example/", true, false), // what it leads to is told by its address
            ("http://8.8.8.8/", false, false),
            ("http://[2606:4700::1]/", false, false),
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!(check_plain(&url, true).is_ok(), allowed, "{url}");
            assert_eq!(check_plain(&url, false).is_ok(), anyway, "{url}");
        }
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(check_plain_address(address("10.0.0.8"), true).is_ok());
        assert!(check_plain_address(address("10.0.0.8"), false).is_err());
        assert!(check_plain_address(address("8.8.8.8"), true).is_err());
    }

    #[test]
    fn only_public_addresses_are_public() {
        for text in [
            "127.0.0.1",
            "127.8.8.8",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "64:ff9b:1::1",
            "100::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "192.0.1.1",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    fn check(url: &str, allow_private: bool) -> Result<(), TargetError> {
        check_target(&Url::parse(url).unwrap(), allow_private)
    }

    #[test]
    fn a_url_is_refused_for_its_scheme_credentials_or_missing_host_whatever_is_allowed() {
        assert_eq!(check("https://client.example.com/hooks", false), Ok(()));
        for (url, error) in [
            ("ftp://client.example.com/", TargetError::Scheme),
            ("file:///etc/passwd", TargetError::Scheme),
            ("https://user@client.example.com/", TargetError::Credentials),
            ("https://:pw@client.example.com/", TargetError::Credentials),
        ] {
            assert_eq!(check(url, true), Err(error), "{url}");
        }
    }

    #[test]
    fn this_machine_and_private_networks_are_refused_however_they_are_written_unless_allowed() {
        for url in [
            "http://127.0.0.1:8080/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://168.63.129.16/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost:80/",
        ] {
            let error = check(url, false).unwrap_err();
            assert!(matches!(error, TargetError::NotPublic(_)), "{url}: {error}");
            assert!(error.to_string().contains("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS"), "the way out: {error}");
            assert_eq!(check(url, true), Ok(()), "{url}");
        }
        for url in ["https://localhost.example.com/", "https://mylocalhost/", "http://8.8.8.8:8080/"] {
            assert_eq!(check(url, false), Ok(()), "{url}");
        }
    }
}
