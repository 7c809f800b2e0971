//! Taking back a change of settings: what it changed becomes as it was before, by a change of its own.
//!
//! Only where nobody changed the same thing since, and only what still fits the other settings. Keys and secrets do not
//! come back: what is there keeps those it has, and what was deleted gets new ones.

use axum::Json;
use axum::extract::State;
use leadway_domain::intake::check_mapping;
use leadway_domain::problem::Problem;
use leadway_domain::record::Topic;
use leadway_domain::secret::new_key;
use leadway_domain::settings::{
    Change, Credentials, Entity, EntityKind, Role, Rule, Settings, SettingsChange, SigningSecret, Workspace, fold_name,
    signing_place,
};
use leadway_domain::{Offset, Partition, ProviderId, Timestamp, WorkspaceId};
use leadway_eventlog::ReadLimit;
use leadway_tables::schema::QuarantineRow;
use leadway_tables::{Range, key, scan};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Actor;
use crate::change::Decided;
use crate::fields::NoFields;
use crate::path::Path;
use crate::problem::{Answer, Refusal, not_found, some_of};
use crate::provider_keys::sign_as;
use crate::retry_rules::{retry_for_rules, retry_for_workspace};
use crate::rule_check::check_external_id;
use crate::rules::check_count;
use crate::state::{Portal, Shared};
use crate::undelivered::undelivered;
use crate::webhook_url;

/// Fields that prove who somebody is.
const CREDENTIALS: [&str; 4] = ["key_hash", "credentials", "signing_secrets", "webhook_credentials"];
/// Which part of a workspace's `webhook_credentials` belongs to which URL.
const URLS: [(&str, &str); 2] = [("outbound_webhook_url", "outbound"), ("test_webhook_url", "test")];

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(revert))
}

/// What was taken back.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"reverted": 1, "new_credentials": []}))]
struct RevertView {
    /// How many settings are as they were before.
    reverted: usize,
    /// What was deleted and is there again has new keys and secrets, shown in this answer only.
    new_credentials: Vec<NewCredential>,
}

/// The new key or secret of something that is there again.
#[derive(Serialize, ToSchema)]
struct NewCredential {
    /// `provider` or `workspace`.
    entity: &'static str,
    /// Which one.
    entity_id: String,
    /// A provider's new key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// What a provider signs with from now on, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    hmac_secret: Option<String>,
    /// A workspace's new signing secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_secret: Option<String>,
}

/// Takes a change back: what it changed becomes as it was before, as a change of its own. `id` is the change's, or only its
/// offset for everything that the record changed, such as a whole import: all of it or nothing. It is refused where the
/// same thing was changed since, or where the other settings no longer allow it. Keys and secrets do not come back.
#[utoipa::path(post, path = "/api/settings/changes/{id}/revert", operation_id = "revert_settings_change", tag = "Settings",
    responses((status = 200, body = RevertView), (status = 409, description = "It no longer applies; `detail` says why")))]
async fn revert(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    _: NoFields,
) -> Answer<Json<RevertView>> {
    let turn = portal.writer.turn().await?;
    let record = read(&portal, &id).await?;
    let mut after = Settings::clone(&turn.settings);
    let mut view = RevertView { reverted: 0, new_credentials: Vec::new() };
    let mut changes = Vec::new();
    for step in steps(&record, &id)?.into_iter().rev() {
        let change = step.back(&portal, &after, turn.now, &mut view)?;
        fits_names(&change, &after)?;
        after.apply(&change);
        changes.push(change);
    }
    if changes.is_empty() {
        return Err(Problem::conflict("It changed nothing that could be taken back.").into());
    }
    changes.iter().try_for_each(|change| fits(&portal, change, &after))?;
    for change in &changes {
        nothing_is_left_behind(&portal, change).await?;
    }
    view.reverted = changes.len();
    let (rules, resumed) = routes_again(&changes, &turn.settings);
    let view = turn.carry_out(&actor, Decided::new(Change::Batch(changes), view)).await?;
    retry_for_rules(&portal, &actor, &rules);
    for workspace in resumed {
        retry_for_workspace(&portal, &actor, &workspace.id);
    }
    Ok(Json(view))
}

