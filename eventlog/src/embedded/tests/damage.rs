//! Damaged files: what a crash can leave is cut off, anything else is named and refused.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use leadway_domain::record::Topic;

use super::{all, append, leads, newest, open, record};
use crate::embedded::segment;
use crate::embedded::sidecar::Sidecar;
use crate::{EventLog, LogError};

/// Makes a copy of the log's files and lets `damage` loose on one segment.
pub(super) fn copy(folder: &Path, number: u64, damage: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let path = segment::path(copy.path(), number);
    let mut bytes = std::fs::read(&path).unwrap();
    damage(&mut bytes);
    std::fs::write(path, bytes).unwrap();
    copy
}

fn damage_at(error: &LogError) -> (String, u64) {
    match error {
        LogError::Corrupt { file, position, reason } => {
            assert!(reason.contains("restore"), "it says what to do: {reason}");
            (Path::new(file).file_name().unwrap().to_str().unwrap().to_owned(), *position)
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_last_write_torn_anywhere_is_left_out_whole() {
    for seed in 0..30 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path()).await.unwrap();
        let mut acknowledged = Vec::new();
        for n in 0..rng.usize(0..12) {
            let data = format!("{n}{}", "x".repeat(rng.usize(0..700)));
            append(&log, &data).await.unwrap();
            acknowledged.push(data);
        }
        let before = newest(&log);
        let last: Vec<String> =
            (0..rng.usize(1..4)).map(|n| format!("last {n}{}", "y".repeat(rng.usize(0..300)))).collect();
        log.append(last.iter().map(|d| record(Topic::Leads, "k", d.clone())).collect()).await.unwrap();
        let after = newest(&log);
        if after.number != before.number {
            continue;
        }
        for _ in 0..10 {
            let (start, end) = (before.length as usize, after.length as usize);
            let at = rng.usize(start..end);
            let way = rng.u8(0..4);
            let torn = copy(folder.path(), after.number, |bytes| match way {
                0 => bytes.truncate(at),
                1 => bytes[at..].fill(0),
                2 => bytes[at] ^= 1 << rng.u8(0..8),
                // The middle of the write never reached the disk, its end did.
                _ => bytes[start..=at].fill(0),
            });
            let untouched = way == 1 && {
                let original = std::fs::read(segment::path(folder.path(), after.number)).unwrap();
                original[at..end].iter().all(|b| *b == 0)
            };
            let log = open(torn.path()).await.unwrap_or_else(|e| panic!("seed {seed} way {way} at {at}: {e}"));
            if !untouched {
                assert_eq!(leads(&log).await, acknowledged, "seed {seed} way {way} at {at}");
            }
            // What is written next stands where the torn write stood, and holds.
            append(&log, "next").await.unwrap();
            let newest = newest(&log);
            drop(log);
            let bytes = std::fs::read(segment::path(torn.path(), newest.number)).unwrap();
            assert!(
                bytes[newest.length as usize..].iter().all(|b| *b == 0),
                "seed {seed} way {way} at {at}: leftovers"
            );
            let log = open(torn.path()).await.unwrap();
            assert_eq!(leads(&log).await.last().unwrap(), "next", "seed {seed} way {way} at {at}");
        }
    }
}

#[tokio::test]
async fn damage_before_the_last_frame_refuses_the_log_and_names_the_place() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path()).await.unwrap();
        let mut starts = vec![0];
        for n in 0..8 {
            starts.push(newest(&log).length);
            append(&log, &format!("{n}{}", "x".repeat(rng.usize(0..200)))).await.unwrap();
        }
        let victim = rng.usize(0..starts.len() - 1);
        let at = rng.u64(starts[victim]..starts[victim + 1]) as usize;
        for zero in [false, true] {
            let damaged = copy(folder.path(), 0, |bytes| match zero {
                true => bytes[starts[victim] as usize..starts[victim + 1] as usize].fill(0),
                false => bytes[at] ^= 0x40,
            });
            let error = open(damaged.path()).await.map(drop).unwrap_err();
            let expected = ("000000000000.log".to_owned(), starts[victim]);
            assert_eq!(damage_at(&error), expected, "seed {seed}: {error}");
        }
    }
}

