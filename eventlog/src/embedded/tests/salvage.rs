//! Damaged logs, looked at and salvaged: what can be read is kept in its place, and what is lost is named.

use std::path::Path;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

use super::damage::copy;
use super::{open, record};
use crate::embedded::segment;
use crate::{EventLog, Position, ReadLimit, StageEvent};

/// A log of some segments; tells the data of `leads` by offset.
async fn filled(folder: &Path, random: &mut fastrand::Rng) -> Vec<String> {
    let log = open(folder).await.unwrap();
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    assert!(matches!(stage.next(ReadLimit::default()).await, Ok(StageEvent::Assigned(_))));
    let mut leads = Vec::new();
    for n in 0..60 {
        let data = format!("{n}{}", "x".repeat(random.usize(0..400)));
        log.append(vec![record(Topic::Leads, "k", data.clone()), record(Topic::Quarantine, "k", "q")]).await.unwrap();
        leads.push(data);
        if n % 3 == 0 {
            let next = Position { topic: Topic::Leads, partition: Partition(0), next: Offset(n) };
            stage.commit(&[record(Topic::Appointments, "k", format!("decided {n}"))], &[next]).await.unwrap();
        }
    }
    leads
}

/// The records of a topic's one partition: kind and data.
async fn read(log: &dyn EventLog, topic: Topic) -> Vec<(String, String)> {
    let all = ReadLimit { records: usize::MAX, bytes: usize::MAX };
    let mut found = Vec::new();
    loop {
        let records = log.read(topic, Partition(0), Offset(found.len() as u64), all).await.unwrap();
        if records.is_empty() {
            return found;
        }
        for record in records {
            assert_eq!(record.address.offset.0, found.len() as u64, "no offset is given up");
            found.push((record.kind.to_string(), String::from_utf8(record.data.to_vec()).unwrap()));
        }
    }
}

#[tokio::test]
async fn a_whole_log_has_nothing_to_tell() {
    let folder = tempfile::tempdir().unwrap();
    let leads = filled(folder.path(), &mut fastrand::Rng::with_seed(1)).await;
    let found = crate::inspect(folder.path()).await.unwrap();
    assert!(!found.is_damaged() && found.tail.is_none(), "{found:?}");
    assert_eq!(found.records, 2 * leads.len() as u64 + 20);
    assert!(found.files > 2, "{found:?}");
    assert_eq!(found.unreadable, found.records, "this version does not know what tests write");
    let end = found.ends.iter().find(|end| end.topic == Topic::Leads).unwrap();
    assert_eq!(end.next, Offset(60));
}

#[tokio::test]
async fn what_can_be_read_keeps_its_place_and_what_is_lost_leaves_its_place_empty() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let leads = filled(folder.path(), &mut random).await;
        let segments = segment::list(folder.path()).unwrap();
        // Not in the newest one: damage at its end looks like a write that was not completed.
        let number = segments[random.usize(..segments.len() - 1)];
        let mut place = 0;
        let damaged = copy(folder.path(), number, |bytes| {
            place = random.usize(..bytes.len());
            let end = (place + random.usize(1..900)).min(bytes.len());
            bytes[place..end].iter_mut().for_each(|byte| *byte = !*byte);
        });

        let before = std::fs::read(segment::path(damaged.path(), number)).unwrap();
        let found = crate::inspect(damaged.path()).await.unwrap();
        let damage = found.damage.first().unwrap_or_else(|| panic!("seed {seed}: {found:?}"));
        assert!(damage.file.ends_with(&format!("{number:012}.log")), "seed {seed}: {damage:?}");
        assert!((damage.position..damage.position + damage.bytes).contains(&(place as u64)), "seed {seed}: {damage:?}");

        let target = tempfile::tempdir().unwrap();
        let salvaged = crate::salvage(damaged.path(), target.path()).await.unwrap();
        assert_eq!((&salvaged.damage, &salvaged.holes), (&found.damage, &found.holes), "seed {seed}");
        assert_eq!(std::fs::read(segment::path(damaged.path(), number)).unwrap(), before, "the source stays as it is");
        let log = open(target.path()).await.unwrap();
        let kept = read(&log, Topic::Leads).await;
        let lost = |topic, offset: usize| {
            let offset = Offset(offset as u64);
            found.holes.iter().any(|hole| hole.topic == topic && (hole.from..hole.to).contains(&offset))
        };
        assert_eq!(kept.len(), leads.len(), "seed {seed}");
        for (offset, (lead, (kind, data))) in leads.iter().zip(&kept).enumerate() {
            match lost(Topic::Leads, offset) {
                true => assert_eq!(kind, "record.lost", "seed {seed}, offset {offset}"),
                false => assert_eq!((data, kind.as_str()), (lead, "test.kind"), "seed {seed}, offset {offset}"),
            }
        }
        let count = found.holes.iter().map(|hole| hole.to.0 - hole.from.0).sum::<u64>();
        assert_eq!(found.records + count, 140, "seed {seed}: every record is kept or named");
        // The progress of the stage is what the last frame said, and the next record gets the next offset.
        let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
        let Ok(StageEvent::Assigned(assigned)) = stage.next(ReadLimit::default()).await else { panic!("seed {seed}") };
        assert_eq!(assigned[0].progress[0].next, Offset(57), "seed {seed}");
        let next = log.append(vec![record(Topic::Leads, "k", "next")]).await.unwrap()[0].offset;
        assert_eq!(next, Offset(60), "seed {seed}");
    }
}

#[tokio::test]
async fn a_missing_segment_is_named_with_all_that_it_held() {
    let folder = tempfile::tempdir().unwrap();
    let leads = filled(folder.path(), &mut fastrand::Rng::with_seed(3)).await;
    std::fs::remove_file(segment::path(folder.path(), 1)).unwrap();
    let target = tempfile::tempdir().unwrap();
    let found = crate::salvage(folder.path(), target.path()).await.unwrap();
    assert_eq!(found.damage.len(), 1, "{found:?}");
    assert!(found.damage[0].reason.contains("missing") && found.holes.len() >= 2, "{found:?}");
    let kept = read(&open(target.path()).await.unwrap(), Topic::Leads).await;
    assert_eq!(kept.len(), leads.len());
    assert!(kept.iter().any(|(kind, _)| kind == "record.lost"));
}

#[tokio::test]
async fn the_end_of_the_newest_file_is_told_apart_from_damage() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), &mut fastrand::Rng::with_seed(4)).await;
    let newest = *segment::list(folder.path()).unwrap().last().unwrap();
    let torn = copy(folder.path(), newest, |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end] ^= 1;
    });
    let found = crate::inspect(torn.path()).await.unwrap();
    assert!(!found.is_damaged(), "{found:?}");
    assert!(found.tail.is_some_and(|tail| tail.bytes > 0));
}

#[tokio::test]
async fn a_folder_with_a_log_is_no_place_for_a_copy() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(folder.path(), &mut fastrand::Rng::with_seed(5)).await;
    filled(target.path(), &mut fastrand::Rng::with_seed(6)).await;
    let refused = crate::salvage(folder.path(), target.path()).await.unwrap_err();
    assert!(refused.to_string().contains("another folder"), "{refused}");
}
