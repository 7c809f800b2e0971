//! What makes a routing rule valid. Pure: the same for one rule and for an import of a hundred thousand.

use std::collections::HashMap;

use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::settings::{Rule, Settings};
use leadway_domain::zip::{ZipPattern, ZipPatternError};
use leadway_domain::{RuleId, Timestamp, WorkspaceId, ZipDirectory};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields::Fields;
use crate::state::known_product;

/// Most products of one rule.
const MAX_PRODUCTS: usize = 200;
/// Most ZIP patterns of one rule.
const MAX_PATTERNS: usize = 50_000;
/// The largest priority number.
const MAX_PRIORITY: i64 = 1_000_000;

/// What is set about a rule.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "workspace_id": "solar_west_coast", "product_types": ["Solar"], "zip_codes": ["90210", "902*"],
    "priority": 1, "is_active": true,
}))]
pub(crate) struct RuleInput {
    /// Made by the node when absent; in an import, the rule to be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub(crate) id: Option<String>,
    /// Where its appointments go.
    pub(crate) workspace_id: String,
    /// Names or synonyms of known products, at least one.
    pub(crate) product_types: Vec<String>,
    /// ZIPs (`90210`), prefixes (`902*`), ranges (`90001-90899`), states (`CA`), radii (`90210+25mi`); at least one.
    pub(crate) zip_codes: Vec<String>,
    /// The lowest number wins, then the older rule; 0 to 1,000,000, 1 by default.
    #[schema(value_type = Option<i64>)]
    pub(crate) priority: i64,
    /// Whether it takes part in matching; true by default.
    #[schema(value_type = Option<bool>)]
    pub(crate) is_active: bool,
    /// The operator's notes.
    #[schema(value_type = Option<String>)]
    pub(crate) notes: String,
}

/// What the field `id` of a rule's body is good for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IdField {
    /// There is none: the node makes the id.
    Absent,
    /// It may repeat the id of the path.
    Is(RuleId),
    /// It may name the rule to be replaced.
    MayName,
}

/// A rule's fields, checked: products by their canonical names.
#[derive(Debug)]
pub(crate) struct CheckedRule {
    workspace_id: WorkspaceId,
    product_types: Vec<String>,
    zip_codes: Vec<String>,
    priority: i32,
    is_active: bool,
    notes: String,
}

/// Remembers what patterns were found to be: an import repeats the same ones thousands of times.
#[derive(Default)]
pub(crate) struct PatternChecks(HashMap<String, Option<ZipPatternError>>);

impl PatternChecks {
    pub(crate) fn check(&mut self, pattern: &str, zips: &ZipDirectory) -> Option<&ZipPatternError> {
        if !self.0.contains_key(pattern) {
            self.0.insert(pattern.to_owned(), ZipPattern::parse_known(pattern, zips).err());
        }
        self.0.get(pattern)?.as_ref()
    }
}

impl RuleInput {
    /// Reads one from JSON.
    pub(crate) fn read(mut fields: Fields, id: IdField) -> Result<Self, Problem> {
        fields.read_only(&["created_at", "updated_at"]);
        let id = match id {
            IdField::Absent => None,
            IdField::Is(id) => fields.id("id", Some(&id.to_string())),
            IdField::MayName => fields.optional("id"),
        };
        let workspace_id = fields.required("workspace_id");
        let product_types = fields.required("product_types");
        let zip_codes = fields.required("zip_codes");
        let priority = fields.optional("priority").unwrap_or(1);
        let is_active = fields.optional("is_active").unwrap_or(true);
        let notes = fields.text("notes", 2_000);
        let input = (|| {
            let (workspace_id, product_types, zip_codes) = (workspace_id?, product_types?, zip_codes?);
            Some(Self { id, workspace_id, product_types, zip_codes, priority, is_active, notes })
        })();
        fields.finish(input)
    }

    /// Checks it against the settings and the ZIP list; tells everything that is wrong.
    pub(crate) fn check(
        &self,
        settings: &Settings,
        zips: &ZipDirectory,
        patterns: &mut PatternChecks,
    ) -> Result<CheckedRule, Vec<FieldError>> {
        let mut errors = Vec::new();
        let workspace = settings.workspaces.get(self.workspace_id.as_str()).map(|w| w.id.clone());
        if workspace.is_none() {
            let message = format!("{:?} is no workspace; make it first with POST /api/workspaces", self.workspace_id);
            errors.push(FieldError::new("workspace_id", "unknown", message));
        }
        let product_types = self.check_products(settings, &mut errors);
        let zip_codes = self.check_patterns(zips, patterns, &mut errors);
        let priority = i32::try_from(self.priority).ok().filter(|_| (0..=MAX_PRIORITY).contains(&self.priority));
        if priority.is_none() {
            errors.push(FieldError::new("priority", "invalid", format!("must be 0 to {MAX_PRIORITY}")));
        }
        match (workspace, priority, errors.is_empty()) {
            (Some(workspace_id), Some(priority), true) => Ok(CheckedRule {
                workspace_id,
                product_types,
                zip_codes,
                priority,
                is_active: self.is_active,
                notes: self.notes.clone(),
            }),
            _ => Err(errors),
        }
    }

