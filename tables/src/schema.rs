//! Every table, declared once. Only `scoring` writes them.
//!
//! Three kinds of partition keys: by [`bucket`] of a lead's id (grows with time, so new rows are written side by side),
//! by day (UTC, days since 1970), and by the business concerned.

use leadway_domain::histogram::LatencyHistogram;
use leadway_domain::lead::InterestLevel;
use leadway_domain::problem::FieldError;
use leadway_domain::record::{Appointment, PostedAs, RoutingMethod};
use leadway_domain::{
    Addressing, ContactId, LeadId, Money, Offset, Partition, Phone, ProviderId, RuleId, Timestamp, WorkspaceId, Zip,
};
use serde_json::{Map, Value as JsonValue};
use uuid::Uuid;

use crate::{Json, Table, table};

/// Leads per bucket and log partition.
pub const BUCKET_SIZE: u64 = 1_024;

/// The bucket in which a lead's rows stand: buckets grow with time. `None` for an id that the log never gave.
pub fn bucket(addressing: Addressing, id: LeadId) -> Option<i64> {
    addressing.address(id).map(|(_, offset)| (offset.0 / BUCKET_SIZE) as i64)
}

/// The UTC day of a moment, counted from 1970-01-01.
pub fn day(at: Timestamp) -> i64 {
    at.as_second().div_euclid(86_400)
}

table! {
    /// A customer of one provider.
    pub struct ContactRow = 1 "contacts" {
        partition {
            /// Derived from phone and provider.
            contact_id: ContactId,
        }
        clustering {}
        data {
            /// E.164.
            phone: Phone,
            /// Who knows the contact.
            provider_id: ProviderId,
            /// As last sent; a lead without one leaves it as it is.
            first_name: String,
            /// As last sent; a lead without one leaves it as it is.
            last_name: String,
            /// As last sent; a lead without one leaves it as it is.
            email: String,
            /// How many leads.
            leads: i64,
            /// First lead's arrival.
            created_at: Timestamp,
            /// Last lead's arrival.
            updated_at: Timestamp,
        }
    }
}

table! {
    /// Contacts by the day they were first seen.
    pub struct ContactByDayRow = 2 "contacts_by_day" {
        partition {
            /// Of the first lead.
            day: i64,
        }
        clustering {
            /// First lead's arrival.
            created_at: Timestamp,
            /// Which contact.
            contact_id: ContactId,
        }
        data {}
    }
}

table! {
    /// A lead as it was accepted. `duplicate_of` comes from another topic than the other columns, and may be there
    /// for a moment before them.
    pub struct LeadRow = 3 "leads" {
        partition {
            /// See [`bucket`].
            bucket: i64,
        }
        clustering {
            /// Which lead.
            lead_id: LeadId,
        }
        data {
            /// Who it is about.
            contact_id: ContactId,
            /// Who sent it.
            provider_id: ProviderId,
            /// May be empty.
            first_name: String,
            /// May be empty.
            last_name: String,
            /// E.164.
            phone: Phone,
            /// If known.
            email: String,
            /// Canonical product name.
            product_type: String,
            /// Where it is wanted.
            zip_code: Zip,
            /// The ZIP's state.
            state: String,
            /// What the deal may be worth.
            estimated_value: Money,
            /// hot, warm or cold.
            interest_level: Json<InterestLevel>,
            /// May be empty.
            notes: String,
            /// The date asked for.
            appointment_date: Timestamp,
            /// The provider's own id.
            external_id: String,
            /// What no field of ours took.
            extra: Json<Map<String, JsonValue>>,
            /// Whether it is a test.
            test: bool,
            /// Whether the next free slot was to be taken.
            auto_schedule: bool,
            /// What the provider is paid.
            cost: Money,
            /// Arrival.
            received_at: Timestamp,
            /// The first submission, when the log's owner found this one to be a duplicate.
            duplicate_of: LeadId,
        }
    }
}

table! {
    /// The leads of a contact.
    pub struct LeadByContactRow = 4 "leads_by_contact" {
        partition {
            /// Which contact.
            contact_id: ContactId,
        }
        clustering {
            /// Which lead.
            lead_id: LeadId,
        }
        data {}
    }
}

table! {
    /// Which lead ids a day's leads have, per log partition: from the day to the buckets.
    pub struct LeadDayRow = 5 "lead_days" {
        partition {
            /// Of arrival.
            day: i64,
        }
        clustering {
            /// Of the topic `leads`.
            log_partition: Partition,
        }
        data {
            /// Smallest id.
            first_lead_id: LeadId,
            /// Largest id.
            last_lead_id: LeadId,
        }
    }
}

