//! Which rules are meant: for lists of rules, and for changes of many at once.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::settings::{Rule, Settings};
use leadway_domain::zip::{ZipInfo, ZipPattern};
use leadway_domain::{RuleId, Zip, ZipDirectory};
use utoipa::IntoParams;

use crate::leads::zip_param;
use crate::problem::{Answer, broken};
use crate::query::{FromQuery, Query};
use crate::state::known_product;

/// Which rules are meant: those that fit everything that is given.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RuleFilter {
    /// Only those of this workspace.
    workspace_id: Option<String>,
    /// Only those for this product (name or synonym).
    product_type: Option<String>,
    /// Only those that take this ZIP, by whatever pattern.
    #[param(value_type = Option<String>, example = "90210")]
    zip_code: Option<Zip>,
    /// Only those that take at least one ZIP of this state, by whatever pattern.
    #[param(example = "CA")]
    state: Option<String>,
    /// Only active or only inactive ones.
    is_active: Option<bool>,
    /// Only those with this text, in whatever case, in their notes, external id, workspace, products or ZIP patterns.
    q: Option<String>,
}

impl FromQuery for RuleFilter {
    fn read(query: &mut Query) -> Self {
        Self {
            workspace_id: query.text("workspace_id"),
            product_type: query.text("product_type"),
            zip_code: zip_param(query, "zip_code"),
            state: query.text("state").map(|state| state.to_ascii_uppercase()),
            is_active: query.parsed("is_active", "must be true or false"),
            q: query.text("q").map(|text| text.to_lowercase()),
        }
    }
}

impl RuleFilter {
    /// Whether every rule is meant.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { workspace_id, product_type, zip_code, state, is_active, q } = self;
        workspace_id.is_none()
            && product_type.is_none()
            && zip_code.is_none()
            && state.is_none()
            && is_active.is_none()
            && q.is_none()
    }

    /// Looks up what the filter names; tells everything that there is not.
    pub(crate) fn resolve(self, settings: &Settings, zips: &ZipDirectory) -> Result<Wanted, Problem> {
        let mut errors = Vec::new();
        let product = self
            .product_type
            .as_deref()
            .and_then(|name| known_product(settings, "product_type", name).map_err(|error| errors.push(error)).ok());
        let in_state = |state: &String| zips.iter().filter(|z| *z.state == **state).cloned().collect::<Vec<ZipInfo>>();
        let places = match (self.zip_code, &self.state) {
            (Some(zip), state) => {
                let info = zips.get(zip).filter(|z| state.as_ref().is_none_or(|state| *z.state == **state));
                if info.is_none() {
                    errors.push(FieldError::new("zip_code", "unknown", "is no ZIP code in use there"));
                }
                Some(info.into_iter().cloned().collect())
            }
            (None, Some(state)) => Some(in_state(state)),
            (None, None) => None,
        };
        if self.state.is_some() && self.zip_code.is_none() && places.as_ref().is_some_and(Vec::is_empty) {
            errors.push(FieldError::new("state", "unknown", "is no state with ZIP codes: two letters, such as CA"));
        }
        if !errors.is_empty() {
            return Err(Problem::validation(errors));
        }
        Ok(Wanted { workspace_id: self.workspace_id, product, places, is_active: self.is_active, text: self.q })
    }
}

/// A filter whose names are looked up.
pub(crate) struct Wanted {
    workspace_id: Option<String>,
    /// Canonical.
    product: Option<String>,
    /// At least one of these ZIPs is to be taken.
    places: Option<Vec<ZipInfo>>,
    is_active: Option<bool>,
    /// In lower case.
    text: Option<String>,
}

impl Wanted {
    /// The first rules that are meant, after one of them. It may look at every pattern of every rule: not on a thread
    /// that serves others.
    pub(crate) async fn select(
        self,
        settings: Arc<Settings>,
        zips: Arc<ZipDirectory>,
        after: Option<RuleId>,
        limit: usize,
    ) -> Answer<Vec<Arc<Rule>>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let selected = tokio::task::spawn_blocking(move || {
            let mut places = Places { wanted: self.places.as_deref(), zips: &zips, known: HashMap::new() };
            let rules = settings.rules.range((from, Bound::Unbounded)).map(|(_, rule)| rule);
            rules.filter(|rule| self.matches(rule) && places.takes(rule)).take(limit).cloned().collect()
        });
        selected.await.map_err(|_| broken("The rules could not be looked through."))
    }

    /// Whether everything fits but the place.
    fn matches(&self, rule: &Rule) -> bool {
        self.workspace_id.as_ref().is_none_or(|w| rule.workspace_id.as_str() == w)
            && self.is_active.is_none_or(|active| rule.is_active == active)
            && self.product.as_ref().is_none_or(|p| rule.product_types.contains(p))
            && self.text.as_ref().is_none_or(|text| has_text(rule, text))
    }
}

fn has_text(rule: &Rule, text: &str) -> bool {
    let single = [rule.notes.as_str(), rule.workspace_id.as_str()].into_iter().chain(rule.external_id.as_deref());
    let lists = rule.product_types.iter().chain(&rule.zip_codes).map(String::as_str);
    single.chain(lists).any(|held| held.to_lowercase().contains(text))
}

/// Which patterns take one of the wanted ZIPs, each looked at once: rules repeat the same ones.
struct Places<'a> {
    wanted: Option<&'a [ZipInfo]>,
    zips: &'a ZipDirectory,
    known: HashMap<String, bool>,
}

impl Places<'_> {
    fn takes(&mut self, rule: &Rule) -> bool {
        let Some(wanted) = self.wanted else { return true };
        rule.zip_codes.iter().any(|text| {
            if let Some(known) = self.known.get(text) {
                return *known;
            }
            let holds = |pattern: ZipPattern| wanted.iter().any(|zip| pattern.contains(zip, self.zips));
            let takes = ZipPattern::parse(text).is_ok_and(holds);
            self.known.insert(text.clone(), takes);
            takes
        })
    }
}
