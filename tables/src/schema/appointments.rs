//! Appointments, what waits, and what happened.

use leadway_domain::record::RoutingMethod;
use leadway_domain::{
    Addressing, ContactId, LeadId, Money, Offset, Partition, Phone, ProviderId, RuleId, Timestamp, WorkspaceId, Zip,
};
use serde_json::Value as JsonValue;

use crate::{Day, Json, table};

table! {
    /// What was decided about a lead, and its delivery. The versioned columns come from the topic `appointments`, the
    /// others from `deliveries`: for a moment either may be there without the other.
    pub struct AppointmentRow, AppointmentChange = 6 "appointments" {
        partition {
            /// See [`bucket`](super::bucket).
            bucket: i64,
        }
        clustering {
            /// The lead's id.
            appointment_id: LeadId,
        }
        versioned {
            /// Which decision this is, from 1; a later one replaces an earlier one, whichever is applied first.
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
            /// When; while unrouted, the date asked for.
            appointment_date: Timestamp,
            /// Whether an unrouted lead is to get the next free slot.
            next_free_slot: bool,
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
            /// When the record that says so was written, in microseconds since 1970: a step of its
            /// [`history`](super::history()).
            routed_us: i64,
            /// That record's partition of the topic `appointments`.
            routed_partition: Partition,
            /// Its offset.
            routed_offset: Offset,
        }
        data {
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
            /// When the record was written that says that the client took it at the first attempt, in microseconds since
            /// 1970: a step of its [`history`](super::history()). Missing where it took more.
            taken_us: i64,
            /// That record's partition of the topic `deliveries`.
            taken_partition: Partition,
            /// Its offset.
            taken_offset: Offset,
            /// How long the attempt took, in microseconds.
            taken_latency_us: i64,
        }
    }
}

table! {
    /// A workspace's appointments by the day they were routed.
    pub struct AppointmentByWorkspaceRow, AppointmentByWorkspaceChange = 7 "appointments_by_workspace" {
        partition {
            /// Who receives it.
            workspace_id: WorkspaceId,
            /// Of routing.
            day: Day,
        }
        clustering {
            /// The lead's id.
            appointment_id: LeadId,
        }
        data {
            /// When it was routed.
            matched_at: Timestamp,
            /// Who sent the lead.
            provider_id: ProviderId,
            /// Canonical product name.
            service_type: String,
            /// Where.
            customer_zip: Zip,
            /// When it takes place.
            appointment_date: Timestamp,
            /// The rate agreed.
            price: Money,
            /// Whether it is a test.
            test: bool,
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
        versioned {
            /// Which decision found nothing.
            decision: i64,
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
        data {}
    }
}

table! {
    /// What happened to an appointment beside the steps that its row and the lead's tell: see
    /// [`history`](super::history()). By bucket, so that what happens to many of them at one time is written in few requests.
    pub struct AppointmentEventRow, AppointmentEventChange = 9 "appointment_events" {
        partition {
            /// See [`event_bucket`](super::event_bucket).
            bucket: i64,
        }
        clustering {
            /// Which appointment.
            appointment_id: LeadId,
            /// When.
            at: Timestamp,
            /// The microseconds after `at`: what happens to a lead may take less than a millisecond.
            micros: i64,
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

/// The microseconds of a moment after its millisecond.
pub fn micros_of(at: Timestamp) -> i64 {
    at.as_microsecond().rem_euclid(1_000)
}