table! {
    /// What was decided about a lead, and its delivery. The columns up to `matched_at` and `next_free_slot` come from
    /// the topic `appointments`, the others from `deliveries`: for a moment either may be there without the other.
    pub struct AppointmentRow = 6 "appointments" {
        partition {
            /// See [`bucket`].
            bucket: i64,
        }
        clustering {
            /// The lead's id.
            appointment_id: LeadId,
        }
        data {
            /// Which decision this is, from 1; a later one replaces an earlier one.
            decision: i64,
            /// `routed` or `unrouted`.
            routing_status: String,
            /// Why it is unrouted, for programs; empty when routed.
            unrouted_code: String,
            /// Why it is unrouted, for people; empty when routed.
            unrouted_reason: String,
            /// Who it is about.
            contact_id: ContactId,
            /// Who sent the lead.
            provider_id: ProviderId,
            /// Who receives it.
            workspace_id: WorkspaceId,
            /// The rule that matched.
            rule_id: RuleId,
            /// auto or manual.
            routing_method: Json<RoutingMethod>,
            /// First and last name.
            customer_name: String,
            /// E.164.
            customer_phone: Phone,
            /// If known.
            customer_email: String,
            /// Canonical product name.
            service_type: String,
            /// Where.
            customer_zip: Zip,
            /// When; while unrouted, the date last asked for, which counts only without `next_free_slot`.
            appointment_date: Timestamp,
            /// What the deal may be worth.
            estimated_value: Money,
            /// Of the lead.
            notes: String,
            /// The rate agreed.
            price: Money,
            /// What the provider is paid.
            cost: Money,
            /// Whether it is a test.
            test: bool,
            /// The lead's arrival.
            received_at: Timestamp,
            /// When it was routed.
            matched_at: Timestamp,
            /// pending, success or failed. Missing until the first outcome is known: a routed appointment without it
            /// is pending.
            forward_status: String,
            /// When the client took it.
            forwarded_at: Timestamp,
            /// The client's last answer, cut at 4 KiB.
            forward_response: String,
            /// HTTP status of the last answer.
            forward_http_status: i64,
            /// What went wrong last; empty when nothing did or it was taken.
            forward_error: String,
            /// Attempts made.
            forward_attempts: i64,
            /// When the next attempt is due; says something only while `forward_status` is pending.
            next_attempt_at: Timestamp,
            /// Why it waits without an attempt; empty when it does not.
            held_reason: String,
            /// Whether an unrouted lead is to get the next free slot. A column cannot be emptied: a date asked for before
            /// stays beside it and no longer counts.
            next_free_slot: bool,
        }
    }
}

table! {
    /// A workspace's appointments by the day they were routed.
    pub struct AppointmentByWorkspaceRow = 7 "appointments_by_workspace" {
        partition {
            /// Who receives it.
            workspace_id: WorkspaceId,
            /// Of routing.
            day: i64,
        }
        clustering {
            /// The lead's id.
            appointment_id: LeadId,
        }
        data {
            /// When it was routed.
            matched_at: Timestamp,
        }
    }
}

/// How many partitions the unrouted leads are spread over.
pub const UNROUTED_SHARDS: u64 = 16;

/// The shard in which an unrouted lead stands. By the offset that its id holds: leads that follow each other in a log
/// partition are spread over all shards, however few partitions the log has.
pub fn unrouted_shard(id: LeadId) -> i64 {
    (id.0 / u64::from(Addressing::MAX_PARTITIONS) % UNROUTED_SHARDS) as i64
}

table! {
    /// Leads that match nothing and wait.
    pub struct UnroutedRow = 8 "unrouted" {
        partition {
            /// See [`unrouted_shard`].
            shard: i64,
        }
        clustering {
            /// Which lead.
            lead_id: LeadId,
        }
        data {
            /// Canonical product name.
            service_type: String,
            /// Where.
            customer_zip: Zip,
            /// For programs.
            code: String,
            /// For people.
            reason: String,
            /// When it was last decided.
            decided_at: Timestamp,
        }
    }
}

table! {
    /// Everything that happened to an appointment.
    pub struct AppointmentEventRow = 9 "appointment_events" {
        partition {
            /// Which appointment.
            appointment_id: LeadId,
        }
        clustering {
            /// When.
            at: Timestamp,
            /// The record's topic.
            topic: String,
            /// The record's partition.
            log_partition: Partition,
            /// The record's offset.
            log_offset: Offset,
        }
        data {
            /// The record's kind: `delivery.retry`.
            event_type: String,
            /// What matters of it.
            event_data: Json<JsonValue>,
        }
    }
}

table! {
    /// The one billing event of a delivered appointment.
    pub struct BillingEventRow = 10 "billing_events" {
        partition {
            /// Who pays.
            workspace_id: WorkspaceId,
            /// Of delivery.
            day: i64,
        }
        clustering {
            /// For which appointment.
            appointment_id: LeadId,
        }
        data {
            /// The rate agreed when it was routed.
            amount: Money,
            /// When the client took it.
            delivered_at: Timestamp,
            /// Who sent the lead.
            provider_id: ProviderId,
            /// Canonical product name.
            service_type: String,
            /// What the provider is paid for the lead.
            cost: Money,
        }
    }
}

