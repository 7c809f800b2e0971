//! The injected clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Tells the time, to the microsecond. Cheap to clone; every component gets one and asks nothing else.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
    Function(Arc<dyn Fn() -> Timestamp + Send + Sync>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `start` until it is moved.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.as_microsecond()))))
    }

    /// A clock that shows what `tell` says: a runtime's simulated time.
    pub fn from_fn(tell: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Source::Function(Arc::new(tell)))
    }

    /// The present moment, cut to microseconds.
    #[allow(clippy::disallowed_methods)] // the one place that may ask the machine
    pub fn now(&self) -> Timestamp {
        let micros = match &self.0 {
            Source::System => Timestamp::now().as_microsecond(),
            Source::Manual(micros) => micros.load(Ordering::SeqCst),
            Source::Function(tell) => tell().as_microsecond(),
        };
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Moves a manual clock to `to`, never backwards. Other clocks do not move for anybody.
    pub fn advance_to(&self, to: Timestamp) {
        if let Source::Manual(micros) = &self.0 {
            micros.fetch_max(to.as_microsecond(), Ordering::SeqCst);
        }
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = match self.0 {
            Source::System => "system",
            Source::Manual(_) => "manual",
            Source::Function(_) => "function",
        };
        f.debug_tuple("Clock").field(&source).finish()
    }
}
