//! Problems as HTTP answers.

use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use leadway_domain::problem::{PROBLEM_JSON, Problem};
use leadway_domain::seal::SealError;
use leadway_eventlog::LogError;
use leadway_tables::TablesError;
use serde::Serialize;
use utoipa::ToSchema;

/// A request that was not carried out, and why.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Problem);

/// What a handler answers.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A problem document has no maps with keys that JSON cannot carry: encoding it cannot fail.
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if let Some(seconds) = self.0.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

/// Of a call to the log or the tables that was the first of its request: an append that failed, or a read before any.
/// What fails after something was recorded must say so: see [`recorded`].
impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        tracing::error!(%error, "a request met a log that does not serve");
        Self(match error {
            LogError::Unavailable(_) => {
                Problem::unavailable("The log cannot do this now; nothing was changed. Try again.", 2)
            }
            LogError::Closed => Problem::unavailable(
                "The log stopped before it answered: the change may or may not have been made. Read before you repeat.",
                5,
            ),
            LogError::TooLarge { bytes, limit, .. } => Problem::new(
                413,
                "too-large",
                "The change is too large",
                format!(
                    "It takes {bytes} bytes in the log, which takes {limit} at once (embedded.log.max_batch_bytes, or \
                     kafka.max_record_bytes). Raise that, or send it in smaller parts."
                ),
            ),
            LogError::Revoked { .. } | LogError::Fenced { .. } | LogError::Corrupt { .. } | LogError::Unusable(_) => {
                internal()
            }
        })
    }
}

impl From<TablesError> for Refusal {
    fn from(error: TablesError) -> Self {
        tracing::error!(%error, "a request met tables that do not serve");
        Self(if error.is_transient() {
            Problem::unavailable("The tables cannot be read now. Try again.", 2)
        } else {
            internal()
        })
    }
}

impl From<getrandom::Error> for Refusal {
    fn from(error: getrandom::Error) -> Self {
        tracing::error!(%error, "no random bits for a key");
        Self(Problem::unavailable("No key can be made: the system gives no random bits. Nothing was changed.", 10))
    }
}

impl From<SealError> for Refusal {
    fn from(error: SealError) -> Self {
        tracing::error!(%error, "a secret cannot be sealed or opened");
        Self(Problem::unavailable("This node cannot seal secrets; its log says why. Nothing was changed.", 10))
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        Self(if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = "It is larger than portal.body_limit_bytes, or for an import portal.import_limit_bytes, allows. \
                          Raise that, or send it in smaller parts.";
            Problem::new(413, "too-large", "The body is too large", detail)
        } else {
            Problem::bad_request("The body ended before it was complete.")
        })
    }
}

/// 500: work that was handed to another thread did not end.
pub(crate) fn broken(what: &str) -> Refusal {
    tracing::error!(what, "a request's work ended without a result");
    Refusal(internal())
}

fn internal() -> Problem {
    Problem::new(500, "internal", "Something is wrong on this side", "The node's log says what.")
}

/// 503: something was recorded, but not everything that was to follow: `detail` says what, and how to go on.
pub(crate) fn recorded(detail: impl Into<String>) -> Refusal {
    Refusal(Problem::unavailable(detail, 5))
}

/// 403: the key is valid but may not do this.
pub(crate) fn forbidden() -> Problem {
    let detail = "This key belongs to a reader, who may only read. Use an admin's key.";
    Problem::new(403, "forbidden", "The key does not allow this", detail)
}

/// 404 for whatever `what` names.
pub(crate) fn not_found(what: &str, id: impl std::fmt::Display) -> Refusal {
    Refusal(Problem::not_found(format!("There is no {what} {id}.")))
}

/// `1 rule refers`, `2 rules refer`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The first few, with commas.
pub(crate) fn some_of(all: &[impl std::fmt::Display]) -> String {
    all.iter().take(10).map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The form of every error, for the API's description.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem, example = json!({
    "type": "urn:leadway:problem:validation", "title": "Some fields are not valid", "status": 422,
    "detail": "Correct these fields and send it again: payment_rate.",
    "errors": [{"field": "payment_rate", "code": "invalid", "message": "must have at most two decimals"}],
}))]
pub(crate) struct ProblemDocument {
    /// Names the kind of problem for programs.
    r#type: String,
    /// The kind in words.
    title: String,
    /// HTTP status code.
    status: u16,
    /// What is wrong here, and the way out.
    detail: String,
    /// Every field that is wrong.
    errors: Option<Vec<ProblemField>>,
    /// When to come back, in seconds; also sent as `Retry-After`.
    retry_after: Option<u64>,
}

/// One field that is wrong.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProblemField {
    /// Name of the field.
    field: String,
    /// What kind of error: `required`, `invalid`, `unknown`, …
    code: String,
    /// The rule, and how to satisfy it.
    message: String,
}
