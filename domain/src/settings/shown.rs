use serde_json::{Map, Value};

use super::{Entity, EntityKind};

/// The fields of each kind of setting that people may see in the log of changes. What is on no list is not shown, and
/// a test asks of every field whether it may be. `a.b` is the field `b` of the object, or of the objects in the list, `a`.
fn visible(kind: EntityKind) -> &'static [&'static str] {
    match kind {
        EntityKind::Provider => &[
            "id",
            "name",
            "cost_per_lead",
            "is_active",
            "mapping",
            "auto_schedule",
            "rate_limit",
            "posting",
            "credentials.signing",
            "credentials.changed_at",
            "credentials.previous_keys.valid_until",
            "credentials.hmac_secrets.valid_until",
            "created_at",
            "updated_at",
        ],
        EntityKind::Workspace => &[
            "id",
            "name",
            "outbound_webhook_url",
            "test_webhook_url",
            "webhook_active",
            "paused",
            "past_dates",
            "business_type",
            "payment_rate",
            "signing_secrets.valid_until",
            "webhook_credentials.changed_at",
            "ignore_answer_body",
            "phone_format",
            "rate_limit",
            "max_concurrency",
            "opening_hours",
            "created_at",
            "updated_at",
        ],
        EntityKind::Rule => &[
            "id",
            "workspace_id",
            "product_types",
            "zip_codes",
            "priority",
            "is_active",
            "external_id",
            "notes",
            "created_at",
            "updated_at",
        ],
        EntityKind::Product => &["name", "synonyms", "auto_schedule"],
        EntityKind::Account => &["id", "name", "role", "created_at"],
        EntityKind::Vault => &["key_id"],
        EntityKind::Quarantine => &["provider_id", "received_at", "errors.field", "errors.code", "lead_id"],
    }
}

/// What of a setting's JSON people may see.
pub fn visible_part(kind: EntityKind, json: &Value) -> Value {
    keep(json, visible(kind)).unwrap_or_default()
}

impl Entity {
    /// The setting as people may see it.
    pub fn shown(&self) -> Value {
        let json = match self {
            Self::Provider(p) => serde_json::to_value(p),
            Self::Workspace(w) => serde_json::to_value(w),
            Self::Rule(r) => serde_json::to_value(r),
            Self::Product(p) => serde_json::to_value(p),
            Self::Account(a) => serde_json::to_value(a),
            Self::Vault(v) => serde_json::to_value(v),
        };
        // Settings have no maps with keys that JSON cannot carry: this cannot fail.
        visible_part(self.kind(), &json.unwrap_or_default())
    }
}

