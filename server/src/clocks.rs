//! How far this node's clock is from the database's: who receives webhooks refuses what is signed at another time.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::telemetry::CLOCK_OFFSET_SECONDS;
use leadway_domain::{Clock, Timestamp};
use leadway_tables::Tables;
use tokio_util::sync::CancellationToken;

/// How often it is looked.
const PAUSE: Duration = Duration::from_secs(15);
/// A difference that is told at once: most receivers take five minutes, and clocks that are kept differ by milliseconds.
const TOLD: f64 = 5.0;

/// Measures the difference now and then, until `stop`. Where the tables have no clock but this one there is nothing to do.
pub(crate) async fn watch(tables: Arc<dyn Tables>, clock: Clock, stop: CancellationToken) {
    let mut told = false;
    loop {
        let before = clock.now();
        match tables.clock().await {
            Ok(None) => return,
            Ok(Some(theirs)) => {
                let seconds = offset(before, clock.now(), theirs) as f64 / 1e6;
                metrics::gauge!(CLOCK_OFFSET_SECONDS).set(seconds);
                let differs = seconds.abs() > TOLD;
                if differs && !told {
                    tracing::warn!(
                        seconds,
                        "this machine's clock differs from the database's (above 0: it is ahead); receivers refuse webhooks that \
                         are signed minutes off: check its time service"
                    );
                }
                told = differs;
            }
            Err(error) => tracing::debug!(%error, "the database's time is not known"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

/// Microseconds by which this clock is ahead of one that said `theirs` between `before` and `after`.
fn offset(before: Timestamp, after: Timestamp, theirs: Timestamp) -> i64 {
    let (before, after, theirs) = (before.as_microsecond(), after.as_microsecond(), theirs.as_microsecond());
    before + (after - before) / 2 - theirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_that_of_the_middle_of_the_question() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(offset(at(100), at(102), at(101)), 0);
        assert_eq!(offset(at(700), at(702), at(101)), 600_000_000);
        assert_eq!(offset(at(100), at(100), at(160)), -60_000_000);
    }
}
