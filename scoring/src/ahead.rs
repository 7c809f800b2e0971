//! Which rows the folds of a batch will read, told before they begin: so that a database on other machines is asked for
//! all of them at once, not for one after the other. A row that is not told here is read when a fold asks for it.

use leadway_domain::Timestamp;
use leadway_domain::lead::Lead;
use leadway_domain::record::{AppointmentRecord, DeliveryRecord, LeadRecord, QuarantineRecord};
use leadway_domain::{LeadId, ProviderId};
use leadway_eventlog::Record;
use leadway_tables::schema::{
    AppointmentRow, ContactRow, DailyRow, LeadDayRow, QuarantineCountRow, SlotRow, bucket, day,
};
use leadway_tables::{Key, Table, TableRow, key};
use rustc_hash::FxHashSet;

use crate::fold::{Context, Payload};

/// The rows to be read, each once.
#[derive(Default)]
pub(crate) struct Ahead {
    keys: Vec<(&'static Table, Key)>,
    seen: FxHashSet<(u8, Key)>,
}

impl Ahead {
    /// The tables and keys.
    pub(crate) fn into_keys(self) -> Vec<(&'static Table, Key)> {
        self.keys
    }

    /// Adds what the fold of this record reads.
    pub(crate) fn of(&mut self, record: &Record, payload: &Payload, context: &Context) {
        match payload {
            Payload::Leads(LeadRecord::Received(lead)) => self.received(record, lead),
            Payload::Appointments(appointments) => self.decided(record, appointments, context),
            Payload::Deliveries(delivery) => self.delivered(record, delivery, context),
            Payload::Quarantine(quarantine) => {
                let provider = match quarantine {
                    QuarantineRecord::Added(lead) => &lead.provider_id,
                    QuarantineRecord::Ended(end) => &end.provider_id,
                };
                self.add::<QuarantineCountRow>(key![*provider]);
            }
            Payload::Leads(LeadRecord::Command(_)) | Payload::Settings(_) => {}
        }
    }

    fn received(&mut self, record: &Record, lead: &Lead) {
        self.add::<ContactRow>(key![lead.contact_id]);
        self.add::<LeadDayRow>(key![day(lead.received_at), record.address.partition]);
        if !lead.test {
            self.sums(record, lead.received_at, &lead.provider_id, "", &lead.product_type);
        }
    }

    fn decided(&mut self, record: &Record, decided: &AppointmentRecord, context: &Context) {
        match decided {
            AppointmentRecord::Routed(a) if !a.test => {
                self.sums(record, a.matched_at, &a.provider_id, a.workspace_id.as_str(), &a.service_type);
                self.add::<SlotRow>(key![a.workspace_id, a.appointment_date]);
            }
            AppointmentRecord::Unrouted(lead) => {
                self.appointment(lead.lead_id, context);
                if !lead.test && lead.decision == 1 {
                    self.sums(record, lead.decided_at, &lead.provider_id, "", &lead.service_type);
                }
            }
            AppointmentRecord::Duplicate(lead) if !lead.test => {
                self.sums(record, lead.received_at, &lead.provider_id, "", &lead.product_type);
            }
            AppointmentRecord::Routed(_) | AppointmentRecord::Duplicate(_) | AppointmentRecord::Refused(_) => {}
        }
    }

    fn delivered(&mut self, record: &Record, delivery: &DeliveryRecord, context: &Context) {
        self.appointment(delivery.appointment_id, context);
        if !delivery.test {
            let workspace = delivery.workspace_id.as_str();
            self.sums(record, delivery.at, &delivery.provider_id, workspace, &delivery.service_type);
        }
    }

    fn appointment(&mut self, id: LeadId, context: &Context) {
        if let Some(bucket) = bucket(context.addressing, id) {
            self.add::<AppointmentRow>(key![bucket, id]);
        }
    }

    /// The row of [`Sums`](crate::daily::Sums).
    fn sums(&mut self, record: &Record, at: Timestamp, provider: &ProviderId, workspace: &str, product: &str) {
        let (topic, partition) = (record.address.topic.name().to_owned(), record.address.partition);
        self.add::<DailyRow>(key![day(at), *provider, workspace.to_owned(), product.to_owned(), topic, partition]);
    }

    fn add<R: TableRow>(&mut self, key: Key) {
        if self.seen.insert((R::table().id, key.clone())) {
            self.keys.push((R::table(), key));
        }
    }
}
