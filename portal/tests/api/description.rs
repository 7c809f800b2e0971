//! The API's own description.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::World;

/// Every operation that the issue asks of the portal, and those that it takes to use them.
const OPERATIONS: &[&str] = &[
    "get /api/providers",
    "post /api/providers",
    "get /api/providers/{id}",
    "put /api/providers/{id}",
    "patch /api/providers/{id}",
    "delete /api/providers/{id}",
    "post /api/providers/{id}/rotate-key",
    "get /api/workspaces",
    "post /api/workspaces",
    "get /api/workspaces/{id}",
    "put /api/workspaces/{id}",
    "patch /api/workspaces/{id}",
    "delete /api/workspaces/{id}",
    "post /api/workspaces/{id}/rotate-secret",
    "get /api/routing-rules",
    "post /api/routing-rules",
    "patch /api/routing-rules",
    "post /api/settings/changes/{id}/revert",
    "get /api/routing-rules/{id}",
    "put /api/routing-rules/{id}",
    "patch /api/routing-rules/{id}",
    "delete /api/routing-rules/{id}",
    "post /api/routing-rules/import",
    "get /api/routing-rules/export",
    "get /api/products",
    "post /api/products",
    "get /api/products/{name}",
    "put /api/products/{name}",
    "patch /api/products/{name}",
    "delete /api/products/{name}",
    "get /api/keys",
    "post /api/keys",
    "get /api/keys/{id}",
    "delete /api/keys/{id}",
    "get /api/leads",
    "get /api/leads/{id}",
    "post /api/leads/{id}/schedule",
    "get /api/contacts",
    "get /api/contacts/{id}",
    "get /api/contacts/{id}/leads",
    "get /api/appointments",
    "get /api/appointments/{id}",
    "get /api/appointments/{id}/events",
    "post /api/appointments/{id}/assign",
    "get /api/commands/{id}",
    "get /api/unrouted",
    "post /api/unrouted/retry",
    "get /api/quarantine",
    "get /api/quarantine/{provider_id}/{id}",
    "delete /api/quarantine/{provider_id}/{id}",
    "post /api/quarantine/{provider_id}/{id}/release",
    "get /api/analytics/performance",
    "get /api/billing/events",
    "get /api/billing/reconciliation",
    "get /api/billing/margin",
    "get /api/settings/changes",
    "get /api/routing/explain",
    "get /api/routing/coverage",
    "get /api/routing/coverage/gaps",
];

/// Reads of which a key may have two under way, since they look at many rows.
const HEAVY: &[&str] = &[
    "/api/analytics/performance",
    "/api/appointments",
    "/api/billing/events",
    "/api/billing/margin",
    "/api/billing/reconciliation",
    "/api/contacts",
    "/api/contacts/{id}/leads",
    "/api/leads",
    "/api/quarantine",
    "/api/routing-rules",
    "/api/routing-rules/export",
    "/api/routing/coverage",
    "/api/routing/coverage/gaps",
    "/api/routing/explain",
    "/api/settings/changes",
    "/api/unrouted",
];

/// Reads of which it may have sixteen.
const LIGHT: &[&str] = &[
    "/api/appointments/{id}",
    "/api/appointments/{id}/events",
    "/api/commands/{id}",
    "/api/contacts/{id}",
    "/api/keys",
    "/api/keys/{id}",
    "/api/leads/{id}",
    "/api/products",
    "/api/products/{name}",
    "/api/providers",
    "/api/providers/{id}",
    "/api/quarantine/{provider_id}/{id}",
    "/api/routing-rules/{id}",
    "/api/workspaces",
    "/api/workspaces/{id}",
];

async fn document() -> Value {
    World::new().await.get("/openapi.json").await.expect(200).json()
}

/// Those that are not a provider's.
fn api_paths(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api/"))
}

#[tokio::test]
async fn every_operation_is_described_and_no_other() {
    let document = document().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut described = Vec::new();
    for (path, item) in api_paths(&document) {
        described.extend(item.as_object().unwrap().keys().map(|method| format!("{method} {path}")));
    }
    let mut expected: Vec<String> = OPERATIONS.iter().map(|o| (*o).to_owned()).collect();
    described.sort();
    expected.sort();
    assert_eq!(described, expected);
}

