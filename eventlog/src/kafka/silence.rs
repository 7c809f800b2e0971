//! Whether a group answers a member that waits for its partitions.

use std::time::{Duration, Instant};

/// How long a group may take. Members that were there before are asked first, and may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Since when a member waits for the group's answer, and whether that was said.
pub(crate) struct Silence {
    waiting: Option<Instant>,
    said: bool,
}

impl Silence {
    /// Of a member that asks to be let in now.
    pub(crate) fn begin(now: Instant) -> Self {
        Self { waiting: Some(now), said: false }
    }

    /// The group has said what the member has, be it nothing.
    pub(crate) fn end(&mut self) {
        *self = Self { waiting: None, said: false };
    }

    /// The time waited, when it is to be said: once for each silence.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.waiting?);
        if self.said || waited < PATIENCE {
            return None;
        }
        self.said = true;
        Some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_silence_is_said_once_until_the_group_answers() {
        let start = Instant::now();
        let (soon, late) = (start + PATIENCE / 2, start + PATIENCE);
        let mut silence = Silence::begin(start);
        assert_eq!(silence.overdue(soon), None);
        assert_eq!(silence.overdue(late), Some(PATIENCE));
        assert_eq!(silence.overdue(late + PATIENCE), None, "said before");
        silence.end();
        assert_eq!(silence.overdue(late + PATIENCE), None, "answered");
        silence = Silence::begin(late);
        assert_eq!(silence.overdue(late + PATIENCE), Some(PATIENCE), "another silence");
    }
}
