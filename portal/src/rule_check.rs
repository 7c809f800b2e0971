//! What makes a routing rule valid. Pure: the same for one rule and for an import of a hundred thousand.

use std::collections::HashMap;

use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::settings::{Rule, Settings};
use leadway_domain::zip::{ZipPattern, ZipPatternError};
use leadway_domain::{RuleId, Timestamp, WorkspaceId, ZipDirectory};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields::{Fields, is_unseen};
use crate::state::known_product;

/// Most products of one rule.
const MAX_PRODUCTS: usize = 200;
/// Most ZIP patterns of one rule.
const MAX_PATTERNS: usize = 50_000;
/// Most characters of notes.
const MAX_NOTES: usize = 2_000;
/// Most characters of an external id.
const MAX_EXTERNAL_ID: usize = 200;
/// The largest priority number.
const MAX_PRIORITY: i64 = 1_000_000;

/// What is set about a rule, for the API's description; [`RuleDraft`] is what is read of it.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "workspace_id": "solar_west_coast", "product_types": ["Solar"], "zip_codes": ["90210", "902*"],
    "priority": 1, "is_active": true,
}))]
pub(crate) struct RuleInput {
    /// Made by the node when absent; in an import, the rule to be replaced.
    id: Option<Uuid>,
    /// Where its appointments go.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    workspace_id: String,
    /// Names or synonyms of known products.
    #[schema(min_items = 1, max_items = 200)]
    product_types: Vec<String>,
    /// ZIPs (`90210`), prefixes (`902*`), ranges (`90001-90899`), states (`CA`), radii (`90210+25mi`). Kept as
    /// written here, however they are spaced and cased when sent.
    #[schema(min_items = 1, max_items = 50_000)]
    zip_codes: Vec<String>,
    /// The lowest number wins, then the older rule; 1 by default.
    #[schema(minimum = 0, maximum = 1_000_000)]
    priority: Option<i32>,
    /// Whether it takes part in matching; true by default.
    is_active: Option<bool>,
    /// The operator's notes.
    #[schema(max_length = 2000)]
    notes: Option<String>,
    /// What it is called where it is imported from; no two rules have the same. In an import, a row without `id` replaces
    /// the rule of this external id.
    #[schema(max_length = 200)]
    external_id: Option<String>,
}

/// A rule as it was read: what could be, and what is wrong with the rest.
#[derive(Debug, Default)]
pub(crate) struct RuleDraft {
    /// In an import, the rule to be replaced.
    pub(crate) id: Option<String>,
    pub(crate) workspace_id: Option<String>,
    pub(crate) product_types: Option<Vec<String>>,
    pub(crate) zip_codes: Option<Vec<String>>,
    pub(crate) priority: Option<i64>,
    pub(crate) is_active: Option<bool>,
    pub(crate) notes: String,
    pub(crate) external_id: Option<String>,
    /// Fields that are missing, unknown or of another type: told together with what the check finds.
    pub(crate) errors: Vec<FieldError>,
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

/// A rule's fields, checked: products by their canonical names, ZIPs in the canonical form of their patterns.
#[derive(Debug)]
pub(crate) struct CheckedRule {
    workspace_id: WorkspaceId,
    product_types: Vec<String>,
    zip_codes: Vec<String>,
    priority: i32,
    is_active: bool,
    notes: String,
    external_id: Option<String>,
}

/// Remembers what patterns were found to be: an import repeats the same ones thousands of times.
#[derive(Default)]
pub(crate) struct PatternChecks(HashMap<String, Result<String, ZipPatternError>>);

impl PatternChecks {
    /// The pattern in its canonical form.
    pub(crate) fn check(&mut self, pattern: &str, zips: &ZipDirectory) -> Result<String, ZipPatternError> {
        if let Some(known) = self.0.get(pattern) {
            return known.clone();
        }
        let checked = ZipPattern::parse_known(pattern, zips).map(|pattern| pattern.to_string());
        self.0.insert(pattern.to_owned(), checked.clone());
        checked
    }
}

impl RuleDraft {
    /// Reads one from JSON.
    pub(crate) fn read(mut fields: Fields, id: IdField) -> Self {
        fields.read_only(&["created_at", "updated_at"]);
        let id = match id {
            IdField::Absent => None,
            IdField::Is(id) => fields.id("id", Some(&id.to_string())),
            IdField::MayName => fields.optional("id"),
        };
        let workspace_id = fields.required("workspace_id");
        let product_types = fields.required("product_types");
        let zip_codes = fields.required("zip_codes");
        let priority = fields.optional("priority");
        let is_active = fields.optional("is_active");
        let notes = fields.optional::<String>("notes").unwrap_or_default().trim().to_owned();
        let external_id = fields.optional::<String>("external_id");
        let errors = fields.finish(Some(())).err().map(|problem| problem.errors).unwrap_or_default();
        Self { id, workspace_id, product_types, zip_codes, priority, is_active, notes, external_id, errors }
    }

