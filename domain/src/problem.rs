//! Errors as HTTP answers: RFC 9457 problem documents.

use serde::{Deserialize, Serialize};

/// Media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What is wrong with one field, in words for the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Our name of the field: `phone`.
    pub field: String,
    /// What kind of error, for programs: `required`, `invalid`, `unknown`, `too_long`, …
    pub code: String,
    /// What the rule is and how to satisfy it, for people. Never repeats personal data.
    pub message: String,
}

impl FieldError {
    /// An error of `field`.
    pub fn new(field: &str, code: &str, message: impl Into<String>) -> Self {
        Self { field: field.to_owned(), code: code.to_owned(), message: message.into() }
    }
}

/// An RFC 9457 problem document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Names the kind of problem for programs: `urn:leadway:problem:validation`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// HTTP status code.
    pub status: u16,
    /// What is wrong here, and the way out.
    pub detail: String,
    /// Every field that is wrong, not only the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// When to come back, in seconds; also sent as `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem of kind `kind` (the last part of the URN).
    pub fn new(status: u16, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:leadway:problem:{kind}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// Adds the fields that are wrong.
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    /// Says when to come back.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// 400: the request cannot be read.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "bad-request", "The request cannot be read", detail)
    }

    /// 401: no valid key.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, "unauthorized", "A valid key is needed", detail)
    }

    /// 404: nothing there, or nothing for this caller.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "not-found", "Nothing is there", detail)
    }

    /// 409: the request does not fit the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(409, "conflict", "The request does not fit the present state", detail)
    }

    /// 422: fields break rules.
    pub fn validation(errors: Vec<FieldError>) -> Self {
        let names: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
        let detail = format!("Correct these fields and send it again: {}.", names.join(", "));
        Self::new(422, "validation", "Some fields are not valid", detail).with_errors(errors)
    }

    /// 429: too fast.
    pub fn too_many_requests(detail: impl Into<String>, retry_after: u64) -> Self {
        Self::new(429, "too-many-requests", "Too many requests", detail).retry_after(retry_after)
    }

    /// 503: cannot be served now.
    pub fn unavailable(detail: impl Into<String>, retry_after: u64) -> Self {
        Self::new(503, "unavailable", "Temporarily unavailable", detail).retry_after(retry_after)
    }
}
