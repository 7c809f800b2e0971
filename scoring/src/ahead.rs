//! Which rows the folds of a batch will read, told before they begin: so that a database on other machines is asked for
//! all of them at once, not for one after the other. A row that is not told here is read when a fold asks for it.

use leadway_domain::LeadId;
use leadway_domain::lead::Lead;
use leadway_domain::record::{AppointmentRecord, DeliveryRecord, LeadRecord, QuarantineRecord};
use leadway_eventlog::Record;
use leadway_tables::schema::{bucket, day};

use crate::fold::{Context, Payload};
use crate::rows::{Rows, kept_time};
use crate::{appointments, deliveries, leads};

/// Announces what the fold of this record reads.
pub(crate) fn announce(rows: &mut Rows, record: &Record, payload: &Payload, context: &Context) {
    match payload {
        Payload::Leads(LeadRecord::Received(lead)) => received(rows, record, lead),
        Payload::Appointments(appointments) => decided(rows, record, appointments, context),
        Payload::Deliveries(delivery) => delivered(rows, record, delivery, context),
        Payload::Quarantine(quarantine) => {
            let provider = match quarantine {
                QuarantineRecord::Added(lead) => &lead.provider_id,
                QuarantineRecord::Ended(end) => &end.provider_id,
            };
            rows.quarantine_counts.want(provider.clone());
        }
        Payload::Leads(LeadRecord::Command(_)) | Payload::Settings(_) => {}
    }
}

fn received(rows: &mut Rows, record: &Record, lead: &Lead) {
    rows.contacts.want(lead.contact_id);
    rows.lead_days.want((day(lead.received_at), record.address.partition));
    if !lead.test {
        rows.daily.want(leads::sums(record, lead).id());
    }
}

fn decided(rows: &mut Rows, record: &Record, decided: &AppointmentRecord, context: &Context) {
    match decided {
        AppointmentRecord::Routed(a) => {
            if appointments::is_to_be_looked_up(record, a, &rows.causes, context) {
                standing(rows, a.appointment_id, context);
            }
            if !a.test {
                rows.daily.want(appointments::sums_of_routed(record, a).id());
                rows.slots.want((a.workspace_id.clone(), kept_time(a.appointment_date)));
            }
        }
        AppointmentRecord::Unrouted(lead) => {
            standing(rows, lead.lead_id, context);
            if !lead.test && lead.decision == 1 {
                rows.daily.want(appointments::sums_of_unrouted(record, lead).id());
            }
        }
        AppointmentRecord::Duplicate(lead) => {
            if let Some(bucket) = bucket(context.addressing, lead.lead_id) {
                rows.twins.want((bucket, lead.lead_id));
            }
            if !lead.test {
                rows.daily.want(appointments::sums_of_duplicate(record, lead).id());
            }
        }
        AppointmentRecord::Refused(_) => {}
    }
}

fn delivered(rows: &mut Rows, record: &Record, delivery: &DeliveryRecord, context: &Context) {
    standing(rows, delivery.appointment_id, context);
    if !delivery.test {
        rows.daily.want(deliveries::sums(record, delivery).id());
    }
}

fn standing(rows: &mut Rows, id: LeadId, context: &Context) {
    if let Some(bucket) = bucket(context.addressing, id) {
        rows.standings.want((bucket, id));
    }
}
