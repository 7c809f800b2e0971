//! Pauses between attempts of the stage's own calls.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Error;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(2);

/// Pauses that double from 20 ms to 2 s. One stage waits for one log: there is no herd that jitter would spread.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(FIRST)
    }

    /// Waits for the next attempt; `false` when told to stop meanwhile.
    pub(crate) async fn pause(&mut self, stop: &CancellationToken) -> bool {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST);
        stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }
}

/// Does `attempt` until it succeeds, fails for good, or `stop` comes (`None`). `what` names it in the log.
pub(crate) async fn patiently<T, F>(
    stop: &CancellationToken,
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<Option<T>, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut backoff = Backoff::new();
    loop {
        match stop.run_until_cancelled(attempt()).await {
            None => return Ok(None),
            Some(Ok(done)) => return Ok(Some(done)),
            Some(Err(error)) if error.is_transient() => {
                tracing::warn!(%error, "{what} failed; trying again");
                if !backoff.pause(stop).await {
                    return Ok(None);
                }
            }
            Some(Err(error)) => return Err(error),
        }
    }
}
