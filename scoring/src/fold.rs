//! One record into a batch: by topic to the fold that knows it.

use leadway_domain::record::{Topic, UnreadableReason, UnreadableRecord};
use leadway_domain::{Addressing, LeadId};
use leadway_eventlog::Record;
use leadway_tables::TablesError;
use leadway_tables::schema::bucket;

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
        bucket(self.addressing, id).ok_or_else(|| {
            FoldError::Unreadable(UnreadableRecord {
                topic: record.address.topic,
                kind: record.kind.to_string(),
                reason: UnreadableReason::UnknownLead,
            })
        })
    }
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

pub(crate) async fn fold(record: &Record, batch: &mut Batch<'_>, context: &Context) -> Result<(), FoldError> {
    match record.address.topic {
        Topic::Settings => settings::fold(record, record.decode()?, batch),
        Topic::Leads => leads::fold(record, record.decode()?, batch, context).await?,
        Topic::Appointments => appointments::fold(record, record.decode()?, batch, context).await?,
        Topic::Deliveries => deliveries::fold(record, record.decode()?, batch, context).await?,
        Topic::Quarantine => quarantine::fold(record, record.decode()?, batch, context).await?,
    }
    Ok(())
}
