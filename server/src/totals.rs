//! What tables amount to: for whoever compares them before and after.

use futures::stream::{self, StreamExt, TryStreamExt};
use leadway_domain::{Clock, Money};
use leadway_tables::schema::DailyRow;
use leadway_tables::{Day, Range, Tables, TablesError, key, scan};

/// No lead is older than this software.
const FIRST_DAY: &str = "2020-01-01T00:00:00Z";
/// Days that are read side by side.
const AT_ONCE: usize = 32;

/// Sums over all days, without tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Leads accepted.
    pub(crate) leads: i64,
    /// Appointments routed.
    pub(crate) appointments: i64,
    /// Billed.
    pub(crate) revenue: Money,
}

impl Totals {
    /// The sums of these tables.
    pub(crate) async fn of(tables: &dyn Tables) -> Result<Self, TablesError> {
        let first = FIRST_DAY.parse().map_or(Day::of(leadway_domain::Timestamp::UNIX_EPOCH), Day::of);
        // Clocks of other nodes may be ahead.
        let last = Day::of(Clock::system().now()).plus(1);
        let days = first.through(last).map(|day| async move {
            let rows: Vec<DailyRow> = scan(tables, &key![day], Range::first(usize::MAX)).await?;
            Ok::<_, TablesError>(rows)
        });
        let days = stream::iter(days).buffer_unordered(AT_ONCE).boxed();
        days.try_fold(Self::default(), async |sum, rows| Ok(sum.with(&rows))).await
    }

    fn with(mut self, rows: &[DailyRow]) -> Self {
        for row in rows {
            self.leads += row.leads.unwrap_or_default();
            self.appointments += row.appointments.unwrap_or_default();
            self.revenue += row.revenue.unwrap_or_default();
        }
        self
    }
}
