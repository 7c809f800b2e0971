//! Signatures as Standard Webhooks describes them (standardwebhooks.com, "Signature scheme").

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use leadway_domain::seal::{SealError, Seals};
use leadway_domain::settings::{SigningSecret, signing_place};
use leadway_domain::{LeadId, Timestamp, WorkspaceId};
use sha2::Sha256;

/// Base64 of 32 bytes, with `v1,` before and a space behind.
const SIGNATURE_LENGTH: usize = 48;

/// The `webhook-id`: the same at every attempt, so that a client that got an appointment twice can tell.
pub(crate) fn webhook_id(appointment: LeadId) -> String {
    format!("appt_{appointment}")
}

/// The secrets of a workspace, newest first, each as the state of a signature of nothing yet.
#[derive(Default)]
pub(crate) struct Keys(Vec<Key>);

struct Key {
    mac: Hmac<Sha256>,
    valid_until: Option<Timestamp>,
}

impl Keys {
    /// Opens a workspace's secrets. Leaves out those that are not of the form `whsec_` + Base64.
    pub(crate) fn open(id: &WorkspaceId, secrets: &[SigningSecret], seals: &Seals) -> Result<Self, SealError> {
        let place = signing_place(id);
        let mut keys = Vec::with_capacity(secrets.len());
        for SigningSecret { secret, valid_until } in secrets {
            let text = seals.open(&place, secret)?;
            let bytes = text.expose().strip_prefix("whsec_").and_then(|base64| STANDARD.decode(base64).ok());
            let mac = bytes.and_then(|bytes| Hmac::new_from_slice(&bytes).ok());
            keys.extend(mac.map(|mac| Key { mac, valid_until: *valid_until }));
        }
        Ok(Self(keys))
    }

    /// The `webhook-signature`: one `v1,…` for each secret that is valid at `now`; `None` when there is none.
    pub(crate) fn sign(&self, id: &str, now: Timestamp, body: &[u8]) -> Option<String> {
        let before = format!("{id}.{}.", now.as_second());
        let mut signatures = String::with_capacity(SIGNATURE_LENGTH * self.0.len());
        for key in self.0.iter().filter(|key| key.valid_until.is_none_or(|until| now < until)) {
            let mut mac = key.mac.clone();
            mac.update(before.as_bytes());
            mac.update(body);
            signatures.push_str(if signatures.is_empty() { "v1," } else { " v1," });
            STANDARD.encode_string(mac.finalize().into_bytes(), &mut signatures);
        }
        if signatures.is_empty() { None } else { Some(signatures) }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str, valid_until: Option<i64>) -> SigningSecret {
        let valid_until = valid_until.map(|s| Timestamp::from_second(s).unwrap());
        SigningSecret { secret: text.into(), valid_until }
    }

    fn keys(secrets: &[SigningSecret]) -> Keys {
        Keys::open(&WorkspaceId::new("w").unwrap(), secrets, &Seals::default()).unwrap()
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        // From the Standard Webhooks reference test suite.
        let now = Timestamp::from_second(1_614_265_330).unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            keys(&[secret(SECRET, None)]).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", now, body).as_deref(),
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
        );
    }

    #[test]
    fn a_secret_rotated_away_signs_until_its_time_is_over() {
        let secrets = [secret("whsec_bmV3", None), secret("whsec_b2xk", Some(100))];
        let count = |at| {
            let now = Timestamp::from_second(at).unwrap();
            keys(&secrets).sign("appt_1", now, b"{}").map_or(0, |s| s.split(' ').count())
        };
        assert_eq!((count(99), count(100)), (2, 1));
    }

    #[test]
    fn without_a_usable_secret_there_is_no_signature() {
        let now = Timestamp::from_second(5).unwrap();
        assert_eq!(keys(&[secret("plain", None), secret("whsec_AAAA", Some(5))]).sign("appt_1", now, b"{}"), None);
    }
}
