//! Keys and signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use leadway_domain::Timestamp;
use leadway_domain::secret::KeyHash;
use leadway_domain::settings::{Credentials, Entity, PreviousKey, Provider, Signing, SigningSecret};
use sha2::Sha256;

use crate::node::{Answer, KEY, LEAD, Node, provider, start_of_time};

const SECRET: &str = "the secret of provider a";
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn mac(key: &[u8], body: &str) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(body).finalize().into_bytes().to_vec()
}

fn sign(secret: &str, body: &str) -> String {
    hex::encode(mac(secret.as_bytes(), body))
}

/// Provider `a`, signing in this way.
fn signing(signing: Signing, secrets: &[(&str, Option<Timestamp>)]) -> Entity {
    let secret = |(text, valid_until): &(&str, _)| SigningSecret { secret: (*text).into(), valid_until: *valid_until };
    let hmac_secrets = secrets.iter().map(secret).collect();
    let credentials = Credentials { signing, hmac_secrets, ..Credentials::default() };
    Entity::Provider(Provider { credentials, ..provider("a") })
}

/// The headers of Standard Webhooks, so many seconds from the start of time.
fn stamp(id: &str, seconds: i64, body: &str) -> Vec<(&'static str, String)> {
    let time = start_of_time().as_second() + seconds;
    let key = BASE64.decode(&WHSEC[6..]).unwrap();
    let signature = BASE64.encode(mac(&key, &format!("{id}.{time}.{body}")));
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", time.to_string()),
        ("webhook-signature", format!("v1,{signature}")),
    ]
}

