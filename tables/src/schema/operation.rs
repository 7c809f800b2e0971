//! Refused leads, commands, changes of settings, slots.

use leadway_domain::problem::FieldError;
use leadway_domain::record::{LeadAction, PostedAs};
use leadway_domain::{LeadId, Offset, ProviderId, Timestamp, WorkspaceId};
use serde_json::Value as JsonValue;
use uuid::Uuid;

use crate::{Json, table};

table! {
    /// Leads that were refused.
    pub struct QuarantineRow = 14 "quarantine" {
        partition {
            /// Who sent it.
            provider_id: ProviderId,
        }
        clustering {
            /// UUID v7: in order of arrival.
            id: Uuid,
        }
        data {
            /// Which kind of thing was posted.
            posted_as: Json<PostedAs>,
            /// As sent.
            body: Json<JsonValue>,
            /// Everything that is wrong.
            errors: Json<Vec<FieldError>>,
            /// Arrival.
            received_at: Timestamp,
        }
    }
}

table! {
    /// How many leads a provider has in quarantine.
    pub struct QuarantineCountRow = 15 "quarantine_counts" {
        partition {
            /// Whose.
            provider_id: ProviderId,
        }
        clustering {}
        data {
            /// How many.
            count: i64,
        }
    }
}

table! {
    /// What became of a command.
    pub struct CommandRow = 16 "commands" {
        partition {
            /// Which command: its record's address.
            command_id: LeadId,
        }
        clustering {}
        data {
            /// The lead concerned.
            lead_id: LeadId,
            /// `routed`, `unrouted` or `refused`.
            status: String,
            /// Why it was refused or not routed; empty when it was routed.
            reason: String,
            /// When.
            decided_at: Timestamp,
        }
    }
}

table! {
    /// Commands that their callers named: those with one name, first one first.
    pub struct CommandKeyRow = 19 "command_keys" {
        partition {
            /// The lead concerned.
            lead_id: LeadId,
            /// Hash of the caller and its `Idempotency-Key`.
            asked_as: String,
        }
        clustering {
            /// In the order in which they were asked.
            command_id: LeadId,
        }
        data {
            /// What was asked.
            action: Json<LeadAction>,
        }
    }
}

table! {
    /// Who changed which setting, when, from what to what. One partition: settings are few.
    pub struct SettingsChangeRow = 17 "settings_changes" {
        partition {
            /// Always 0.
            shard: i64,
        }
        clustering {
            /// The record's offset in `settings`.
            log_offset: Offset,
            /// Which single change of the record.
            part: i64,
        }
        data {
            /// Who.
            actor: String,
            /// When.
            at: Timestamp,
            /// provider, workspace, rule, product or account.
            entity: String,
            /// Which.
            entity_id: String,
            /// JSON `null` where nothing stood.
            before: Json<JsonValue>,
            /// JSON `null` when it was deleted.
            after: Json<JsonValue>,
        }
    }
}

table! {
    /// How many appointments a workspace has at one time, without tests.
    pub struct SlotRow = 18 "slots" {
        partition {
            /// Whose.
            workspace_id: WorkspaceId,
        }
        clustering {
            /// When it starts.
            starts_at: Timestamp,
        }
        data {
            /// How many.
            taken: i64,
        }
    }
}
