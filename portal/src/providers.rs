//! Lead providers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use leadway_domain::intake::check_mapping;
use leadway_domain::problem::Problem;
use leadway_domain::secret::{KeyHash, new_key};
use leadway_domain::settings::{
    Change, Credentials, Entity, EntityKind, FieldMapping, PastDates, Posting, Provider, RateLimit, Settings, Signing,
};
use leadway_domain::{Money, ProviderId, Timestamp, ZipDirectory};
use leadway_tables::schema::QuarantineRow;
use leadway_tables::{Range, key, scan};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Actor;
use crate::change::Decided;
use crate::fields::{Fields, Input, NoFields};
use crate::page::{Page, PageRequest};
use crate::path::Path;
use crate::posting;
use crate::problem::{Answer, Refusal, not_found};
use crate::provider_keys::{ChangedProvider, ProviderWithKey, sign_as};
use crate::query::Params;
use crate::shapes::{FieldMappingShape, RateLimitShape};
use crate::state::Shared;

/// The largest rate, per second or at once.
const MAX_RATE: u32 = 1_000_000;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(read, replace, patch, delete))
}

/// What is set about a provider.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"id": "a", "name": "Provider A", "cost_per_lead": 75}))]
struct ProviderInput {
    /// Part of its address `/webhook/provider-{id}`; cannot be changed later.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    id: ProviderId,
    /// Display name.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// What one accepted lead costs, in dollars, with at most two decimals.
    #[schema(value_type = f64, minimum = 0, maximum = 1_000_000, example = 75)]
    cost_per_lead: Money,
    /// Whether leads are taken from it; true by default.
    #[schema(value_type = Option<bool>)]
    is_active: bool,
    /// How its fields become ours, beyond the built-in aliases: `fields` (source name or JSON pointer → our field),
    /// `constants` (our field → value) and `values` (our field → value as sent → value as meant).
    #[schema(value_type = Option<FieldMappingShape>)]
    mapping: FieldMapping,
    /// Whether its leads without a date are given the next free slot at once; false by default.
    #[schema(value_type = Option<bool>)]
    auto_schedule: bool,
    /// How fast it may post: leads per second, and how many at once (`burst`). When absent no limit, or for a new provider
    /// that of the setting `portal.default_rate_per_second`.
    #[schema(value_type = Option<RateLimitShape>)]
    rate_limit: Option<RateLimit>,
    /// How it signs what it posts instead of sending its key: `none` (default), `standard_webhooks`, or `legacy_body` for
    /// software that can sign nothing but the body: whoever sees such a request can send it again, and its Idempotency-Key
    /// says nothing. Choosing one makes an `hmac_secret`, shown once.
    #[schema(value_type = Option<String>, pattern = "^(none|legacy_body|standard_webhooks)$", example = "none")]
    signing: Signing,
    /// The status of an accepted lead: 202, or 200 for software that takes every other one for a failure.
    #[schema(value_type = Option<u16>, default = 202, example = 202)]
    success_status: u16,
    /// Whether leads may come as the query of a GET; false by default.
    #[schema(value_type = Option<bool>)]
    allow_get: bool,
    /// Web sites whose pages may post from a browser (CORS), `*` for all; none by default.
    #[schema(value_type = Option<Vec<String>>, max_items = 20, example = json!(["https://shop.example"]))]
    allowed_origins: Vec<String>,
    /// Whether appointments whose date lies more than an hour back are sold: `refuse` (default: `/appointments/receive`
    /// refuses them, other leads wait for a new date) or `take`. A workspace's own `past_dates` wins.
    #[schema(value_type = Option<String>, pattern = "^(refuse|take)$", example = "refuse")]
    past_dates: PastDates,
    /// How many of its requests each node handles at one moment; the setting `ingest.max_concurrent_per_provider` when
    /// absent.
    #[schema(minimum = 1, maximum = 1_000_000)]
    max_concurrent: Option<u32>,
    /// How many bytes of leads each node takes from it in a day (UTC), counted anew at its start; no limit when absent.
    #[schema(minimum = 1)]
    max_bytes_per_day: Option<u64>,
}

