//! The providers that keep the contract.

use std::sync::Arc;

use leadway_eventlog::{EmbeddedOptions, EventLog, MemoryLog};

/// Partitions of every topic but `settings`.
pub(crate) const PARTITIONS: u32 = 3;

/// Opens one log, again and again: what was acknowledged is in it every time.
pub(crate) enum Provider {
    Memory(MemoryLog),
    Embedded { options: EmbeddedOptions, _folder: tempfile::TempDir },
}

impl Provider {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryLog::new(PARTITIONS))
    }

    pub(crate) fn embedded() -> Self {
        Self::embedded_with(EmbeddedOptions::default())
    }

    /// With small files and nothing in memory, so that every read goes to the files.
    pub(crate) fn embedded_on_files() -> Self {
        Self::embedded_with(EmbeddedOptions { segment_bytes: 4 << 10, tail_bytes: 0, ..EmbeddedOptions::default() })
    }

    fn embedded_with(options: EmbeddedOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions { folder: folder.path().into(), partitions: PARTITIONS, ..options };
        Self::Embedded { options, _folder: folder }
    }

    pub(crate) async fn open(&self) -> Arc<dyn EventLog> {
        match self {
            Self::Memory(log) => Arc::new(log.clone()),
            Self::Embedded { options, .. } => leadway_eventlog::open(options.clone()).await.unwrap(),
        }
    }
}
