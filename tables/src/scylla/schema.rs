//! What the declarations ask of the database's schema, decided without asking it anything.

use std::collections::BTreeMap;

use super::bind::type_of;
use super::options::Options;
use super::statements::names;
use crate::{Column, Table, TablesError};

/// A table as the database has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Existing {
    pub(super) comment: String,
    pub(super) columns: BTreeMap<String, ExistingColumn>,
}

/// A column as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExistingColumn {
    /// `partition_key`, `clustering` or `regular`.
    pub(super) kind: String,
    /// Its place in its part of the key.
    pub(super) position: i32,
    /// Its CQL type.
    pub(super) typ: String,
}

/// The tables of a keyspace, by name.
pub(super) type Schema = BTreeMap<String, Existing>;

/// How long what marks a removed row is kept, in seconds: as long as nodes keep hints for one that is away. Deliveries that
/// wait are removed and written anew at each attempt, and a scan passes all these marks; ten days of them, which is the
/// database's default, would be more than it reads. A node that was away for longer is to be repaired before it serves.
const GC_GRACE_SECONDS: u32 = 10_800;

/// What comments of tables begin with; the versioned columns' names follow.
const COMMENT: &str = "leadway; versioned:";

/// The statement that makes the keyspace. ScyllaDB spreads tables over tablets, on which its older versions know no
/// conditional writes; Cassandra knows no tablets.
pub(super) fn keyspace(options: &Options, scylla: bool) -> String {
    let factors: Vec<String> = match options.datacenters.is_empty() {
        true => vec![format!("'replication_factor': {}", options.replication)],
        false => options.datacenters.iter().map(|(name, factor)| format!("'{name}': {factor}")).collect(),
    };
    let tablets = if scylla { " AND tablets = {'enabled': false}" } else { "" };
    format!(
        "CREATE KEYSPACE IF NOT EXISTS \"{}\" WITH replication = {{'class': 'NetworkTopologyStrategy', {}}}{tablets}",
        options.keyspace,
        factors.join(", ")
    )
}

/// The statements that make of `existing` what the declarations need, in order; none when nothing is to be done.
pub(super) fn plan(keyspace: &str, tables: &[&Table], existing: &Schema) -> Result<Vec<String>, TablesError> {
    let mut statements = Vec::new();
    for (name, cql) in own_tables(keyspace) {
        if !existing.contains_key(name) {
            statements.push(cql);
        }
    }
    for table in tables {
        match existing.get(table.name) {
            None => statements.push(create(keyspace, table)),
            Some(found) => statements.extend(change(keyspace, table, found)?),
        }
    }
    Ok(statements)
}

