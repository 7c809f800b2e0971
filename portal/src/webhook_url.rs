//! Which URLs appointments may be posted to, and the name and password that may stand in them.

use leadway_domain::target::{check_plain, check_target};
use percent_encoding::percent_decode_str;
use url::Url;

/// What is shown in place of a name and password.
const MASK: &str = "***";
/// Longest name and password together, in bytes.
const MAX_CREDENTIALS: usize = 500;

/// What a URL says before its `@`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum UserInfo {
    /// Nothing: the host asks for no name and password.
    None,
    /// The mask: those that are kept.
    Kept,
    /// `name:password`.
    New(String),
}

/// A URL, without what stood before its `@`, and that.
#[derive(Debug)]
pub(crate) struct Webhook {
    pub(crate) url: Url,
    pub(crate) user_info: UserInfo,
}

/// Reads a webhook URL. What is refused here is what can be seen in the text; the dispatcher checks the resolved address
/// by the same rules at every delivery. No refusal quotes the text, which may hold a password.
pub(crate) fn parse(text: &str, allow_private: bool) -> Result<Webhook, String> {
    let mut url = Url::parse(text).map_err(|e| format!("must be a URL such as https://client.example/hook: {e}"))?;
    if text.len() > 2_000 {
        return Err("must have at most 2000 characters".into());
    }
    let user_info = user_info(&url)?;
    if user_info != UserInfo::None {
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        cleared.map_err(|()| "must name a host".to_owned())?;
    }
    check_target(&url, allow_private).map_err(|e| e.to_string())?;
    Ok(Webhook { url, user_info })
}

fn user_info(url: &Url) -> Result<UserInfo, String> {
    match (url.username(), url.password()) {
        ("", None) => Ok(UserInfo::None),
        (MASK, None) => Ok(UserInfo::Kept),
        (name, password) => {
            let decoded =
                |text| percent_decode_str(text).decode_utf8().map_err(|_| "must be UTF-8 before the @".to_owned());
            let (name, password) = (decoded(name)?, decoded(password.unwrap_or_default())?);
            // RFC 7617: the first colon ends the name.
            if name.contains(':') {
                return Err("must not have a colon within the name before the @".into());
            }
            if name.chars().chain(password.chars()).any(char::is_control) {
                return Err("must not have control characters before the @".into());
            }
            let credentials = format!("{name}:{password}");
            if credentials.len() > MAX_CREDENTIALS {
                return Err(format!("must have at most {MAX_CREDENTIALS} bytes before the @"));
            }
            Ok(UserInfo::New(credentials))
        }
    }
}

/// The URL as it is shown.
pub(crate) fn shown(url: &Url, has_credentials: bool) -> Url {
    let mut shown = url.clone();
    if has_credentials {
        // Only a URL without a host takes no name, and none is kept.
        let _ = shown.set_username(MASK);
    }
    shown
}

/// What is to be said of a URL that is taken nevertheless.
pub(crate) fn warning(field: &str, url: Option<&Url>, allow_private: bool) -> Option<String> {
    let url = url.filter(|url| url.scheme() == "http")?;
    Some(match check_plain(url, allow_private) {
        Err(rule) => format!("{field} {rule}. Nothing is delivered there until it does."),
        Ok(()) => format!(
            "{field} has no TLS: whoever is on the way can read and change what is delivered. It is delivered to private \
             addresses only."
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_without_tls_are_warned_of() {
        let warned = |url: &str, allow| warning("outbound_webhook_url", Some(&Url::parse(url).unwrap()), allow);
        assert_eq!(warned("https://client.example/", false), None);
        assert!(warned("http://client.example/", false).unwrap().contains("Nothing is delivered"));
        assert!(warned("http://8.8.8.8/", true).unwrap().contains("Nothing is delivered"));
        assert!(warned("http://10.0.0.8/", true).unwrap().contains("private addresses only"));
    }

    #[test]
    fn only_public_http_urls_are_taken() {
        for good in ["https://client.example/hook", "http://8.8.8.8:8080/x", "https://localhost.example/"] {
            assert!(parse(good, false).is_ok(), "{good}");
        }
        for bad in ["ftp://client.example/", "client.example", "https://", "mailto:u@client.example"] {
            assert!(parse(bad, true).is_err(), "{bad}");
        }
        for private in [
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost/",
            "http://127.0.0.1/",
            "http://u:p@127.0.0.1/",
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

    #[test]
    fn name_and_password_are_taken_out_of_the_url() {
        let new = |text: &str| UserInfo::New(text.to_owned());
        for (text, user_info) in [
            ("https://client.example/hook", UserInfo::None),
            ("https://@client.example/hook", UserInfo::None),
            ("https://user:secret@client.example/hook", new("user:secret")),
            ("https://user@client.example/hook", new("user:")),
            ("https://:secret@client.example/hook", new(":secret")),
            ("https://a%40b:p%3Aq%2F%C3%A9@client.example/hook", new("a@b:p:q/é")),
            ("https://user:a:b@client.example/hook", new("user:a:b")),
            ("https://***@client.example/hook", UserInfo::Kept),
        ] {
            let webhook = parse(text, false).unwrap();
            assert_eq!((webhook.url.as_str(), webhook.user_info), ("https://client.example/hook", user_info), "{text}");
        }
        let long = format!("https://u:{}@client.example/", "secret".repeat(100));
        for bad in [
            "https://u%3Ax:secret@client.example/",
            "https://u:secret%0A@client.example/",
            "https://u:secret%FF@c.example/",
            &long,
        ] {
            let error = parse(bad, false).unwrap_err();
            assert!(error.contains("before the @") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_shown_can_be_sent_back() {
        let url: Url = "https://client.example/hook".parse().unwrap();
        assert_eq!(shown(&url, true).as_str(), "https://***@client.example/hook");
        assert_eq!(parse(shown(&url, true).as_str(), false).unwrap().user_info, UserInfo::Kept);
        assert_eq!(shown(&url, false), url);
    }
}