    fn check_products(&self, settings: &Settings, errors: &mut Vec<FieldError>) -> Vec<String> {
        if self.product_types.is_empty() || self.product_types.len() > MAX_PRODUCTS {
            let message = format!("must name 1 to {MAX_PRODUCTS} products");
            errors.push(FieldError::new("product_types", "invalid", message));
        }
        let mut canonical = Vec::new();
        for name in self.product_types.iter().take(MAX_PRODUCTS) {
            match known_product(settings, "product_types", name) {
                Ok(product) if canonical.contains(&product) => {}
                Ok(product) => canonical.push(product),
                Err(error) => errors.push(error),
            }
        }
        canonical
    }

    fn check_patterns(
        &self,
        zips: &ZipDirectory,
        patterns: &mut PatternChecks,
        errors: &mut Vec<FieldError>,
    ) -> Vec<String> {
        /// Most patterns that are reported one by one.
        const REPORTED: usize = 100;
        if self.zip_codes.is_empty() || self.zip_codes.len() > MAX_PATTERNS {
            let message = format!("must hold 1 to {MAX_PATTERNS} ZIPs or patterns");
            errors.push(FieldError::new("zip_codes", "invalid", message));
        }
        let mut wrong = 0;
        let mut written = Vec::with_capacity(self.zip_codes.len().min(MAX_PATTERNS));
        for text in self.zip_codes.iter().take(MAX_PATTERNS).map(|t| t.trim()) {
            if let Some(error) = patterns.check(text, zips) {
                wrong += 1;
                if wrong <= REPORTED {
                    errors.push(FieldError::new("zip_codes", "invalid", format!("{text:?} {error}")));
                }
            }
            written.push(text.to_owned());
        }
        if wrong > REPORTED {
            errors.push(FieldError::new("zip_codes", "invalid", format!("{} more are wrong", wrong - REPORTED)));
        }
        written
    }
}

impl CheckedRule {
    /// The rule of this id, as of `now`.
    pub(crate) fn into_rule(self, id: RuleId, created_at: Timestamp, now: Timestamp) -> Rule {
        Rule {
            id,
            workspace_id: self.workspace_id,
            product_types: self.product_types,
            zip_codes: self.zip_codes,
            priority: self.priority,
            is_active: self.is_active,
            notes: self.notes,
            created_at,
            updated_at: now,
        }
    }
}

/// Makes ids for new rules: UUID v7, each above every id there is, so that a newer rule is always the younger one,
/// whatever the clock says and however many are made in one millisecond.
pub(crate) struct RuleIds {
    next_millis: u64,
    random: [u8; 32],
}

impl RuleIds {
    /// How far ahead of the clock the ids of an import may be: a month's worth of milliseconds.
    const AHEAD_MILLIS: u64 = 31 * 86_400_000;

    /// `random` makes the ids of two nodes differ.
    pub(crate) fn after(settings: &Settings, now: Timestamp, random: [u8; 32]) -> Self {
        let greatest = settings.rules.get_max().map_or(0, |(id, _)| millis_of(id.0) + 1);
        Self { next_millis: greatest.max(now.as_millisecond().max(0) as u64), random }
    }

    /// The next id.
    pub(crate) fn make(&mut self) -> RuleId {
        let mut tail = [0; 10];
        tail.iter_mut().zip(self.random).for_each(|(to, from)| *to = from);
        let id = uuid::Builder::from_unix_timestamp_millis(self.next_millis, &tail).into_uuid();
        self.next_millis += 1;
        RuleId(id)
    }

    /// Reads an id that an operator brings back, and makes sure that later ones are above it.
    pub(crate) fn take(&mut self, text: &str, now: Timestamp) -> Result<RuleId, FieldError> {
        let wrong = || {
            let message = "must be a UUID v7 as the export writes it; leave it empty for a new rule";
            FieldError::new("id", "invalid", message)
        };
        let id = Uuid::parse_str(text).map_err(|_| wrong())?;
        let latest = now.as_millisecond().max(0) as u64 + Self::AHEAD_MILLIS;
        if id.get_version_num() != 7 || millis_of(id) > latest {
            return Err(wrong());
        }
        self.next_millis = self.next_millis.max(millis_of(id) + 1);
        Ok(RuleId(id))
    }
}

/// The milliseconds since 1970 in a UUID v7: its first 48 bits.
fn millis_of(id: Uuid) -> u64 {
    (id.as_u128() >> 80) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_rule_has_the_greater_id_though_the_clock_goes_back() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut ids = RuleIds::after(&Settings::default(), at("2024-01-15T10:30:00Z"), [7; 32]);
        let made: Vec<RuleId> = (0..1_000).map(|_| ids.make()).collect();
        assert!(made.is_sorted() && made.iter().all(|id| id.0.get_version_num() == 7));
        let brought = ids.take(&made[999].to_string(), at("2024-01-15T10:00:00Z")).unwrap();
        assert!(ids.make() > brought);
        assert!(ids.take("67e55044-10b1-426f-9247-bb680e5fe0c8", at("2024-01-15T10:00:00Z")).is_err(), "not v7");
        assert!(ids.take("ffffffff-ffff-7fff-bfff-ffffffffffff", at("2024-01-15T10:00:00Z")).is_err(), "far future");
    }
}
