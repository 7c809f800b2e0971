//! Settings that the operator keeps: providers, workspaces, rules, products and API keys. They are records in the
//! topic `settings`; every node folds them into a [`Settings`] snapshot and keeps it in memory.

mod account;
mod change;
mod credentials;
mod past_dates;
mod posting;
mod product;
mod provider;
mod rule;
mod shown;
mod workspace;

pub use account::{Account, Role};
pub use change::{Change, Entity, EntityKind, Note, SettingsChange};
pub use credentials::{
    Credentials, MAX_PREVIOUS, PreviousKey, Signing, SigningSecret, Verifiers, hmac_place, rotated_keys,
    rotated_secrets,
};
pub use past_dates::{PAST_GRACE, PastDates, is_past};
pub use posting::Posting;
pub use product::{DEFAULT_PRODUCTS, Product};
pub use provider::{FieldMapping, Provider, RateLimit};
pub use rule::Rule;
pub use shown::visible_part;
pub use workspace::{WebhookCredentials, Workspace, signing_place, webhook_place};

use std::borrow::Cow;
use std::sync::Arc;

use imbl::{HashMap, OrdMap};

use crate::id::{ProviderId, RuleId, WorkspaceId};
use crate::seal::{Keyring, Seals};
use crate::secret::KeyHash;
use jiff::Timestamp;

/// Everything the operator has set, at one moment. Cloning is cheap (persistent maps): a snapshot is never locked
/// and never changes under a reader.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Lead providers by id.
    pub providers: OrdMap<ProviderId, Arc<Provider>>,
    /// Client businesses by id.
    pub workspaces: OrdMap<WorkspaceId, Arc<Workspace>>,
    /// Routing rules; UUID v7 ids, so the older rule comes first.
    pub rules: OrdMap<RuleId, Arc<Rule>>,
    /// Products by [folded](fold_name) canonical name.
    pub products: OrdMap<String, Arc<Product>>,
    /// API accounts by id.
    pub accounts: OrdMap<uuid::Uuid, Arc<Account>>,
    providers_by_key: HashMap<KeyHash, ProviderId>,
    accounts_by_key: HashMap<KeyHash, uuid::Uuid>,
    /// How many workspaces take appointments whose date is over, whoever sends them.
    past_takers: usize,
    /// Products by folded name and synonym.
    product_names: HashMap<String, Named>,
    /// What providers that sign are checked with.
    verifiers: HashMap<ProviderId, Arc<Verifiers>>,
    seals: Seals,
}

/// A product, and its canonical name as leads share it.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: Arc<str>,
    pub(crate) product: Arc<Product>,
}

impl Settings {
    /// No settings, on a node that has these keys.
    pub fn with_keys(ring: Keyring) -> Self {
        Self { seals: Seals::new(ring), ..Self::default() }
    }

    /// What secrets are sealed and opened with.
    pub fn seals(&self) -> &Seals {
        &self.seals
    }

