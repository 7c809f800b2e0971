//! The attempts under way.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use crate::outcome::{Attempt, Job};
use crate::{SendError, Transport, WebhookRequest};

/// Attempts under way and, until they are taken, those that have ended. They go on only while somebody waits for one to
/// end: the connections behind them are tasks of their own, an attempt itself has next to nothing to do.
#[derive(Default)]
pub(crate) struct Flights {
    under_way: FuturesUnordered<BoxFuture<'static, Ended>>,
    ended: Vec<Ended>,
}

/// An attempt that ended.
pub(crate) struct Ended {
    pub(crate) job: Job,
    pub(crate) attempt: Attempt,
    pub(crate) took: Duration,
}

impl Flights {
    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Sends. Where `body_counts`, an answer's body can say that it is a refusal.
    pub(crate) fn start(
        &mut self,
        job: Job,
        transport: Arc<dyn Transport>,
        request: WebhookRequest,
        body_counts: bool,
    ) {
        let flight = async move {
            let started = Instant::now();
            let attempt = match AssertUnwindSafe(transport.send(request)).catch_unwind().await {
                Ok(Ok(answer)) => Attempt::answered(answer, body_counts),
                Ok(Err(error)) => Attempt::NotAnswered(error),
                Err(_) => {
                    tracing::error!("an attempt broke off");
                    Attempt::NotAnswered(SendError::Broken("the attempt broke off inside the dispatcher".into()))
                }
            };
            Ended { job, attempt, took: started.elapsed() }
        };
        self.under_way.push(flight.boxed());
    }

    /// Waits until attempts have ended; [`Self::take`] has them then. Dropping the future is safe. Without any under way it
    /// waits for ever.
    pub(crate) async fn ended(&mut self) {
        poll_fn(|cx| {
            while let Poll::Ready(Some(ended)) = self.under_way.poll_next_unpin(cx) {
                self.ended.push(ended);
            }
            if self.ended.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Those that have ended since they were last taken.
    pub(crate) fn take(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }
}