/// The provider's own tables.
fn own_tables(keyspace: &str) -> [(&'static str, String); 4] {
    let place = "k int, topic text, log_partition int";
    let make = |name: &str, rest: String| format!("CREATE TABLE IF NOT EXISTS \"{keyspace}\".{name} ({rest}");
    [
        (
            "log_claims",
            make(
                "log_claims",
                format!(
                    "{place}, next bigint, batch_id uuid, batch_timestamp bigint, PRIMARY KEY (k, topic, log_partition)) \
                     WITH comment = 'leadway: which batch takes each partition of the log how far'"
                ),
            ),
        ),
        (
            "log_applied",
            make(
                "log_applied",
                format!(
                    "{place}, next bigint, PRIMARY KEY (k, topic, log_partition)) \
                     WITH comment = 'leadway: how far each partition of the log is applied'"
                ),
            ),
        ),
        (
            "log_batches",
            make(
                "log_batches",
                "batch_id uuid, chunk int, chunks int, data blob, PRIMARY KEY (batch_id, chunk)) \
                 WITH comment = 'leadway: batches under way' AND default_time_to_live = 86400 \
                 AND gc_grace_seconds = 3600"
                    .to_owned(),
            ),
        ),
        (
            "log_identity",
            make(
                "log_identity",
                "k int PRIMARY KEY, log text) WITH comment = 'leadway: which log the tables are made of'".to_owned(),
            ),
        ),
    ]
}

/// Names of the provider's own tables that are emptied, the claims last: see `clear`. Which log the tables are made of stays.
pub(super) const OWN_TABLES: [&str; 3] = ["log_batches", "log_applied", "log_claims"];

fn create(keyspace: &str, table: &Table) -> String {
    let columns: Vec<String> = table.columns.iter().map(|c| format!("\"{}\" {}", c.name, type_of(c.kind))).collect();
    let (partition, rest) = table.columns.split_at_checked(table.partition_key).unwrap_or_default();
    let clustering = rest.get(..table.clustering_key).unwrap_or_default();
    let clustering: String = clustering.iter().map(|c| format!(", \"{}\"", c.name)).collect();
    format!(
        "CREATE TABLE IF NOT EXISTS \"{keyspace}\".\"{}\" ({}, PRIMARY KEY (({}){clustering})) WITH comment = '{}' \
         AND gc_grace_seconds = {GC_GRACE_SECONDS}",
        table.name,
        columns.join(", "),
        names(partition),
        comment(table)
    )
}

fn comment(table: &Table) -> String {
    let versioned: String = table.versioned_columns().iter().map(|c| format!(" {}", c.name)).collect();
    format!("{COMMENT}{versioned}")
}

/// Adds what is missing; what is otherwise than declared cannot be changed.
fn change(keyspace: &str, table: &Table, found: &Existing) -> Result<Vec<String>, TablesError> {
    let differs = |what: String| {
        Err(TablesError::Unusable(format!(
            "table {keyspace}.{} was made otherwise than this version declares it: {what}. \
             Drop the keyspace, or set scylla.keyspace to a new one, and run `leadway rebuild`",
            table.name
        )))
    };
    let Some(versioned) = found.comment.strip_prefix(COMMENT) else {
        return differs("its comment is not leadway's".into());
    };
    let versioned: Vec<&str> = versioned.split_whitespace().collect();
    let keys: usize = found.columns.values().filter(|c| c.kind != "regular").count();
    if keys != table.key_columns() {
        return differs(format!("its key has {keys} columns, not {}", table.key_columns()));
    }
    let mut statements = Vec::new();
    for (index, column) in table.columns.iter().enumerate() {
        let expected = expected(table, index, column);
        match found.columns.get(column.name) {
            Some(stands) if *stands != expected => {
                let (name, kind, typ) = (column.name, &stands.kind, &stands.typ);
                return differs(format!("column {name:?} is {typ} ({kind})"));
            }
            Some(_) => {
                let declared = table.versioned_columns().iter().any(|c| c.name == column.name);
                if declared != versioned.contains(&column.name) {
                    return differs(format!("column {:?} has a version in one of them only", column.name));
                }
            }
            None if index < table.key_columns() => return differs(format!("its key has no {:?}", column.name)),
            None => {
                let (table, column, typ) = (table.name, column.name, type_of(column.kind));
                statements.push(format!("ALTER TABLE \"{keyspace}\".\"{table}\" ADD \"{column}\" {typ}"));
            }
        }
    }
    let comment = comment(table);
    if found.comment != comment && versioned.len() <= table.versioned {
        statements.push(format!("ALTER TABLE \"{keyspace}\".\"{}\" WITH comment = '{comment}'", table.name));
    }
    Ok(statements)
}

fn expected(table: &Table, index: usize, column: &Column) -> ExistingColumn {
    let (kind, position) = match index {
        index if index < table.partition_key => ("partition_key", index),
        index if index < table.key_columns() => ("clustering", index - table.partition_key),
        _ => return ExistingColumn { kind: "regular".into(), position: -1, typ: type_of(column.kind).into() },
    };
    ExistingColumn {
        kind: kind.into(),
        position: i32::try_from(position).unwrap_or(i32::MAX),
        typ: type_of(column.kind).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ALL, AppointmentByWorkspaceRow};

    /// The schema after the plan for `tables` was carried out on an empty keyspace.
    fn made(tables: &[&Table]) -> Schema {
        let own = own_tables("ks").map(|(name, _)| (name.to_owned(), Existing::default())).into_iter();
        let declared = tables.iter().map(|table| {
            let columns = table.columns.iter().enumerate();
            let columns = columns.map(|(index, c)| (c.name.to_owned(), expected(table, index, c))).collect();
            (table.name.to_owned(), Existing { comment: comment(table), columns })
        });
        own.chain(declared).collect()
    }

    #[test]
    fn an_empty_keyspace_gets_every_table_and_a_made_one_nothing() {
        assert_eq!(plan("ks", ALL, &Schema::new()).unwrap().len(), ALL.len() + 4);
        assert_eq!(plan("ks", ALL, &made(ALL)).unwrap(), Vec::<String>::new());
        let made = create("ks", AppointmentByWorkspaceRow::TABLE);
        assert!(made.contains("\"day\" date, \"appointment_id\" bigint"), "{made}");
        assert!(made.contains("PRIMARY KEY ((\"workspace_id\", \"day\"), \"appointment_id\")"), "{made}");
    }

    #[test]
    fn missing_columns_are_added_and_unknown_ones_left() {
        let mut old = made(ALL);
        let unrouted = old.get_mut("unrouted").unwrap();
        let reason = unrouted.columns.remove("reason").unwrap();
        unrouted.columns.insert("a_later_versions".into(), reason);
        unrouted.comment = unrouted.comment.replace(" reason", "");
        let planned = plan("ks", ALL, &old).unwrap();
        assert_eq!(planned.len(), 2, "{planned:?}");
        assert_eq!(planned[0], "ALTER TABLE \"ks\".\"unrouted\" ADD \"reason\" text");
        assert!(planned[1].contains("WITH comment"), "{planned:?}");
    }

    #[test]
    fn what_cannot_be_changed_is_told_with_the_way_out() {
        let changed = |change: fn(&mut Existing)| {
            let mut schema = made(ALL);
            change(schema.get_mut("unrouted").unwrap());
            plan("ks", ALL, &schema).unwrap_err().to_string()
        };
        let cases = [
            changed(|t| t.columns.get_mut("code").unwrap().typ = "int".into()),
            changed(|t| t.columns.get_mut("shard").unwrap().kind = "clustering".into()),
            changed(|t| drop(t.columns.remove("lead_id"))),
            changed(|t| t.comment = t.comment.replace(" code", "")),
            changed(|t| t.comment = "somebody's".into()),
        ];
        for error in cases {
            assert!(error.contains("ks.unrouted") && error.contains("leadway rebuild"), "{error}");
        }
    }

    #[test]
    fn a_keyspace_is_replicated_as_asked() {
        let mut options = Options { replication: 2, ..Options::default() };
        assert!(keyspace(&options, false).ends_with("'NetworkTopologyStrategy', 'replication_factor': 2}"));
        options.datacenters = [("east".to_owned(), 3), ("west".to_owned(), 2)].into();
        let text = keyspace(&options, true);
        assert!(text.contains("'east': 3, 'west': 2}") && text.ends_with("tablets = {'enabled': false}"), "{text}");
    }
}