    /// Checks it against the settings and the ZIP list; tells everything that is wrong, with what could not be read.
    pub(crate) fn check(
        mut self,
        settings: &Settings,
        zips: &ZipDirectory,
        patterns: &mut PatternChecks,
    ) -> Result<CheckedRule, Vec<FieldError>> {
        let mut errors = std::mem::take(&mut self.errors);
        let checked = Checked::of(&self, settings, zips, patterns, &mut errors);
        let external_id = self.external_id.as_deref().map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned);
        if external_id.as_ref().is_some_and(|id| id.chars().count() > MAX_EXTERNAL_ID || id.contains(char::is_control))
        {
            let message = format!("must have at most {MAX_EXTERNAL_ID} characters, none of them control characters");
            errors.push(FieldError::new("external_id", "invalid", message));
        }
        match (checked.workspace_id, checked.product_types, checked.zip_codes) {
            (Some(workspace_id), Some(product_types), Some(zip_codes)) if errors.is_empty() => {
                let (priority, is_active) = (checked.priority.unwrap_or(1), checked.is_active.unwrap_or(true));
                let notes = self.notes;
                Ok(CheckedRule { workspace_id, product_types, zip_codes, priority, is_active, notes, external_id })
            }
            _ => Err(errors),
        }
    }
}

fn check_products(names: &[String], settings: &Settings, errors: &mut Vec<FieldError>) -> Vec<String> {
    if names.is_empty() || names.len() > MAX_PRODUCTS {
        let message = format!("must name 1 to {MAX_PRODUCTS} products");
        errors.push(FieldError::new("product_types", "invalid", message));
    }
    let mut canonical = Vec::new();
    for name in names.iter().take(MAX_PRODUCTS) {
        match known_product(settings, "product_types", name) {
            Ok(product) if canonical.contains(&product) => {}
            Ok(product) => canonical.push(product),
            Err(error) => errors.push(error),
        }
    }
    canonical
}

fn check_patterns(
    texts: &[String],
    zips: &ZipDirectory,
    patterns: &mut PatternChecks,
    errors: &mut Vec<FieldError>,
) -> Vec<String> {
    /// Most patterns that are reported one by one.
    const REPORTED: usize = 100;
    if texts.is_empty() || texts.len() > MAX_PATTERNS {
        let message = format!("must hold 1 to {MAX_PATTERNS} ZIPs or patterns");
        errors.push(FieldError::new("zip_codes", "invalid", message));
    }
    let mut wrong = 0;
    let mut canonical = Vec::with_capacity(texts.len().min(MAX_PATTERNS));
    for text in texts.iter().take(MAX_PATTERNS).map(|t| t.trim()) {
        match patterns.check(text, zips) {
            Ok(pattern) => canonical.push(pattern),
            Err(error) => {
                wrong += 1;
                if wrong <= REPORTED {
                    errors.push(FieldError::new("zip_codes", "invalid", format!("{text:?} {error}")));
                }
            }
        }
    }
    if wrong > REPORTED {
        errors.push(FieldError::new("zip_codes", "invalid", format!("{} more are wrong", wrong - REPORTED)));
    }
    canonical
}

/// What is to be set in many rules.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"priority": 2}))]
pub(crate) struct RulePatchInput {
    /// Where their appointments go.
    workspace_id: Option<String>,
    /// Names or synonyms of known products.
    #[schema(min_items = 1, max_items = 200)]
    product_types: Option<Vec<String>>,
    /// ZIPs and patterns, as in one rule.
    #[schema(min_items = 1, max_items = 50_000)]
    zip_codes: Option<Vec<String>>,
    /// The lowest number wins, then the older rule.
    #[schema(minimum = 0, maximum = 1_000_000)]
    priority: Option<i32>,
    /// Whether they take part in matching.
    is_active: Option<bool>,
    /// The operator's notes.
    #[schema(max_length = 2000)]
    notes: Option<String>,
}

/// What is to be set in many rules, checked. What is absent stays.
#[derive(Debug)]
pub(crate) struct RulePatch {
    workspace_id: Option<WorkspaceId>,
    product_types: Option<Vec<String>>,
    zip_codes: Option<Vec<String>>,
    priority: Option<i32>,
    is_active: Option<bool>,
    notes: Option<String>,
}

