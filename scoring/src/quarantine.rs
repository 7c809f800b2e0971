//! Topic `quarantine`: refused leads, bounded in number and age.
//!
//! What must go is decided at every record, by the record's time, never at the end of a batch or by the clock: so the
//! same log leaves the same rows, however it was batched.

use leadway_domain::ProviderId;
use leadway_domain::record::{QuarantineEnd, QuarantineRecord, QuarantinedLead};
use leadway_eventlog::Record;
use leadway_tables::schema::QuarantineRow;
use leadway_tables::{Json, TablesError, key};
use uuid::Uuid;

use crate::batch::Batch;
use crate::daily::count;
use crate::fold::{Context, FoldError};

pub(crate) async fn fold(
    record: &Record,
    payload: &QuarantineRecord,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    let provider = match payload {
        QuarantineRecord::Added(lead) => added(lead, batch).await?,
        QuarantineRecord::Ended(end) => ended(end, batch).await?,
    };
    Ok(make_room(&provider, record, batch, context).await?)
}

async fn added(lead: &QuarantinedLead, batch: &mut Batch<'_>) -> Result<ProviderId, TablesError> {
    let provider = lead.provider_id.clone();
    let (tables, shelf) = batch.shelf(&provider);
    if !shelf.contains(tables, lead.id).await? {
        shelf.add(lead.id, lead.received_at);
        count(&mut batch.quarantine_count(&provider).await?.count, 1);
    }
    batch.put(&QuarantineRow {
        posted_as: Some(Json(lead.posted_as)),
        body: Some(Json(lead.body.clone())),
        errors: Some(Json(lead.errors.clone())),
        received_at: Some(lead.received_at),
        ..QuarantineRow::new(provider.clone(), lead.id)
    })?;
    Ok(provider)
}

async fn ended(end: &QuarantineEnd, batch: &mut Batch<'_>) -> Result<ProviderId, TablesError> {
    let (tables, shelf) = batch.shelf(&end.provider_id);
    // It may have been dropped for room or age while somebody was looking at it.
    if shelf.contains(tables, end.id).await? {
        drop_row(&end.provider_id, end.id, batch).await?;
    }
    Ok(end.provider_id.clone())
}

async fn make_room(
    provider: &ProviderId,
    record: &Record,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), TablesError> {
    let most = i64::from(context.options.quarantine_max_per_provider);
    let max_age = context.options.quarantine_max_age();
    loop {
        let kept = batch.quarantine_count(provider).await?.count.unwrap_or(0);
        let (tables, shelf) = batch.shelf(provider);
        let Some((oldest, received_at)) = shelf.oldest(tables).await? else { return Ok(()) };
        let too_old = record.time.duration_since(received_at) > max_age;
        if kept <= most && !too_old {
            return Ok(());
        }
        drop_row(provider, oldest, batch).await?;
    }
}

async fn drop_row(provider: &ProviderId, id: Uuid, batch: &mut Batch<'_>) -> Result<(), TablesError> {
    batch.shelf(provider).1.remove(id);
    batch.remove::<QuarantineRow>(key![*provider, id]);
    count(&mut batch.quarantine_count(provider).await?.count, -1);
    Ok(())
}
