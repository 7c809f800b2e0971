//! An append that is seen through to its end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

/// Work that goes on when nobody waits for it any more.
///
/// A sender that hangs up while its lead is being written drops the request's future. The write cannot be recalled, so
/// its outcome must still reach the submission window: a retry would otherwise be taken for a new lead.
pub(crate) struct SeenThrough<T: Send + 'static>(Option<BoxFuture<'static, T>>);

impl<T: Send + 'static> SeenThrough<T> {
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<T: Send + 'static> Future for SeenThrough<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let output = std::task::ready!(work.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for SeenThrough<T> {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and the window with it.
        if let (Some(work), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}
