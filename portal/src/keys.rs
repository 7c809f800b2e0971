//! API accounts.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use leadway_domain::Timestamp;
use leadway_domain::problem::Problem;
use leadway_domain::secret::{KeyHash, new_key};
use leadway_domain::settings::{Account, Change, Entity, EntityKind, Role, Settings};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::Actor;
use crate::change::Decided;
use crate::fields::{Fields, Input, NoFields};
use crate::page::{Page, PageRequest};
use crate::path::Path;
use crate::problem::{Answer, Refusal, not_found};
use crate::query::Params;
use crate::state::Shared;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(read, revoke))
}

/// What the holder of a key may do.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum KeyRole {
    /// Read and change everything.
    Admin,
    /// Read everything but secrets.
    Reader,
}

/// Who is to get a key.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"name": "dashboard", "role": "reader"}))]
#[serde(deny_unknown_fields)]
struct AccountInput {
    /// Who this is, for the log of changes; unique, and not `system`.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What the holder may do.
    role: KeyRole,
}

/// An API account.
#[derive(Serialize, ToSchema)]
struct AccountView {
    /// Made by the node.
    id: Uuid,
    /// Who this is.
    name: String,
    /// What the holder may do.
    role: KeyRole,
    /// When it was made.
    created_at: Timestamp,
}

/// An account with its key, which is shown this once.
#[derive(Serialize, ToSchema)]
struct AccountWithKey {
    #[serde(flatten)]
    account: AccountView,
    /// Send it as `Authorization: Bearer <key>`. Not kept: it cannot be shown again.
    #[schema(example = "lwk_6f1d…")]
    key: String,
}

impl AccountView {
    fn of(account: &Account) -> Self {
        let role = match account.role {
            Role::Admin => KeyRole::Admin,
            Role::Reader => KeyRole::Reader,
        };
        Self { id: account.id, name: account.name.clone(), role, created_at: account.created_at }
    }
}

fn read_input(mut fields: Fields) -> Result<AccountInput, Problem> {
    let name = fields.required_text("name", 100);
    if name == "system" {
        fields.error("name", "taken", "\"system\" is what the node calls itself; choose another name");
    }
    let role = fields.required("role");
    fields.finish(role.map(|role| AccountInput { name, role }))
}

fn find<'s>(settings: &'s Settings, id: &str) -> Result<&'s Account, Refusal> {
    let account = id.parse().ok().and_then(|id: Uuid| settings.accounts.get(&id));
    account.map(|a| &**a).ok_or_else(|| not_found("key", id))
}

/// API accounts in the order they were made. Keys themselves are never shown.
#[utoipa::path(get, path = "/api/keys", operation_id = "list_keys", tag = "Keys", params(PageRequest),
    responses((status = 200, body = Page<AccountView>)))]
async fn list(State(portal): State<Shared>, Params(page): Params<PageRequest>) -> Answer<Json<Page<AccountView>>> {
    let settings = portal.settings.load();
    let rows = settings.accounts.iter().map(|(id, account)| (*id, &**account));
    Ok(Json(Page::of_sorted(rows, &page, AccountView::of)?))
}

/// Makes an API account. Its `key` is shown in this answer only.
#[utoipa::path(post, path = "/api/keys", operation_id = "create_key", tag = "Keys", request_body = AccountInput,
    responses((status = 201, body = AccountWithKey), (status = 409, description = "The name is taken")))]
async fn create(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Input(fields): Input,
) -> Answer<(StatusCode, Json<AccountWithKey>)> {
    let key = new_key("lwk", portal.random.bytes()?);
    let decide = |settings: &Settings, now| {
        let input = read_input(fields)?;
        if settings.accounts.values().any(|a| a.name == input.name) {
            return Err(Refusal(Problem::conflict(format!(
                "There is an account {:?} already; revoke it first.",
                input.name
            ))));
        }
        let role = match input.role {
            KeyRole::Admin => Role::Admin,
            KeyRole::Reader => Role::Reader,
        };
        let account = new_account(input.name, settings.seals().hash(&key)?, role, now);
        let answer = AccountWithKey { account: AccountView::of(&account), key };
        Ok::<_, Refusal>(Decided::new(Change::Put(Entity::Account(account)), answer))
    };
    let made = portal.writer.change(&actor, decide).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// An account that is to be made.
pub(crate) fn new_account(name: String, key_hash: KeyHash, role: Role, now: Timestamp) -> Account {
    let (seconds, nanos) = (now.as_second().max(0) as u64, now.subsec_nanosecond().max(0) as u32);
    let id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos));
    Account { id, name, key_hash, role, created_at: now }
}

/// One API account.
#[utoipa::path(get, path = "/api/keys/{id}", operation_id = "get_key", tag = "Keys", responses((status = 200, body = AccountView)))]
async fn read(State(portal): State<Shared>, Path(id): Path<String>) -> Answer<Json<AccountView>> {
    Ok(Json(AccountView::of(find(&portal.settings.load(), &id)?)))
}

/// Revokes a key: it is refused from the next request on.
#[utoipa::path(delete, path = "/api/keys/{id}", operation_id = "revoke_key", tag = "Keys",
    responses((status = 204), (status = 409, description = "It is the last admin's")))]
async fn revoke(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    _: NoFields,
) -> Answer<StatusCode> {
    let decide = |settings: &Settings, _| {
        let account = find(settings, &id)?;
        let is_admin = |a: &Account| a.role == Role::Admin;
        let other_admin = settings.accounts.values().any(|a| a.id != account.id && is_admin(a));
        if is_admin(account) && !other_admin {
            let detail = "It is the last admin's key: nobody could change anything. Make another admin first.";
            return Err(Refusal(Problem::conflict(detail)));
        }
        let change = Change::Delete { kind: EntityKind::Account, id: account.id.to_string() };
        Ok(Decided::new(change, StatusCode::NO_CONTENT))
    };
    portal.writer.change(&actor, decide).await
}
