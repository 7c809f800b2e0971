//! A future beside another one of the same task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Polls a future only when that future itself was woken.
///
/// A connection's task is polled several times for each request. What waits beside the connection for hours, for a
/// timer or for the node's end, would be asked each time and take its locks each time.
pub(crate) struct Aside<F> {
    work: F,
    bell: Option<Arc<Bell>>,
}

/// Tells that the future was woken, and wakes the task for it.
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl<F> Aside<F> {
    pub(crate) fn new(work: F) -> Self {
        Self { work, bell: None }
    }
}

impl<F: Future + Unpin> Future for Aside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let present = self.bell.take().filter(|bell| bell.task.will_wake(cx.waker()));
        let bell = present.unwrap_or_else(|| {
            // The first time, or in another task: whatever was registered before wakes nobody any more.
            Arc::new(Bell { rung: AtomicBool::new(true), task: cx.waker().clone() })
        });
        let bell = self.bell.insert(bell);
        if !bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = Waker::from(Arc::clone(bell));
        Pin::new(&mut self.work).poll(&mut Context::from_waker(&waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;

    #[tokio::test]
    async fn it_is_polled_when_it_was_woken_and_not_with_its_neighbour() {
        let (polls, gate) = (AtomicUsize::new(0), tokio::sync::Notify::new());
        let work = pin!(async {
            let mut notified = pin!(gate.notified());
            poll_fn(|cx| {
                polls.fetch_add(1, Ordering::SeqCst);
                notified.as_mut().poll(cx)
            })
            .await;
        });
        let mut aside = Aside::new(work);
        for _ in 0..10 {
            assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut aside).poll(cx))).await.is_pending());
        }
        assert_eq!(polls.load(Ordering::SeqCst), 1);
        gate.notify_one();
        aside.await;
        assert_eq!(polls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn it_wakes_the_task_that_it_moved_to() {
        let gate = Arc::new(tokio::sync::Notify::new());
        let waiting = Arc::clone(&gate);
        let mut aside = Aside::new(Box::pin(async move { waiting.notified().await }));
        assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut aside).poll(cx))).await.is_pending());
        let elsewhere = tokio::spawn(aside);
        tokio::task::yield_now().await;
        gate.notify_one();
        elsewhere.await.unwrap();
    }
}
