use leadway_domain::Partition;
use leadway_eventlog::LogError;
use leadway_tables::TablesError;

/// Why the router stopped. Everything that was not committed is decided again by the next one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The log refused, or another member took the stage over.
    #[error("router: {0}")]
    Log(#[from] LogError),
    /// Leads would be decided a second time.
    #[error(
        "router: the log says that no lead of leads/{} was decided, and the tables have decisions. Kafka has dropped the \
         group's offsets, because no router ran for offsets.retention.minutes. Nothing is decided before they are set again: \
         docs/operations.md, \"When Kafka has forgotten how far a stage had come\", tells how to find and set them",
        partition.0
    )]
    Forgotten {
        /// Of which partition.
        partition: Partition,
    },
    /// The tables cannot be read.
    #[error("router: {0}")]
    Tables(#[from] TablesError),
}

impl Error {
    /// Whether the same call can succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Log(e) => e.is_transient(),
            Self::Forgotten { .. } => false,
            Self::Tables(e) => e.is_transient(),
        }
    }
}
