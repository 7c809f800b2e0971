//! Records as the other components write them.

use jiff::{SignedDuration, Timestamp};
use leadway_domain::lead::{InterestLevel, Lead, SubmissionKey};
use leadway_domain::record::{
    Appointment, DeliveryRecord, DuplicateLead, LeadAction, LeadCommand, Outcome, Payload, PostedAs, QuarantineEnd,
    QuarantineRecord, QuarantinedLead, RoutingMethod, Unrouted, UnroutedReason,
};
use leadway_domain::{
    Addressing, ContactId, LeadId, Money, Offset, Partition, Phone, ProviderId, RuleId, WorkspaceId, Zip,
};
use leadway_eventlog::NewRecord;
use uuid::Uuid;

/// So many minutes after noon of a day.
pub(super) fn minute(n: i64) -> Timestamp {
    Timestamp::from_second(1_700_049_600).unwrap() + SignedDuration::from_mins(n)
}

/// The id of a lead whose record stands there.
pub(super) fn id(partition: u32, offset: u64) -> LeadId {
    Addressing::default().id(Partition(partition), Offset(offset))
}

pub(super) fn provider(name: &str) -> ProviderId {
    ProviderId::new(name).unwrap()
}

pub(super) fn workspace(name: &str) -> WorkspaceId {
    WorkspaceId::new(name).unwrap()
}

pub(super) fn record(payload: &impl Payload, minutes: i64) -> NewRecord {
    NewRecord::of(payload, minute(minutes))
}

pub(super) fn lead(minutes: i64) -> Lead {
    let phone = Phone::parse("213-555-0123").unwrap();
    Lead {
        v: 1,
        provider_id: provider("a"),
        contact_id: ContactId::derive(phone, &provider("a")),
        first_name: "Ann".into(),
        last_name: "Lee".into(),
        phone,
        email: Some("ann@example.com".into()),
        product_type: "Solar".into(),
        zip_code: Zip::parse("90210").unwrap(),
        state: "CA".into(),
        estimated_value: Some(Money::from_cents(2_500_000)),
        interest_level: Some(InterestLevel::Hot),
        notes: "South roof".into(),
        appointment_date: Some(minute(3_000)),
        external_id: Some("x-1".into()),
        extra: Default::default(),
        test: false,
        auto_schedule: false,
        cost: Money::from_cents(7_550),
        submission: SubmissionKey(7),
        also: None,
        received_at: minute(minutes),
    }
}

pub(super) fn command(lead_id: LeadId, lead: &Lead, action: LeadAction, minutes: i64) -> LeadCommand {
    LeadCommand {
        v: 1,
        lead_id,
        lead_key: lead.log_key(),
        actor: "ops".into(),
        at: minute(minutes),
        action,
        asked_as: None,
    }
}

/// The lead of the same minute as [`lead`], routed a minute later.
pub(super) fn appointment(id: LeadId, minutes: i64) -> Appointment {
    let lead = lead(minutes);
    Appointment {
        v: 1,
        appointment_id: id,
        decision: 1,
        command_id: None,
        contact_id: lead.contact_id,
        customer_name: lead.customer_name(),
        provider_id: lead.provider_id,
        workspace_id: workspace("west"),
        rule_id: Some(RuleId(Uuid::from_u128(9))),
        routing_method: RoutingMethod::Auto,
        customer_phone: lead.phone,
        customer_email: lead.email,
        service_type: lead.product_type,
        customer_zip: lead.zip_code,
        appointment_date: minute(3_000),
        estimated_value: lead.estimated_value,
        notes: lead.notes,
        price: Money::from_cents(15_025),
        cost: lead.cost,
        test: lead.test,
        received_at: lead.received_at,
        matched_at: minute(minutes + 1),
    }
}

pub(super) fn unrouted(id: LeadId, minutes: i64) -> Unrouted {
    let lead = lead(minutes);
    Unrouted {
        v: 1,
        lead_id: id,
        decision: 1,
        command_id: None,
        contact_id: lead.contact_id,
        provider_id: lead.provider_id,
        service_type: lead.product_type,
        customer_zip: lead.zip_code,
        appointment_date: lead.appointment_date,
        reason: UnroutedReason { code: "no_rule".into(), message: "No rule takes Solar in 90210.".into() },
        test: false,
        received_at: lead.received_at,
        decided_at: minute(minutes + 1),
    }
}

pub(super) fn duplicate(id: LeadId, first: LeadId, lead: &Lead, minutes: i64) -> DuplicateLead {
    DuplicateLead {
        v: 1,
        lead_id: id,
        first_lead_id: first,
        provider_id: lead.provider_id.clone(),
        product_type: lead.product_type.clone(),
        cost: lead.cost,
        test: lead.test,
        received_at: lead.received_at,
        decided_at: minute(minutes),
    }
}

/// The outcome of attempt number `attempts`.
pub(super) fn delivery(a: &Appointment, attempts: u32, outcome: Outcome, minutes: i64) -> DeliveryRecord {
    let (status, response, error) = match outcome {
        Outcome::Delivered => (Some(200), Some("thanks".to_owned()), None),
        Outcome::Retry { .. } | Outcome::GivenUp => {
            (Some(500), Some("oops".to_owned()), Some("answered 500".to_owned()))
        }
        Outcome::Held { .. } => (None, None, None),
    };
    DeliveryRecord {
        v: 1,
        appointment_id: a.appointment_id,
        workspace_id: a.workspace_id.clone(),
        provider_id: a.provider_id.clone(),
        service_type: a.service_type.clone(),
        price: a.price,
        cost: a.cost,
        test: a.test,
        received_at: a.received_at,
        matched_at: a.matched_at,
        attempts,
        at: minute(minutes),
        latency_us: 1_500,
        status,
        response,
        error,
        previous_due_at: None,
        outcome,
    }
}

pub(super) fn quarantined(provider_name: &str, n: u128, minutes: i64) -> QuarantineRecord {
    QuarantineRecord::Added(Box::new(QuarantinedLead {
        v: 1,
        id: Uuid::from_u128(n),
        provider_id: provider(provider_name),
        posted_as: PostedAs::Lead,
        body: serde_json::json!({ "zip": "nowhere" }),
        errors: Vec::new(),
        received_at: minute(minutes),
    }))
}

pub(super) fn ended(provider_name: &str, n: u128, minutes: i64) -> QuarantineRecord {
    QuarantineRecord::Ended(QuarantineEnd {
        v: 1,
        id: Uuid::from_u128(n),
        provider_id: provider(provider_name),
        actor: "ops".into(),
        at: minute(minutes),
        lead_id: None,
    })
}
