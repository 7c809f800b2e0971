//! What every provider of tables keeps, run over each of them; and what the embedded one keeps besides.

// Helpers of tests may fail like tests; clippy knows only functions that are tests themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod contract {
    pub(crate) mod cases;
    pub(crate) mod cassandra;
    pub(crate) mod declarations;
    mod embedded;
    mod equal;
    mod processes;
    mod scans;
}

use std::sync::Arc;

use leadway_tables::{EmbeddedOptions, MemoryTables, Tables, open_declared};
use tempfile::TempDir;

/// Small, so that a test can fill it.
const MAP_BYTES: u64 = 64 << 20;

fn options(folder: &TempDir) -> EmbeddedOptions {
    EmbeddedOptions { folder: folder.path().join("tables"), map_bytes: MAP_BYTES, ..EmbeddedOptions::default() }
}

async fn embedded(folder: &TempDir) -> Arc<dyn Tables> {
    open_declared(options(folder), contract::declarations::ALL).await.unwrap()
}

/// What tables keep that only this process writes.
mod one_process_keeps {
    use super::contract::cases::a_writer_is_told_that_somebody_waits_for_as_long_as_somebody_does as told;

    #[tokio::test]
    async fn memory_tells_a_writer_that_somebody_waits() {
        told(&super::MemoryTables::default()).await;
    }

    #[tokio::test]
    async fn embedded_tells_a_writer_that_somebody_waits() {
        let folder = tempfile::tempdir().unwrap();
        told(&*super::embedded(&folder).await).await;
    }
}

macro_rules! contract {
    ($($case:ident),* $(,)?) => {
        mod memory_keeps {
            $(#[tokio::test] async fn $case() {
                super::contract::cases::$case(&super::MemoryTables::default()).await;
            })*
        }
        mod embedded_keeps {
            $(#[tokio::test] async fn $case() {
                let folder = tempfile::tempdir().unwrap();
                super::contract::cases::$case(&*super::embedded(&folder).await).await;
            })*
        }
        mod cassandra_keeps {
            $(#[tokio::test] async fn $case() {
                super::contract::cases::$case(&*super::contract::cassandra::tables().await).await;
            })*
        }
    };
}

contract! {
    an_upsert_sets_the_cells_it_has_and_leaves_the_others,
    a_row_of_nothing_but_its_key_is_a_row,
    a_delete_removes_one_row_and_may_find_none,
    changes_of_one_batch_are_applied_in_order,
    many_rows_are_read_in_the_order_of_their_keys,
    integers_scan_by_value,
    timestamps_scan_by_value,
    texts_scan_by_bytes,
    uuids_and_booleans_scan_by_bytes,
    later_columns_of_a_key_decide_among_equal_ones,
    a_scan_keeps_to_its_bounds_direction_and_limit,
    bounds_may_be_beginnings_of_keys,
    rows_of_leads_scan_by_id_whichever_partition_of_the_log_they_are_in,
    a_scan_of_more_rows_than_are_read_inline_is_the_same,
    a_partition_does_not_see_its_neighbours,
    tables_do_not_see_each_other,
    a_batch_carries_its_positions,
    a_batch_that_was_applied_is_refused_and_changes_nothing,
    one_stale_position_refuses_the_whole_batch,
    a_waiter_wakes_when_its_position_is_applied,
    what_does_not_fit_is_refused_before_anything_is_touched,
    a_key_may_be_as_long_as_the_store_takes_and_no_longer,
    clear_removes_rows_and_positions,
    which_log_they_are_made_of_is_claimed_once_and_outlives_their_emptying,
    a_dump_has_every_row_by_table_and_key,
    a_large_cell_is_kept,
    what_is_told_to_be_applied_is_found_whole,
    of_writers_that_race_one_applies_each_position,
    of_two_versions_the_higher_stays_whichever_comes_first,
    a_delete_removes_the_versions_up_to_its_own,
    versions_that_do_not_fit_are_refused,
    positions_that_make_no_sense_are_refused,
    every_kind_of_cell_comes_back_as_it_was,
}
