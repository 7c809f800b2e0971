//! Contacts and leads.

use leadway_domain::lead::InterestLevel;
use leadway_domain::{ContactId, LeadId, Money, Partition, Phone, ProviderId, Timestamp, Zip};
use serde_json::{Map, Value as JsonValue};

use crate::{Day, Json, table};

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
            /// The last one. Its row names the one before, and so on: a lead costs no row of an index.
            last_lead_id: LeadId,
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
            day: Day,
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
    pub struct LeadRow, LeadChange = 3 "leads" {
        partition {
            /// See [`bucket`](super::bucket).
            bucket: i64,
        }
        clustering {
            /// Which lead.
            lead_id: LeadId,
        }
        data {
            /// Who it is about.
            contact_id: ContactId,
            /// The contact's lead before this one; missing for its first.
            previous_lead_id: LeadId,
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
            /// When its record was written, in microseconds since 1970: a step of its [`history`](super::history()).
            recorded_us: i64,
        }
    }
}

table! {
    /// Which lead ids a day's leads have, per log partition: from the day to the buckets.
    pub struct LeadDayRow = 5 "lead_days" {
        partition {
            /// Of arrival.
            day: Day,
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
