//! A log in which everything that can happen to a lead happens to some: what scoring makes of it touches every table.

use std::sync::Arc;

use std::time::Duration;

use leadway_domain::record::{
    AppointmentRecord, DeliveryRecord, DuplicateLead, LeadAction, LeadCommand, LeadRecord, Outcome, Payload, PostedAs,
    QuarantineEnd, QuarantineRecord, QuarantinedLead, Unrouted, UnroutedReason,
};
use leadway_domain::settings::{Change, Entity};
use leadway_domain::{Addressing, LeadId, lead::Lead};
use leadway_eventlog::{EventLog, MemoryLog, NewRecord};
use uuid::Uuid;

use crate::PARTITIONS;
use crate::sample::{self, Sample, workspace_id};

/// The history of so many leads.
pub(crate) async fn of(leads: u64) -> MemoryLog {
    let (log, sample) = (MemoryLog::new(PARTITIONS), Sample::new());
    // What follows later on comes at the end: until then its rows stand.
    let mut later = Vec::new();
    for n in 0..leads {
        let lead = sample.lead(n);
        let id = append_one(&log, sample.received(n)).await;
        let told = match n % 16 {
            0..9 => routed_and(id, n, lead, Outcome::Delivered),
            9 | 10 => retried(id, n, lead, &mut later),
            11 => vec![unrouted(id, &lead)],
            12 => assigned(&log, id, n, lead, &mut later).await,
            13 => vec![duplicate(id, &lead)],
            _ => refused(&sample, n, &lead, &mut later),
        };
        log.append(told).await.unwrap();
    }
    log.append(later).await.unwrap();
    log
}

/// The records of a lead that is routed and delivered at once, all but the lead's own.
pub(crate) fn delivered(id: LeadId, n: u64, lead: Lead) -> Vec<NewRecord> {
    routed_and(id, n, lead, Outcome::Delivered)
}

/// Appends a record; tells the id that it gives.
pub(crate) async fn append_one(log: &MemoryLog, record: NewRecord) -> LeadId {
    let addresses = log.append(vec![record]).await.unwrap();
    let address = addresses.first().unwrap();
    Addressing::default().id(address.partition, address.offset)
}

fn record(payload: &impl Payload, like: &Lead) -> NewRecord {
    NewRecord::of(payload, like.received_at)
}

fn routed_and(id: LeadId, n: u64, lead: Lead, outcome: Outcome) -> Vec<NewRecord> {
    let appointment = sample::appointment(id, workspace_id(n), lead.clone());
    let attempt = sample::attempted(&appointment, 1, outcome);
    vec![record(&AppointmentRecord::Routed(Arc::new(appointment)), &lead), record(&attempt, &lead)]
}

fn retried(id: LeadId, n: u64, lead: Lead, later: &mut Vec<NewRecord>) -> Vec<NewRecord> {
    let appointment = sample::appointment(id, workspace_id(n), lead.clone());
    let due_at = appointment.matched_at + Duration::from_secs(10);
    let attempt = sample::attempted(&appointment, 2, Outcome::Delivered);
    later.push(record(&DeliveryRecord { previous_due_at: Some(due_at), ..attempt }, &lead));
    routed_and(id, n, lead, Outcome::Retry { due_at, appointment: Arc::new(appointment) })
}

fn unrouted(id: LeadId, lead: &Lead) -> NewRecord {
    let message = format!("no active rule takes {} in {}", lead.product_type, lead.zip_code);
    let unrouted = Unrouted {
        v: 1,
        lead_id: id,
        decision: 1,
        command_id: None,
        contact_id: lead.contact_id,
        provider_id: lead.provider_id.clone(),
        service_type: lead.product_type.clone(),
        customer_zip: lead.zip_code,
        appointment_date: lead.appointment_date,
        reason: UnroutedReason { code: "no_rule".to_owned(), message },
        test: false,
        received_at: lead.received_at,
        decided_at: lead.received_at + Duration::from_millis(2),
    };
    record(&AppointmentRecord::Unrouted(Box::new(unrouted)), lead)
}

/// Nothing takes it at first; then somebody says who is to have it.
async fn assigned(log: &MemoryLog, id: LeadId, n: u64, lead: Lead, later: &mut Vec<NewRecord>) -> Vec<NewRecord> {
    let command = LeadCommand {
        v: 1,
        lead_id: id,
        lead_key: lead.log_key(),
        actor: "operations".to_owned(),
        at: lead.received_at + Duration::from_secs(60),
        action: LeadAction::Assign { workspace_id: workspace_id(n) },
        asked_as: None,
    };
    let command_id = append_one(log, record(&LeadRecord::Command(command), &lead)).await;
    let mut appointment = sample::appointment(id, workspace_id(n), lead.clone());
    (appointment.decision, appointment.command_id) = (2, Some(command_id));
    later.push(record(&sample::attempted(&appointment, 1, Outcome::Delivered), &lead));
    later.push(record(&AppointmentRecord::Routed(Arc::new(appointment)), &lead));
    vec![unrouted(id, &lead)]
}

fn duplicate(id: LeadId, lead: &Lead) -> NewRecord {
    let duplicate = DuplicateLead {
        v: 1,
        lead_id: id,
        first_lead_id: id,
        provider_id: lead.provider_id.clone(),
        product_type: lead.product_type.clone(),
        cost: lead.cost,
        test: false,
        received_at: lead.received_at,
        decided_at: lead.received_at + Duration::from_millis(2),
    };
    record(&AppointmentRecord::Duplicate(duplicate), lead)
}

/// The lead comes once more without its ZIP, and is discarded later; somebody looks into the provider's settings.
fn refused(sample: &Sample, n: u64, lead: &Lead, later: &mut Vec<NewRecord>) -> Vec<NewRecord> {
    let json = sample::json(n).replace("zip_code", "place");
    let (id, provider_id, body) = (Uuid::from_u64_pair(n, n), lead.provider_id.clone(), serde_json::from_str(&json));
    let end = QuarantineEnd {
        v: 1,
        id,
        provider_id: provider_id.clone(),
        actor: "operations".to_owned(),
        at: lead.received_at + Duration::from_secs(60),
        lead_id: None,
    };
    later.push(record(&QuarantineRecord::Ended(end), lead));
    let refused = QuarantinedLead {
        v: 1,
        id,
        provider_id,
        posted_as: PostedAs::Lead,
        body: body.unwrap(),
        errors: sample.read(n, json.into_bytes()).unwrap_err(),
        received_at: lead.received_at,
    };
    let change = Change::Put(Entity::Provider(sample::provider(n)));
    vec![record(&QuarantineRecord::Added(Box::new(refused)), lead), sample::settings_change(change)]
}