/// The part of `json` on these paths; `None` where there is nothing.
fn keep(json: &Value, paths: &[&str]) -> Option<Value> {
    match json {
        Value::Array(items) => {
            let kept: Vec<Value> = items.iter().filter_map(|item| keep(item, paths)).collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        Value::Object(fields) => {
            let kept: Map<String, Value> =
                fields.iter().filter_map(|(name, value)| field(name, value, paths)).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        _ => None,
    }
}

fn field(name: &str, value: &Value, paths: &[&str]) -> Option<(String, Value)> {
    if paths.contains(&name) {
        return Some((name.to_owned(), value.clone()));
    }
    let below = paths.iter().filter_map(|path| path.strip_prefix(name)?.strip_prefix('.'));
    let below: Vec<&str> = below.collect();
    keep(value, &below).map(|kept| (name.to_owned(), kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_on_the_list_is_shown() {
        let provider = json!({
            "id": "a", "key_hash": "p1:00", "token": "x", "rate_limit": {"per_second": 1},
            "credentials": {"signing": "none", "hmac_secrets": [{"secret": "s", "valid_until": "2024"}, "s"], "x": 1},
        });
        let shown = visible_part(EntityKind::Provider, &provider);
        assert_eq!(
            shown,
            json!({
                "id": "a", "rate_limit": {"per_second": 1},
                "credentials": {"signing": "none", "hmac_secrets": [{"valid_until": "2024"}]},
            })
        );
        let old = json!({"name": "W", "signing_secrets": "…", "webhook_credentials": {"outbound": "s"}});
        assert_eq!(visible_part(EntityKind::Workspace, &old), json!({"name": "W"}));
    }

    /// Everything that is not shown. A new field of a setting goes here, or on the list of what people may see.
    const HIDDEN: [(EntityKind, &[&str]); 7] = [
        (EntityKind::Provider, &["key_hash", "credentials.previous_keys.key_hash", "credentials.hmac_secrets.secret"]),
        (
            EntityKind::Workspace,
            &["signing_secrets.secret", "webhook_credentials.outbound", "webhook_credentials.test"],
        ),
        (EntityKind::Rule, &[]),
        (EntityKind::Product, &[]),
        (EntityKind::Account, &["key_hash"]),
        (EntityKind::Vault, &["pepper"]),
        (EntityKind::Quarantine, &[]),
    ];

    fn hidden_paths(json: &Value, above: &str, seen: &[&str], found: &mut std::collections::BTreeSet<String>) {
        match json {
            Value::Array(items) => items.iter().for_each(|item| hidden_paths(item, above, seen, found)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
                    match value {
                        _ if seen.contains(&path.as_str()) => {}
                        Value::Array(_) | Value::Object(_) => hidden_paths(value, &path, seen, found),
                        _ => _ = found.insert(path),
                    }
                }
            }
            _ => {}
        }
    }

    #[test]
    fn of_every_field_it_is_decided_whether_people_see_it() {
        let at = "2024-01-15T10:30:00Z";
        let secret = json!({"secret": "s", "valid_until": at});
        let provider = json!({"provider": {
            "id": "a", "name": "A", "cost_per_lead": 1, "is_active": true, "key_hash": "00".repeat(32),
            "rate_limit": {"per_second": 1}, "created_at": at, "updated_at": at,
            "credentials": {"previous_keys": [{"key_hash": "00".repeat(32), "valid_until": at}], "signing": "none",
                "hmac_secrets": [secret], "changed_at": at},
        }});
        let workspace = json!({"workspace": {
            "id": "w", "name": "W", "webhook_active": true, "past_dates": "take", "payment_rate": 1, "signing_secrets": [secret],
            "webhook_credentials": {"outbound": "s", "test": "s", "changed_at": at}, "created_at": at, "updated_at": at,
        }});
        let rule = json!({"rule": {
            "id": uuid::Uuid::nil(), "workspace_id": "w", "product_types": ["Solar"], "zip_codes": ["90210"],
            "priority": 1, "is_active": true, "external_id": "crm-1", "created_at": at, "updated_at": at,
        }});
        let product = json!({"product": {"name": "Solar", "synonyms": [], "auto_schedule": false}});
        let account = json!({"account": {
            "id": uuid::Uuid::nil(), "name": "ops", "key_hash": "00".repeat(32), "role": "admin", "created_at": at,
        }});
        let vault = json!({"vault": {"key_id": "00", "pepper": "s"}});
        for json in [provider, workspace, rule, product, account, vault] {
            let entity: Entity = serde_json::from_value(json).unwrap();
            let whole = serde_json::to_value(&entity).unwrap();
            let whole = whole.as_object().unwrap().values().next().unwrap();
            let mut found = Default::default();
            hidden_paths(whole, "", visible(entity.kind()), &mut found);
            let hidden = HIDDEN.iter().find(|(kind, _)| *kind == entity.kind()).unwrap().1;
            let hidden: std::collections::BTreeSet<String> = hidden.iter().map(|path| (*path).to_owned()).collect();
            assert_eq!(found, hidden, "{}: a field that is neither shown nor hidden", entity.kind().as_str());
        }
    }
}
