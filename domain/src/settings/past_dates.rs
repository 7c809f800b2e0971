use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long ago a date may lie and still count as one to come: clocks differ, and people post late.
pub const PAST_GRACE: SignedDuration = SignedDuration::from_hours(1);

/// What becomes of appointments whose date is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PastDates {
    /// They are not sold: the lead waits for a new date.
    #[default]
    Refuse,
    /// They are sold like any other: the dates are known to be wrong, or of no matter.
    Take,
}

/// Whether a date was over at a moment.
pub fn is_past(date: Timestamp, at: Timestamp) -> bool {
    at.duration_since(date) > PAST_GRACE
}
