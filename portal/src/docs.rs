//! The API's own description.

use http::Method;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as Document, Ref, Response};
use utoipa::{Modify, OpenApi};

use crate::problem::{ProblemDocument, ProblemField};

/// What stands above the paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "leadway management API",
        description = "Providers, workspaces, routing rules, leads, appointments, billing and analytics.\n\n\
            Every request under `/api` needs `Authorization: Bearer <key>`; a reader's key may only read. Amounts are JSON \
            numbers in dollars with at most two decimals, exact. Times are RFC 3339. Errors are RFC 9457 problem documents \
            that list every wrong field. Lists come in pages: send `next_cursor` back as `cursor` until there is none.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(ProblemDocument, ProblemField)),
    security(("key" = [])),
    modifiers(&KeyScheme),
    tags(
        (name = "Providers", description = "Who sends leads"),
        (name = "Workspaces", description = "Client businesses that receive appointments"),
        (name = "Routing rules", description = "Which products in which ZIPs go to which workspace"),
        (name = "Products", description = "What leads ask for"),
        (name = "Keys", description = "API accounts"),
        (name = "Leads", description = "Leads as they were accepted"),
        (name = "Contacts", description = "Customers, one per telephone and provider"),
        (name = "Appointments", description = "What was decided about leads, and its delivery"),
        (name = "Quarantine", description = "Leads that were refused, to be corrected"),
        (name = "Analytics", description = "Performance in figures"),
        (name = "Billing", description = "What is earned and paid"),
        (name = "Settings", description = "Who changed what, and when"),
    ),
)]
pub(crate) struct Description;

struct KeyScheme;

impl Modify for KeyScheme {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The key of an API account: `lwk_…`"))
            .build();
        document.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// Adds to every operation the errors that it can answer with, which are the same everywhere.
pub(crate) fn document_errors(document: &mut Document) {
    for (path, item) in &mut document.paths.paths {
        let has_id = path.contains('{');
        for (method, operation) in operations(item) {
            let writes = method != Method::GET;
            let wanted = [
                (true, "401", "No valid key"),
                (writes, "400", "The body is no JSON object"),
                (writes, "403", "A reader's key, which may only read"),
                (has_id, "404", "Nothing is there"),
                (writes, "413", "The body is too large"),
                (true, "422", "Fields or parameters are not valid; all of them are listed"),
                (true, "503", "The log or the tables do not serve now; `Retry-After` says when to come back"),
            ];
            for (_, status, description) in wanted.into_iter().filter(|(applies, ..)| *applies) {
                operation.responses.responses.entry(status.to_owned()).or_insert_with(|| problem(description).into());
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn problem(description: &str) -> Response {
    let mut response = Response::new(description);
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    response.content.insert(leadway_domain::problem::PROBLEM_JSON.to_owned(), content.into());
    response
}
