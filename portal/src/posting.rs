//! How a provider posts, as the API takes it.

use leadway_domain::settings::Posting;
use url::{Origin, Url};

use crate::fields::Fields;

/// Most web sites that one provider's leads may be posted from.
const MAX_ORIGINS: usize = 20;
/// Most requests of one provider at one moment.
const MAX_CONCURRENT: u32 = 1_000_000;

/// Reads the fields of [`Posting`]; what is left out takes its default.
pub(crate) fn read(fields: &mut Fields) -> Posting {
    let default = Posting::default();
    let posting = Posting {
        success_status: fields.optional("success_status").unwrap_or(default.success_status),
        allow_get: fields.optional("allow_get").unwrap_or(default.allow_get),
        allowed_origins: fields.optional("allowed_origins").unwrap_or_default(),
        past_dates: fields.optional("past_dates").unwrap_or_default(),
        max_concurrent: fields.optional("max_concurrent"),
        max_bytes_per_day: fields.optional("max_bytes_per_day"),
    };
    if ![200, 202].contains(&posting.success_status) {
        fields.error("success_status", "invalid", "must be 200 or 202");
    }
    if posting.allowed_origins.len() > MAX_ORIGINS || !posting.allowed_origins.iter().all(|origin| is_origin(origin)) {
        let rule = format!(
            "must be at most {MAX_ORIGINS} origins as browsers send them, such as https://shop.example: scheme, host in \
             lower case and a port that is not the usual one, without a path; or *"
        );
        fields.error("allowed_origins", "invalid", rule);
    }
    if posting.max_concurrent.is_some_and(|max| !(1..=MAX_CONCURRENT).contains(&max)) {
        let rule = format!("must be 1 to {MAX_CONCURRENT}; leave it out for the node's own limit");
        fields.error("max_concurrent", "invalid", rule);
    }
    if posting.max_bytes_per_day == Some(0) {
        fields.error("max_bytes_per_day", "invalid", "must be at least 1; leave it out for no limit");
    }
    posting
}

/// Whether it is what a browser sends as `Origin`.
fn is_origin(text: &str) -> bool {
    let written_so = |url: Url| matches!(url.origin(), Origin::Tuple(..)) && url.origin().ascii_serialization() == text;
    text == "*" || Url::parse(text).is_ok_and(written_so)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(json: serde_json::Value) -> Vec<String> {
        let mut fields = Fields::parse(json.to_string().as_bytes()).unwrap();
        let posting = read(&mut fields);
        fields.finish(Some(posting)).err().map_or(Vec::new(), |p| p.errors.into_iter().map(|e| e.field).collect())
    }

    #[test]
    fn what_a_provider_may_be_told_is_bounded() {
        let good = serde_json::json!({"success_status": 200, "allow_get": true, "max_concurrent": 5, "max_bytes_per_day": 9,
            "allowed_origins": ["https://shop.example", "http://localhost:3000", "*"]});
        assert!(wrong(good).is_empty() && wrong(serde_json::json!({})).is_empty());
        for origin in
            ["shop.example", "https://shop.example/", "https://Shop.example", "https://a.b:443", "null", "data:x"]
        {
            assert_eq!(wrong(serde_json::json!({"allowed_origins": [origin]})), ["allowed_origins"], "{origin}");
        }
        let bad = serde_json::json!({"success_status": 204, "max_concurrent": 0, "max_bytes_per_day": 0});
        assert_eq!(wrong(bad), ["success_status", "max_concurrent", "max_bytes_per_day"]);
    }
}