/// A provider.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProviderView {
    /// Chosen by the operator.
    #[schema(value_type = String, example = "a")]
    id: ProviderId,
    /// Display name.
    name: String,
    /// What one accepted lead costs, in dollars.
    #[schema(value_type = f64, example = 75)]
    cost_per_lead: Money,
    /// Whether leads are taken from it.
    is_active: bool,
    /// How its fields become ours.
    #[schema(value_type = FieldMappingShape)]
    mapping: FieldMapping,
    /// Whether its leads without a date are given the next free slot at once.
    auto_schedule: bool,
    /// How fast it may post.
    #[schema(value_type = Option<RateLimitShape>)]
    rate_limit: Option<RateLimit>,
    /// How it signs what it posts.
    #[schema(value_type = String, example = "none")]
    signing: Signing,
    /// The status of an accepted lead: 202, or 200 for software that takes every other one for a failure.
    #[schema(value_type = u16, default = 202, example = 202)]
    success_status: u16,
    /// Whether leads may come as the query of a GET; false by default.
    #[schema(value_type = bool)]
    allow_get: bool,
    /// Web sites whose pages may post from a browser (CORS), `*` for all; none by default.
    #[schema(value_type = Vec<String>, max_items = 20, example = json!(["https://shop.example"]))]
    allowed_origins: Vec<String>,
    /// Whether appointments whose date lies more than an hour back are sold: `refuse` (default: `/appointments/receive`
    /// refuses them, other leads wait for a new date) or `take`. A workspace's own `past_dates` wins.
    #[schema(value_type = String, pattern = "^(refuse|take)$", example = "refuse")]
    past_dates: PastDates,
    /// How many of its requests each node handles at one moment; the setting `ingest.max_concurrent_per_provider` when
    /// absent.
    #[schema(minimum = 1, maximum = 1_000_000)]
    max_concurrent: Option<u32>,
    /// How many bytes of leads each node takes from it in a day (UTC), counted anew at its start; no limit when absent.
    #[schema(minimum = 1)]
    max_bytes_per_day: Option<u64>,
    /// Where it posts its leads.
    #[schema(example = "/webhook/provider-a")]
    webhook_path: String,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last changed.
    updated_at: Timestamp,
}

impl ProviderView {
    pub(crate) fn of(provider: &Provider) -> Self {
        Self {
            id: provider.id.clone(),
            name: provider.name.clone(),
            cost_per_lead: provider.cost_per_lead,
            is_active: provider.is_active,
            mapping: provider.mapping.clone(),
            auto_schedule: provider.auto_schedule,
            rate_limit: provider.rate_limit,
            signing: provider.credentials.signing,
            success_status: provider.posting.success_status,
            allow_get: provider.posting.allow_get,
            allowed_origins: provider.posting.allowed_origins.clone(),
            past_dates: provider.posting.past_dates,
            max_concurrent: provider.posting.max_concurrent,
            max_bytes_per_day: provider.posting.max_bytes_per_day,
            webhook_path: format!("/webhook/provider-{}", provider.id),
            created_at: provider.created_at,
            updated_at: provider.updated_at,
        }
    }
}

