//! Topic `settings`: who changed what, without secrets.

use leadway_domain::settings::{Change, Entity, Note, SettingsChange, visible_part};
use leadway_eventlog::Record;
use leadway_tables::schema::SettingsChangeRow;
use leadway_tables::{Json, TableRow};
use serde_json::Value;

use crate::batch::Batch;

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
            before: Some(Json(before.map_or(Value::Null, Entity::shown))),
            after: Some(Json(after.map_or(Value::Null, Entity::shown))),
            ..SettingsChangeRow::new(0, record.address.offset, part)
        };
        batch.add(row.upsert());
    }
    if let Some(Note { kind, id, before, after }) = &change.note {
        let row = SettingsChangeRow {
            actor: Some(change.actor.clone()),
            at: Some(change.at),
            entity: Some(kind.as_str().to_owned()),
            entity_id: Some(id.clone()),
            before: Some(Json(visible_part(*kind, before))),
            after: Some(Json(visible_part(*kind, after))),
            ..SettingsChangeRow::new(0, record.address.offset, 0)
        };
        batch.add(row.upsert());
    }
}
