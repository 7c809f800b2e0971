//! Every table, declared once. Only `scoring` writes them.
//!
//! Three kinds of partition keys: by [`bucket`] of a lead's id (grows with time, so new rows are written side by side),
//! by day (UTC), and by the business concerned.

mod appointments;
mod history;
mod leads;
mod money;
mod operation;

use leadway_domain::{Addressing, LeadId, Timestamp};

use crate::{Day, Table};

pub use appointments::{
    AppointmentByWorkspaceChange, AppointmentByWorkspaceRow, AppointmentChange, AppointmentEventChange,
    AppointmentEventRow, AppointmentRow, UNROUTED_SHARDS, UnroutedRow, micros_of, unrouted_shard,
};
pub use history::{cut_response, history};
pub use leads::{ContactByDayRow, ContactRow, LeadChange, LeadDayRow, LeadRow};
pub use money::{BillingEventChange, BillingEventRow, DailyRow, DeliveryChange, DeliveryRow, OpenDeliveryRow};
pub use operation::{CommandKeyRow, CommandRow, QuarantineCountRow, QuarantineRow, SettingsChangeRow, SlotRow};

/// Leads per bucket and log partition.
pub const BUCKET_SIZE: u64 = 1_024;

/// The bucket in which a lead's rows stand: buckets grow with time. `None` for an id that the log never gave.
pub fn bucket(addressing: Addressing, id: LeadId) -> Option<i64> {
    addressing.address(id).map(|(_, offset)| (offset.0 / BUCKET_SIZE) as i64)
}

/// Leads per bucket of events and log partition: each lead has several.
const EVENT_BUCKET_SIZE: u64 = 128;

/// The bucket in which a lead's events stand. `None` for an id that the log never gave.
pub fn event_bucket(addressing: Addressing, id: LeadId) -> Option<i64> {
    addressing.address(id).map(|(_, offset)| (offset.0 / EVENT_BUCKET_SIZE) as i64)
}

/// The UTC day of a moment.
pub fn day(at: Timestamp) -> Day {
    Day::of(at)
}

/// Seconds of a quarter of an hour. Every time zone's days begin at a whole one.
pub const QUARTER_SECONDS: i64 = 900;

/// Which quarter of an hour of its UTC day a moment lies in: 0 to 95.
pub fn quarter(at: Timestamp) -> i64 {
    at.as_second().rem_euclid(86_400) / QUARTER_SECONDS
}

/// Every table.
pub const ALL: &[&Table] = &[
    ContactRow::TABLE,
    ContactByDayRow::TABLE,
    LeadRow::TABLE,
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
    CommandKeyRow::TABLE,
    SettingsChangeRow::TABLE,
    SlotRow::TABLE,
];

#[cfg(test)]
mod tests {
    use leadway_domain::{Offset, Partition};

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
        assert!(ALL.iter().all(|t| t.partition_key >= 1 && t.key_columns() + t.versioned <= t.columns.len()));
        let versions = ALL.iter().filter_map(|t| t.versioned_columns().first());
        assert!(versions.clone().count() > 0 && versions.clone().all(|column| column.kind == crate::ColumnKind::Int));
    }
}