fn read_input(
    mut fields: Fields,
    existing: Option<&ProviderId>,
    settings: &Settings,
    zips: &ZipDirectory,
) -> Result<ProviderInput, Problem> {
    fields.read_only(&["webhook_path", "created_at", "updated_at"]);
    let id = fields.id("id", existing);
    let name = fields.required_text("name", 200);
    let cost_per_lead = fields.amount("cost_per_lead");
    let is_active = fields.optional("is_active").unwrap_or(true);
    let mapping: FieldMapping = fields.optional("mapping").unwrap_or_default();
    fields.errors(check_mapping(&mapping, settings, zips));
    let auto_schedule = fields.optional("auto_schedule").unwrap_or(false);
    let rate_limit = read_rate_limit(&mut fields);
    let signing = fields.optional("signing").unwrap_or_default();
    let posting = posting::read(&mut fields);
    let input = id.zip(cost_per_lead).map(|(id, cost_per_lead)| ProviderInput {
        id,
        name,
        cost_per_lead,
        is_active,
        mapping,
        auto_schedule,
        rate_limit,
        signing,
        success_status: posting.success_status,
        allow_get: posting.allow_get,
        allowed_origins: posting.allowed_origins,
        past_dates: posting.past_dates,
        max_concurrent: posting.max_concurrent,
        max_bytes_per_day: posting.max_bytes_per_day,
    });
    fields.finish(input)
}

/// Reads `rate_limit`, of which both numbers must be from 1 to a million.
pub(crate) fn read_rate_limit(fields: &mut Fields) -> Option<RateLimit> {
    let limit: RateLimit = fields.optional("rate_limit")?;
    let allowed = 1..=MAX_RATE;
    if !allowed.contains(&limit.per_second) || limit.burst.is_some_and(|burst| !allowed.contains(&burst)) {
        let rule = format!("per_second and burst must be 1 to {MAX_RATE}; leave it out for no limit");
        fields.error("rate_limit", "invalid", rule);
    }
    Some(limit)
}

impl ProviderInput {
    fn into_provider(
        self,
        key_hash: KeyHash,
        credentials: Credentials,
        created_at: Timestamp,
        now: Timestamp,
    ) -> Provider {
        Provider {
            id: self.id,
            name: self.name,
            cost_per_lead: self.cost_per_lead,
            is_active: self.is_active,
            key_hash,
            mapping: self.mapping,
            auto_schedule: self.auto_schedule,
            rate_limit: self.rate_limit,
            credentials,
            posting: Posting {
                success_status: self.success_status,
                allow_get: self.allow_get,
                allowed_origins: self.allowed_origins,
                past_dates: self.past_dates,
                max_concurrent: self.max_concurrent,
                max_bytes_per_day: self.max_bytes_per_day,
            },
            created_at,
            updated_at: now,
        }
    }
}

pub(crate) fn find<'s>(settings: &'s Settings, id: &str) -> Result<&'s Arc<Provider>, Refusal> {
    settings.providers.get(id).ok_or_else(|| not_found("provider", id))
}

pub(crate) fn put(provider: Provider) -> Change {
    Change::Put(Entity::Provider(provider))
}

/// Providers in the order of their ids.
#[utoipa::path(get, path = "/api/providers", operation_id = "list_providers", tag = "Providers", params(PageRequest),
    responses((status = 200, body = Page<ProviderView>)))]
async fn list(State(portal): State<Shared>, Params(page): Params<PageRequest>) -> Answer<Json<Page<ProviderView>>> {
    let settings = portal.settings.load();
    let rows = settings.providers.iter().map(|(id, provider)| (id.clone(), &**provider));
    Ok(Json(Page::of_sorted(rows, &page, ProviderView::of)?))
}

/// Makes a provider. Its `key`, and its `hmac_secret` if it signs, are shown in this answer only.
#[utoipa::path(post, path = "/api/providers", operation_id = "create_provider", tag = "Providers", request_body = ProviderInput,
    responses((status = 201, body = ProviderWithKey), (status = 409, description = "The id is taken")))]
