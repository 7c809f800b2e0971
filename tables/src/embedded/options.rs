//! Settings of the embedded tables.

use std::path::PathBuf;

use crate::TablesError;

/// Settings of the embedded tables.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The folder, which is made if it is not there. Follows from the data folder, so it is no setting of its own.
    #[serde(skip)]
    pub folder: PathBuf,
    /// How large the tables may grow, in bytes, at least 1 MiB. This reserves address space, neither memory nor disk:
    /// lower it only where the system limits the address space of a process, or to cap the disk that is used.
    pub map_bytes: u64,
    /// How many reads may be under way at one moment, from 16 to 65,536, those of tools that look at the tables of a
    /// running server included. Each takes 64 bytes.
    pub max_readers: u32,
}

impl Default for Options {
    fn default() -> Self {
        let map_bytes = if cfg!(target_pointer_width = "64") { 1 << 40 } else { 1 << 30 };
        Self { folder: PathBuf::new(), map_bytes, max_readers: 1_024 }
    }
}

impl Options {
    /// The size of the map as LMDB takes it: whole pages, of the largest size that a system has.
    pub(super) fn map_size(&self) -> Result<usize, TablesError> {
        const PAGE: u64 = 64 * 1024;
        let whole_pages = self.map_bytes.checked_next_multiple_of(PAGE).filter(|_| self.map_bytes >= 1 << 20);
        whole_pages.and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(|| {
            TablesError::Unusable(format!(
                "tables.map_bytes is {}: it must be at least 1048576 and fit the system's address space",
                self.map_bytes
            ))
        })
    }

    pub(super) fn readers(&self) -> Result<u32, TablesError> {
        match self.max_readers {
            readers @ 16..=65_536 => Ok(readers),
            other => Err(TablesError::Unusable(format!("tables.max_readers is {other}: it must be from 16 to 65536"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lmdb_cannot_take_is_refused_by_name() {
        let map = |map_bytes| Options { map_bytes, ..Options::default() }.map_size();
        assert_eq!(map((1 << 20) + 1).unwrap(), (1 << 20) + 64 * 1024);
        for wrong in [0, (1 << 20) - 1, u64::MAX] {
            assert!(map(wrong).unwrap_err().to_string().contains("tables.map_bytes"), "{wrong}");
        }
        let readers = |max_readers| Options { max_readers, ..Options::default() }.readers();
        assert!(readers(15).is_err() && readers(16).is_ok() && readers(65_537).is_err());
    }
}