    /// Folds one change in. Changes were checked before they were written: applying never fails.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(Entity::Provider(p)) => {
                self.forget_provider_keys(&p.id);
                for hash in p.key_hashes() {
                    self.providers_by_key.insert(hash, p.id.clone());
                }
                // What cannot be opened here leaves what was in force.
                if let Ok(verifiers) = Verifiers::new(p, &self.seals) {
                    self.verifiers.insert(p.id.clone(), Arc::new(verifiers));
                }
                self.providers.insert(p.id.clone(), Arc::new(p.clone()));
            }
            Change::Put(Entity::Workspace(w)) => {
                self.forget_workspace(&w.id);
                self.past_takers += usize::from(w.past_dates == Some(PastDates::Take));
                self.workspaces.insert(w.id.clone(), Arc::new(w.clone()));
            }
            Change::Put(Entity::Rule(r)) => {
                self.rules.insert(r.id, Arc::new(r.clone()));
            }
            Change::Put(Entity::Product(p)) => {
                self.forget_product(&fold_name(&p.name));
                let named = Named { name: p.name.as_str().into(), product: Arc::new(p.clone()) };
                for alias in p.synonyms.iter().chain([&p.name]) {
                    self.product_names.insert(fold_name(alias), named.clone());
                }
                self.products.insert(fold_name(&p.name), named.product);
            }
            Change::Put(Entity::Account(a)) => {
                self.forget_account_key(a.id);
                self.accounts_by_key.insert(a.key_hash, a.id);
                self.accounts.insert(a.id, Arc::new(a.clone()));
            }
            Change::Put(Entity::Vault(v)) => self.seals.follow(v),
            Change::Delete { kind, id } => self.delete(*kind, id),
            Change::Batch(changes) => changes.iter().for_each(|c| self.apply(c)),
        }
    }

    /// Whether nothing has been set yet. There is an admin from the first start on.
    pub fn is_untouched(&self) -> bool {
        self.accounts.is_empty() && self.products.is_empty() && self.providers.is_empty() && self.workspaces.is_empty()
    }

    fn delete(&mut self, kind: EntityKind, id: &str) {
        match kind {
            EntityKind::Provider => {
                if let Ok(id) = ProviderId::new(id) {
                    self.forget_provider_keys(&id);
                    self.verifiers.remove(&id);
                    self.providers.remove(&id);
                }
            }
            EntityKind::Workspace => {
                if let Ok(id) = WorkspaceId::new(id) {
                    self.forget_workspace(&id);
                }
            }
            EntityKind::Rule => {
                if let Ok(id) = id.parse() {
                    self.rules.remove(&RuleId(id));
                }
            }
            EntityKind::Product => self.forget_product(&fold_name(id)),
            EntityKind::Account => {
                if let Ok(id) = id.parse() {
                    self.forget_account_key(id);
                    self.accounts.remove(&id);
                }
            }
            EntityKind::Vault | EntityKind::Quarantine => {}
        }
    }

    fn forget_workspace(&mut self, id: &WorkspaceId) {
        if let Some(old) = self.workspaces.remove(id) {
            self.past_takers -= usize::from(old.past_dates == Some(PastDates::Take));
        }
    }

    fn forget_provider_keys(&mut self, id: &ProviderId) {
        if let Some(old) = self.providers.get(id) {
            for hash in old.key_hashes() {
                self.providers_by_key.remove(&hash);
            }
        }
    }

    fn forget_account_key(&mut self, id: uuid::Uuid) {
        if let Some(old) = self.accounts.get(&id) {
            self.accounts_by_key.remove(&old.key_hash);
        }
    }

    fn forget_product(&mut self, folded: &str) {
        if let Some(old) = self.products.remove(folded) {
            for alias in old.synonyms.iter().chain([&old.name]) {
                self.product_names.remove(&fold_name(alias));
            }
        }
    }

    /// The provider whose key this is, or was until a time that is still to come.
    pub fn provider_by_key(&self, key: &str, now: Timestamp) -> Option<&Arc<Provider>> {
        // Looking up a keyed hash tells by its time nothing that helps to guess the key.
        let presented = self.seals.presented(key);
        let found = presented.hashes().find_map(|hash| self.providers.get(self.providers_by_key.get(&hash)?));
        found.filter(|provider| provider.has_key(&presented, now))
    }

    /// The account whose key this is.
    pub fn account_by_key(&self, key: &str) -> Option<&Arc<Account>> {
        let presented = self.seals.presented(key);
        presented.hashes().find_map(|hash| self.accounts.get(self.accounts_by_key.get(&hash)?))
    }

    /// What the signatures of this provider are checked with.
    pub fn verifiers(&self, provider: &ProviderId) -> Option<&Arc<Verifiers>> {
        self.verifiers.get(provider)
    }

    /// Whether an appointment of this provider may be sold although its date is over: to every workspace that does not
    /// say otherwise, or to one that says so.
    pub fn may_sell_past(&self, provider: &ProviderId) -> bool {
        self.past_takers > 0 || self.past_dates_of(provider) == PastDates::Take
    }

    /// Whether this workspace takes an appointment of this provider although its date is over; without one, whether the
    /// provider's setting says so.
    pub fn sells_past(&self, provider: &ProviderId, workspace: Option<&Workspace>) -> bool {
        let own = workspace.and_then(|w| w.past_dates);
        own.unwrap_or_else(|| self.past_dates_of(provider)) == PastDates::Take
    }

    fn past_dates_of(&self, provider: &ProviderId) -> PastDates {
        self.providers.get(provider).map_or_else(PastDates::default, |p| p.posting.past_dates)
    }

    /// Whether a rule takes part in matching: it is active, and its workspace exists and is not paused.
    pub fn takes_part(&self, rule: &Rule) -> bool {
        rule.is_active && self.workspaces.get(&rule.workspace_id).is_some_and(|w| !w.paused)
    }

    /// The canonical name of a product, by its name or a synonym, however it is spaced, cased or punctuated.
    pub fn product_name(&self, name: &str) -> Option<&Arc<str>> {
        self.named(name).map(|named| &named.name)
    }

    /// The product of this name or synonym.
    pub fn product(&self, name: &str) -> Option<&Arc<Product>> {
        self.named(name).map(|named| &named.product)
    }

    /// Both at once.
    pub(crate) fn named(&self, name: &str) -> Option<&Named> {
        self.product_names.get(&*fold_short(name, &mut Default::default()))
    }
}

