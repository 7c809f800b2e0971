use leadway_domain::record::Topic;

/// Why the log could not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The disk is full, the write failed, or too much is waiting. Nothing of the call has landed; it may be tried again.
    #[error("the log cannot take records now: {0}")]
    Unavailable(String),
    /// Whether the call landed is not known. Either the log stopped before it answered; or it goes on but a write failed
    /// and could not be taken back durably, so that a restart may find it; or the brokers did not acknowledge it in time.
    #[error(
        "whether it landed is not known: the log stopped, did not answer in time, or could not take a failed write back"
    )]
    Closed,
    /// A partition that the commit is about is not this member's any more, or what it [read
    /// ahead](crate::Stage::read_ahead) could not be made durable. Nothing of the commit has landed; what
    /// [`next`](crate::Stage::next) returns before anything else tells which partitions were lost.
    #[error(
        "stage {stage:?}: the partition was given to another member, or what was read of it could not be made durable"
    )]
    Revoked {
        /// The stage.
        stage: String,
    },
    /// Another member has taken the whole stage over.
    #[error("stage {stage:?} was taken over by another member")]
    Fenced {
        /// The stage.
        stage: String,
    },
    /// What is stored cannot be trusted.
    #[error("{file}: damaged at byte {position}: {reason}")]
    Corrupt {
        /// The file.
        file: String,
        /// Where in it.
        position: u64,
        /// What is wrong, and what can be done.
        reason: String,
    },
    /// The log's folder cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// A single record or batch is larger than the log takes.
    #[error("a batch of {bytes} bytes for topic {topic:?} is larger than the log takes ({limit})")]
    TooLarge {
        /// First topic of the batch.
        topic: Option<Topic>,
        /// Size of the batch.
        bytes: usize,
        /// What the log takes.
        limit: usize,
    },
}

impl LogError {
    /// Whether the same call can succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether the records may be in the log in spite of the error.
    pub fn may_have_landed(&self) -> bool {
        matches!(self, Self::Closed)
    }
}
