//! Bounds on what all requests together hold at one moment.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many units (bytes, leads) and no more.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

/// Nothing is left of a budget.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// A share of nothing yet.
    pub(crate) fn share(&self) -> Share<&Self> {
        Share { budget: self, held: 0 }
    }

    /// A share that may outlive the request.
    pub(crate) fn owned_share(self: &Arc<Self>) -> Share<Arc<Self>> {
        Share { budget: Arc::clone(self), held: 0 }
    }
}

/// What one request holds of a budget; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share<B: Deref<Target = Budget>> {
    budget: B,
    held: usize,
}

impl<B: Deref<Target = Budget>> Share<B> {
    /// Takes `by` more. Who holds all that is taken may exceed the budget: a request larger than the whole budget would
    /// otherwise never pass.
    pub(crate) fn grow(&mut self, by: usize) -> Result<(), Exhausted> {
        let (held, max) = (self.held, self.budget.max);
        let fits = |used: usize| {
            let after = used.saturating_add(by);
            (after <= max || used == held).then_some(after)
        };
        match self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                self.held = held.saturating_add(by);
                Ok(())
            }
            Err(_) => Err(Exhausted),
        }
    }
}

impl<B: Deref<Target = Budget>> Drop for Share<B> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_refused_to_others_until_it_is_given_back() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert_eq!(one.grow(6), Ok(()));
        assert_eq!(other.grow(5), Err(Exhausted));
        assert_eq!(other.grow(4), Ok(()));
        drop(one);
        assert_eq!(other.grow(6), Ok(()));
    }

    #[test]
    fn what_exceeds_the_whole_budget_passes_alone() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert_eq!(one.grow(25), Ok(()));
        assert_eq!(other.grow(1), Err(Exhausted));
        drop(one);
        assert_eq!(other.grow(1), Ok(()));
    }
}
