//! Lists of leads and money as CSV, for people: `?format=csv` on the same address, with the same filters.
//!
//! Such an answer is made of the list's own pages, one after the other, so that it holds all rows, is never whole in memory,
//! and cannot say anything else than the list.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::request::Parts;
use http::{Method, StatusCode, Uri, header};
use leadway_domain::problem::{FieldError, Problem};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::problem::Refusal;
use leadway_domain::formula::neutral;

/// A list that can be had as CSV.
struct List {
    /// Its path; the name of the file is its last part.
    path: &'static str,
    /// Where its rows stand in the answer.
    rows: Place,
    /// The columns: where a row has them.
    columns: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On pages, as `items`.
    Items,
    /// As `rows`.
    Rows,
    /// As `workspaces`.
    Workspaces,
}

const LEAD: &[&str] = &[
    "lead_id",
    "received_at",
    "status",
    "provider_id",
    "first_name",
    "last_name",
    "phone",
    "email",
    "product_type",
    "zip_code",
    "state",
    "appointment_date",
    "estimated_value",
    "interest_level",
    "notes",
    "external_id",
    "test",
    "cost",
    "contact_id",
    "duplicate_of",
];

const LISTS: &[List] = &[
    List { path: "/api/leads", rows: Place::Items, columns: LEAD },
    List { path: "/api/contacts/{id}/leads", rows: Place::Items, columns: LEAD },
    List {
        path: "/api/contacts",
        rows: Place::Items,
        columns: &[
            "contact_id",
            "provider_id",
            "first_name",
            "last_name",
            "phone",
            "email",
            "leads",
            "created_at",
            "updated_at",
        ],
    },
    List {
        path: "/api/appointments",
        rows: Place::Items,
        columns: &[
            "appointment_id",
            "received_at",
            "matched_at",
            "routing_status",
            "workspace_id",
            "provider_id",
            "customer_name",
            "customer_phone",
            "customer_email",
            "service_type",
            "customer_zip",
            "appointment_date",
            "estimated_value",
            "notes",
            "price",
            "cost",
            "test",
            "forward_status",
            "forwarded_at",
            "forward_attempts",
            "forward_http_status",
            "forward_error",
            "next_attempt_at",
            "held_reason",
            "routing_method",
            "rule_id",
            "unrouted_code",
            "unrouted_reason",
            "contact_id",
        ],
    },
    List {
        path: "/api/unrouted",
        rows: Place::Items,
        columns: &["lead_id", "decided_at", "service_type", "customer_zip", "code", "reason"],
    },
    List {
        path: "/api/quarantine",
        rows: Place::Items,
        columns: &["id", "provider_id", "received_at", "posted_as", "errors", "body"],
    },
    List {
        path: "/api/billing/events",
        rows: Place::Items,
        columns: &[
            "appointment_id",
            "workspace_id",
            "billable_amount",
            "delivery_status",
            "delivery_timestamp",
            "provider_id",
            "service_type",
            "provider_cost",
        ],
    },
    List {
        path: "/api/billing/margin",
        rows: Place::Rows,
        columns: &["day", "workspace_id", "provider_id", "product_type", "revenue", "provider_cost", "margin"],
    },
    List {
        path: "/api/billing/reconciliation",
        rows: Place::Workspaces,
        columns: &[
            "workspace_id",
            "deliveries",
            "delivered_amount",
            "billing_events",
            "billed_amount",
            "differences",
            "balanced",
        ],
    },
    List {
        path: "/api/analytics/performance",
        rows: Place::Rows,
        columns: &[
            "day",
            "workspace_id",
            "provider_id",
            "product_type",
            "leads",
            "appointments",
            "unrouted",
            "delivered",
            "given_up",
            "attempts",
            "lead_to_appointment_rate",
            "delivery_rate",
            "acceptance_rate",
            "revenue",
            "routing_latency/p50_ms",
            "routing_latency/p95_ms",
            "routing_latency/p99_ms",
            "delivery_latency/p50_ms",
            "delivery_latency/p95_ms",
            "delivery_latency/p99_ms",
        ],
    },
];

/// Bytes of one page of a list; pages are bounded by themselves.
const PAGE_BYTES: usize = 64 << 20;
/// Rows of one page, whatever the caller asked for: it gets all of them.
const PAGE_ROWS: &str = "500";

/// Whether the list at this path can be had as CSV.
pub(crate) fn serves(path: &str) -> bool {
    LISTS.iter().any(|list| list.path == path)
}

/// Answers `format=csv` out of the list's own pages.
pub(crate) async fn as_csv(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let Some(list) = LISTS.iter().find(|list| path == Some(list.path)) else { return next.run(request).await };
    let mut query = pairs(request.uri());
    let Some(format) = query.iter().position(|(name, _)| name == "format").map(|at| query.remove(at).1) else {
        return next.run(request).await;
    };
    let pages = Pages { list, next, query, parts: request.into_parts().0 };
    match format.as_str() {
        "json" => pages.whole().await,
        "csv" if pages.parts.method == Method::GET => pages.csv().await,
        "csv" => pages.whole().await,
        _ => Refusal(Problem::validation(vec![FieldError::new("format", "invalid", "must be json or csv")]))
            .into_response(),
    }
}

