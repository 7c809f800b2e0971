//! Which URLs appointments may be posted to.

use leadway_domain::target::check_target;
use url::Url;

/// Reads a webhook URL. What is refused here is what can be seen in the text; the dispatcher checks the resolved address
/// by the same rules at every delivery.
pub(crate) fn parse(text: &str, allow_private: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("must be a URL such as https://client.example/hook: {e}"))?;
    if text.len() > 2_000 {
        return Err("must have at most 2000 characters".into());
    }
    check_target(&url, allow_private).map_err(|e| e.to_string())?;
    Ok(url)
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
            "http://192.0.2.1/",
            "http://[64:ff9b::a00:1]/",
        ] {
            let error = parse(private, false).unwrap_err();
            assert!(error.contains("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS"), "{private}: {error}");
            assert!(parse(private, true).is_ok(), "{private}");
        }
    }
}