/// The record of a change, by `offset` or `offset-part`.
async fn read(portal: &Portal, id: &str) -> Answer<SettingsChange> {
    let missing = || not_found("change of settings", id);
    let offset = id.split('-').next().and_then(|text| text.parse().ok()).map(Offset).ok_or_else(missing)?;
    let limit = ReadLimit { records: 1, ..ReadLimit::default() };
    let records = portal.log.read(Topic::Settings, Partition(0), offset, limit).await?;
    let record = records.first().filter(|record| record.address.offset == offset).ok_or_else(missing)?;
    let change: SettingsChange = record.decode().map_err(|_| missing())?;
    // A change that came too late changed nothing.
    Some(change).filter(|change| change.counts_at(offset)).ok_or_else(missing)
}

/// A single change that is to be taken back.
struct Step<'c> {
    kind: EntityKind,
    id: String,
    before: Option<&'c Entity>,
    change: &'c Change,
}

fn steps<'c>(record: &'c SettingsChange, id: &str) -> Answer<Vec<Step<'c>>> {
    let singles = record.change.singles().into_iter().zip(&record.before).filter_map(|(change, before)| {
        let (kind, id) = change.concerns()?;
        Some(Step { kind, id, before: before.as_ref(), change })
    });
    match id.split_once('-') {
        None => Ok(singles.collect()),
        Some((_, part)) => {
            let part: Option<usize> = part.parse().ok();
            let step = part.and_then(|part| singles.into_iter().nth(part));
            Ok(vec![step.ok_or_else(|| not_found("change of settings", id))?])
        }
    }
}

impl Step<'_> {
    /// The change that takes it back, if what it made still stands.
    fn back(self, portal: &Portal, settings: &Settings, now: Timestamp, view: &mut RevertView) -> Answer<Change> {
        let Self { kind, id, before, change } = self;
        let conflict = |why: &str| Refusal(Problem::conflict(format!("The {} {id} {why}", kind.as_str())));
        if !["provider", "workspace", "rule", "product", "account"].contains(&kind.as_str()) {
            return Err(conflict("is no setting that can be taken back."));
        }
        let made = match change {
            Change::Put(entity) => Some(entity),
            _ => None,
        };
        let present = change.before(settings);
        if comparable(present.as_ref()) != comparable(made) {
            let changes = format!("/api/settings/changes?entity={}&entity_id={id}", kind.as_str());
            return Err(conflict(&format!("was changed since; GET {changes} shows by whom. Take that back first.")));
        }
        if comparable(before) == comparable(made) {
            return Err(conflict("got other keys or secrets, and those before do not come back; rotate them again."));
        }
        let Some(before) = before else { return Ok(Change::Delete { kind, id }) };
        let restored = match &present {
            Some(present) => with_credentials(before, credentials_of(present, before)),
            None => with_credentials(before, new_credentials(portal, settings, before, now, view)?),
        };
        let restored = restored.ok_or_else(|| conflict("was kept in a form that cannot be read any more."))?;
        Ok(Change::Put(touched(restored, now)))
    }
}

/// An entity without what a change of settings does not set by itself: credentials, and when it was changed.
fn comparable(entity: Option<&Entity>) -> Value {
    let mut value = entity.map(|entity| json!(entity)).unwrap_or_default();
    if let Some(fields) = fields_of(&mut value) {
        fields.retain(|name, _| name != "updated_at" && !CREDENTIALS.contains(&name.as_str()));
    }
    value
}

/// The fields of an entity as JSON: it stands under the name of its kind.
fn fields_of(entity: &mut Value) -> Option<&mut Map<String, Value>> {
    entity.as_object_mut()?.values_mut().next()?.as_object_mut()
}

/// The credentials that an entity has now, for when it gets its earlier settings back. What belongs to a URL goes with it.
fn credentials_of(present: &Entity, before: &Entity) -> Map<String, Value> {
    let (mut present, mut before) = (json!(present), json!(before));
    let (Some(present), Some(before)) = (fields_of(&mut present), fields_of(&mut before)) else {
        return Map::new();
    };
    for (url, part) in URLS {
        if present.get(url) != before.get(url)
            && let Some(Value::Object(credentials)) = present.get_mut("webhook_credentials")
        {
            credentials.remove(part);
        }
    }
    let own = CREDENTIALS.iter().filter_map(|name| Some(((*name).to_owned(), present.remove(*name)?)));
    own.collect()
}

