//! Which of a workspace's appointments are neither taken nor given up.

use leadway_domain::problem::Problem;
use leadway_domain::record::Topic;
use leadway_domain::{LeadId, WorkspaceId};
use leadway_tables::schema::{AppointmentByWorkspaceRow, AppointmentRow, OpenDeliveryRow, day};
use leadway_tables::{Range, key, scan};

use crate::leads::appointment_rows;
use crate::problem::Answer;
use crate::state::Portal;

/// How many are named.
const NAMED: usize = 5;
/// Days of routing that are looked at. An appointment that was never tried waits in the dispatcher's memory for a minute
/// and then on disk (`open_deliveries`), so that these are the days for which the dispatcher may have stood still.
const DAYS: i32 = 10;
/// Rows of one scan.
const CHUNK: usize = 1_000;
/// Most appointments that are looked at: the settings cannot be changed meanwhile.
const MAX_LOOKED_AT: usize = 200_000;

/// The first few undelivered appointments of a workspace, as of everything that the log holds when this is called: those
/// that wait on disk, however old, and those of the last days of which no outcome is known.
pub(crate) async fn undelivered(portal: &Portal, workspace: &WorkspaceId) -> Answer<Vec<LeadId>> {
    portal.catch_up(&[Topic::Appointments, Topic::Deliveries]).await?;
    let waiting: Vec<OpenDeliveryRow> = scan(&*portal.tables, &key![workspace.clone()], Range::first(NAMED)).await?;
    let mut open: Vec<LeadId> = waiting.into_iter().map(|row| row.appointment_id).collect();
    let today = day(portal.clock.now());
    let mut left = MAX_LOOKED_AT;
    // The newest first: they are the likeliest to be under way. Another node's clock may be ahead, so tomorrow's too.
    for day in today.plus(-DAYS).through(today.plus(1)).rev() {
        let mut range = Range::last(CHUNK);
        while open.len() < NAMED {
            let rows: Vec<AppointmentByWorkspaceRow> =
                scan(&*portal.tables, &key![workspace.clone(), day], range).await?;
            left = left.checked_sub(rows.len()).ok_or_else(too_many)?;
            let ids: Vec<LeadId> = rows.iter().map(|row| row.appointment_id).collect();
            for row in appointment_rows(portal, &ids).await? {
                if !open.contains(&row.appointment_id) && is_open(&row, workspace) {
                    open.push(row.appointment_id);
                }
            }
            // Reads of an embedded store never wait: others get their turn.
            tokio::task::yield_now().await;
            match rows.last() {
                Some(last) if rows.len() == CHUNK => range = Range::last(CHUNK).before(key![last.appointment_id]),
                _ => break,
            }
        }
    }
    open.truncate(NAMED);
    Ok(open)
}

fn is_open(row: &AppointmentRow, workspace: &WorkspaceId) -> bool {
    row.workspace_id.as_ref() == Some(workspace) && !matches!(row.forward_status.as_deref(), Some("success" | "failed"))
}

fn too_many() -> Problem {
    Problem::conflict(format!(
        "More than {MAX_LOOKED_AT} appointments were routed to it in the last {DAYS} days: too many to make sure that all \
         of them were delivered. Set webhook_active to false, and delete it when fewer days count."
    ))
}
