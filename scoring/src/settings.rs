//! Topic `settings`: who changed what, without secrets.

use leadway_domain::settings::{Change, Entity, SettingsChange};
use leadway_eventlog::Record;
use leadway_tables::schema::SettingsChangeRow;
use leadway_tables::{Json, TableRow};
use serde_json::Value;

use crate::batch::Batch;

/// What stands where a secret stood.
const MASK: &str = "…";

pub(crate) fn fold(record: &Record, change: &SettingsChange, batch: &mut Batch<'_>) {
    if !change.counts_at(record.address.offset) {
        return; // another node's change came first, and this one was refused
    }
    let before = change.before.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    for (part, (single, before)) in (0..).zip(change.change.singles().into_iter().zip(before)) {
        let Some((kind, id)) = single.concerns() else { continue };
        let after = match single {
            Change::Put(entity) => Some(entity),
            Change::Delete { .. } | Change::Batch(_) => None,
        };
        let row = SettingsChangeRow {
            actor: Some(change.actor.clone()),
            at: Some(change.at),
            entity: Some(kind.as_str().to_owned()),
            entity_id: Some(id),
            before: Some(Json(before.map_or(Value::Null, shown))),
            after: Some(Json(after.map_or(Value::Null, shown))),
            ..SettingsChangeRow::new(0, record.address.offset, part)
        };
        batch.add(row.upsert());
    }
}

/// The entity as JSON, its secrets masked.
fn shown(entity: &Entity) -> Value {
    match entity {
        Entity::Provider(provider) => masked(provider, |json| mask(json, "key_hash")),
        Entity::Account(account) => masked(account, |json| mask(json, "key_hash")),
        Entity::Workspace(workspace) => masked(workspace, |json| {
            let secrets = json.get_mut("signing_secrets").and_then(Value::as_array_mut);
            secrets.into_iter().flatten().for_each(|secret| mask(secret, "secret"));
        }),
        Entity::Rule(rule) => masked(rule, |_| ()),
        Entity::Product(product) => masked(product, |_| ()),
    }
}

fn masked(entity: &impl serde::Serialize, hide: impl FnOnce(&mut Value)) -> Value {
    // Settings have no maps with keys that JSON cannot carry: this cannot fail.
    let mut json = serde_json::to_value(entity).unwrap_or_default();
    hide(&mut json);
    json
}

fn mask(json: &mut Value, field: &str) {
    if let Some(secret) = json.get_mut(field) {
        *secret = MASK.into();
    }
}
