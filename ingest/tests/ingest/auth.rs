//! Keys and signatures.

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use leadway_domain::secret::KeyHash;
use leadway_domain::settings::{Entity, Provider};
use sha2::Sha256;

use crate::node::{KEY, LEAD, Node, provider};

fn sign(key: &str, body: &str) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(KeyHash::of(key).as_hex().as_bytes()).unwrap();
    mac.chain_update(body).finalize().into_bytes().to_vec()
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
async fn a_signed_body_needs_no_key() {
    let node = Node::start().await;
    let mac = sign(KEY, LEAD);
    let hex = format!("sha256={}", hex::encode(&mac));
    let base64 = base64::engine::general_purpose::STANDARD.encode(&mac);
    let post = |path: &'static str, headers: Vec<(&'static str, String)>, body: &'static str| {
        let node = &node;
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            node.post(path, &headers, body).await.status.as_u16()
        }
    };
    assert_eq!(post("/webhook/provider-a", vec![("x-hub-signature-256", hex.clone())], LEAD).await, 202);
    assert_eq!(post("/webhook/provider-a", vec![("x-webhook-signature", base64)], LEAD).await, 200);
    assert_eq!(
        post("/leads/receive", vec![("x-signature", hex.clone()), ("x-provider-id", "a".into())], LEAD).await,
        200
    );
    assert_eq!(post("/leads/receive", vec![("x-signature", hex.clone())], LEAD).await, 401, "whose signature?");
    assert_eq!(post("/webhook/provider-b", vec![("x-signature", hex.clone())], LEAD).await, 401);
    assert_eq!(post("/webhook/provider-a", vec![("x-signature", hex)], "{}").await, 401, "another body");
}

#[tokio::test]
async fn an_inactive_provider_is_told_so_only_with_its_key() {
    let node = Node::start().await;
    node.put([Entity::Provider(Provider { is_active: false, ..provider("a") })]).await;
    node.webhook(LEAD).await.assert_problem(403, "provider-inactive");
    let wrong = node.post("/webhook/provider-a", &[("x-api-key", "wrong")], LEAD).await;
    wrong.assert_problem(401, "unauthorized");
}