fn pairs(uri: &Uri) -> Vec<(String, String)> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

/// The pages that a request asks for.
struct Pages {
    list: &'static List,
    next: Next,
    /// The query without `format`.
    query: Vec<(String, String)>,
    parts: Parts,
}

#[derive(Deserialize)]
struct PageText {
    #[serde(alias = "rows", alias = "workspaces")]
    items: Vec<BTreeMap<String, Box<RawValue>>>,
    next_cursor: Option<String>,
    /// Whether everything agrees: what a reconciliation says of all its rows together.
    balanced: Option<bool>,
}

impl Pages {
    /// What the list answers by itself.
    async fn whole(self) -> Response {
        let query = self.query.clone();
        self.page(query).await
    }

    async fn page(&self, query: Vec<(String, String)>) -> Response {
        let path = self.parts.uri.path();
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let mut request = Request::new(Body::empty());
        *request.method_mut() = self.parts.method.clone();
        *request.headers_mut() = self.parts.headers.clone();
        *request.extensions_mut() = self.parts.extensions.clone();
        // Made of the parts of one that was read.
        *request.uri_mut() = uri.parse().unwrap_or_default();
        self.next.clone().run(request).await
    }

    async fn page_from(&self, cursor: Option<String>) -> Response {
        let mut query = self.query.clone();
        if self.list.rows == Place::Items {
            query.retain(|(name, _)| name != "limit" && (name != "cursor" || cursor.is_none()));
            query.push(("limit".to_owned(), PAGE_ROWS.to_owned()));
            query.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor)));
        }
        self.page(query).await
    }

    /// Errors of the first page are the answer; those of a later one break it off, so that nobody takes a part for all.
    async fn csv(self) -> Response {
        let first = self.page_from(None).await;
        if first.status() != StatusCode::OK {
            return first;
        }
        let (text, cursor) = match self.rows(first, true).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, path = self.list.path, "a list cannot be written as CSV");
                return Refusal(Problem::new(
                    500,
                    "internal",
                    "Something is wrong on this side",
                    "The node's log says what.",
                ))
                .into_response();
            }
        };
        let name = self.list.path.rsplit('/').next().unwrap_or("list");
        let disposition = format!("attachment; filename=\"{name}.csv\"");
        let later = stream::try_unfold((self, cursor), |(pages, cursor)| async move {
            let Some(cursor) = cursor else { return Ok(None) };
            let page = pages.page_from(Some(cursor)).await;
            let (text, cursor) = pages.rows(page, false).await?;
            Ok::<_, std::io::Error>(Some((text, (pages, cursor))))
        });
        let all = futures::StreamExt::chain(stream::iter([Ok(text)]), later);
        let headers =
            [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, disposition)];
        (headers, Body::from_stream(all)).into_response()
    }

    /// One page as CSV, and where the next one is.
    async fn rows(&self, page: Response, with_head: bool) -> std::io::Result<(Bytes, Option<String>)> {
        if page.status() != StatusCode::OK {
            return Err(std::io::Error::other(format!("the next page was answered with {}", page.status())));
        }
        let bytes = to_bytes(page.into_body(), PAGE_BYTES).await.map_err(std::io::Error::other)?;
        let mut page: PageText = serde_json::from_slice(&bytes).map_err(std::io::Error::other)?;
        if let Some(balanced) = page.balanced {
            // It stands in every row; in one of its own where money is wrong and no workspace has any.
            if page.items.is_empty() && !balanced {
                page.items.push(BTreeMap::new());
            }
            for row in &mut page.items {
                row.insert("balanced".to_owned(), serde_json::value::to_raw_value(&balanced)?);
            }
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        if with_head {
            writer.write_record(self.list.columns)?;
        }
        for row in &page.items {
            writer.write_record(self.list.columns.iter().map(|column| cell(row, column)))?;
        }
        let text = writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok((Bytes::from(text), page.next_cursor))
    }
}

/// What a row has in a column; nothing where it has none. Numbers stand as they are, to the last digit.
fn cell(row: &BTreeMap<String, Box<RawValue>>, column: &str) -> String {
    if let Some((outer, inner)) = column.split_once('/') {
        let nested = row.get(outer).and_then(|value| serde_json::from_str(value.get()).ok());
        return nested.map(|nested| cell(&nested, inner)).unwrap_or_default();
    }
    let text = row.get(column).map_or("null", |value| value.get());
    match text.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(text).unwrap_or_default();
            if is_phone(&text) { text } else { neutral(&text).into_owned() }
        }
        _ if text == "null" => String::new(),
        _ => text.to_owned(),
    }
}

/// An E.164 number: to a spreadsheet a number, and no formula.
fn is_phone(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}
