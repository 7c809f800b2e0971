//! The API's own description.

use serde_json::Value;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::fields::merge;
use crate::problem::{ProblemDocument, ProblemField};

/// What stands above the paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "leadway management API",
        description = "Providers, workspaces, routing rules, leads, appointments, billing and analytics.\n\n\
            Every request under `/api` needs `Authorization: Bearer <key>`; a reader's key may only read. Amounts are JSON \
            numbers in dollars with at most two decimals, exact. Times are RFC 3339. Errors are RFC 9457 problem documents \
            that list every wrong field. Lists come in pages: send `next_cursor` back as `cursor` until there is none. An \
            answer with the header `X-Leadway-Stale` may be old, because the tables take nothing more: it says why.",
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

/// What is outside of the API: the addresses that providers post to, and what clients receive.
const OUTSIDE: &str = include_str!("docs/outside.json");

/// The whole description: of the API, and of what is outside of it.
pub(crate) fn with_outside(document: &Document) -> Value {
    // Neither fails: both are our own, and a test reads the result.
    let mut whole = serde_json::to_value(document).unwrap_or_default();
    let mut outside: Value = serde_json::from_str(OUTSIDE).unwrap_or_default();
    if let (Some(Value::Array(tags)), Some(Value::Array(more))) = (whole.get_mut("tags"), outside.get_mut("tags")) {
        more.append(tags);
    }
    merge(&mut whole, outside);
    whole
}
