//! The declarations that a store was made with.

use std::fmt::Write as _;

use crate::{Table, TablesError};

/// The tables that a store knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declared(&'static [&'static Table]);

impl Declared {
    /// Refuses numbers that are reserved (0) or given twice.
    pub(super) fn new(tables: &'static [&'static Table]) -> Result<Self, TablesError> {
        let mut seen = [false; 256];
        for table in tables {
            let taken = seen.get_mut(usize::from(table.id)).map(|seen| std::mem::replace(seen, true));
            if table.id == 0 || taken == Some(true) {
                let reason = format!("its number {} is reserved or given twice", table.id);
                return Err(TablesError::Mismatch { table: table.name, reason });
            }
        }
        Ok(Self(tables))
    }

    /// The table with this number.
    pub(super) fn table(self, id: u8) -> Option<&'static Table> {
        self.0.iter().copied().find(|table| table.id == id)
    }

    /// Everything about the declarations that stored bytes depend on, with the version of the encoding.
    pub(super) fn fingerprint(self) -> String {
        let mut text = String::from("leadway tables, encoding 2\n");
        for table in self.0 {
            let (partition, clustering, versioned) = (table.partition_key, table.clustering_key, table.versioned);
            let _ = write!(text, "{} {} {partition}+{clustering}+{versioned}", table.id, table.name);
            for column in table.columns {
                let _ = write!(text, " {}:{:?}", column.name, column.kind);
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::ALL_KINDS;

    const RESERVED: &Table =
        &Table { id: 0, name: "reserved", columns: &[], partition_key: 0, clustering_key: 0, versioned: 0 };

    #[test]
    fn numbers_that_would_mix_two_tables_are_refused() {
        assert!(Declared::new(&[ALL_KINDS]).is_ok());
        assert!(Declared::new(&[ALL_KINDS, ALL_KINDS]).is_err());
        assert!(Declared::new(&[RESERVED]).is_err());
        assert!(Declared::new(crate::schema::ALL).is_ok());
    }
}
