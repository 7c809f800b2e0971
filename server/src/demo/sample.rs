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

/// A client business, and the rule that feeds it.
struct SampleWorkspace {
    id: &'static str,
    name: &'static str,
    business_type: &'static str,
    payment_rate: u32,
    product_types: &'static [&'static str],
    zip_codes: &'static [&'static str],
}

const WORKSPACES: [SampleWorkspace; 4] = [
    SampleWorkspace {
        id: "solar_west_coast",
        name: "Solar West Coast Team",
        business_type: "Solar Installation",
        payment_rate: 150,
        product_types: &["Solar", "Battery"],
        zip_codes: &["CA", "NV", "606*"],
    },
    SampleWorkspace {
        id: "hvac_northeast",
        name: "HVAC Northeast Division",
        business_type: "HVAC Services",
        payment_rate: 125,
        product_types: &["HVAC", "Heat Pump"],
        zip_codes: &["NY", "10001+60mi", "90001-96199"],
    },
    SampleWorkspace {
        id: "lakeside_kitchens",
        name: "Lakeside Kitchens",
        business_type: "Remodeling",
        payment_rate: 100,
        product_types: &["Kitchen", "Bathroom"],
        zip_codes: &["60601+25mi", "NY", "CA"],
    },
    SampleWorkspace {
        id: "evergreen_roofing",
        name: "Evergreen Roofing",
        business_type: "Roofing",
        payment_rate: 90,
        product_types: &["Roofing", "Gutters"],
        zip_codes: &["00501-99950"],
    },
];

/// Makes them all through the API; returns the providers with their keys.
pub(crate) async fn set_up(api: &Api, receiver: &Receiver) -> anyhow::Result<Vec<SampleProvider>> {
    for workspace in &WORKSPACES {
        let SampleWorkspace { id, name, business_type, payment_rate, product_types, zip_codes } = workspace;
        let made = api
            .post(
                "/api/workspaces",
                &json!({
                    "id": id, "name": name, "outbound_webhook_url": receiver.url(id), "webhook_active": true,
                    "business_type": business_type, "payment_rate": payment_rate,
                }),
            )
            .await?;
        receiver.trust(id, text(&made, "signing_secret")?);
        api.post(
            "/api/routing-rules",
            &json!({"workspace_id": id, "product_types": product_types, "zip_codes": zip_codes, "priority": 1, "is_active": true}),
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