table! {
    /// Appointments that a client took, tests included.
    pub struct DeliveryRow = 11 "deliveries" {
        partition {
            /// Who took it.
            workspace_id: WorkspaceId,
            /// Of delivery.
            day: i64,
        }
        clustering {
            /// Which appointment.
            appointment_id: LeadId,
        }
        data {
            /// When.
            delivered_at: Timestamp,
            /// The rate agreed when it was routed.
            price: Money,
            /// Attempts made.
            attempts: i64,
            /// Whether it is a test, which is never billed.
            test: bool,
        }
    }
}

table! {
    /// Deliveries that wait on disk for their next attempt.
    pub struct OpenDeliveryRow = 12 "open_deliveries" {
        partition {
            /// Who is to receive it.
            workspace_id: WorkspaceId,
        }
        clustering {
            /// When.
            due_at: Timestamp,
            /// Which appointment.
            appointment_id: LeadId,
        }
        data {
            /// Attempts made so far.
            attempts: i64,
            /// Everything that the attempt needs.
            appointment: Json<Appointment>,
        }
    }
}

table! {
    /// Sums of one day, without tests. Per partition of the log, so that each row has one writer; summed when read.
    /// Leads and their cost count on the day of arrival, decisions on the day of the decision, deliveries and attempts
    /// on the day of the outcome.
    pub struct DailyRow = 13 "daily" {
        partition {
            /// UTC day.
            day: i64,
        }
        clustering {
            /// Who sent the leads.
            provider_id: ProviderId,
            /// Who received the appointments; empty for leads not (yet) routed.
            workspace: String,
            /// Canonical product name.
            product_type: String,
            /// The topic that was counted.
            topic: String,
            /// Its partition.
            log_partition: Partition,
        }
        data {
            /// Leads accepted. A lead found to be a duplicate later counts -1 (and its cost negative) in the row of the
            /// topic `appointments`, so that the sum leaves it out.
            leads: i64,
            /// Appointments routed.
            appointments: i64,
            /// Leads whose first decision found nothing.
            unrouted: i64,
            /// Appointments delivered.
            delivered: i64,
            /// Appointments given up.
            given_up: i64,
            /// Attempts made, as far as their outcome is known.
            attempts: i64,
            /// Attempts that the client answered with 2xx.
            accepted_attempts: i64,
            /// Billed.
            revenue: Money,
            /// What providers are paid for the leads.
            lead_cost: Money,
            /// What providers are paid for the leads that were delivered.
            delivered_cost: Money,
            /// Arrival to decision, of leads decided without anybody's asking: else it would tell how fast people are.
            routing_latency: Json<LatencyHistogram>,
            /// Decision to the client's 2xx.
            delivery_latency: Json<LatencyHistogram>,
        }
    }
}

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

/// Every table.
pub const ALL: &[&Table] = &[
    ContactRow::TABLE,
    ContactByDayRow::TABLE,
    LeadRow::TABLE,
    LeadByContactRow::TABLE,
    LeadDayRow::TABLE,
    AppointmentRow::TABLE,
    AppointmentByWorkspaceRow::TABLE,
    UnroutedRow::TABLE,
    AppointmentEventRow::TABLE,
    BillingEventRow::TABLE,
    DeliveryRow::TABLE,
    OpenDeliveryRow::TABLE,
    DailyRow::TABLE,
    QuarantineRow::TABLE,
    QuarantineCountRow::TABLE,
    CommandRow::TABLE,
    SettingsChangeRow::TABLE,
    SlotRow::TABLE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leads_of_one_log_partition_are_spread_over_all_unrouted_shards() {
        for partition in [0, 5, 4_095] {
            let id = |n| Addressing::default().id(Partition(partition), Offset(n));
            let mut shards: Vec<i64> = (100..100 + UNROUTED_SHARDS).map(|n| unrouted_shard(id(n))).collect();
            shards.sort_unstable();
            assert_eq!(shards, (0..UNROUTED_SHARDS as i64).collect::<Vec<_>>(), "partition {partition}");
        }
    }

    #[test]
    fn table_ids_and_names_are_unique_and_keys_are_sane() {
        let ids: std::collections::BTreeSet<_> = ALL.iter().map(|t| t.id).collect();
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|t| t.name).collect();
        assert_eq!((ids.len(), names.len()), (ALL.len(), ALL.len()));
        assert!(ALL.iter().all(|t| t.partition_key >= 1 && t.key_columns() <= t.columns.len()));
    }
}
