//! The sample business: providers, workspaces, rules.

use anyhow::Context;
use serde_json::{Value, json};

use super::Api;
use super::client::Receiver;

/// A provider that posts leads in its own way.
pub(crate) struct SampleProvider {
    /// Its id.
    pub(crate) id: &'static str,
    /// Its key.
    pub(crate) key: String,
    /// How it posts.
    pub(crate) style: Style,
}

/// How a provider posts its leads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    /// JSON with our own names.
    Plain,
    /// JSON of its own shape, understood by its field mapping.
    Mapped,
    /// A form.
    Form,
}

/// Workspaces: id, name, business type, rate, and the rule that feeds it (products, ZIPs, priority).
type Workspace = (&'static str, &'static str, &'static str, u32, &'static [&'static str], &'static [&'static str], u32);

const WORKSPACES: [Workspace; 4] = [
    ("solar_west_coast", "Solar West Coast Team", "Solar Installation", 150, &["Solar", "Battery"], &["CA", "NV"], 1),
    (
        "hvac_northeast",
        "HVAC Northeast Division",
        "HVAC Services",
        125,
        &["HVAC", "Heat Pump"],
        &["NY", "NJ", "10001+60mi"],
        2,
    ),
    ("kitchens_chicago", "Lakeside Kitchens", "Remodeling", 100, &["Kitchen", "Bathroom"], &["606*", "60601+25mi"], 1),
    ("roofs_nationwide", "Evergreen Roofing", "Roofing", 90, &["Roofing", "Gutters"], &["00501-99950"], 5),
];

/// Makes them all through the API; returns the providers with their keys.
pub(crate) async fn set_up(api: &Api, receiver: &Receiver) -> anyhow::Result<Vec<SampleProvider>> {
    for (id, name, business, rate, products, zips, priority) in WORKSPACES {
        let made = api
            .post(
                "/api/workspaces",
                &json!({
                    "id": id, "name": name, "outbound_webhook_url": receiver.url(id), "webhook_active": true,
                    "business_type": business, "payment_rate": rate,
                }),
            )
            .await?;
        receiver.trust(id, text(&made, "signing_secret")?);
        api.post(
            "/api/routing-rules",
            &json!({"workspace_id": id, "product_types": products, "zip_codes": zips, "priority": priority, "is_active": true}),
        )
        .await?;
    }
    let mapping = json!({
        "fields": {"/prospect/tel": "phone", "/prospect/name": "customer_name", "/prospect/mail": "email",
                   "plz": "zip_code", "wants": "product_type", "when": "appointment_date", "ref": "external_id"},
        "values": {"product_type": {"cool and warm": "HVAC", "new kitchen": "Kitchen"}},
    });
    let providers = [
        ("a", "Provider A", json!(75), json!({}), Style::Plain),
        ("b", "Provider B", json!(50), mapping, Style::Mapped),
        ("c", "Provider C", json!(60.5), json!({}), Style::Form),
    ];
    let mut made = Vec::new();
    for (id, name, cost, mapping, style) in providers {
        let body = json!({"id": id, "name": name, "cost_per_lead": cost, "mapping": mapping});
        let answer = api.post("/api/providers", &body).await?;
        made.push(SampleProvider { id, key: text(&answer, "key")?, style });
    }
    Ok(made)
}

fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    Ok(answer[field].as_str().with_context(|| format!("the answer has no {field}"))?.to_owned())
}
