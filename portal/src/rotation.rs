//! Keys and secrets that take the place of others.

use jiff::SignedDuration;
use leadway_domain::Timestamp;
use leadway_domain::problem::Problem;
use leadway_domain::settings::MAX_PREVIOUS;
use serde::Serialize;
use utoipa::ToSchema;

use crate::fields::Fields;

/// How long the one before stays valid unless the caller says otherwise, in hours.
const OVERLAP_HOURS: u32 = 24;
/// The longest overlap: 30 days.
const MAX_OVERLAP_HOURS: u32 = 720;

/// What is to become of the key or secret before, and of those before it.
#[derive(Default, Serialize, ToSchema)]
#[schema(example = json!({"revoke_now": true}))]
#[serde(deny_unknown_fields)]
pub(crate) struct RotationInput {
    /// Whether all earlier ones end at once, for instance because they leaked; false by default.
    #[schema(value_type = Option<bool>)]
    revoke_now: bool,
    /// How long the one before stays valid, in hours; a day by default.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 720)]
    overlap_hours: u32,
}

impl RotationInput {
    pub(crate) fn read(mut fields: Fields) -> Result<Self, Problem> {
        let revoke_now = fields.optional("revoke_now").unwrap_or(false);
        let overlap_hours: Option<u32> = fields.optional("overlap_hours");
        if overlap_hours.is_some_and(|hours| !(1..=MAX_OVERLAP_HOURS).contains(&hours)) {
            let rule = format!("must be 1 to {MAX_OVERLAP_HOURS}; with revoke_now the earlier ones end at once");
            fields.error("overlap_hours", "invalid", rule);
        }
        if revoke_now && overlap_hours.is_some() {
            fields.error(
                "overlap_hours",
                "invalid",
                "must be left out with revoke_now, which ends the earlier ones at once",
            );
        }
        fields.finish(Some(Self { revoke_now, overlap_hours: overlap_hours.unwrap_or(OVERLAP_HOURS) }))
    }

    /// Until when the one before is valid; `None` when all earlier ones end now. `still_valid` are the ends of those that
    /// were rotated away before.
    pub(crate) fn until(
        &self,
        now: Timestamp,
        still_valid: impl Iterator<Item = Timestamp>,
    ) -> Result<Option<Timestamp>, Problem> {
        if self.revoke_now {
            return Ok(None);
        }
        let ends: Vec<Timestamp> = still_valid.filter(|end| *end > now).collect();
        match ends.iter().min() {
            Some(first) if ends.len() >= MAX_PREVIOUS => Err(Problem::conflict(format!(
                "{MAX_PREVIOUS} earlier ones are still valid, and more would be too many. The first ends at {first}; rotate \
                 again then, or send revoke_now to end all of them."
            ))),
            _ => Ok(Some(now + SignedDuration::from_hours(self.overlap_hours.into()))),
        }
    }
}
