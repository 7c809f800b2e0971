//! Correcting a refused lead and letting it go its way.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use leadway_domain::intake::Intake;
use leadway_domain::lead::Lead;
use leadway_domain::problem::Problem;
use leadway_domain::record::{LeadRecord, PostedAs, Topic};
use leadway_domain::submission::legacy;
use leadway_domain::{ContactId, LeadId};
use leadway_eventlog::{NewRecord, ReadLimit};
use leadway_tables::schema::{ContactRow, QuarantineRow};
use leadway_tables::{Json as JsonCell, get, key};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Actor;
use crate::contacts::lead_of;
use crate::fields::{OptionalInput, merge};
use crate::path::Path;
use crate::problem::{Answer, recorded};
use crate::quarantine::{end_record, quarantine_row};
use crate::state::{Portal, Shared};

/// How many of the contact's last leads are compared with the one that is released.
const COMPARED: usize = 100;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(release))
}

/// Corrections of a refused lead.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"lead": {"phone": "213-555-0123"}}))]
#[serde(deny_unknown_fields)]
struct ReleaseInput {
    /// The fields that change, by the provider's own names (RFC 7396: `null` removes one). Without it, the lead is tried
    /// as it was sent: for instance after its product was made.
    #[schema(value_type = Option<Object>)]
    lead: Option<Value>,
}

/// What a released lead became.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"status": "accepted", "lead_id": 4096, "contact_id": "0f4b0d7e-52a5-5c0c-9d1c-3d1a2b8f6a10"}))]
struct ReleaseView {
    /// `accepted`, or `duplicate` when the same submission was accepted before.
    status: String,
    /// The lead; of a duplicate, the first one.
    #[schema(value_type = u64)]
    lead_id: LeadId,
    #[schema(value_type = Uuid)]
    contact_id: ContactId,
}

/// Corrects a refused lead and accepts it like any other. If it is still not valid, 422 lists what is wrong and it stays.
#[utoipa::path(post, path = "/api/quarantine/{provider_id}/{id}/release", operation_id = "release_refused_lead", tag = "Quarantine", request_body = Option<ReleaseInput>,
    responses((status = 200, body = ReleaseView), (status = 409, description = "Its provider is gone")))]
async fn release(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path((provider, id)): Path<(String, String)>,
    OptionalInput(mut fields): OptionalInput,
) -> Answer<Json<ReleaseView>> {
    let corrections: Option<Value> = fields.optional("lead");
    if corrections.as_ref().is_some_and(|c| !c.is_object()) {
        fields.error("lead", "invalid", "must be an object with the fields to change");
    }
    fields.finish(Some(()))?;
    let _turn = portal.releasing.lock().await;
    let row = quarantine_row(&portal, &provider, &id).await?;
    let lead = normalise(&portal, &row, corrections)?;
    let contact_id = lead.contact_id;
    let now = portal.clock.now();
    if let Some(lead_id) = submitted_before(&portal, &lead).await? {
        let addresses = portal.append(vec![end_record(&row, &actor, Some(lead_id), now)]).await?;
        portal.wait_applied(&addresses).await;
        return Ok(Json(ReleaseView { status: "duplicate".into(), lead_id, contact_id }));
    }
    // The lead's id is its address, known only when it is durable; so its end in the quarantine follows. After a crash in
    // between it is still listed, and releasing it again finds the first one.
    let received = LeadRecord::Received(Arc::new(lead));
    let mut addresses = portal.append(vec![NewRecord::of(&received, now)]).await?;
    let unknown = "The lead was accepted, but the log did not say under which id. Look for it before you repeat.";
    let first = addresses.first().ok_or_else(|| recorded(unknown))?;
    let lead_id = portal.addressing.id(first.partition, first.offset);
    let end = portal.append(vec![end_record(&row, &actor, Some(lead_id), now)]).await;
    addresses.extend(end.map_err(|error| {
        tracing::error!(%error, %lead_id, "a released lead stays in the quarantine");
        recorded(format!(
            "The lead was accepted as {lead_id}, but may still be listed as refused. Release it once more: that finds \
             lead {lead_id} and takes it off the list."
        ))
    })?);
    portal.wait_applied(&addresses).await;
    Ok(Json(ReleaseView { status: "accepted".into(), lead_id, contact_id }))
}

fn normalise(portal: &Portal, row: &QuarantineRow, corrections: Option<Value>) -> Result<Lead, Problem> {
    let settings = portal.settings.load();
    let Some(provider) = settings.providers.get(&row.provider_id) else {
        return Err(Problem::conflict("Its provider is gone; make it again, or discard the lead."));
    };
    let mut body = row.body.clone().map(|JsonCell(body)| body).unwrap_or_default();
    if let Some(corrections) = corrections {
        merge(&mut body, corrections);
    }
    let mut bytes = serde_json::to_vec(&body).unwrap_or_default();
    let raw = simd_json::to_borrowed_value(&mut bytes)
        .map_err(|e| Problem::bad_request(format!("The corrected lead cannot be read: {e}.")))?;
    let intake = Intake {
        provider,
        settings: &settings,
        zips: &portal.zips,
        posted_as: row.posted_as.as_ref().map_or(PostedAs::Lead, |JsonCell(posted_as)| *posted_as),
        idempotency: None,
        max_bytes: portal.options.max_lead_bytes,
        now: portal.clock.now(),
    };
    intake.normalise(&raw).map(|taken| taken.lead).map_err(Problem::validation)
}

/// The contact's lead that is the same submission, if there is one among its last.
async fn submitted_before(portal: &Portal, released: &Lead) -> Answer<Option<LeadId>> {
    let contact = released.contact_id;
    let row: Option<ContactRow> = get(&*portal.tables, &key![contact]).await?;
    let mut next = row.and_then(|row| row.last_lead_id);
    for _ in 0..COMPARED {
        let Some(lead_id) = next else { break };
        next = lead_of(portal, contact, lead_id).await?.previous_lead_id;
        let Some((partition, offset)) = portal.addressing.address(lead_id) else { continue };
        let limit = ReadLimit { records: 1, ..ReadLimit::default() };
        let records = portal.log.read(Topic::Leads, partition, offset, limit).await?;
        let record = records.first().filter(|record| record.address.offset == offset);
        if let Some(Ok(LeadRecord::Received(lead))) = record.map(|r| r.decode::<LeadRecord>())
            && is_same(&lead, released)
        {
            return Ok(Some(lead_id));
        }
    }
    Ok(None)
}

fn is_same(lead: &Lead, released: &Lead) -> bool {
    let submission = match lead.v {
        Lead::VERSION.. => released.submission,
        _ => legacy::submission(released, None),
    };
    lead.submission == submission || lead.also == Some(submission)
}
