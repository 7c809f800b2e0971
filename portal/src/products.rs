//! Products.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use leadway_domain::problem::Problem;
use leadway_domain::settings::{Change, Entity, EntityKind, Product, Settings, fold_name};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Actor;
use crate::change::Decided;
use crate::fields::{Fields, Input, NoFields};
use crate::page::{Page, PageRequest};
use crate::path::Path;
use crate::problem::{Answer, Refusal, counted, not_found, some_of};
use crate::query::Params;
use crate::state::Shared;

/// Longest name, in bytes: names stand in keys of the tables, which take at most 509 bytes, beside two ids of 64.
const MAX_NAME_BYTES: usize = 100;

/// Most synonyms of one product.
const MAX_SYNONYMS: usize = 200;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(read, replace, patch, delete))
}

/// What is set about a product.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"name": "Solar", "synonyms": ["solar panels", "pv"], "auto_schedule": false}))]
#[serde(deny_unknown_fields)]
struct ProductInput {
    /// Its canonical name, also its id: compared without case, spacing and punctuation. At most 100 bytes in UTF-8.
    /// Cannot be changed later.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// Other names under which providers send it; none by default.
    #[schema(max_items = 200)]
    synonyms: Option<Vec<String>>,
    /// Whether its leads without a date are given the next free slot at once; false by default.
    auto_schedule: Option<bool>,
}

/// A product.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"name": "Solar", "synonyms": ["solar panels", "pv"], "auto_schedule": false}))]
struct ProductView {
    /// Its canonical name, also its id.
    name: String,
    /// Other names under which providers send it.
    synonyms: Vec<String>,
    /// Whether its leads without a date are given the next free slot at once.
    auto_schedule: bool,
}

impl ProductView {
    fn of(product: &Product) -> Self {
        Self { name: product.name.clone(), synonyms: product.synonyms.clone(), auto_schedule: product.auto_schedule }
    }
}

/// Reads a product, new or that of an `existing` name.
fn read_input(mut fields: Fields, settings: &Settings, existing: Option<&str>) -> Result<Product, Problem> {
    let sent = match existing {
        Some(name) => fields.id("name", Some(&name.to_owned())).unwrap_or_default(),
        None => fields.required_text("name", MAX_NAME_BYTES),
    };
    let name = sent.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.contains(['|', ',']) || (!name.is_empty() && fold_name(&name).is_empty()) {
        fields.error("name", "invalid", "must hold letters or digits, and neither '|' nor ','");
    }
    if existing.is_none() && name.len() > MAX_NAME_BYTES && name.chars().count() <= MAX_NAME_BYTES {
        let rule = format!("must have at most {MAX_NAME_BYTES} bytes in UTF-8; it has {}", name.len());
        fields.error("name", "too_long", rule);
    }
    let mut synonyms: Vec<String> = fields.optional("synonyms").unwrap_or_default();
    synonyms.iter_mut().for_each(|s| *s = s.trim().to_owned());
    if synonyms.len() > MAX_SYNONYMS || synonyms.iter().any(|s| s.chars().count() > 100 || fold_name(s).is_empty()) {
        let rule = format!("must be at most {MAX_SYNONYMS} names of at most 100 characters, with letters or digits");
        fields.error("synonyms", "invalid", rule);
    }
    // One name must not mean two products.
    let own = fold_name(&name);
    for synonym in &synonyms {
        if let Some(other) = settings.product_name(synonym).filter(|other| fold_name(other) != own) {
            fields.error("synonyms", "taken", format!("{synonym:?} means the product {other:?} already"));
        }
    }
    let auto_schedule = fields.optional("auto_schedule").unwrap_or(false);
    fields.finish(Some(Product { name, synonyms, auto_schedule }))
}

fn find<'s>(settings: &'s Settings, name: &str) -> Result<&'s Arc<Product>, Refusal> {
    settings.products.get(&fold_name(name)).ok_or_else(|| not_found("product", name))
}

/// Products in the order of their names.
#[utoipa::path(get, path = "/api/products", operation_id = "list_products", tag = "Products", params(PageRequest),
    responses((status = 200, body = Page<ProductView>)))]