#[tokio::test]
async fn every_read_is_heavy_or_light_on_purpose() {
    let document = document().await;
    let (mut heavy, mut light) = (BTreeSet::new(), BTreeSet::new());
    for (path, item) in api_paths(&document).filter(|(_, item)| item.get("get").is_some()) {
        let busy = item["get"]["responses"]["429"]["description"].as_str().unwrap();
        let kind = match busy.split(';').next() {
            Some("This key has 2 lists, reports or exports under way") => &mut heavy,
            Some("This key has 16 reads under way") => &mut light,
            other => panic!("{path}: {other:?}"),
        };
        kind.insert(path.as_str());
    }
    assert_eq!(heavy, HEAVY.iter().copied().collect());
    assert_eq!(light, LIGHT.iter().copied().collect());
}

#[tokio::test]
async fn every_operation_says_what_it_does_and_how_it_fails() {
    let document = document().await;
    let mut names = BTreeSet::new();
    for (path, item) in api_paths(&document) {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{what} has no summary");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{what}");
            assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{what} has another's name");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(response["description"].is_string(), "{what} does not describe {status}");
                let is_problem = response["content"]["application/problem+json"].is_object();
                assert_eq!(is_problem, status.starts_with(['4', '5']), "{what}: {status}");
            }
            let unauthorized = &operation["responses"]["401"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(unauthorized, "#/components/schemas/Problem", "{what}");
            for parameter in operation["parameters"].as_array().unwrap_or(&Vec::new()) {
                let described = parameter["in"] == "path" || parameter["description"].is_string();
                assert!(described, "{what}: {}", parameter["name"]);
            }
        }
    }
    assert_eq!(document["components"]["securitySchemes"]["key"]["scheme"], "bearer");
    let example = &document["components"]["schemas"]["WorkspaceInput"]["example"];
    assert_eq!(example["payment_rate"], 150);
}

#[tokio::test]
async fn put_does_not_need_the_id_and_patch_needs_nothing() {
    let document = document().await;
    let required = |method: &str| {
        let content = &document["paths"]["/api/providers/{id}"][method]["requestBody"]["content"]["application/json"];
        let reference = content["schema"]["$ref"].as_str().unwrap().strip_prefix('#').unwrap();
        document.pointer(reference).unwrap()["required"].clone()
    };
    assert_eq!(required("put"), json!(["name", "cost_per_lead"]));
    assert_eq!(required("patch"), Value::Null);
    let create = &document["components"]["schemas"]["ProviderInput"]["required"];
    assert_eq!(create, &json!(["id", "name", "cost_per_lead"]));
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|v| references(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    let document = document().await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[tokio::test]
async fn what_providers_post_and_what_clients_receive_is_described() {
    let document = document().await;
    for path in ["/webhook/provider-{id}", "/leads/receive", "/appointments/receive"] {
        let post = &document["paths"][path]["post"];
        assert!(post["summary"].is_string() && post["requestBody"].is_object(), "{path}");
        for scheme in post["security"].as_array().unwrap().iter().flat_map(|s| s.as_object().unwrap().keys()) {
            assert!(document["components"]["securitySchemes"][scheme].is_object(), "{path}: {scheme}");
        }
    }
    let webhook = &document["webhooks"]["appointment"]["post"];
    let sample: Value = serde_json::from_str(webhook["x-sample"]["body"].as_str().unwrap()).unwrap();
    let schema = &document["components"]["schemas"]["AppointmentWebhook"];
    let named = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(named(&sample), named(&schema["properties"]));
    assert_eq!(sample, webhook["requestBody"]["content"]["application/json"]["example"]);
    let tags: BTreeSet<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    assert!(["Posting leads", "Webhook", "Billing"].iter().all(|tag| tags.contains(tag)), "{tags:?}");
}

#[tokio::test]
async fn the_first_page_leads_to_the_documentation() {
    let page = {
        let request = http::Request::builder().uri("/").body(axum::body::Body::empty()).unwrap();
        World::new().await.send(request).await.expect(200).text
    };
    assert!(page.starts_with("<!doctype html>") && page.contains("href=\"/docs/\""), "{page}");
}
