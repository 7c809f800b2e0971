//! Whatever is sent, there is a well-formed answer.

use proptest::prelude::*;

use crate::node::{KEY, LEAD, Node};

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    let text = "[\\[{}\\],:\"a-z0-9\\\\ \n&=%+.-]{0,200}".prop_map(String::into_bytes);
    // A lead with some bytes overwritten.
    let mutated = proptest::collection::vec((0..LEAD.len(), any::<u8>()), 0..6).prop_map(|changes| {
        let mut body = LEAD.as_bytes().to_vec();
        for (at, byte) in changes {
            body[at] = byte;
        }
        body
    });
    prop_oneof![bytes, text, mutated]
}

fn content_types() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("application/json".to_owned()),
        Just("application/x-ndjson".to_owned()),
        Just("application/x-www-form-urlencoded".to_owned()),
        Just(String::new()),
        "[ -~]{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_request_has_a_well_formed_answer(
        requests in proptest::collection::vec((bodies(), content_types(), prop_oneof![4 => Just(""), 1 => Just("gzip")]), 1..4)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let node = Node::start().await;
            for (body, content_type, encoding) in requests {
                let headers = [("x-api-key", KEY), ("content-type", &*content_type), ("content-encoding", encoding)];
                let answer = node.post("/leads/receive", &headers, body).await;
                let is_problem = answer.header("content-type") == Some("application/problem+json");
                match answer.status.as_u16() {
                    200 | 202 => prop_assert!(!is_problem && answer.body.is_object()),
                    400 | 413 | 415 | 422 => prop_assert!(is_problem && answer.body["detail"].is_string()),
                    other => prop_assert!(false, "{other}: {}", answer.body),
                }
            }
            // What was taken can be read by those who come after.
            node.leads().await;
            node.quarantine().await;
            Ok(())
        })?;
    }
}
