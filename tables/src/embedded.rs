//! Replaced by LMDB.
use std::sync::Arc;

use crate::{Tables, TablesError};

/// Options of the embedded tables.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder.
    pub folder: std::path::PathBuf,
}

pub(crate) async fn open(_: Options) -> Result<Arc<dyn Tables>, TablesError> {
    Err(TablesError::Unusable("not there yet".into()))
}
