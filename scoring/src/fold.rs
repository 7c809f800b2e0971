//! One record into a batch: by topic to the fold that knows it.

use leadway_domain::record::{
    AppointmentRecord, DeliveryRecord, LeadRecord, QuarantineRecord, Topic, UnreadableReason, UnreadableRecord,
};
use leadway_domain::settings::SettingsChange;
use leadway_domain::{Addressing, LeadId};
use leadway_eventlog::Record;
use leadway_tables::TablesError;
use leadway_tables::schema::{bucket, event_bucket};

use crate::batch::Batch;
use crate::options::Options;
use crate::{appointments, deliveries, leads, quarantine, settings};

/// What the folds need besides the record.
pub(crate) struct Context {
    pub(crate) addressing: Addressing,
    pub(crate) options: Options,
}

impl Context {
    /// The bucket of a lead that `record` names.
    pub(crate) fn bucket(&self, record: &Record, id: LeadId) -> Result<i64, FoldError> {
        bucket(self.addressing, id).ok_or_else(|| unknown_lead(record))
    }

    /// The bucket of the events of a lead that `record` names.
    pub(crate) fn event_bucket(&self, record: &Record, id: LeadId) -> Result<i64, FoldError> {
        event_bucket(self.addressing, id).ok_or_else(|| unknown_lead(record))
    }
}

fn unknown_lead(record: &Record) -> FoldError {
    FoldError::Unreadable(UnreadableRecord {
        topic: record.address.topic,
        kind: record.kind.to_string(),
        reason: UnreadableReason::UnknownLead,
    })
}

/// Why a record was not folded in. An unreadable one has changed nothing in the batch.
#[derive(Debug)]
pub(crate) enum FoldError {
    Unreadable(UnreadableRecord),
    Tables(TablesError),
}

impl From<UnreadableRecord> for FoldError {
    fn from(error: UnreadableRecord) -> Self {
        Self::Unreadable(error)
    }
}

impl From<TablesError> for FoldError {
    fn from(error: TablesError) -> Self {
        Self::Tables(error)
    }
}

/// What a record says.
pub(crate) enum Payload {
    Settings(Box<SettingsChange>),
    Leads(LeadRecord),
    Appointments(AppointmentRecord),
    Deliveries(DeliveryRecord),
    Quarantine(QuarantineRecord),
}

pub(crate) fn decode(record: &Record) -> Result<Payload, UnreadableRecord> {
    Ok(match record.address.topic {
        Topic::Settings => Payload::Settings(Box::new(record.decode()?)),
        Topic::Leads => Payload::Leads(record.decode()?),
        Topic::Appointments => Payload::Appointments(record.decode()?),
        Topic::Deliveries => Payload::Deliveries(record.decode()?),
        Topic::Quarantine => Payload::Quarantine(record.decode()?),
    })
}

pub(crate) async fn fold(
    record: &Record,
    payload: &Payload,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    match payload {
        Payload::Settings(change) => settings::fold(record, change, batch),
        Payload::Leads(lead) => leads::fold(record, lead, batch, context).await?,
        Payload::Appointments(decided) => appointments::fold(record, decided, batch, context).await?,
        Payload::Deliveries(delivery) => deliveries::fold(record, delivery, batch, context).await?,
        Payload::Quarantine(lead) => quarantine::fold(record, lead, batch, context).await?,
    }
    Ok(())
}
