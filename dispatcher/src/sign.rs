//! Signatures as Standard Webhooks describes them (standardwebhooks.com, "Signature scheme").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use leadway_domain::settings::SigningSecret;
use leadway_domain::{LeadId, Timestamp};
use sha2::Sha256;

/// The `webhook-id`: the same at every attempt, so that a client that got an appointment twice can tell.
pub(crate) fn webhook_id(appointment: LeadId) -> String {
    format!("appt_{appointment}")
}

/// The `webhook-signature`: one `v1,…` for each secret that is valid at `now`, newest first; `None` when there is none.
pub(crate) fn signatures(id: &str, now: Timestamp, body: &[u8], secrets: &[SigningSecret]) -> Option<String> {
    let valid = secrets.iter().filter(|s| s.valid_until.is_none_or(|until| now < until));
    let signed: Vec<String> = valid.filter_map(|s| signature(id, now.as_second(), body, &s.secret)).collect();
    if signed.is_empty() { None } else { Some(signed.join(" ")) }
}

fn signature(id: &str, timestamp: i64, body: &[u8], secret: &str) -> Option<String> {
    let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str, valid_until: Option<i64>) -> SigningSecret {
        let valid_until = valid_until.map(|s| Timestamp::from_second(s).unwrap());
        SigningSecret { secret: text.into(), valid_until }
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        // From the Standard Webhooks reference test suite.
        let now = Timestamp::from_second(1_614_265_330).unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signatures("msg_p5jXN8AQM9LWM0D4loKWxJek", now, body, &[secret(SECRET, None)]).as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
    }

    #[test]
    fn a_secret_rotated_away_signs_until_its_time_is_over() {
        let secrets = [secret("whsec_bmV3", None), secret("whsec_b2xk", Some(100))];
        let count = |at| {
            let now = Timestamp::from_second(at).unwrap();
            signatures("appt_1", now, b"{}", &secrets).map_or(0, |s| s.split(' ').count())
        };
        assert_eq!((count(99), count(100)), (2, 1));
    }

    #[test]
    fn without_a_usable_secret_there_is_no_signature() {
        let now = Timestamp::from_second(5).unwrap();
        assert_eq!(signatures("appt_1", now, b"{}", &[secret("plain", None), secret("whsec_AAAA", Some(5))]), None);
    }
}
