//! Which of the posted leads are leads: pure work between reading a request and writing to the log.

use std::sync::Arc;

use leadway_domain::intake::{Intake, Taken, to_owned_json};
use leadway_domain::lead::Lead;
use leadway_domain::problem::FieldError;
use leadway_domain::record::{QuarantineRecord, QuarantinedLead};
use leadway_eventlog::NewRecord;
use simd_json::BorrowedValue;
use uuid::Uuid;

use crate::answer::{Invalid, Kept};
use crate::json_error::JsonError;
use crate::many::Many;
use crate::parse::Posted;

/// Deepest nesting of a lead. Readers of the log's JSON commonly stop at 128 levels, some of which are the record's.
const MAX_DEPTH: usize = 32;

/// One posted lead, judged.
pub(crate) enum Judged {
    /// To be appended, unless it is a duplicate; and what of it is to be told.
    Valid(Arc<Lead>, Vec<FieldError>),
    /// To be told, and its record to be appended if it is kept.
    Invalid(Invalid, Option<NewRecord>),
}

/// Judges every lead of a request. `intake` is that of the request's first lead.
pub(crate) fn judge(posted: Posted<'_>, intake: Intake<'_>, max_kept_bytes: usize) -> Many<Judged> {
    let leads = posted.leads.into_iter().enumerate();
    leads
        .map(|(index, lead)| {
            let intake = Intake { idempotency_key: intake.idempotency_key.map(|(key, _)| (key, index)), ..intake };
            match lead {
                Ok(raw) => judge_one(&raw, &intake, max_kept_bytes),
                Err(error) => broken(&error),
            }
        })
        .collect()
}

fn judge_one(raw: &BorrowedValue<'_>, intake: &Intake<'_>, max_kept_bytes: usize) -> Judged {
    if !is_within(raw, MAX_DEPTH) {
        let message = format!("must nest lists and objects at most {MAX_DEPTH} deep");
        return not_kept(
            FieldError::new("", "too_deep", message),
            "it is nested too deep; correct it and send it again",
        );
    }
    match intake.normalise(raw) {
        Ok(Taken { lead, warnings }) => Judged::Valid(Arc::new(lead), warnings),
        Err(errors) => quarantine(raw, errors, intake, max_kept_bytes),
    }
}

fn broken(error: &JsonError) -> Judged {
    not_kept(FieldError::new("", "invalid_json", error.to_string()), "it is not JSON; correct it and send it again")
}

fn not_kept(error: FieldError, why: &str) -> Judged {
    Judged::Invalid(Invalid { errors: vec![error], kept: Kept::No { not_kept: why.to_owned() } }, None)
}

/// A refused lead is kept, so that it can be corrected without the provider.
fn quarantine(raw: &BorrowedValue<'_>, errors: Vec<FieldError>, intake: &Intake<'_>, max_bytes: usize) -> Judged {
    let body = to_owned_json(raw);
    let bytes = serde_json::to_vec(&body).map_or(usize::MAX, |json| json.len());
    if bytes > max_bytes {
        let not_kept = format!("it is larger than {max_bytes} bytes of JSON; correct it and send it again");
        return Judged::Invalid(Invalid { errors, kept: Kept::No { not_kept } }, None);
    }
    let id = id_at(intake.now);
    let record = QuarantineRecord::Added(Box::new(QuarantinedLead {
        v: 1,
        id,
        provider_id: intake.provider.id.clone(),
        posted_as: intake.posted_as,
        body,
        errors: errors.clone(),
        received_at: intake.now,
    }));
    let record = NewRecord::of(&record, intake.now);
    Judged::Invalid(Invalid { errors, kept: Kept::Quarantined { quarantine_id: id } }, Some(record))
}

/// UUID v7 of this moment.
fn id_at(now: leadway_domain::Timestamp) -> Uuid {
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
