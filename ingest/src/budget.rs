//! Bounds on what all requests together hold at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many units (bytes, leads) and no more, perhaps within those of a larger budget.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
    whole: Option<Arc<Budget>>,
}

/// Nothing is left of a budget.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max, whole: None })
    }

    /// A part of this budget: what it holds, this one holds as well.
    pub(crate) fn part(self: &Arc<Self>, max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max, whole: Some(Arc::clone(self)) })
    }

    /// Its size.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// A share of nothing yet. It may outlive the request.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), held: 0 }
    }

    /// Takes `by` more for who holds `held`. Who holds all that is taken may exceed the budget: a request larger than the
    /// whole budget would otherwise never pass.
    fn take(&self, held: usize, by: usize) -> Result<(), Exhausted> {
        let fits = |used: usize| {
            let after = used.saturating_add(by);
            (after <= self.max || used == held).then_some(after)
        };
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| Exhausted)?;
        let Some(whole) = &self.whole else { return Ok(()) };
        whole.take(held, by).inspect_err(|_| _ = self.used.fetch_sub(by, Ordering::Relaxed))
    }

    fn give_back(&self, held: usize) {
        self.used.fetch_sub(held, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(held);
        }
    }
}

/// What one request holds of a budget; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    held: usize,
}

impl Share {
    /// Takes `by` more.
    pub(crate) fn grow(&mut self, by: usize) -> Result<(), Exhausted> {
        self.budget.take(self.held, by)?;
        self.held = self.held.saturating_add(by);
        Ok(())
    }

    /// What it holds is from now on held of another budget. Where there is no room, nothing is held any more.
    pub(crate) fn move_to(&mut self, budget: &Arc<Budget>) -> Result<(), Exhausted> {
        let held = self.held;
        *self = budget.share();
        self.grow(held)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.held);
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

    #[test]
    fn what_is_moved_leaves_its_part_free() {
        let whole = Budget::new(10);
        let (part, other) = (whole.part(6), whole.part(8));
        let mut share = part.share();
        assert_eq!(share.grow(6), Ok(()));
        assert_eq!(share.move_to(&other), Ok(()), "the whole holds it once, and not twice");
        let used = |budget: &Budget| budget.used.load(Ordering::Relaxed);
        assert_eq!((used(&part), used(&other), used(&whole)), (0, 6, 6));
        drop(share);
        assert_eq!((used(&other), used(&whole)), (0, 0));
    }

    #[test]
    fn a_part_leaves_the_rest_to_others() {
        let whole = Budget::new(10);
        let part = whole.part(6);
        let (mut one, mut two, mut other) = (part.share(), part.share(), whole.share());
        assert_eq!(one.grow(5), Ok(()));
        assert_eq!(two.grow(2), Err(Exhausted), "the part is full");
        assert_eq!(other.grow(5), Ok(()));
        assert_eq!(two.grow(1), Err(Exhausted), "the whole is full");
        drop((one, other));
        assert_eq!(two.grow(6), Ok(()), "and nothing was lost");
        drop(two);
        assert_eq!((whole.used.load(Ordering::Relaxed), part.used.load(Ordering::Relaxed)), (0, 0));
    }
}