/// A log of several segments; returns what is in it.
async fn large(folder: &Path) -> Vec<String> {
    let log = open(folder).await.unwrap();
    let data: Vec<String> = (0..30).map(|n| format!("{n}{}", "x".repeat(500))).collect();
    for data in &data {
        append(&log, data).await.unwrap();
    }
    assert!(newest(&log).number >= 3);
    data
}

#[tokio::test]
async fn damage_in_a_full_segment_is_met_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    large(folder.path()).await;
    let damaged = copy(folder.path(), 1, |bytes| bytes[1_500] ^= 1);
    let log = open(damaged.path()).await.unwrap();
    let error = all(&log, Topic::Leads, 0).await.unwrap_err();
    assert_eq!(damage_at(&error).0, "000000000001.log");
}

#[tokio::test]
async fn damage_in_a_full_segment_without_sidecar_refuses_the_log() {
    let folder = tempfile::tempdir().unwrap();
    large(folder.path()).await;
    for damage in [|bytes: &mut Vec<u8>| bytes[1_500] ^= 1, |bytes: &mut Vec<u8>| bytes[1_500..].fill(0)] {
        let damaged = copy(folder.path(), 1, damage);
        std::fs::remove_file(Sidecar::path(damaged.path(), 1)).unwrap();
        let error = open(damaged.path()).await.map(drop).unwrap_err();
        assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_cut_full_segment_refuses_the_log() {
    let folder = tempfile::tempdir().unwrap();
    large(folder.path()).await;
    let damaged = copy(folder.path(), 1, |bytes| bytes.truncate(2_000));
    assert_eq!(damage_at(&open(damaged.path()).await.map(drop).unwrap_err()), ("000000000001.log".into(), 2_000));
}

#[tokio::test]
async fn a_missing_segment_refuses_the_log() {
    let folder = tempfile::tempdir().unwrap();
    large(folder.path()).await;
    let damaged = copy(folder.path(), 0, |_| {});
    std::fs::remove_file(segment::path(damaged.path(), 1)).unwrap();
    assert_eq!(damage_at(&open(damaged.path()).await.map(drop).unwrap_err()).0, "000000000001.log");
}

#[tokio::test]
async fn segments_of_another_log_are_refused() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    large(one.path()).await;
    let log = open(other.path()).await.unwrap();
    for n in 0..60 {
        log.append(vec![record(Topic::Leads, "k", format!("{n}")), record(Topic::Leads, "k", "x".repeat(300))])
            .await
            .unwrap();
    }
    drop(log);
    std::fs::copy(segment::path(other.path(), 1), segment::path(one.path(), 1)).unwrap();
    std::fs::remove_file(Sidecar::path(one.path(), 1)).unwrap();
    assert!(matches!(open(one.path()).await.map(drop).unwrap_err(), LogError::Corrupt { .. }));
}

#[tokio::test]
async fn missing_and_damaged_sidecars_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let data = large(folder.path()).await;
    let original = std::fs::read(Sidecar::path(folder.path(), 1)).unwrap();
    let damaged = copy(folder.path(), 0, |_| {});
    std::fs::remove_file(Sidecar::path(damaged.path(), 0)).unwrap();
    let file = OpenOptions::new().write(true).open(Sidecar::path(damaged.path(), 1)).unwrap();
    file.write_all_at(b"\xff", 40).unwrap();
    let log = open(damaged.path()).await.unwrap();
    assert_eq!(leads(&log).await, data);
    assert_eq!(std::fs::read(Sidecar::path(damaged.path(), 1)).unwrap(), original);
    assert!(Sidecar::path(damaged.path(), 0).exists());
}

#[tokio::test]
async fn a_segment_that_was_never_completed_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let data = large(folder.path()).await;
    let next = open(folder.path()).await.map(|log| newest(&log).number + 1).unwrap();
    for leftovers in [vec![], vec![0; 4_096], vec![0xAB; 100]] {
        let crashed = copy(folder.path(), 0, |_| {});
        std::fs::write(segment::path(crashed.path(), next), leftovers).unwrap();
        let log = open(crashed.path()).await.unwrap();
        assert_eq!(leads(&log).await, data);
        append(&log, "next").await.unwrap();
        drop(log);
        assert_eq!(leads(&open(crashed.path()).await.unwrap()).await.len(), data.len() + 1);
    }
}
