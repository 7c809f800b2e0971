//! The form of settings that stand within others, for the API's description. The domain's own types read and write them.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// A parameter that is one of these, and what it is for.
pub(crate) fn choice(values: &[&str], description: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(values.iter().copied()))
        .build()
}

/// How fast something may be sent; no limit when absent.
#[derive(Serialize, ToSchema)]
#[schema(as = RateLimit, example = json!({"per_second": 100, "burst": 200}))]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimitShape {
    /// How many per second, on average.
    #[schema(minimum = 1, maximum = 1_000_000)]
    per_second: u32,
    /// How many may come at once after a pause; by default as many as in one second.
    #[schema(minimum = 1, maximum = 1_000_000)]
    burst: Option<u32>,
}

/// How a provider's fields become ours, beyond the built-in aliases.
#[derive(Serialize, ToSchema)]
#[schema(as = FieldMapping, example = json!({"fields": {"/contact/tel": "phone"}, "values": {"product_type": {"PV": "Solar"}}}))]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldMappingShape {
    /// Source name or JSON pointer → our field.
    #[schema(required = false)]
    fields: BTreeMap<String, String>,
    /// Our field → the value of every lead that does not bring one.
    #[schema(required = false)]
    constants: BTreeMap<String, String>,
    /// Our field → value as sent → value as meant.
    #[schema(required = false)]
    values: BTreeMap<String, BTreeMap<String, String>>,
}

/// When a workspace takes appointments, in the customer's time zone. What is left out is Monday to Friday, 9 to 17,
/// hourly, one appointment a slot, two hours' notice.
#[derive(Serialize, ToSchema)]
#[schema(as = OpeningHours, example = json!({"days": {"monday": [["09:00", "17:00"]]}, "slot_minutes": 60}))]
#[serde(deny_unknown_fields)]
pub(crate) struct OpeningHoursShape {
    /// Weekday (`monday` …) → spans of `["09:00", "17:00"]`, in order, not overlapping. A day that is absent is closed.
    #[schema(required = false)]
    days: BTreeMap<String, Vec<Vec<String>>>,
    /// Length of a slot.
    #[schema(required = false, minimum = 5, maximum = 1440)]
    slot_minutes: u32,
    /// How many appointments one slot takes.
    #[schema(required = false, minimum = 1)]
    slot_capacity: u32,
    /// How long before a slot it must be booked: up to 30 days.
    #[schema(required = false, maximum = 43200)]
    notice_minutes: u32,
}