/// New credentials for something that was deleted, told in the answer.
fn new_credentials(
    portal: &Portal,
    settings: &Settings,
    before: &Entity,
    now: Timestamp,
    view: &mut RevertView,
) -> Answer<Map<String, Value>> {
    let mut fields = Map::new();
    let (mut key, mut hmac_secret, mut signing_secret) = (None, None, None);
    match before {
        Entity::Provider(provider) => {
            let made = new_key("lwp", portal.random.bytes()?);
            let none = Credentials { changed_at: Some(now), ..Credentials::default() };
            let signing = provider.credentials.signing;
            let (credentials, secret) = sign_as(portal, settings, &provider.id, none, signing, now)?;
            fields.insert("key_hash".to_owned(), json!(settings.seals().hash(&made)?));
            fields.insert("credentials".to_owned(), json!(credentials));
            (key, hmac_secret) = (Some(made), secret);
        }
        Entity::Workspace(workspace) => {
            let made = portal.random.signing_secret()?;
            let secret = settings.seals().seal(&signing_place(&workspace.id), &made, portal.random.nonce()?)?;
            fields.insert("signing_secrets".to_owned(), json!([SigningSecret { secret, valid_until: None }]));
            signing_secret = Some(made);
        }
        Entity::Account(_) => {
            let detail = "Its key was revoked and does not come back; make another with POST /api/keys.";
            return Err(Problem::conflict(detail).into());
        }
        Entity::Rule(_) | Entity::Product(_) | Entity::Vault(_) => return Ok(fields),
    }
    let (entity, entity_id) = (before.kind().as_str(), before.id());
    view.new_credentials.push(NewCredential { entity, entity_id, key, hmac_secret, signing_secret });
    Ok(fields)
}

/// The entity with these credentials and no other.
fn with_credentials(entity: &Entity, credentials: Map<String, Value>) -> Option<Entity> {
    let mut value = json!(entity);
    let fields = fields_of(&mut value)?;
    fields.retain(|name, _| !CREDENTIALS.contains(&name.as_str()));
    fields.extend(credentials);
    serde_json::from_value(value).ok()
}

/// The entity, changed now.
fn touched(mut entity: Entity, now: Timestamp) -> Entity {
    match &mut entity {
        Entity::Provider(provider) => provider.updated_at = now,
        Entity::Workspace(workspace) => workspace.updated_at = now,
        Entity::Rule(rule) => rule.updated_at = now,
        Entity::Product(_) | Entity::Account(_) | Entity::Vault(_) => {}
    }
    entity
}

/// Refuses what would take a name from something else.
fn fits_names(change: &Change, settings: &Settings) -> Result<(), Problem> {
    match change {
        Change::Put(Entity::Product(product)) => {
            let own = fold_name(&product.name);
            let names = product.synonyms.iter().chain([&product.name]);
            let other = names.filter_map(|name| settings.product_name(name)).find(|other| fold_name(other) != own);
            let taken = |other: &std::sync::Arc<str>| {
                Problem::conflict(format!("A name of the product {:?} means {other:?} now.", product.name))
            };
            other.map_or(Ok(()), |other| Err(taken(other)))
        }
        _ => Ok(()),
    }
}

