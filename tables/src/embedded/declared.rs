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

    /// How many tables.
    pub(super) fn count(self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The tables' names.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|table| table.name)
    }

    /// The tables in the order of their numbers.
    pub(super) fn by_number(self) -> Vec<&'static Table> {
        let mut tables = self.0.to_vec();
        tables.sort_by_key(|table| table.id);
        tables
    }

    /// Which of the tables this one is.
    pub(super) fn index(self, table: &Table) -> Option<usize> {
        let same = |other: &&Table| other.name == table.name && other.columns.len() == table.columns.len();
        self.0.iter().position(|other| other.id == table.id).filter(|index| self.0.get(*index).is_some_and(same))
    }

    /// Everything about the declarations that stored bytes depend on, with the version of the encoding.
    pub(super) fn fingerprint(self) -> String {
        let mut text = String::from("leadway tables, encoding 4\n");
        for table in self.0 {
            let (partition, clustering, versioned) = (table.partition_key, table.clustering_key, table.versioned);
            let _ = write!(text, "{} {} {partition}+{clustering}+{versioned}", table.id, table.name);
            text.push_str(if table.by_lead { " by lead" } else { "" });
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

    const RESERVED: &Table = &Table {
        id: 0,
        name: "reserved",
        columns: &[],
        partition_key: 0,
        clustering_key: 0,
        versioned: 0,
        by_lead: false,
    };

    #[test]
    fn numbers_that_would_mix_two_tables_are_refused() {
        assert!(Declared::new(&[ALL_KINDS]).is_ok());
        assert!(Declared::new(&[ALL_KINDS, ALL_KINDS]).is_err());
        assert!(Declared::new(&[RESERVED]).is_err());
        assert!(Declared::new(crate::schema::ALL).is_ok());
    }
}
