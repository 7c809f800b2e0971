//! Requests that do not say for certain whom they are for are not served: a proxy in front may have read them otherwise.

use http::header::HOST;
use http::{Request, Version};

/// What is wrong about whom a request names, if anything is (RFC 9112, 3.2; RFC 9113, 8.3.1).
pub(crate) fn check<B>(request: &Request<B>) -> Result<(), &'static str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, authority) = (hosts.next(), request.uri().authority());
    if hosts.next().is_some() {
        return Err("The request has more than one Host header. Send one.");
    }
    let Some(host) = host else {
        return match request.version() {
            Version::HTTP_11 => Err("The request has no Host header, which HTTP/1.1 asks for. Send one."),
            Version::HTTP_2 if authority.is_none() => Err("The request names no :authority. Send one."),
            _ => Ok(()),
        };
    };
    if !is_host(host.as_bytes()) {
        return Err("The Host header is not a host with an optional port. Send one such as leads.example:8080.");
    }
    let agrees = authority.is_none_or(|a| a.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()));
    if request.version() == Version::HTTP_2 && !agrees {
        return Err("The Host header differs from :authority. Send one of them.");
    }
    Ok(())
}

/// `host[:port]`; an empty one is allowed where the address has none.
fn is_host(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(byte);
    let (name, port) = if let Some(literal) = text.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
        let (inside, after) = literal.split_at(end);
        if inside.is_empty() || !inside.iter().all(|byte| byte.is_ascii_hexdigit() || b":.%".contains(byte)) {
            return false;
        }
        (&b""[..], after.get(1..).unwrap_or_default())
    } else {
        text.split_at(text.iter().position(|byte| *byte == b':').unwrap_or(text.len()))
    };
    let is_port = port.is_empty() || port.strip_prefix(b":").is_some_and(|port| port.iter().all(u8::is_ascii_digit));
    name.iter().all(allowed) && is_port
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(version: Version, uri: &str, hosts: &[&str]) -> Result<(), &'static str> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check(&request.body(()).unwrap())
    }

    #[test]
    fn one_host_is_named() {
        for (version, uri, hosts) in [
            (Version::HTTP_11, "/", &["x"][..]),
            (Version::HTTP_11, "/", &[""]),
            (Version::HTTP_11, "/", &["leads.example:8080"]),
            (Version::HTTP_11, "/", &["[::1]:8080"]),
            (Version::HTTP_11, "/", &["lead_way:"]),
            (Version::HTTP_11, "http://other.example/", &["x"]),
            (Version::HTTP_10, "/", &[]),
            (Version::HTTP_10, "/", &["x"]),
            (Version::HTTP_2, "http://x/", &[]),
            (Version::HTTP_2, "http://x/", &["X"]),
            (Version::HTTP_2, "/", &["x"]),
        ] {
            assert_eq!(asked(version, uri, hosts), Ok(()), "{version:?} {uri} {hosts:?}");
        }
        for (version, uri, hosts) in [
            (Version::HTTP_11, "/", &[][..]),
            (Version::HTTP_11, "http://x/", &[]),
            (Version::HTTP_11, "/", &["x", "x"]),
            (Version::HTTP_11, "http://x/", &["x", "y"]),
            (Version::HTTP_10, "/", &["x", "y"]),
            (Version::HTTP_2, "http://x/", &["x", "x"]),
            (Version::HTTP_2, "http://x/", &["y"]),
            (Version::HTTP_2, "/", &[]),
            (Version::HTTP_11, "/", &["x, y"]),
            (Version::HTTP_11, "/", &["x,y"]),
            (Version::HTTP_11, "/", &["a b"]),
            (Version::HTTP_11, "/", &["u@x"]),
            (Version::HTTP_11, "/", &["x/y"]),
            (Version::HTTP_11, "/", &["x:80:81"]),
            (Version::HTTP_11, "/", &["x:http"]),
            (Version::HTTP_11, "/", &["[::1"]),
            (Version::HTTP_11, "/", &["[::1]x"]),
            (Version::HTTP_11, "/", &["\u{e4}.example"]),
        ] {
            assert!(asked(version, uri, hosts).is_err(), "{version:?} {uri} {hosts:?}");
        }
    }
}