async fn post(node: &Node, path: &str, headers: &[(&'static str, String)], body: &str) -> Answer {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    node.post(path, &headers, body.to_owned()).await
}

#[tokio::test]
async fn a_key_is_taken_from_header_bearer_and_query() {
    let node = Node::start().await;
    assert_eq!(node.post("/leads/receive", &[("x-api-key", KEY)], LEAD).await.status, 202);
    let bearer = format!("bearer {KEY}");
    assert_eq!(node.post("/leads/receive", &[("authorization", &bearer)], LEAD).await.status, 200);
    for path in ["/leads/receive?key=lwp_a", "/webhook/provider-a?x=1&api_key=lwp%5Fa"] {
        assert_eq!(node.post(path, &[], LEAD).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_provider_whose_id_bears_the_prefix_is_found_at_the_same_address() {
    let node = Node::start().await;
    node.put([Entity::Provider(provider("provider-c"))]).await;
    let answer = node.post("/webhook/provider-c", &[("x-api-key", "lwp_provider-c")], LEAD).await;
    assert_eq!(answer.status, 202);
}

#[tokio::test]
async fn no_key_a_wrong_key_and_an_unknown_provider_look_the_same() {
    let node = Node::start().await;
    let mut looks = Vec::new();
    for (path, headers) in [
        ("/webhook/provider-a", vec![]),
        ("/webhook/provider-a", vec![("x-api-key", "wrong")]),
        ("/webhook/provider-a", vec![("x-api-key", "lwp_b")]),
        ("/webhook/provider-nobody", vec![("x-api-key", KEY)]),
        ("/webhook/provider-nobody", vec![("x-signature", "00")]),
        ("/leads/receive", vec![("authorization", "Basic bHdwX2E=")]),
    ] {
        let answer = node.post(path, &headers, LEAD).await;
        answer.assert_problem(401, "unauthorized");
        looks.push((format!("{:?}", answer.headers), answer.body));
    }
    looks.dedup();
    assert_eq!(looks.len(), 1);
    assert!(node.leads().await.is_empty());
}

#[tokio::test]
async fn a_signed_body_is_taken_of_a_provider_that_is_set_to_sign_it() {
    let node = Node::start().await;
    let hex = format!("sha256={}", sign(SECRET, LEAD));
    let base64 = BASE64.encode(mac(SECRET.as_bytes(), LEAD));
    let status = async |path: &str, headers: &[(&'static str, &str)], body: &str| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        post(&node, path, &headers, body).await.status.as_u16()
    };
    let by_hash = sign(&KeyHash::of(KEY).plain_hex().unwrap(), LEAD);
    for signature in [&hex, &by_hash] {
        assert_eq!(status("/webhook/provider-a", &[("x-signature", signature)], LEAD).await, 401, "it does not sign");
    }
    node.put([signing(Signing::LegacyBody, &[(SECRET, None)])]).await;
    assert_eq!(status("/webhook/provider-a", &[("x-signature", &by_hash)], LEAD).await, 401, "what stands in the log");
    assert_eq!(status("/webhook/provider-a", &[("x-hub-signature-256", &hex)], LEAD).await, 202);
    assert_eq!(status("/webhook/provider-a", &[("x-webhook-signature", &base64)], LEAD).await, 200);
    assert_eq!(status("/leads/receive", &[("x-signature", &hex), ("x-provider-id", "a")], LEAD).await, 200);
    assert_eq!(status("/leads/receive", &[("x-signature", &hex)], LEAD).await, 401, "whose signature?");
    assert_eq!(status("/webhook/provider-b", &[("x-signature", &hex)], LEAD).await, 401);
    assert_eq!(status("/webhook/provider-a", &[("x-signature", &hex)], "{}").await, 401, "another body");
    let stamp = stamp("msg_1", 0, LEAD);
    assert_eq!(post(&node, "/webhook/provider-a", &stamp, LEAD).await.status, 401, "it signs otherwise");
}

#[tokio::test]
async fn a_signed_body_that_is_sent_again_makes_no_new_lead_whatever_stands_around_it() {
    let node = Node::start().await;
    node.put([signing(Signing::LegacyBody, &[(SECRET, None)])]).await;
    for body in [LEAD, &LEAD.replacen('{', r#"{"external_id": "x-1","#, 1)] {
        let signature = ("x-signature", sign(SECRET, body));
        let who = ("x-provider-id", "a".to_owned());
        let first = post(&node, "/webhook/provider-a", std::slice::from_ref(&signature), body).await;
        assert_eq!(first.status, 202, "{}", first.body);
        for (path, key) in [("/webhook/provider-a", "another"), ("/leads/receive", "third"), ("/leads/receive", "")] {
            let headers = [signature.clone(), who.clone(), ("idempotency-key", key.to_owned())];
            let again = post(&node, path, &headers, body).await;
            assert_eq!((again.status.as_u16(), &again.body["lead_id"]), (200, &first.body["lead_id"]), "{path} {key}");
        }
    }
    assert_eq!(node.leads().await.len(), 2);
}

#[tokio::test]
async fn a_message_of_standard_webhooks_is_taken_within_five_minutes_and_named_by_its_id() {
    let node = Node::start().await;
    node.put([signing(Signing::StandardWebhooks, &[(WHSEC, None)])]).await;
    let first = post(&node, "/webhook/provider-a", &stamp("msg_1", -300, LEAD), LEAD).await;
    assert_eq!(first.status, 202, "{}", first.body);
    // Sent again under another key and path: the id that was signed names it.
    let mut again = stamp("msg_1", 10, LEAD);
    again.extend([("idempotency-key", "another".to_owned()), ("x-provider-id", "a".to_owned())]);
    for path in ["/webhook/provider-a", "/leads/receive"] {
        let answer = post(&node, path, &again, LEAD).await;
        assert_eq!((answer.status.as_u16(), &answer.body["lead_id"]), (200, &first.body["lead_id"]), "{path}");
    }
    assert_eq!(
        post(&node, "/webhook/provider-a", &stamp("msg_2", 300, LEAD), LEAD).await.status,
        202,
        "another message"
    );

    let refused = post(&node, "/webhook/provider-a", &[], LEAD).await;
    let mut other_id = stamp("msg_3", 0, LEAD);
    other_id[0].1 = "msg_4".into();
    let mut other_time = stamp("msg_3", 0, LEAD);
    other_time[1].1 = (start_of_time().as_second() + 1).to_string();
    for headers in [
        stamp("msg_3", -301, LEAD),
        stamp("msg_3", 301, LEAD),
        stamp("msg_3", 0, "{}"),
        other_id,
        other_time,
        vec![("x-signature", sign(WHSEC, LEAD))],
    ] {
        let answer = post(&node, "/webhook/provider-a", &headers, LEAD).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (401, &refused.body), "{headers:?}");
    }
    // Its key is taken as before.
    assert_eq!(node.webhook(LEAD).await.status.as_u16() / 100, 2);
}

#[tokio::test]
async fn a_key_or_secret_that_was_rotated_away_is_taken_until_its_end() {
    let node = Node::start().await;
    let until = Timestamp::from_second(start_of_time().as_second() + 60).unwrap();
    let Entity::Provider(mut provider) = signing(Signing::LegacyBody, &[("new", None), (SECRET, Some(until))]) else {
        panic!()
    };
    provider.credentials.previous_keys = vec![PreviousKey { key_hash: provider.key_hash, valid_until: until }];
    provider.key_hash = KeyHash::of("lwp_new");
    node.put([Entity::Provider(provider)]).await;
    let statuses = async || {
        let mut statuses = Vec::new();
        for path in ["/webhook/provider-a", "/leads/receive"] {
            for key in [KEY, "lwp_new"] {
                statuses.push(post(&node, path, &[("x-api-key", key.to_owned())], LEAD).await.status.as_u16() / 100);
            }
        }
        for secret in [SECRET, "new"] {
            let signature = ("x-signature", sign(secret, LEAD));
            statuses.push(post(&node, "/webhook/provider-a", &[signature], LEAD).await.status.as_u16() / 100);
        }
        statuses
    };
    assert_eq!(statuses().await, [2; 6]);
    node.advance(60);
    assert_eq!(statuses().await, [4, 2, 4, 2, 4, 2]);
}

#[tokio::test]
async fn an_inactive_provider_is_told_so_only_with_its_key() {
    let node = Node::start().await;
    node.put([Entity::Provider(Provider { is_active: false, ..provider("a") })]).await;
    node.webhook(LEAD).await.assert_problem(403, "provider-inactive");
    let wrong = node.post("/webhook/provider-a", &[("x-api-key", "wrong")], LEAD).await;
    wrong.assert_problem(401, "unauthorized");
}

#[tokio::test]
async fn what_no_body_could_make_valid_is_refused_before_the_body_is_read() {
    let node = Node::start().await;
    let Entity::Provider(stamped) = signing(Signing::StandardWebhooks, &[(WHSEC, None)]) else { panic!() };
    node.put([Entity::Provider(stamped)]).await;
    let signature = || vec![("x-signature", "0".repeat(64))];
    let mut looks = Vec::new();
    for (path, headers) in [
        ("/webhook/provider-nobody", signature()),
        ("/webhook/provider-b", signature()),
        ("/webhook/provider-a", signature()),
        ("/leads/receive", signature()),
        ("/webhook/provider-nobody", stamp("msg_1", 0, LEAD)),
        ("/webhook/provider-b", stamp("msg_1", 0, LEAD)),
        ("/webhook/provider-a", stamp("msg_1", -301, LEAD)),
        ("/webhook/provider-a", stamp("msg_1", 301, LEAD)),
    ] {
        let mut request = http::Request::post(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let unread = futures::stream::poll_fn(|_| -> std::task::Poll<Option<_>> { panic!("the body is read") });
        let frames = http_body_util::StreamBody::new(futures::StreamExt::map(unread, |data: bytes::Bytes| {
            Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(data))
        }));
        let answer = node.send(request.body(frames).unwrap()).await;
        answer.assert_problem(401, "unauthorized");
        looks.push((format!("{:?}", answer.headers), answer.body));
    }
    looks.dedup();
    assert_eq!(looks.len(), 1, "nobody can tell which of them it is");
}

#[tokio::test]
async fn a_signed_body_is_read_the_same_whatever_charset_stands_beside_it() {
    let node = Node::start().await;
    node.put([signing(Signing::LegacyBody, &[(SECRET, None)])]).await;
    for (body, name) in [
        (LEAD.replace("Ana", "Jos\u{e9}").chars().map(|c| c as u8).collect::<Vec<_>>(), "Jos\u{e9}"),
        (LEAD.replace("Ana", "Zo\u{eb}").into_bytes(), "Zo\u{eb}"),
    ] {
        let mac =
            Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update(&body).finalize().into_bytes();
        let signature = hex::encode(mac);
        let mut ids = Vec::new();
        for charset in ["", "; charset=windows-1251", "; charset=utf-8", "; charset=iso-8859-2", "; charset=koi8-r"] {
            let content_type = format!("application/json{charset}");
            let headers = [("x-signature", signature.as_str()), ("content-type", content_type.as_str())];
            let answer = node.post("/webhook/provider-a", &headers, body.clone()).await;
            assert_eq!(answer.status.as_u16() / 100, 2, "{charset}: {}", answer.body);
            ids.push(answer.lead_id());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{name}");
        let leads = node.leads().await;
        assert!(leads.iter().any(|(_, lead)| format!("{lead:?}").contains(name)), "{leads:?}");
    }
    assert_eq!(node.leads().await.len(), 2);
}
