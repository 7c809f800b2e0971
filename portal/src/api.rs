//! The routes.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Html;
use axum::routing::get;
use http::{Method, Uri};
use leadway_domain::problem::Problem;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::problem::Refusal;
use crate::state::{Portal, Shared};
use crate::{Deps, Options, auth, completion, docs, lists_csv, metrics};
use crate::{
    analytics, appointments, audit, billing, command, contacts, events, keys, leads, margin, products, provider_keys,
    providers, quarantine, reconciliation, release, retry, revert, rules, rules_bulk, rules_import, unrouted,
    workspaces,
};

/// What somebody sees who opens the address in a browser.
const FIRST_PAGE: &str = include_str!("docs/first_page.html");

/// The whole API: everything under `/api` behind keys, its description at `/openapi.json` and as a page at `/docs`.
/// `extra` are further endpoints under `/api`, served behind the same keys and described in the same document.
/// The router has a fallback of its own that answers unknown paths with a problem document.
pub fn api(deps: Deps, extra: OpenApiRouter, options: Options) -> Router {
    let portal: Shared = Arc::new(Portal::new(deps, options.clone()));
    let own = settings_routes(&options).merge(result_routes()).merge(money_routes()).with_state(portal.clone());
    let described = OpenApiRouter::with_openapi(docs::Description::openapi()).merge(own).merge(extra);
    let (router, mut document) = described.split_for_parts();
    completion::complete(&mut document);
    router
        .merge(SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", docs::with_outside(&document)))
        .route("/", get(async || Html(FIRST_PAGE)))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(DefaultBodyLimit::max(options.body_limit_bytes))
        .layer(from_fn(lists_csv::as_csv))
        .layer(from_fn_with_state(portal, auth::require_key))
        .layer(from_fn(metrics::measure))
}

fn settings_routes(options: &Options) -> OpenApiRouter<Shared> {
    OpenApiRouter::default()
        .merge(providers::routes())
        .merge(provider_keys::routes())
        .merge(workspaces::routes())
        .merge(rules::routes())
        .merge(rules_bulk::routes())
        .merge(rules_import::routes(options.import_limit_bytes))
        .merge(products::routes())
        .merge(keys::routes())
        .merge(audit::routes())
        .merge(revert::routes())
}

fn result_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default()
        .merge(leads::routes())
        .merge(contacts::routes())
        .merge(appointments::routes())
        .merge(events::routes())
        .merge(command::routes())
        .merge(unrouted::routes())
        .merge(retry::routes())
        .merge(quarantine::routes())
        .merge(release::routes())
}

fn money_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default()
        .merge(analytics::routes())
        .merge(billing::routes())
        .merge(reconciliation::routes())
        .merge(margin::routes())
}

async fn unknown_path(uri: Uri) -> Refusal {
    Refusal(Problem::not_found(format!("Nothing is at {}; /docs lists what there is.", uri.path())))
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    let detail = format!("{} does not take {method}; /docs lists what it takes.", uri.path());
    Refusal(Problem::new(405, "method-not-allowed", "The path does not take this method", detail))
}
