//! How old the submissions of the window are.

use std::collections::BTreeMap;

use leadway_domain::lead::SubmissionKey;

/// Submissions by the second in which they arrived. May name one twice, or one whose successor is known since.
#[derive(Default)]
pub(crate) struct Ages {
    seconds: BTreeMap<i64, Vec<SubmissionKey>>,
    count: usize,
}

impl Ages {
    pub(crate) fn add(&mut self, second: i64, key: SubmissionKey) {
        self.seconds.entry(second).or_default().push(key);
        self.count += 1;
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Takes out one of the oldest, if it came before the second `horizon` or there are more than `max`.
    pub(crate) fn next_gone(&mut self, horizon: i64, max: usize) -> Option<(i64, SubmissionKey)> {
        let is_too_much = self.count > max;
        let mut oldest = self.seconds.first_entry().filter(|oldest| is_too_much || *oldest.key() < horizon)?;
        let (second, key) = (*oldest.key(), oldest.get_mut().pop());
        if oldest.get().is_empty() {
            oldest.remove();
        }
        self.count -= 1;
        key.map(|key| (second, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_when_they_are_too_old_or_too_many() {
        let mut ages = Ages::default();
        for (second, key) in [(5, 1), (1, 2), (3, 3), (3, 4)] {
            ages.add(second, SubmissionKey(key));
        }
        assert_eq!(ages.next_gone(1, 4), None);
        assert_eq!(ages.next_gone(1, 3), Some((1, SubmissionKey(2))));
        assert_eq!(ages.next_gone(3, 3), None);
        let gone: Vec<_> = std::iter::from_fn(|| ages.next_gone(4, 3)).map(|(second, _)| second).collect();
        assert_eq!((gone, ages.count()), (vec![3, 3], 1));
    }
}
