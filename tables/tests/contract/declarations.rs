//! Tables of the tests' own, with every kind of column in a key.

use leadway_domain::{LeadId, Money, Timestamp};
use leadway_tables::{Day, Table, table};
use uuid::Uuid;

table! {
    /// Text in both parts of the key.
    pub struct NoteRow = 1 "notes" {
        partition {
            /// Whose.
            owner: String,
        }
        clustering {
            /// Which.
            title: String,
            /// Which of these.
            number: i64,
        }
        data {
            /// Any text.
            text: String,
            /// Any number.
            count: i64,
            /// Any moment.
            at: Timestamp,
        }
    }
}

table! {
    /// The other kinds.
    pub struct MomentRow = 2 "moments" {
        partition {
            /// Any integer.
            shard: i64,
        }
        clustering {
            /// When.
            at: Timestamp,
            /// Whether.
            flag: bool,
            /// Which.
            id: Uuid,
        }
        data {
            /// Any truth.
            done: bool,
            /// Any id.
            other: Uuid,
        }
    }
}

table! {
    /// A table of two partition columns and nothing else.
    pub struct PairRow = 3 "pairs" {
        partition {
            /// One.
            left: String,
            /// The other.
            right: String,
        }
        clustering {}
        data {}
    }
}

table! {
    /// Some columns are versioned and one is not.
    pub struct DecisionRow = 4 "decisions" {
        partition {
            /// Whose.
            owner: String,
        }
        clustering {
            /// Which.
            number: i64,
        }
        versioned {
            /// The version.
            version: i64,
            /// Any text.
            status: String,
            /// Any day.
            day: Day,
        }
        data {
            /// Any amount.
            amount: Money,
        }
    }
}

table! {
    /// All columns are versioned.
    pub struct WaitingRow = 5 "waiting" {
        partition {
            /// Whose.
            owner: String,
        }
        clustering {
            /// Which.
            number: i64,
        }
        versioned {
            /// The version.
            version: i64,
            /// Any text.
            reason: String,
        }
        data {}
    }
}

table! {
    /// By lead.
    pub struct StoryRow = 6 "stories" {
        partition {
            /// Whose.
            owner: String,
        }
        clustering {
            /// Which lead.
            lead_id: LeadId,
            /// Which of its rows.
            number: i64,
        }
        data {
            /// Any text.
            text: String,
        }
    }
}

pub(crate) const ALL: &[&Table] =
    &[NoteRow::TABLE, MomentRow::TABLE, PairRow::TABLE, DecisionRow::TABLE, WaitingRow::TABLE, StoryRow::TABLE];
