//! Which URLs appointments may be posted to.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Reads a webhook URL. What is refused here is what can be seen in the text; the dispatcher checks the resolved address
/// at every delivery.
pub(crate) fn parse(text: &str, allow_private: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("must be a URL such as https://client.example/hook: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// or http://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password: deliveries are signed instead".into());
    }
    if text.len() > 2_000 {
        return Err("must have at most 2000 characters".into());
    }
    match url.host() {
        None => Err("must name a host".into()),
        Some(host) if !allow_private && is_private(&host) => {
            Err("must not name this machine or a private network; to \
            allow it (for tests), set LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS=true"
                .into())
        }
        Some(_) => Ok(url),
    }
}

fn is_private(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(address) => is_private_v4(*address),
        Host::Ipv6(address) => is_private_v6(*address),
    }
}

fn is_private_v4(a: Ipv4Addr) -> bool {
    let [first, second, ..] = a.octets();
    // 100.64/10 is shared by carriers (RFC 6598), 0/8 is this network, 240/4 is reserved.
    let shared = first == 100 && (64..128).contains(&second);
    a.is_private() || a.is_loopback() || a.is_link_local() || a.is_multicast() || shared || first == 0 || first >= 240
}

fn is_private_v6(a: Ipv6Addr) -> bool {
    if let Some(v4) = a.to_ipv4_mapped() {
        return is_private_v4(v4);
    }
    a.is_loopback() || a.is_unspecified() || a.is_unique_local() || a.is_unicast_link_local() || a.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_http_urls_without_credentials_are_taken() {
        for good in ["https://client.example/hook", "http://8.8.8.8:8080/x", "https://localhost.example/"] {
            assert!(parse(good, false).is_ok(), "{good}");
        }
        for bad in [
            "ftp://client.example/",
            "client.example",
            "https://u:p@client.example/",
            "https://u@client.example/",
            "https://",
        ] {
            assert!(parse(bad, true).is_err(), "{bad}");
        }
        for private in [
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost/",
            "http://127.0.0.1/",
            "http://10.0.0.8/",
            "http://192.168.1.1/",
            "http://169.254.169.254/",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://[::1]/",
            "http://[fd00::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://2130706433/",
            "http://0x7f.1/",
        ] {
            let error = parse(private, false).unwrap_err();
            assert!(error.contains("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS"), "{private}: {error}");
            assert!(parse(private, true).is_ok(), "{private}");
        }
    }
}
