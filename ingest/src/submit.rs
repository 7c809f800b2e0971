//! From judged leads to answers: reserve, append, await durability, settle.

use std::sync::Arc;

use leadway_domain::lead::{Lead, SubmissionKey};
use leadway_domain::record::{LeadRecord, QuarantineRecord};
use leadway_domain::{ContactId, LeadId, Timestamp};
use leadway_eventlog::{LogError, NewRecord};
use tokio::sync::futures::OwnedNotified;

use crate::answer::{Ids, LeadAnswer};
use crate::append::SeenThrough;
use crate::budget::Share;
use crate::dedupe::{Keys, Reservations, Reserved};
use crate::judge::{self, Judged, Posting};
use crate::many::Many;
use crate::refusal::Refusal;
use crate::service::Inner;

/// A lead with its number within its request, and what an older record may call its submission.
type Numbered = (usize, Arc<Lead>, Option<SubmissionKey>);

/// What a request holds of the leads in flight.
type InFlight = Share;

/// The leads of one append, and those that must wait for another's.
struct Round {
    reservations: Reservations,
    records: Vec<NewRecord>,
    /// Number within the request and contact of each lead among the records, in order.
    appended: Many<(usize, ContactId)>,
    waiting: Vec<(Numbered, OwnedNotified)>,
    refused: Vec<QuarantineRecord>,
}

impl Inner {
    /// Answers every lead once what must be durable is.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        judged: Many<Judged>,
        mut in_flight: InFlight,
        posting: Posting<'_>,
    ) -> Result<Many<LeadAnswer>, Refusal> {
        let mut answers: Many<Option<LeadAnswer>> = judged.iter().map(|_| None).collect();
        let (mut leads, mut refused, mut warned) = (Many::new(), Vec::new(), Vec::new());
        for (index, judged) in judged.into_iter().enumerate() {
            match judged {
                Judged::Valid { lead, legacy, warnings } => {
                    leads.push((index, lead, legacy));
                    if !warnings.is_empty() {
                        warned.push((index, warnings));
                    }
                }
                Judged::Refused(answer, record) => {
                    set(&mut answers, index, answer);
                    refused.extend(record);
                }
            }
        }
        // One round, unless another request (or an earlier lead of this one) is just appending the same submission.
        loop {
            let mut round = self.reserve(leads, posting, &mut answers);
            let waiting = std::mem::take(&mut round.waiting);
            round.refused.append(&mut refused);
            if !round.records.is_empty() || !round.refused.is_empty() {
                in_flight = self.append(round, in_flight, posting.at, &mut answers).await?;
            }
            if waiting.is_empty() {
                for (index, warnings) in warned {
                    if let Some(Some(answer)) = answers.get_mut(index) {
                        answer.warn(warnings);
                    }
                }
                return Ok(answers.into_iter().flatten().collect());
            }
            leads = Many::with_capacity(waiting.len());
            for (lead, outcome) in waiting {
                outcome.await;
                leads.push(lead);
            }
        }
    }

    fn reserve(&self, leads: Many<Numbered>, posting: Posting<'_>, answers: &mut [Option<LeadAnswer>]) -> Round {
        let mut round = Round {
            reservations: self.window.reservations(),
            records: Vec::with_capacity(leads.len()),
            appended: Many::with_capacity(leads.len()),
            waiting: Vec::new(),
            refused: Vec::new(),
        };
        for (index, lead, legacy) in leads {
            match round.reservations.reserve(Keys { lead: &lead, legacy }, posting.at) {
                Reserved::New => {
                    round.appended.push((index, lead.contact_id));
                    round.records.push(NewRecord::of(&LeadRecord::Received(lead), posting.at));
                }
                Reserved::Duplicate(first) => set(answers, index, LeadAnswer::Duplicate(first.into())),
                Reserved::Conflict(first, cause) => {
                    let (answer, record) = judge::conflict(self, posting, lead.as_posted(), first, cause);
                    set(answers, index, answer);
                    round.refused.extend(record);
                }
                Reserved::Pending(outcome) => round.waiting.push(((index, lead, legacy), outcome)),
            }
        }
        round
    }

    /// Appends, and gives back what the request holds of the leads in flight: the write keeps it until it is durable,
    /// also when nobody waits for it any more.
    async fn append(
        self: &Arc<Self>,
        round: Round,
        in_flight: InFlight,
        now: Timestamp,
        answers: &mut [Option<LeadAnswer>],
    ) -> Result<InFlight, Refusal> {
        let Round { reservations, mut records, appended, refused, .. } = round;
        records.extend(refused.iter().map(|record| NewRecord::of(record, now)));
        let (inner, leads) = (Arc::clone(self), appended.len());
        let write = SeenThrough::new(async move {
            let addresses = inner.log.append(records).await?;
            let ids = addresses.iter().take(leads).map(|a| inner.addressing.id(a.partition, a.offset));
            let ids: Many<LeadId> = ids.collect();
            reservations.settle(&ids, now);
            refused.iter().for_each(|record| inner.refused.learn(record));
            Ok::<_, LogError>((ids, in_flight))
        });
        let (ids, in_flight) = write.await.map_err(Refusal::Log)?;
        for ((index, contact_id), lead_id) in appended.into_iter().zip(ids) {
            set(answers, index, LeadAnswer::Accepted(Ids::new(lead_id, contact_id)));
        }
        Ok(in_flight)
    }
}

fn set(answers: &mut [Option<LeadAnswer>], index: usize, answer: LeadAnswer) {
    if let Some(slot) = answers.get_mut(index) {
        *slot = Some(answer);
    }
}
