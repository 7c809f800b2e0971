//! What an attempt, or the want of one, means for a delivery.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::record::{Appointment, DeliveryRecord, HeldReason, Outcome};
use leadway_domain::text::readable;
use leadway_domain::{LeadId, Offset, Partition, Timestamp};
use serde_json::Value;

use crate::schedule::{Schedule, retry_after};
use crate::{Answer, SendError};

/// How much of an answer is kept, in bytes.
const RESPONSE_LIMIT: usize = 4 << 10;

/// A delivery in memory.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) appointment: Arc<Appointment>,
    /// Attempts made so far.
    pub(crate) attempts: u32,
    pub(crate) source: Source,
    /// When it came into memory.
    pub(crate) since: Timestamp,
}

/// Where a delivery was taken from, and where its outcome belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// Of `appointments` and of `deliveries`.
    pub(crate) partition: Partition,
    /// Which assignment of the partition it belongs to: when that is over, so is the job.
    pub(crate) assignment: u64,
    pub(crate) place: Place,
}

/// What holds the delivery while it is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A record in `appointments`: it holds the watermark back.
    Log(Offset),
    /// A row in `open_deliveries`, due at this time.
    Row(Timestamp),
}

/// An outcome on its way to the log.
pub(crate) struct Settled {
    pub(crate) record: DeliveryRecord,
    /// Why an attempt failed, for the process's log: unlike the record's error it holds nothing of the client's answer.
    pub(crate) failure: Option<String>,
    pub(crate) source: Source,
}

/// How an attempt ended.
pub(crate) enum Attempt {
    Answered(Answer),
    /// With 2xx, and a body that says that it was not taken.
    Declined(Answer),
    /// The same, and the body says why: the client has the appointment already.
    Known(Answer),
    NotAnswered(SendError),
    /// It could not be made; the text names the way out.
    Impossible(&'static str),
}

impl Attempt {
    /// How long the client asks to be left alone, with an answer that is not a success.
    pub(crate) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Answered(answer) | Self::Declined(answer) if !self.succeeded() => {
                retry_after(answer.retry_after.as_deref()?, now)
            }
            _ => None,
        }
    }

    /// Whether it says that the client's system works: also one that declines an appointment has read and understood it.
    pub(crate) fn client_works(&self) -> bool {
        self.succeeded() || matches!(self, Self::Declined(_) | Self::Known(_))
    }

    /// Why it failed, in words that hold nothing of the client's answer; `None` when it did not.
    pub(crate) fn failure(&self) -> Option<String> {
        match self {
            _ if self.succeeded() => None,
            Self::Answered(answer) => Some(format!("the client answered {}", answer.status)),
            Self::Declined(answer) => Some(format!(
                "the client answered {}, but the answer's body says that it did not take it",
                answer.status
            )),
            Self::Known(answer) => Some(format!(
                "the client answered {}, but the answer's body says that it has this appointment already, from elsewhere: \
                 to send it again cannot help, and it is not billed",
                answer.status
            )),
            Self::NotAnswered(error) => Some(error.to_string()),
            Self::Impossible(why) => Some((*why).to_owned()),
        }
    }

    /// Why it failed, for those who can mend it.
    fn advice(&self) -> Option<String> {
        let failure = self.failure()?;
        let Self::Answered(Answer { location: Some(to), .. }) = self else { return Some(failure) };
        Some(format!("{failure} and points to {to}; redirects are not followed: enter that address"))
    }

    /// A client answered. Where its body counts, a 2xx that says no is none.
    pub(crate) fn answered(answer: Answer, body_counts: bool) -> Self {
        let declined = if body_counts && is_success(&answer) { decline(&answer.body) } else { None };
        match declined {
            None => Self::Answered(answer),
            Some(Decline::Known) => Self::Known(answer),
            Some(Decline::Other) => Self::Declined(answer),
        }
    }

    pub(crate) fn succeeded(&self) -> bool {
        matches!(self, Self::Answered(answer) if is_success(answer))
    }
}

fn is_success(answer: &Answer) -> bool {
    (200..300).contains(&answer.status)
}

/// Why a client did not take an appointment, by its answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decline {
    /// It has it already.
    Known,
    Other,
}