/// Refuses what the settings as they would be do not allow.
fn fits(portal: &Portal, change: &Change, after: &Settings) -> Result<(), Problem> {
    match change {
        Change::Put(Entity::Rule(rule)) => {
            check_count(portal, after.rules.len())?;
            rule_fits(rule, after)
        }
        Change::Put(Entity::Provider(provider)) => {
            match check_mapping(&provider.mapping, after, &portal.zips).first() {
                Some(wrong) => {
                    let detail = format!("Its mapping no longer fits: {} {}.", wrong.field, wrong.message);
                    Err(Problem::conflict(detail))
                }
                None => Ok(()),
            }
        }
        Change::Put(Entity::Workspace(workspace)) => urls_fit(portal, workspace),
        Change::Delete { kind: EntityKind::Workspace, id } => {
            unused(after, "workspace", id, |rule| rule.workspace_id.as_str() == id)
        }
        Change::Delete { kind: EntityKind::Product, id } => {
            unused(after, "product", id, |rule| rule.product_types.contains(id))
        }
        Change::Delete { kind: EntityKind::Account, .. } if !after.accounts.values().any(|a| a.role == Role::Admin) => {
            Err(Problem::conflict(
                "It is the last admin's key: nobody could change anything. Make another admin first.",
            ))
        }
        _ => Ok(()),
    }
}

fn rule_fits(rule: &Rule, after: &Settings) -> Result<(), Problem> {
    if !after.workspaces.contains_key(&rule.workspace_id) {
        return Err(Problem::conflict(format!("The workspace {} of rule {} is gone.", rule.workspace_id, rule.id)));
    }
    let known = |name: &&String| after.product_name(name).is_some_and(|known| **known == ***name);
    if let Some(gone) = rule.product_types.iter().find(|name| !known(name)) {
        return Err(Problem::conflict(format!("The product {gone:?} of rule {} is gone.", rule.id)));
    }
    check_external_id(rule, after)
        .map_err(|_| Problem::conflict(format!("Another rule has the external id of rule {} now.", rule.id)))
}

fn urls_fit(portal: &Portal, workspace: &Workspace) -> Result<(), Problem> {
    let urls = [&workspace.outbound_webhook_url, &workspace.test_webhook_url];
    urls.into_iter().flatten().try_for_each(|url| {
        let checked = webhook_url::parse(url.as_str(), portal.options.allow_private_targets);
        let detail =
            |rule| format!("The webhook URL that workspace {} had is not allowed any more: it {rule}.", workspace.id);
        checked.map(drop).map_err(|rule| Problem::conflict(detail(rule)))
    })
}

fn unused(after: &Settings, what: &str, id: &str, refers: impl Fn(&Rule) -> bool) -> Result<(), Problem> {
    let rules = after.rules.values().filter(|rule| refers(rule)).map(|rule| rule.id.to_string());
    let rules: Vec<String> = rules.take(10).collect();
    if rules.is_empty() {
        return Ok(());
    }
    Err(Problem::conflict(format!(
        "Routing rules refer to the {what} {id}; change or delete first: {}.",
        some_of(&rules)
    )))
}

/// Refuses to delete what results still refer to, like the deletion itself.
async fn nothing_is_left_behind(portal: &Portal, change: &Change) -> Answer<()> {
    match change {
        Change::Delete { kind: EntityKind::Workspace, id } => {
            let Ok(workspace) = WorkspaceId::new(id) else { return Ok(()) };
            let open = undelivered(portal, &workspace).await?;
            if !open.is_empty() {
                let detail = format!("Appointments wait for delivery to it; deliver them first: {}.", some_of(&open));
                return Err(Problem::conflict(detail).into());
            }
        }
        Change::Delete { kind: EntityKind::Provider, id } => {
            let Ok(provider) = ProviderId::new(id) else { return Ok(()) };
            if !scan::<QuarantineRow>(&*portal.tables, &key![provider], Range::first(1)).await?.is_empty() {
                let detail =
                    "Leads in its quarantine refer to it; release or discard them first (GET /api/quarantine).";
                return Err(Problem::conflict(detail).into());
            }
        }
        _ => {}
    }
    Ok(())
}

/// The rules that are in force again, and the workspaces that are no longer paused.
fn routes_again(changes: &[Change], before: &Settings) -> (Vec<Rule>, Vec<Workspace>) {
    let (mut rules, mut resumed) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Put(Entity::Rule(rule)) => rules.push(rule.clone()),
            Change::Put(Entity::Workspace(workspace))
                if !workspace.paused && before.workspaces.get(&workspace.id).is_none_or(|w| w.paused) =>
            {
                resumed.push(workspace.clone());
            }
            _ => {}
        }
    }
    (rules, resumed)
}
