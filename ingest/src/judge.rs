//! Which of the posted leads are leads: pure work between reading a request and writing to the log.

use std::sync::Arc;

use leadway_domain::intake::{Idempotency, Intake, Taken, to_owned_json};
use leadway_domain::lead::{Lead, SubmissionKey};
use leadway_domain::problem::FieldError;
use leadway_domain::record::{PostedAs, QuarantineRecord, QuarantinedLead};
use leadway_domain::{ProviderId, Timestamp};
use serde_json::Value;
use simd_json::BorrowedValue;
use uuid::Uuid;

use crate::answer::{Conflict, Invalid, Kept, LeadAnswer};
use crate::dedupe::{Cause, First, Keys};
use crate::json_error::JsonError;
use crate::many::Many;
use crate::parse::Posted;
use crate::refused;
use crate::service::Inner;

/// Deepest nesting of a lead. Readers of the log's JSON commonly stop at 128 levels, some of which are the record's.
const MAX_DEPTH: usize = 32;

/// One posted lead, judged.
pub(crate) enum Judged {
    /// To be appended, unless it is a duplicate.
    Valid {
        lead: Arc<Lead>,
        /// What an older record may call its submission.
        legacy: Option<SubmissionKey>,
        /// What of it is to be told.
        warnings: Vec<FieldError>,
    },
    /// To be told, and its record to be appended if it is to be kept.
    Refused(LeadAnswer, Option<QuarantineRecord>),
}

/// Judges every lead of a request. `intake` is that of the request's first lead.
pub(crate) fn judge(inner: &Inner, posted: Posted<'_>, intake: Intake<'_>) -> Many<Judged> {
    let single = posted.single;
    let leads = posted.leads.into_iter().enumerate();
    leads
        .map(|(part, lead)| {
            let idempotency = intake.idempotency.map(|idempotency| Idempotency { part, single, ..idempotency });
            let intake = Intake { idempotency, ..intake };
            match lead {
                Ok(raw) => judge_one(inner, &raw, &intake),
                Err(error) => broken(&error),
            }
        })
        .collect()
}

fn judge_one(inner: &Inner, raw: &BorrowedValue<'_>, intake: &Intake<'_>) -> Judged {
    if !is_within(raw, MAX_DEPTH) {
        let message = format!("must nest lists and objects at most {MAX_DEPTH} deep");
        return not_kept(
            FieldError::new("", "too_deep", message),
            "it is nested too deep; correct it and send it again",
        );
    }
    let posting = Posting { provider: &intake.provider.id, posted_as: intake.posted_as, at: intake.now };
    let Taken { lead, warnings } = match intake.normalise(raw) {
        Ok(taken) => taken,
        Err(errors) => {
            let (kept, record) = keep(inner, posting, to_owned_json(raw), errors.clone());
            return Judged::Refused(LeadAnswer::Invalid(Invalid { errors, kept }), record);
        }
    };
    let legacy = inner.window.has_legacy(intake.now).then(|| intake.legacy_submission(&lead));
    match inner.window.conflict(Keys { lead: &lead, legacy }, intake.now) {
        None => Judged::Valid { lead: Arc::new(lead), legacy, warnings },
        Some((first, cause)) => {
            let (answer, record) = conflict(inner, posting, to_owned_json(raw), first, cause);
            Judged::Refused(answer, record)
        }
    }
}

/// A lead with a key that is another customer's.
pub(crate) fn conflict(
    inner: &Inner,
    posting: Posting<'_>,
    body: Value,
    first: First,
    cause: Cause,
) -> (LeadAnswer, Option<QuarantineRecord>) {
    let (field, name) = match cause {
        Cause::ExternalId => ("external_id", "the lead's id"),
        Cause::IdempotencyKey => ("Idempotency-Key", "this Idempotency-Key"),
    };
    let message = format!(
        "is that of lead {}, which is about another customer; give each lead one of its own and send it again",
        first.lead_id
    );
    let errors = vec![FieldError::new(field, "conflict", message)];
    let (kept, record) = keep(inner, posting, body, errors.clone());
    let detail = format!(
        "There is a lead of another customer with {name}: {}. Send this one again with its own, or ask the operator to \
         release it from the quarantine.",
        first.lead_id
    );
    (LeadAnswer::Conflict(Conflict { first: first.into(), detail, errors, kept }), record)
}

fn broken(error: &JsonError) -> Judged {
    not_kept(FieldError::new("", "invalid_json", error.to_string()), "it is not JSON; correct it and send it again")
}

fn not_kept(error: FieldError, why: &str) -> Judged {
    let invalid = Invalid { errors: vec![error], kept: Kept::No { not_kept: why.to_owned() } };
    Judged::Refused(LeadAnswer::Invalid(invalid), None)
}

/// Who posted, what and when.
#[derive(Clone, Copy)]
pub(crate) struct Posting<'a> {
    pub(crate) provider: &'a ProviderId,
    pub(crate) posted_as: PostedAs,
    pub(crate) at: Timestamp,
}

/// A refused lead is kept, so that it can be corrected without the provider. One that comes again is kept once.
fn keep(inner: &Inner, posting: Posting<'_>, body: Value, errors: Vec<FieldError>) -> (Kept, Option<QuarantineRecord>) {
    let (max, window) = (inner.options.quarantine_max_lead_bytes, inner.options.dedupe_window_seconds);
    let json = serde_json::to_vec(&body).unwrap_or_default();
    if json.len() > max {
        let not_kept = format!("it is larger than {max} bytes of JSON; correct it and send it again");
        return (Kept::No { not_kept }, None);
    }
    let key = refused::key(posting.provider, posting.posted_as, &json);
    if let Some(quarantine_id) = inner.refused.entry(key, window, posting.at) {
        return (Kept::Quarantined { quarantine_id }, None);
    }
    let id = id_at(posting.at);
    let record = QuarantineRecord::Added(Box::new(QuarantinedLead {
        v: 1,
        id,
        provider_id: posting.provider.clone(),
        posted_as: posting.posted_as,
        body,
        errors,
        received_at: posting.at,
    }));
    (Kept::Quarantined { quarantine_id: id }, Some(record))
}

/// UUID v7 of this moment.
fn id_at(now: Timestamp) -> Uuid {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
}

fn is_within(value: &BorrowedValue<'_>, depth: usize) -> bool {
    match value {
        BorrowedValue::Static(_) | BorrowedValue::String(_) => true,
        BorrowedValue::Array(items) => depth > 0 && items.iter().all(|item| is_within(item, depth - 1)),
        BorrowedValue::Object(object) => depth > 0 && object.values().all(|item| is_within(item, depth - 1)),
    }
}