/// Reads a JSON object with `"success": false` or `"ok": false`: what software answers that cannot set a status.
fn decline(body: &[u8]) -> Option<Decline> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    // Most answers have no such word: they are not parsed.
    let has_word = |word: &[u8]| body.windows(word.len()).any(|window| window == word);
    if !is_object || !has_word(b"false") || !(has_word(b"\"success\"") || has_word(b"\"ok\"")) {
        return None;
    }
    let answer: Value = serde_json::from_slice(body).ok()?;
    let declines = ["success", "ok"].iter().any(|word| answer.get(word) == Some(&Value::Bool(false)));
    let reason = if says_known(&answer) { Decline::Known } else { Decline::Other };
    declines.then_some(reason)
}

/// Whether a text says that the client has it already, or a field does that is not empty: `"duplicate": false` says no.
fn says_known(value: &Value) -> bool {
    let word = |text: &str| {
        let text = text.to_ascii_lowercase();
        text.contains("duplicate") || text.contains("already")
    };
    match value {
        Value::String(text) => word(text),
        Value::Array(values) => values.iter().any(says_known),
        Value::Object(fields) => fields.iter().any(|(name, value)| word(name) && says_yes(value) || says_known(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn says_yes(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !["", "0", "false", "no", "none"].contains(&text.trim().to_ascii_lowercase().as_str()),
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

impl Job {
    pub(crate) fn id(&self) -> LeadId {
        self.appointment.appointment_id
    }

    /// About what it takes of memory.
    pub(crate) fn bytes(&self) -> usize {
        let appointment = &self.appointment;
        let email = appointment.customer_email.as_ref().map_or(0, String::len);
        let texts = appointment.customer_name.len() + appointment.notes.len() + email;
        size_of::<Self>() + size_of::<Appointment>() + texts
    }

    /// Whether its row keeps it when it is dropped from memory.
    pub(crate) fn is_on_disk(&self) -> bool {
        matches!(self.source.place, Place::Row(_))
    }

    /// The outcome of an attempt that ended at `now` after `took`. Anything but 2xx is tried again until the schedule
    /// ends, also a 4xx and even 410: most are mended by somebody, and no appointment should be lost to a typing error in
    /// a URL. A client that has it already got it by an earlier attempt, whose answer was lost; if there was none, it got it
    /// from elsewhere, and the next attempt would tell the same.
    pub(crate) fn attempted(
        self,
        attempt: Attempt,
        took: Duration,
        now: Timestamp,
        schedule: &Schedule,
        random: &mut fastrand::Rng,
    ) -> Settled {
        let attempts = self.attempts.saturating_add(1);
        let is_known = matches!(attempt, Attempt::Known(_));
        let delivered = attempt.succeeded() || is_known && self.attempts > 0;
        let (failure, error) = (attempt.failure().filter(|_| !delivered), attempt.advice().filter(|_| !delivered));
        let asked = attempt.retry_after(now);
        let (status, body) = match attempt {
            Attempt::Answered(answer) | Attempt::Declined(answer) | Attempt::Known(answer) => {
                (Some(answer.status), Some(text(&answer.body)))
            }
            Attempt::NotAnswered(_) | Attempt::Impossible(_) => (None, None),
        };
        let next = schedule.next(attempts, now, asked, random);
        let source = self.source;
        let mut record = self.record(attempts, now);
        record.latency_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        (record.status, record.response, record.error) = (status, body, error);
        record.outcome = match next {
            _ if delivered => Outcome::Delivered,
            Some(due_at) if !is_known => Outcome::Retry { due_at, appointment: self.appointment },
            _ => Outcome::GivenUp,
        };
        Settled { record, failure, source }
    }

    /// It waits on disk, without an attempt.
    pub(crate) fn held(self, reason: HeldReason, due_at: Timestamp, now: Timestamp) -> Settled {
        let mut record = self.record(self.attempts, now);
        record.outcome = Outcome::Held { due_at, reason, appointment: self.appointment };
        Settled { record, failure: None, source: self.source }
    }

    /// It is given up without a further attempt.
    pub(crate) fn given_up(self, why: &str, now: Timestamp) -> Settled {
        let mut record = self.record(self.attempts, now);
        record.error = Some(why.to_owned());
        Settled { failure: record.error.clone(), record, source: self.source }
    }

    /// Its record with nothing told about an attempt, given up until something better is put in.
    fn record(&self, attempts: u32, now: Timestamp) -> DeliveryRecord {
        let appointment = &self.appointment;
        DeliveryRecord {
            v: 1,
            appointment_id: appointment.appointment_id,
            workspace_id: appointment.workspace_id.clone(),
            provider_id: appointment.provider_id.clone(),
            service_type: appointment.service_type.clone(),
            price: appointment.price,
            cost: appointment.cost,
            test: appointment.test,
            received_at: appointment.received_at,
            matched_at: appointment.matched_at,
            attempts,
            at: now,
            latency_us: 0,
            status: None,
            response: None,
            error: None,
            previous_due_at: match self.source.place {
                Place::Row(due_at) => Some(due_at),
                Place::Log(_) => None,
            },
            outcome: Outcome::GivenUp,
        }
    }
}

/// An answer's body for people to read: at most 4 KiB, cut between characters; what is not UTF-8 is replaced, control
/// characters and invisible ones that change how the rest is read are taken out.
fn text(body: &[u8]) -> String {
    // A replacement character is longer than the byte it stands for: cut before and after.
    let text = String::from_utf8_lossy(body.get(..RESPONSE_LIMIT).unwrap_or(body));
    let mut text = readable(&text).into_owned();
    text.truncate(text.floor_char_boundary(RESPONSE_LIMIT));
    // The cut may have halved the last character.
    if body.len() > RESPONSE_LIMIT && text.ends_with('\u{fffd}') {
        text.pop();
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Options;
    use bytes::Bytes;
    use leadway_domain::record::RoutingMethod;
    use leadway_domain::{ContactId, Money, Phone, ProviderId, WorkspaceId, Zip};

    pub(crate) fn appointment(id: u64, workspace: &str) -> Appointment {
        let phone = Phone::parse("2135550123").unwrap();
        let provider = ProviderId::new("a").unwrap();
        Appointment {
            v: 1,
            appointment_id: LeadId(id),
            decision: 1,
            command_id: None,
            contact_id: ContactId::derive(phone, &provider),
            provider_id: provider,
            workspace_id: WorkspaceId::new(workspace).unwrap(),
            rule_id: None,
            routing_method: RoutingMethod::Auto,
            customer_name: "John Solar Customer".into(),
            customer_phone: phone,
            customer_email: None,
            service_type: "Solar".into(),
            customer_zip: Zip::parse("90210").unwrap(),
            appointment_date: "2024-12-01T14:00:00Z".parse().unwrap(),
            estimated_value: None,
            notes: String::new(),
            price: Money::from_cents(15_000),
            cost: Money::from_cents(7_500),
            test: false,
            received_at: "2024-01-15T10:29:59Z".parse().unwrap(),
            matched_at: "2024-01-15T10:30:00Z".parse().unwrap(),
        }
    }

    fn now() -> Timestamp {
        "2024-01-15T10:31:00Z".parse().unwrap()
    }

    #[test]
    fn a_2xx_that_says_no_in_its_body_is_a_failure_where_the_body_counts() {
        let attempt = |status, body: &'static str, body_counts| {
            Attempt::answered(Answer { status, body: Bytes::from(body), ..Answer::default() }, body_counts)
        };
        for body in [
            r#"{"success":false,"error":"duplicate lead"}"#,
            " {\"data\": {}, \"success\" : false}",
            r#"{"ok":false}"#,
            r#"{"ok":true,"success":false}"#,
        ] {
            assert!(!attempt(200, body, true).succeeded(), "{body}");
            assert!(attempt(200, body, true).failure().unwrap().contains("the answer's body says"), "{body}");
            assert!(attempt(202, body, false).succeeded(), "{body}");
            assert_eq!(attempt(503, body, true).failure().unwrap(), "the client answered 503");
        }
        for body in [
            "",
            "OK",
            r#"{"success":true}"#,
            r#"{"success":"false"}"#,
            r#"{"lead":{"success":false}}"#,
            r#"{"note":"\"success\" false"}"#,
            r#"[{"success":false}]"#,
            r#"{"success":false"#,
        ] {
            assert!(attempt(200, body, true).succeeded(), "{body}");
        }
    }

    fn job(attempts: u32) -> Job {
        let source = Source { partition: Partition(0), assignment: 1, place: Place::Row(Timestamp::UNIX_EPOCH) };
        Job { appointment: Arc::new(appointment(7, "w")), attempts, source, since: now() }
    }

    fn answer(status: u16, body: &[u8]) -> Attempt {
        Attempt::Answered(Answer { status, body: Bytes::copy_from_slice(body), ..Answer::default() })
    }

    fn attempted(attempts: u32, attempt: Attempt) -> DeliveryRecord {
        let schedule = Schedule::new(&Options { max_attempts: 5, ..Options::default() });
        let mut random = fastrand::Rng::with_seed(1);
        job(attempts).attempted(attempt, Duration::from_micros(1_500), now(), &schedule, &mut random).record
    }

    #[test]
    fn only_2xx_is_a_delivery() {
        for (status, delivered) in
            [(200, true), (202, true), (299, true), (199, false), (301, false), (404, false), (500, false)]
        {
            let record = attempted(0, answer(status, b"ok"));
            assert_eq!(record.outcome == Outcome::Delivered, delivered, "{status}");
            assert_eq!(record.error.is_none(), delivered, "{status}");
            assert_eq!((record.status, record.attempts, record.latency_us), (Some(status), 1, 1_500));
            assert_eq!((record.response.as_deref(), record.previous_due_at), (Some("ok"), Some(Timestamp::UNIX_EPOCH)));
        }
    }

    #[test]
    fn a_client_that_has_it_already_got_it_by_an_earlier_attempt_or_from_elsewhere() {
        let ended = |attempts, body: &'static str| {
            let answer = Answer { status: 200, body: Bytes::from(body), ..Answer::default() };
            attempted(attempts, Attempt::answered(answer, true))
        };
        for known in [
            r#"{"success":false,"error":"duplicate lead"}"#,
            r#"{"ok":false,"message":"ALREADY received"}"#,
            r#"{"success":false,"error":{"code":"DUPLICATE_LEAD"}}"#,
            r#"{"success":false,"duplicate":true}"#,
            r#"{"success":false,"errors":[{"alreadyExists":["phone"]}]}"#,
        ] {
            for attempts in 1..5 {
                let record = ended(attempts, known);
                assert_eq!(
                    (record.outcome, record.error, record.status),
                    (Outcome::Delivered, None, Some(200)),
                    "{known}"
                );
            }
            let refused = ended(0, known);
            assert_eq!((refused.outcome, refused.attempts), (Outcome::GivenUp, 1), "{known}");
            assert!(refused.error.unwrap().contains("has this appointment already"), "{known}");
        }
        for other in [
            r#"{"success":false}"#,
            r#"{"success":false,"duplicate":false,"error":"no such ZIP"}"#,
            r#"{"ok":false,"duplicates":[],"already_sent":0,"duplicate_of":null,"is_duplicate":"No"}"#,
        ] {
            assert!((0..4).all(|attempts| matches!(ended(attempts, other).outcome, Outcome::Retry { .. })), "{other}");
            assert_eq!(ended(4, other).outcome, Outcome::GivenUp, "{other}");
        }
        assert_eq!(attempted(0, answer(500, b"duplicate")).outcome, attempted(0, answer(500, b"")).outcome);
    }

    #[test]
    fn a_failure_is_tried_again_until_the_schedule_ends() {
        for attempts in 0..4 {
            let record = attempted(attempts, Attempt::NotAnswered(SendError::Timeout));
            let Outcome::Retry { due_at, appointment } = record.outcome else { panic!("{:?}", record.outcome) };
            assert!(due_at >= now());
            assert_eq!((appointment.appointment_id, record.attempts), (LeadId(7), attempts + 1));
        }
        assert_eq!(attempted(4, answer(500, b"")).outcome, Outcome::GivenUp);
        assert!(matches!(attempted(0, answer(410, b"")).outcome, Outcome::Retry { .. }), "also when it says gone");
    }

    #[test]
    fn the_answer_is_cut_between_characters() {
        let record = attempted(0, answer(200, &[b"x", "é".repeat(40_000).as_bytes()].concat()));
        let text = record.response.unwrap();
        assert_eq!(text.len(), 4_095);
        assert!(text.starts_with("xé") && text.ends_with('é'));
        let deceptive = attempted(0, answer(200, "ok\u{202e}gpj\u{1b}[31m\u{7}".as_bytes())).response.unwrap();
        assert_eq!(deceptive, "okgpj [31m ");
        let garbage = attempted(0, answer(200, &[0xff; 10_000])).response.unwrap();
        assert!(garbage.len() <= 4_096 && garbage.chars().all(|c| c == '\u{fffd}'));
    }

    #[test]
    fn held_and_given_up_count_no_attempt() {
        let held = job(2).held(HeldReason::QueueFull, now(), now()).record;
        assert_eq!((held.attempts, held.latency_us, held.status), (2, 0, None));
        assert!(matches!(held.outcome, Outcome::Held { reason: HeldReason::QueueFull, .. }));
        let given_up = job(2).given_up("the workspace was deleted", now()).record;
        assert_eq!((given_up.attempts, given_up.outcome), (2, Outcome::GivenUp));
        assert_eq!(given_up.error.as_deref(), Some("the workspace was deleted"));
    }
}
