//! How long somebody who reads waits for a database that is away.
//!
//! A request may take long: it is made again where that is harmless, and a large answer comes page by page. But when the database
//! has answered nobody for a while, whoever reads is told so, and not only at the end of that time.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::TablesError;

/// How long the database may answer nothing at all.
const SILENCE: Duration = Duration::from_millis(1_500);

/// When the database last answered anybody.
pub(super) struct Answers {
    begun: Instant,
    /// In milliseconds since `begun`.
    last: AtomicU64,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0) }
    }

    /// It has answered.
    pub(super) fn note(&self) {
        self.last.fetch_max(self.begun.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Waits for what is read, unless the database falls silent.
    pub(super) async fn awaited<T>(
        &self,
        read: impl Future<Output = Result<T, TablesError>>,
    ) -> Result<T, TablesError> {
        let mut read = pin!(read);
        let mut heard = Instant::now();
        loop {
            if let Ok(done) = timeout_at(heard + SILENCE, &mut read).await {
                return done;
            }
            let last = self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed));
            if last <= heard {
                return Err(TablesError::Unavailable("the database does not answer".into()));
            }
            heard = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_read_is_waited_for_as_long_as_the_database_answers_somebody() {
        let (answers, started) = (Answers::new(), Instant::now());
        let slow = async {
            tokio::time::sleep(Duration::from_secs(8)).await;
            Ok(7)
        };
        let others = async {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                answers.note();
            }
        };
        let (read, ()) = tokio::join!(answers.awaited(slow), others);
        assert_eq!(read.unwrap(), 7);
        let never = std::future::pending::<Result<(), TablesError>>();
        let away = Instant::now();
        assert!(matches!(answers.awaited(never).await, Err(TablesError::Unavailable(_))));
        assert!(away.elapsed() < Duration::from_secs(2), "{:?}", away.elapsed());
        assert!(started.elapsed() > Duration::from_secs(9));
    }
}
