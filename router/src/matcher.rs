//! The match index in force, following the settings.

use std::sync::Arc;

use arc_swap::ArcSwap;
use leadway_domain::settings::Settings;
use leadway_domain::{Offset, ZipDirectory, telemetry};
use leadway_eventlog::SettingsHandle;
use tokio::sync::watch;

use crate::index::MatchIndex;
use crate::writer::IndexWriter;

/// Settings and the index of their rules, of one and the same moment.
#[derive(Clone)]
pub struct Routing {
    /// The settings.
    pub settings: Arc<Settings>,
    /// The index of their rules.
    pub index: MatchIndex,
    /// The settings hold at least every change before this offset of the topic `settings`.
    pub settings_version: Offset,
}

/// The present [`Routing`], kept by a task of its own for as long as a handle lives. Cheap to clone; reading it
/// never waits.
#[derive(Clone)]
pub struct Matcher {
    settings: SettingsHandle,
    current: Arc<ArcSwap<Routing>>,
    applied: watch::Receiver<Offset>,
}

/// With more changed rules than this, the next index is made on a thread of its own, not to hold up a runtime thread.
const INLINE_RULES: usize = 256;

impl Matcher {
    /// Makes the index of the present settings and follows their changes. Call it within a tokio runtime.
    pub fn follow(settings: SettingsHandle, zips: Arc<ZipDirectory>) -> Self {
        let changes = settings.changes();
        let mut writer = IndexWriter::new(zips);
        let routing = next_routing(&mut writer, settings.load(), *changes.borrow());
        let (sender, applied) = watch::channel(routing.settings_version);
        let current = Arc::new(ArcSwap::from_pointee(routing));
        let follower = Follower { settings: settings.clone(), changes, current: current.clone(), sender };
        tokio::spawn(follower.run(writer));
        Self { settings, current, applied }
    }

    /// What is in force now.
    pub fn load(&self) -> Arc<Routing> {
        self.current.load_full()
    }

    /// What is in force once every change of settings that this node knows at the time of the call is indexed.
    pub async fn latest(&self) -> Arc<Routing> {
        let known = *self.settings.changes().borrow();
        let mut applied = self.applied.clone();
        if applied.wait_for(|version| *version >= known).await.is_err() {
            tracing::warn!("the match index no longer follows the settings");
        }
        self.load()
    }
}

struct Follower {
    settings: SettingsHandle,
    changes: watch::Receiver<Offset>,
    current: Arc<ArcSwap<Routing>>,
    sender: watch::Sender<Offset>,
}

impl Follower {
    /// Ends when no [`Matcher`] is left or the settings are followed no more.
    async fn run(mut self, mut writer: IndexWriter) {
        loop {
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return },
                () = self.sender.closed() => return,
            }
            // The version first: the settings loaded after it are at least that new.
            let version = *self.changes.borrow_and_update();
            let settings = self.settings.load();
            let large = writer.affected(&settings).len() > INLINE_RULES;
            let make = move || {
                let routing = next_routing(&mut writer, settings, version);
                (writer, routing)
            };
            let made = if large { tokio::task::spawn_blocking(make).await } else { Ok(make()) };
            let Ok((returned, routing)) = made else {
                tracing::error!("the match index could not be made; the previous one stays in force");
                return;
            };
            writer = returned;
            self.current.store(Arc::new(routing));
            self.sender.send_replace(version);
        }
    }
}

fn next_routing(writer: &mut IndexWriter, settings: Arc<Settings>, settings_version: Offset) -> Routing {
    let index = writer.advance(&settings);
    metrics::gauge!(telemetry::ROUTER_RULES).set(index.rules() as f64);
    Routing { settings, index, settings_version }
}

#[cfg(test)]
mod tests {
    use leadway_domain::Zip;
    use leadway_domain::settings::{Change, SettingsChange};
    use leadway_eventlog::{EventLog, MemoryLog, NewRecord};

    use super::*;
    use crate::decide::tests::{NOW, at, put_rule, put_workspace, rule_id};

    async fn change(log: &MemoryLog, settings: &SettingsHandle, change: Change) {
        let record = SettingsChange::new(&Settings::default(), "test", at(NOW), change);
        let address = log.append(vec![NewRecord::of(&record, at(NOW))]).await.unwrap()[0];
        settings.wait_for(address.offset).await.unwrap();
    }

    fn winner(routing: &Routing) -> Option<leadway_domain::RuleId> {
        routing.index.find("Solar", Zip::parse("90210").unwrap()).map(|r| r.id)
    }

    #[tokio::test]
    async fn what_the_node_knows_is_indexed_however_much_it_is() {
        let log = MemoryLog::new(1);
        let settings = SettingsHandle::follow(Arc::new(log.clone())).await.unwrap();
        let matcher = Matcher::follow(settings.clone(), ZipDirectory::builtin());
        assert_eq!(winner(&matcher.load()), None);
        change(&log, &settings, put_workspace("a")).await;
        change(&log, &settings, put_rule(7, "a", "Solar", "90210", 5)).await;
        assert_eq!(winner(&*matcher.latest().await), Some(rule_id(7)));

        let many = (0..2 * INLINE_RULES as u128).map(|n| put_rule(100 + n, "a", "Solar", "902*", 4));
        change(&log, &settings, Change::Batch(many.collect())).await;
        let routing = matcher.latest().await;
        assert_eq!(winner(&routing), Some(rule_id(100)));
        assert_eq!((routing.index.rules(), routing.settings.rules.len()), (2 * INLINE_RULES + 1, 2 * INLINE_RULES + 1));
    }

    #[tokio::test]
    async fn the_follower_ends_with_the_last_handle() {
        let log = MemoryLog::new(1);
        let settings = SettingsHandle::follow(Arc::new(log)).await.unwrap();
        let matcher = Matcher::follow(settings, ZipDirectory::builtin());
        let index = Arc::downgrade(&matcher.current);
        drop(matcher);
        for _ in 0..1_000 {
            if index.strong_count() == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("the follower still holds the index");
    }
}