/// A name without case, spacing and punctuation: `Heat-Pump` and `heat pump` are one.
pub fn fold_name(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The same, in `room` where it fits.
pub(crate) fn fold_short<'r>(name: &str, room: &'r mut [u8; 32]) -> Cow<'r, str> {
    if !name.is_ascii() || name.len() > room.len() {
        return Cow::Owned(fold_name(name));
    }
    let mut length = 0;
    for (slot, byte) in room.iter_mut().zip(name.bytes().filter(u8::is_ascii_alphanumeric)) {
        *slot = byte.to_ascii_lowercase();
        length += 1;
    }
    Cow::Borrowed(room.get(..length).and_then(|folded| std::str::from_utf8(folded).ok()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(name: &str, synonyms: &[&str]) -> Change {
        Change::Put(Entity::Product(Product {
            name: name.into(),
            synonyms: synonyms.iter().map(|s| (*s).to_owned()).collect(),
            auto_schedule: false,
        }))
    }

    #[test]
    fn products_are_found_by_any_spelling_and_forgotten_with_their_synonyms() {
        let mut settings = Settings::default();
        settings.apply(&product("Heat Pump", &["heatpumps", "mini split"]));
        for name in ["heat pump", "HEAT-PUMP", "Mini-Split", "heatpumps"] {
            assert_eq!(settings.product_name(name).map(|n| &**n), Some("Heat Pump"), "{name}");
        }
        settings.apply(&product("Heat Pump", &["heatpumps"]));
        assert_eq!(settings.product_name("mini split"), None);
        settings.apply(&Change::Delete { kind: EntityKind::Product, id: "Heat Pump".into() });
        assert_eq!(settings.product_name("heatpumps"), None);
    }

    #[test]
    fn a_short_name_is_folded_like_any_other() {
        let long = "Solar ".repeat(9);
        for name in ["Heat-Pump 2", "", " - ", "ÉNERGIE solaire", long.as_str(), &long[..32], &long[..33]] {
            assert_eq!(fold_short(name, &mut Default::default()), fold_name(name), "{name}");
        }
    }

    #[test]
    fn an_old_snapshot_does_not_change() {
        let mut settings = Settings::default();
        settings.apply(&product("Solar", &[]));
        let before = settings.clone();
        settings.apply(&product("HVAC", &[]));
        assert!(before.product_name("HVAC").is_none() && settings.product_name("HVAC").is_some());
    }
}