async fn create(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Input(fields): Input,
) -> Answer<(StatusCode, Json<ProviderWithKey>)> {
    let key = new_key("lwp", portal.random.bytes()?);
    let default_rate = match portal.options.default_rate_per_second {
        0 => None,
        per_second => Some(RateLimit { per_second, burst: None }).filter(|_| !fields.names("rate_limit")),
    };
    let decide = |settings: &Settings, now| {
        let mut input = read_input(fields, None, settings, &portal.zips)?;
        input.rate_limit = input.rate_limit.or(default_rate);
        if settings.providers.contains_key(&input.id) {
            let detail = format!("There is a provider {} already; change it with PUT or PATCH.", input.id);
            return Err(Refusal(Problem::conflict(detail)));
        }
        let none = Credentials { changed_at: Some(now), ..Credentials::default() };
        let (credentials, hmac_secret) = sign_as(&portal, settings, &input.id, none, input.signing, now)?;
        let provider = input.into_provider(settings.seals().hash(&key)?, credentials, now, now);
        let answer =
            ProviderWithKey { provider: ProviderView::of(&provider), key, hmac_secret, previous_valid_until: None };
        Ok::<_, Refusal>(Decided::new(put(provider), answer))
    };
    let made = portal.writer.change(&actor, decide).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// One provider.
#[utoipa::path(get, path = "/api/providers/{id}", operation_id = "get_provider", tag = "Providers", responses((status = 200, body = ProviderView)))]
async fn read(State(portal): State<Shared>, Path(id): Path<String>) -> Answer<Json<ProviderView>> {
    Ok(Json(ProviderView::of(find(&portal.settings.load(), &id)?)))
}

async fn change(portal: &Shared, actor: &str, id: &str, fields: Fields, merge: bool) -> Answer<Json<ChangedProvider>> {
    let decide = |settings: &Settings, now| {
        let present = find(settings, id)?;
        let fields = if merge { fields.merged_onto(&ProviderView::of(present))? } else { fields };
        let input = read_input(fields, Some(&present.id), settings, &portal.zips)?;
        let credentials = present.credentials.clone();
        let (credentials, hmac_secret) = sign_as(portal, settings, &present.id, credentials, input.signing, now)?;
        let provider = input.into_provider(present.key_hash, credentials, present.created_at, now);
        let answer = ChangedProvider { provider: ProviderView::of(&provider), hmac_secret };
        Ok::<_, Refusal>(Decided::new(put(provider), answer))
    };
    portal.writer.change(actor, decide).await.map(Json)
}

/// Replaces what is set about a provider; what is left out takes its default.
#[utoipa::path(put, path = "/api/providers/{id}", operation_id = "replace_provider", tag = "Providers", request_body = ProviderInput,
    responses((status = 200, body = ChangedProvider)))]
async fn replace(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    Input(fields): Input,
) -> Answer<Json<ChangedProvider>> {
    change(&portal, &actor, &id, fields, false).await
}

/// Changes the fields that are sent (RFC 7396) and leaves the others.
#[utoipa::path(patch, path = "/api/providers/{id}", operation_id = "update_provider", tag = "Providers", request_body(content = ProviderInput, example = json!({"is_active": false})),
    responses((status = 200, body = ChangedProvider)))]
async fn patch(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    Input(fields): Input,
) -> Answer<Json<ChangedProvider>> {
    change(&portal, &actor, &id, fields, true).await
}

/// Removes a provider: its key is refused from then on. Its leads and contacts stay.
#[utoipa::path(delete, path = "/api/providers/{id}", operation_id = "delete_provider", tag = "Providers",
    responses((status = 204), (status = 409, description = "Its quarantine is not empty")))]
async fn delete(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    _: NoFields,
) -> Answer<StatusCode> {
    if let Ok(provider) = ProviderId::new(&id)
        && !scan::<QuarantineRow>(&*portal.tables, &key![provider], Range::first(1)).await?.is_empty()
    {
        let detail = "Leads in its quarantine refer to it; release or discard them first (GET /api/quarantine).";
        return Err(Problem::conflict(detail).into());
    }
    let decide = |settings: &Settings, _| {
        find(settings, &id)?;
        let change = Change::Delete { kind: EntityKind::Provider, id: id.clone() };
        Ok::<_, Refusal>(Decided::new(change, StatusCode::NO_CONTENT))
    };
    portal.writer.change(&actor, decide).await
}
