//! Waiting until a position has been applied, by this node or another.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::Offset;
use tokio::sync::{Mutex, watch};

use super::client::Client;
use super::positions::{Complete, Place, PositionsCql, read_completed};
use crate::TablesError;

/// How soon to look again when nothing has come, and how late.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What this node knows of how far the tables are complete. However many wait, one looks.
pub(super) struct Progress {
    client: Arc<Client>,
    positions: Arc<PositionsCql>,
    known: watch::Sender<Complete>,
    looking: Mutex<()>,
}

impl Progress {
    pub(super) fn new(client: Arc<Client>, positions: Arc<PositionsCql>) -> Self {
        Self { client, positions, known: watch::Sender::new(Complete::new()), looking: Mutex::new(()) }
    }

    /// Tells those who wait what this node has just written.
    pub(super) fn tell(&self, positions: impl IntoIterator<Item = (Place, Offset)>) {
        self.known.send_modify(|known| known.extend(positions));
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        self.known.send_replace(Complete::new());
    }

    /// How far one partition of the log is complete.
    pub(super) async fn of(&self, place: Place) -> Result<Offset, TablesError> {
        let complete = read_completed(self.client.rows(&self.positions.completed_one(place)).await?)?;
        Ok(complete.get(&place).copied().unwrap_or_default())
    }

    /// Waits until the partition is complete up to `next`.
    pub(super) async fn wait(&self, place: Place, next: Offset) -> Result<(), TablesError> {
        let reached = |known: &Complete| known.get(&place).copied().unwrap_or_default() >= next;
        let mut known = self.known.subscribe();
        loop {
            tokio::select! {
                biased;
                // The sender is ours: it is there.
                _ = known.wait_for(reached) => return Ok(()),
                looked = self.look_until(reached) => looked?,
            }
        }
    }

    /// When it is this one's turn, looks again and again until it finds what it waits for, and tells all others.
    async fn look_until(&self, reached: impl Fn(&Complete) -> bool) -> Result<(), TablesError> {
        let _turn = self.looking.lock().await;
        let mut pause = FIRST_PAUSE;
        loop {
            let complete = read_completed(self.client.rows(&self.positions.completed()).await?)?;
            let found = reached(&complete);
            let news = self.known.send_if_modified(|known| {
                let news = *known != complete;
                *known = complete;
                news
            });
            if found {
                return Ok(());
            }
            pause = if news { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            tokio::time::sleep(pause).await;
        }
    }
}