impl RulePatch {
    /// Reads and checks it; tells everything that is wrong. `null` is the default of a field, as in one rule's change.
    pub(crate) fn read(
        mut fields: Fields,
        settings: &Settings,
        zips: &ZipDirectory,
        patterns: &mut PatternChecks,
    ) -> Result<Self, Problem> {
        let defaults = [("priority", "1"), ("is_active", "true"), ("notes", "\"\"")];
        fields.null_means(&defaults);
        fields.not_null(&["workspace_id", "product_types", "zip_codes"]);
        let draft = RuleDraft {
            id: None,
            workspace_id: fields.optional("workspace_id"),
            product_types: fields.optional("product_types"),
            zip_codes: fields.optional("zip_codes"),
            priority: fields.optional("priority"),
            is_active: fields.optional("is_active"),
            notes: String::new(),
            external_id: None,
            errors: Vec::new(),
        };
        let notes = fields.optional::<String>("notes").map(|notes| notes.trim().to_owned());
        let sent = fields.sent();
        let mut errors = fields.finish(Some(())).err().map(|problem| problem.errors).unwrap_or_default();
        if sent == 0 {
            let message =
                "must set at least one of workspace_id, product_types, zip_codes, priority, is_active and notes";
            errors.push(FieldError::new("body", "required", message));
        }
        let checked = Checked::of(
            &RuleDraft { notes: notes.clone().unwrap_or_default(), ..draft },
            settings,
            zips,
            patterns,
            &mut errors,
        );
        if !errors.is_empty() {
            return Err(Problem::validation(errors));
        }
        let Checked { workspace_id, product_types, zip_codes, priority, is_active } = checked;
        Ok(Self { workspace_id, product_types, zip_codes, priority, is_active, notes })
    }

    /// The rule as it is to be.
    pub(crate) fn applied_to(&self, rule: &Rule) -> Rule {
        let mut rule = rule.clone();
        fn set<T: Clone>(slot: &mut T, sent: &Option<T>) {
            if let Some(sent) = sent {
                slot.clone_from(sent);
            }
        }
        set(&mut rule.workspace_id, &self.workspace_id);
        set(&mut rule.product_types, &self.product_types);
        set(&mut rule.zip_codes, &self.zip_codes);
        set(&mut rule.priority, &self.priority);
        set(&mut rule.is_active, &self.is_active);
        set(&mut rule.notes, &self.notes);
        rule
    }
}

/// The fields that a draft has, each checked for itself; an absent or wrong one is `None`.
struct Checked {
    workspace_id: Option<WorkspaceId>,
    product_types: Option<Vec<String>>,
    zip_codes: Option<Vec<String>>,
    priority: Option<i32>,
    is_active: Option<bool>,
}

impl Checked {
    fn of(
        draft: &RuleDraft,
        settings: &Settings,
        zips: &ZipDirectory,
        patterns: &mut PatternChecks,
        errors: &mut Vec<FieldError>,
    ) -> Self {
        let workspace_id =
            draft.workspace_id.as_deref().and_then(|id| settings.workspaces.get(id)).map(|w| w.id.clone());
        if let (None, Some(sent)) = (&workspace_id, &draft.workspace_id) {
            let message = format!("{sent:?} is no workspace; make it first with POST /api/workspaces");
            errors.push(FieldError::new("workspace_id", "unknown", message));
        }
        let products = draft.product_types.as_deref();
        let product_types = products.map(|names| check_products(names, settings, errors));
        let zip_codes = draft.zip_codes.as_deref().map(|texts| check_patterns(texts, zips, patterns, errors));
        let in_range = |sent: i64| i32::try_from(sent).ok().filter(|_| (0..=MAX_PRIORITY).contains(&sent));
        let priority = draft.priority.and_then(in_range);
        if draft.priority.is_some() && priority.is_none() {
            errors.push(FieldError::new("priority", "invalid", format!("must be 0 to {MAX_PRIORITY}")));
        }
        if draft.notes.chars().count() > MAX_NOTES || draft.notes.contains(is_unseen) {
            let message = format!(
                "must have at most {MAX_NOTES} characters, none of them invisible or control characters other than tabs and line breaks"
            );
            errors.push(FieldError::new("notes", "invalid", message));
        }
        Self { workspace_id, product_types, zip_codes, priority, is_active: draft.is_active }
    }
}

/// Refuses an external id that another rule has.
pub(crate) fn check_external_id(rule: &Rule, settings: &Settings) -> Result<(), Problem> {
    let Some(sent) = &rule.external_id else { return Ok(()) };
    match settings.rules.values().find(|other| other.id != rule.id && other.external_id.as_ref() == Some(sent)) {
        Some(other) => Err(Problem::validation(vec![taken(other.id)])),
        None => Ok(()),
    }
}

/// Another rule has this external id.
pub(crate) fn taken(other: RuleId) -> FieldError {
    FieldError::new("external_id", "taken", format!("is that of rule {other} already"))
}

impl CheckedRule {
    /// As the rule is called where it comes from.
    pub(crate) fn external_id(&self) -> Option<&str> {
        self.external_id.as_deref()
    }

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
            external_id: self.external_id,
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
