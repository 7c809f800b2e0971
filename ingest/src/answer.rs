//! What a provider is told about its leads.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use leadway_domain::problem::{FieldError, PROBLEM_JSON, Problem};
use leadway_domain::{ContactId, LeadId};
use serde::Serialize;
use uuid::Uuid;

use crate::dedupe;
use crate::many::Many;

/// What became of one lead.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum LeadAnswer {
    /// It is durable.
    Accepted(Ids),
    /// It was posted before; these are the first one's ids.
    Duplicate(Ids),
    /// One of its keys is another customer's.
    Conflict(Conflict),
    /// It breaks rules.
    Invalid(Invalid),
}

impl LeadAnswer {
    /// Tells what of the lead could not be read and is kept as it came.
    pub(crate) fn warn(&mut self, warnings: Vec<FieldError>) {
        if let Self::Accepted(ids) | Self::Duplicate(ids) = self {
            ids.warnings = warnings;
        }
    }
}

/// The ids of a lead in the log.
#[derive(Debug, Serialize)]
pub(crate) struct Ids {
    pub(crate) lead_id: LeadId,
    pub(crate) contact_id: ContactId,
    /// Optional fields that could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<FieldError>,
}

impl Ids {
    pub(crate) fn new(lead_id: LeadId, contact_id: ContactId) -> Self {
        Self { lead_id, contact_id, warnings: Vec::new() }
    }
}

impl From<dedupe::First> for Ids {
    fn from(first: dedupe::First) -> Self {
        Self::new(first.lead_id, first.contact_id)
    }
}

/// A refused lead.
#[derive(Debug, Serialize)]
pub(crate) struct Invalid {
    pub(crate) errors: Vec<FieldError>,
    #[serde(flatten)]
    pub(crate) kept: Kept,
}

/// A lead with the key of another customer's.
#[derive(Debug, Serialize)]
pub(crate) struct Conflict {
    /// The ids of that one.
    #[serde(flatten)]
    pub(crate) first: Ids,
    #[serde(skip)]
    pub(crate) detail: String,
    pub(crate) errors: Vec<FieldError>,
    #[serde(flatten)]
    pub(crate) kept: Kept,
}

/// Whether a refused lead is kept.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Kept {
    /// Until it is corrected or too old.
    Quarantined { quarantine_id: Uuid },
    /// It cannot be; says why, and what to do.
    No { not_kept: String },
}

/// Counts of leads by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) accepted: usize,
    pub(crate) duplicate: usize,
    pub(crate) invalid: usize,
    pub(crate) conflict: usize,
}

impl Tally {
    pub(crate) fn of(answers: &[LeadAnswer]) -> Self {
        let mut tally = Self::default();
        for answer in answers {
            match answer {
                LeadAnswer::Accepted(_) => tally.accepted += 1,
                LeadAnswer::Duplicate(_) => tally.duplicate += 1,
                LeadAnswer::Conflict(_) => tally.conflict += 1,
                LeadAnswer::Invalid(_) => tally.invalid += 1,
            }
        }
        tally
    }

    /// `success` when any lead is new, else 200 when any was known, else 422 when any breaks rules, else 409.
    fn status(self, success: StatusCode) -> StatusCode {
        match self {
            Self { accepted: 1.., .. } => success,
            Self { duplicate: 1.., .. } => StatusCode::OK,
            Self { invalid: 0, conflict: 1.., .. } => StatusCode::CONFLICT,
            Self { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// One of several answers.
#[derive(Serialize)]
struct Numbered<'a> {
    index: usize,
    #[serde(flatten)]
    answer: &'a LeadAnswer,
}

#[derive(Serialize)]
struct Results<'a> {
    results: Vec<Numbered<'a>>,
}

/// A problem document with members of its own.
#[derive(Serialize)]
struct Extended<'a, T> {
    #[serde(flatten)]
    problem: Problem,
    #[serde(flatten)]
    members: &'a T,
}

/// The lead that has the key, and what became of the one that was posted.
#[derive(Serialize)]
struct First {
    #[serde(flatten)]
    first: Ids,
    #[serde(flatten)]
    kept: Kept,
}

/// The answer to one lead posted on its own.
pub(crate) fn of_one(answers: Many<LeadAnswer>, success: u16) -> Response<Full<Bytes>> {
    match answers.into_iter().next() {
        Some(answer @ LeadAnswer::Accepted(_)) => json(status(success), &answer),
        Some(answer @ LeadAnswer::Duplicate(_)) => json(StatusCode::OK, &answer),
        Some(LeadAnswer::Conflict(Conflict { first, detail, errors, kept })) => {
            let problem = conflict_problem(detail).with_errors(errors);
            refusal(StatusCode::CONFLICT, &Extended { problem, members: &First { first, kept } })
        }
        Some(LeadAnswer::Invalid(Invalid { errors, kept })) => {
            let document = Extended { problem: validation(errors), members: &kept };
            refusal(StatusCode::UNPROCESSABLE_ENTITY, &document)
        }
        None => of_many(&[], Tally::default(), success),
    }
}

/// An error of the lead as a whole has no field to name.
fn validation(errors: Vec<FieldError>) -> Problem {
    let whole = errors.iter().find(|error| error.field.is_empty());
    let detail = whole.map(|error| format!("The lead {}. Correct it and send it again.", error.message));
    let problem = Problem::validation(errors);
    match detail {
        Some(detail) => Problem { detail, ..problem },
        None => problem,
    }
}

/// The answer to several leads.
pub(crate) fn of_many(answers: &[LeadAnswer], tally: Tally, success: u16) -> Response<Full<Bytes>> {
    let results = answers.iter().enumerate().map(|(index, answer)| Numbered { index, answer }).collect();
    let results = Results { results };
    let status = tally.status(status(success));
    let detail = format!("None of the {} leads can be taken: correct what results says.", answers.len());
    match status {
        StatusCode::CONFLICT => refusal(status, &Extended { problem: conflict_problem(detail), members: &results }),
        StatusCode::UNPROCESSABLE_ENTITY => {
            let problem = Problem { detail, ..Problem::validation(Vec::new()) };
            refusal(status, &Extended { problem, members: &results })
        }
        status => json(status, &results),
    }
}

fn conflict_problem(detail: String) -> Problem {
    Problem::new(409, "submission-conflict", "The key is another customer's", detail)
}

/// The provider's own status of what is accepted.
fn status(success: u16) -> StatusCode {
    StatusCode::from_u16(success).unwrap_or(StatusCode::ACCEPTED)
}

fn json<T: Serialize>(status: StatusCode, body: &T) -> Response<Full<Bytes>> {
    response(status, "application/json", body)
}

fn refusal<T: Serialize>(status: StatusCode, body: &T) -> Response<Full<Bytes>> {
    response(status, PROBLEM_JSON, body)
}

fn response<T: Serialize>(status: StatusCode, media_type: &'static str, body: &T) -> Response<Full<Bytes>> {
    // Our own types have no maps with keys that JSON cannot carry: encoding them cannot fail.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
