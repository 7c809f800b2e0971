//! Settings of the embedded log.

use std::path::PathBuf;

use leadway_domain::Addressing;

use crate::LogError;

/// Options of the embedded log.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The folder that holds the log, made if it is not there.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Partitions of every topic but `settings`, 1 to 4096. Fixed when the log is made.
    pub partitions: u32,
    /// Bytes of one file of the log; a full one is followed by the next. A larger single commit gets a larger file.
    pub segment_bytes: u64,
    /// Bytes of the newest records kept in memory for those who follow the log. Older ones are read from the files.
    pub tail_bytes: u64,
    /// Bytes that one call may append at most. A change of many settings is one call: an import of rules comes to some 400
    /// bytes a rule.
    pub max_batch_bytes: usize,
    /// Bytes that may wait to be written; what comes on top is refused for the moment.
    pub max_waiting_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            folder: PathBuf::new(),
            partitions: 12,
            segment_bytes: 64 << 20,
            tail_bytes: 16 << 20,
            max_batch_bytes: 128 << 20,
            max_waiting_bytes: 64 << 20,
        }
    }
}

impl Options {
    /// Names the first setting that cannot be.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        let wrong = |message: String| Err(LogError::Unusable(message));
        if self.folder.as_os_str().is_empty() {
            return wrong("no folder is set for the log; set the data folder".into());
        }
        if !(1..=Addressing::MAX_PARTITIONS).contains(&self.partitions) {
            return wrong(format!("partitions is {}; it must be 1 to {}", self.partitions, Addressing::MAX_PARTITIONS));
        }
        // A frame's length is stored in 32 bits.
        if !(1..=1 << 30).contains(&self.max_batch_bytes) {
            return wrong(format!("max_batch_bytes is {}; it must be 1 to {}", self.max_batch_bytes, 1 << 30));
        }
        Ok(())
    }
}
