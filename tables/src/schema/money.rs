//! Deliveries, what they earn, and the sums of a day.

use leadway_domain::histogram::LatencyHistogram;
use leadway_domain::record::Appointment;
use leadway_domain::{LeadId, Money, Partition, ProviderId, Timestamp, WorkspaceId};

use crate::{Day, Json, table};

table! {
    /// The one billing event of a delivered appointment.
    pub struct BillingEventRow, BillingEventChange = 10 "billing_events" {
        partition {
            /// Who pays.
            workspace_id: WorkspaceId,
            /// Of delivery.
            day: Day,
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
    pub struct DeliveryRow, DeliveryChange = 11 "deliveries" {
        partition {
            /// Who took it.
            workspace_id: WorkspaceId,
            /// Of delivery.
            day: Day,
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
    /// Sums of a quarter of an hour, without tests: what begins and ends any day of any time zone. Per partition of the log,
    /// so that each row has one writer; summed when read. Leads and their cost count when they arrive, decisions when they
    /// are made, deliveries and attempts at their outcome.
    pub struct DailyRow = 13 "daily" {
        partition {
            /// UTC day.
            day: Day,
        }
        clustering {
            /// Which quarter of an hour of the day: 0 to 95.
            quarter: i64,
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
