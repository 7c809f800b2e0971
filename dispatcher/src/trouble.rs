//! When a client's failures are told to the process's log: the first one, and that it is over. Not each of them.

use std::time::Duration;

use leadway_domain::Timestamp;

use crate::schedule::later;

/// A client that fails now and then is told of this often at most.
const SELDOM: Duration = Duration::from_secs(60);

/// What was told of one client.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Since when its attempts fail.
    since: Option<Timestamp>,
    /// Whether that was told.
    told: bool,
    last_told: Option<Timestamp>,
}

impl Trouble {
    /// An attempt failed. Whether to tell it.
    pub(crate) fn failed(&mut self, now: Timestamp) -> bool {
        if self.since.is_some() {
            return false;
        }
        self.since = Some(now);
        let tell = self.last_told.is_none_or(|at| now < at || now >= later(at, SELDOM));
        if tell {
            self.tell(now);
        }
        tell
    }

    /// It was told otherwise.
    pub(crate) fn tell(&mut self, now: Timestamp) {
        (self.told, self.last_told) = (true, Some(now));
    }

    /// An attempt succeeded. Since when none had, if that was told.
    pub(crate) fn succeeded(&mut self) -> Option<Timestamp> {
        self.since.take().filter(|_| std::mem::take(&mut self.told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_told_and_its_end_and_a_wavering_client_once_a_minute() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut trouble = Trouble::default();
        assert_eq!(trouble.succeeded(), None);
        assert!(trouble.failed(at(0)) && !trouble.failed(at(1)));
        assert_eq!(trouble.succeeded(), Some(at(0)));
        assert_eq!(trouble.succeeded(), None);
        assert!(!trouble.failed(at(59)), "not again so soon");
        assert_eq!(trouble.succeeded(), None, "nor the end of what was not told");
        assert!(trouble.failed(at(60)));
    }
}
