//! Keeps a stage running: when it fails it is made anew, with growing pauses.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::FutureExt;
use leadway_domain::telemetry::STAGE_FAILURES;
use leadway_eventlog::LogError;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ops::Readiness;

/// A stage that ran this long before it failed starts with a short pause again.
const HEALTHY: Duration = Duration::from_secs(60);
/// A stage that fails so often in a row is not ready: one blip is nothing that anybody must know of.
const KEEPS_FAILING: u32 = 3;
/// When it has run so long again, it is.
const RECOVERED: Duration = Duration::from_secs(10);

/// Why a stage ended.
pub trait Failure: Display {
    /// Whether another member has taken the stage over: starting again would only fight with it.
    fn is_fenced(&self) -> bool;
}

impl Failure for leadway_ingest::Error {
    fn is_fenced(&self) -> bool {
        false // whoever follows the log shares it with everybody
    }
}

impl Failure for leadway_router::Error {
    fn is_fenced(&self) -> bool {
        matches!(self, Self::Log(LogError::Fenced { .. }))
    }
}

impl Failure for leadway_dispatcher::Error {
    fn is_fenced(&self) -> bool {
        matches!(self, Self::Log(LogError::Fenced { .. }))
    }
}

impl Failure for leadway_scoring::ScoringError {
    fn is_fenced(&self) -> bool {
        matches!(self, Self::Log(LogError::Fenced { .. }))
    }
}

/// Runs the work on a thread of its own, which gets its share of the machine however many connections the others serve.
/// The future that is returned ends with it; dropping that cancels `stop`, which the work is to heed.
///
/// # Errors
/// When the system gives no thread.
pub fn apart(
    name: &'static str,
    stop: CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<impl Future<Output = ()> + Send> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ending, ended) = oneshot::channel::<()>();
    std::thread::Builder::new().name(name.into()).spawn(move || {
        runtime.block_on(work);
        drop(ending);
    })?;
    let stop = stop.drop_guard();
    Ok(async move {
        let _stop = stop;
        // An error only says that the other end is gone, which is what this waits for.
        let _ = ended.await;
    })
}

/// Runs `make()` to its end, again after every failure, until `stop` or until another member has taken the stage over.
/// A stage that panics has failed like any other. `readiness` tells when it keeps failing, or is not running any more.
pub async fn keep_running<F, E>(
    name: &'static str,
    readiness: Readiness,
    stop: CancellationToken,
    mut make: impl FnMut() -> F,
) where
    F: Future<Output = Result<(), E>>,
    E: Failure,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times();
    let mut pause = pauses.build();
    let mut failures = 0;
    readiness.set(name, true);
    metrics::counter!(STAGE_FAILURES, "stage" => name).increment(0);
    while !stop.is_cancelled() {
        let started = Instant::now();
        // What a panic left behind is dropped with the stage; the next one starts from the log.
        let mut run = pin!(AssertUnwindSafe(async { make().await }).catch_unwind());
        let ended = tokio::select! {
            ended = &mut run => ended,
            () = tokio::time::sleep(RECOVERED), if failures > 0 => {
                readiness.set(name, true);
                run.await
            }
        };
        if matches!(ended, Ok(Ok(()))) {
            break;
        }
        metrics::counter!(STAGE_FAILURES, "stage" => name).increment(1);
        let error = match ended {
            Ok(Err(error)) if error.is_fenced() => {
                tracing::error!(stage = name, %error, "ended");
                break;
            }
            Ok(Err(error)) => error.to_string(),
            _ => "it panicked".to_owned(),
        };
        if started.elapsed() > HEALTHY {
            pause = pauses.build();
            failures = 0;
        }
        failures += 1;
        if failures >= KEEPS_FAILING {
            readiness.set(name, false);
        }
        let wait = pause.next().unwrap_or(Duration::from_secs(5));
        tracing::error!(stage = name, %error, ?wait, "failed; starting it again");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
    readiness.set(name, false);
    if !stop.is_cancelled() {
        tracing::error!(stage = name, "does not run any more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[derive(Debug)]
    enum Broken {
        Once,
        TakenOver,
    }

    impl Display for Broken {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{self:?}")
        }
    }

    impl Failure for Broken {
        fn is_fenced(&self) -> bool {
            matches!(self, Self::TakenOver)
        }
    }

    async fn runs_until(last: impl Fn(&CancellationToken) -> Result<(), Broken>) -> u32 {
        let (stop, readiness) = (CancellationToken::new(), Readiness::default());
        let runs = Cell::new(0);
        keep_running("test", readiness.clone(), stop.clone(), || {
            runs.set(runs.get() + 1);
            assert_eq!(readiness.all(), runs.get() < 4, "one blip is nothing, the third failure in a row is");
            let (run, ended) = (runs.get(), if runs.get() == 4 { last(&stop) } else { Err(Broken::Once) });
            async move {
                assert!(run != 2, "the second run panics");
                ended
            }
        })
        .await;
        assert!(!readiness.all(), "what does not run is not ready");
        runs.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stage_is_started_again_until_it_is_stopped() {
        let stopped = |stop: &CancellationToken| {
            stop.cancel();
            Ok(())
        };
        assert_eq!(runs_until(stopped).await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stage_that_kept_failing_is_ready_again_once_it_runs() {
        let (stop, readiness) = (CancellationToken::new(), Readiness::default());
        let runs = Cell::new(0);
        let running = keep_running("test", readiness.clone(), stop.clone(), || {
            runs.set(runs.get() + 1);
            let (fails, stop) = (runs.get() <= 5, stop.clone());
            async move {
                if fails {
                    return Err(Broken::Once);
                }
                stop.cancelled().await;
                Ok(())
            }
        });
        let watching = async {
            tokio::time::sleep(RECOVERED).await;
            assert!(runs.get() == 6 && !readiness.all(), "it has only just begun to run");
            tokio::time::sleep(RECOVERED).await;
            assert!(readiness.all());
            stop.cancel();
        };
        tokio::join!(running, watching);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stage_that_was_taken_over_is_left_alone() {
        assert_eq!(runs_until(|_| Err(Broken::TakenOver)).await, 4);
    }
}