async fn list(State(portal): State<Shared>, Params(page): Params<PageRequest>) -> Answer<Json<Page<ProductView>>> {
    let settings = portal.settings.load();
    let rows = settings.products.iter().map(|(folded, product)| (folded.clone(), &**product));
    Ok(Json(Page::of_sorted(rows, &page, ProductView::of)?))
}

/// Makes a product.
#[utoipa::path(post, path = "/api/products", operation_id = "create_product", tag = "Products", request_body = ProductInput,
    responses((status = 201, body = ProductView), (status = 409, description = "The name is taken")))]
async fn create(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Input(fields): Input,
) -> Answer<(StatusCode, Json<ProductView>)> {
    let decide = |settings: &Settings, _| {
        let product = read_input(fields, settings, None)?;
        if let Some(taken) = settings.product_name(&product.name) {
            let detail =
                format!("{:?} means the product {taken:?} already; change that with PUT or PATCH.", product.name);
            return Err(Problem::conflict(detail));
        }
        let view = ProductView::of(&product);
        Ok(Decided::new(Change::Put(Entity::Product(product)), view))
    };
    let made = portal.writer.change(&actor, decide).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// One product.
#[utoipa::path(get, path = "/api/products/{name}", operation_id = "get_product", tag = "Products", responses((status = 200, body = ProductView)))]
async fn read(State(portal): State<Shared>, Path(name): Path<String>) -> Answer<Json<ProductView>> {
    Ok(Json(ProductView::of(find(&portal.settings.load(), &name)?)))
}

async fn change(portal: &Shared, actor: &str, name: &str, fields: Fields, merge: bool) -> Answer<Json<ProductView>> {
    let decide = |settings: &Settings, _| {
        let present = find(settings, name)?;
        let fields = if merge { fields.merged_onto(&ProductView::of(present))? } else { fields };
        let product = read_input(fields, settings, Some(&present.name))?;
        let view = ProductView::of(&product);
        Ok::<_, Refusal>(Decided::new(Change::Put(Entity::Product(product)), view))
    };
    portal.writer.change(actor, decide).await.map(Json)
}

/// Replaces what is set about a product; what is left out takes its default.
#[utoipa::path(put, path = "/api/products/{name}", operation_id = "replace_product", tag = "Products", request_body = ProductInput,
    responses((status = 200, body = ProductView)))]
async fn replace(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(name): Path<String>,
    Input(fields): Input,
) -> Answer<Json<ProductView>> {
    change(&portal, &actor, &name, fields, false).await
}

/// Changes the fields that are sent (RFC 7396) and leaves the others.
#[utoipa::path(patch, path = "/api/products/{name}", operation_id = "update_product", tag = "Products",
    request_body(content = ProductInput, example = json!({"auto_schedule": true})),
    responses((status = 200, body = ProductView)))]
async fn patch(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(name): Path<String>,
    Input(fields): Input,
) -> Answer<Json<ProductView>> {
    change(&portal, &actor, &name, fields, true).await
}

/// Removes a product to which no rule refers.
#[utoipa::path(delete, path = "/api/products/{name}", operation_id = "delete_product", tag = "Products",
    responses((status = 204), (status = 409, description = "Rules refer to it")))]
async fn delete(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(name): Path<String>,
    _: NoFields,
) -> Answer<StatusCode> {
    let decide = |settings: &Settings, _| {
        let product = find(settings, &name)?;
        let rules: Vec<String> = settings
            .rules
            .values()
            .filter(|r| r.product_types.contains(&product.name))
            .map(|r| r.id.to_string())
            .collect();
        if !rules.is_empty() {
            let subject = counted(rules.len(), "routing rule refers", "routing rules refer");
            let detail = format!("{subject} to it; change first: {}.", some_of(&rules));
            return Err(Refusal(Problem::conflict(detail)));
        }
        let change = Change::Delete { kind: EntityKind::Product, id: product.name.clone() };
        Ok(Decided::new(change, StatusCode::NO_CONTENT))
    };
    portal.writer.change(&actor, decide).await
}
