use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Account, Product, Provider, Rule, Settings, Workspace, fold_name};
use crate::id::{Offset, ProviderId, RuleId};
use crate::seal::Vault;

/// Anything that can be set.
#[allow(clippy::large_enum_variant)] // see Change
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entity {
    /// A lead provider.
    Provider(Provider),
    /// A client business.
    Workspace(Workspace),
    /// A routing rule.
    Rule(Rule),
    /// A product.
    Product(Product),
    /// An API account.
    Account(Account),
    /// Which key the log's secrets are sealed with.
    Vault(Vault),
}

/// The kinds of [`Entity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityKind {
    /// A lead provider.
    Provider,
    /// A client business.
    Workspace,
    /// A routing rule.
    Rule,
    /// A product.
    Product,
    /// An API account.
    Account,
    /// Which key the log's secrets are sealed with; there is one.
    Vault,
    /// A refused lead: no setting, but what people do with one stands in the log of changes.
    Quarantine,
}

impl EntityKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Provider, Self::Workspace, Self::Rule, Self::Product, Self::Account, Self::Vault, Self::Quarantine];

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The kind as written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Workspace => "workspace",
            Self::Rule => "rule",
            Self::Product => "product",
            Self::Account => "account",
            Self::Vault => "vault",
            Self::Quarantine => "quarantine",
        }
    }
}

impl Entity {
    /// Its kind.
    pub fn kind(&self) -> EntityKind {
        match self {
            Self::Provider(_) => EntityKind::Provider,
            Self::Workspace(_) => EntityKind::Workspace,
            Self::Rule(_) => EntityKind::Rule,
            Self::Product(_) => EntityKind::Product,
            Self::Account(_) => EntityKind::Account,
            Self::Vault(_) => EntityKind::Vault,
        }
    }

    /// Its id as text; a product's is its name.
    pub fn id(&self) -> String {
        match self {
            Self::Provider(p) => p.id.to_string(),
            Self::Workspace(w) => w.id.to_string(),
            Self::Rule(r) => r.id.to_string(),
            Self::Product(p) => p.name.clone(),
            Self::Account(a) => a.id.to_string(),
            Self::Vault(_) => "vault".to_owned(),
        }
    }
}

/// A change of the settings.
#[allow(clippy::large_enum_variant)] // changes are few and never kept in numbers
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Creates or replaces an entity.
    Put(Entity),
    /// Removes one.
    Delete {
        /// Of which kind.
        kind: EntityKind,
        /// Its id as text.
        id: String,
    },
    /// Several at once: all or none.
    Batch(Vec<Change>),
}

/// A record of the topic `settings`: who changed what, when, from what to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsChange {
    /// Version of this record's form.
    pub v: u32,
    /// Name of the account, or `system`.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// What stood there before; in the order of the change's entities, `None` where nothing did.
    pub before: Vec<Option<Entity>>,
    /// The change.
    pub change: Change,
    /// The offset that this record must get to count: the end of the topic when the change was decided. Where another
    /// node's change came first it gets a later one, and everybody passes over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_offset: Option<Offset>,
    /// The log's identity: chosen at random when it was made, so that nobody takes another log for it. The first change that
    /// carries one counts; such a change does nothing else. Versions that do not know it read an empty change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_id: Option<Uuid>,
    /// Something else that somebody did, for the log of changes: then `change` changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

/// What somebody did that is no change of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// With what kind of thing.
    pub kind: EntityKind,
    /// Which one.
    pub id: String,
    /// What stood there before. People see only the fields that the kind's list names.
    pub before: serde_json::Value,
    /// What stands there now; `null` when it is gone.
    pub after: serde_json::Value,
}

impl SettingsChange {
    /// The record of `change` made by `actor` to `settings`.
    pub fn new(settings: &Settings, actor: &str, at: Timestamp, change: Change) -> Self {
        let before = change.singles().into_iter().map(|c| c.before(settings)).collect();
        Self { v: 1, actor: actor.to_owned(), at, before, change, at_offset: None, log_id: None, note: None }
    }

    /// The record that gives a log its identity, and changes no setting.
    pub fn identity(log_id: Uuid, at: Timestamp) -> Self {
        Self { log_id: Some(log_id), ..Self::new(&Settings::default(), "system", at, Change::Batch(Vec::new())) }
    }

    /// The record of something that `actor` did and that changes no setting.
    pub fn noting(actor: &str, at: Timestamp, note: Note) -> Self {
        Self { note: Some(note), ..Self::new(&Settings::default(), actor, at, Change::Batch(Vec::new())) }
    }

    /// Counts only as the record at `offset`, so that it is never decided against other settings than it changes.
    pub fn only_at(mut self, offset: Offset) -> Self {
        self.at_offset = Some(offset);
        self
    }

    /// Whether it counts as the record at `offset`.
    pub fn counts_at(&self, offset: Offset) -> bool {
        self.at_offset.is_none_or(|only| only == offset)
    }
}

impl Change {
    /// The single changes in it, in order.
    pub fn singles(&self) -> Vec<&Change> {
        match self {
            Self::Batch(changes) => changes.iter().flat_map(Self::singles).collect(),
            single => vec![single],
        }
    }

    /// Kind and id of the entity that a single change concerns; `None` for a batch.
    pub fn concerns(&self) -> Option<(EntityKind, String)> {
        match self {
            Self::Put(entity) => Some((entity.kind(), entity.id())),
            Self::Delete { kind, id } => Some((*kind, id.clone())),
            Self::Batch(_) => None,
        }
    }

    /// What stands where a single change puts or removes something; `None` for nothing, and for a batch.
    pub fn before(&self, settings: &Settings) -> Option<Entity> {
        let (kind, id) = self.concerns()?;
        match kind {
            EntityKind::Provider => {
                let id = ProviderId::new(&id).ok()?;
                settings.providers.get(&id).map(|p| Entity::Provider((**p).clone()))
            }
            EntityKind::Workspace => settings.workspaces.get(id.as_str()).map(|w| Entity::Workspace((**w).clone())),
            EntityKind::Rule => {
                let id = RuleId(id.parse().ok()?);
                settings.rules.get(&id).map(|r| Entity::Rule((**r).clone()))
            }
            EntityKind::Product => settings.products.get(&fold_name(&id)).map(|p| Entity::Product((**p).clone())),
            EntityKind::Account => {
                let id = id.parse::<uuid::Uuid>().ok()?;
                settings.accounts.get(&id).map(|a| Entity::Account((**a).clone()))
            }
            EntityKind::Vault => settings.seals().vault().map(|v| Entity::Vault((**v).clone())),
            EntityKind::Quarantine => None,
        }
    }
}
