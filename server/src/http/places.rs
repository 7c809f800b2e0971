//! The places for connections: how many there are, and who gets one when all are taken.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use leadway_config::{HttpOptions, Network};
use tokio::task::Id;
use tokio::time::Instant;

use super::activity::Activity;
use super::origin::{Origin, is_proxy};

/// So many of those that were idle longest are looked for at once, since it takes a look at every connection.
const LOOKED_FOR: usize = 64;

/// The connections that are open on one listener.
pub(crate) struct Places {
    max: usize,
    max_per_origin: usize,
    proxies: Vec<Network>,
    open: HashMap<Id, Open>,
    by_origin: HashMap<Origin, usize>,
    /// Some that were idle longest, the longest first, and since when.
    idlest: VecDeque<(Id, Instant)>,
}

struct Open {
    activity: Arc<Activity>,
    /// Who is counted for it.
    origin: Option<Origin>,
}

impl Places {
    pub(crate) fn new(options: &HttpOptions) -> Self {
        Self {
            max: options.max_connections,
            max_per_origin: options.connections_per_address(),
            proxies: options.trusted_proxies.clone(),
            open: HashMap::new(),
            by_origin: HashMap::new(),
            idlest: VecDeque::new(),
        }
    }

    /// Who is to be counted for a connection from this address; an error when it has as many as it may. Many clients stand
    /// behind a proxy, and loopback is this machine itself.
    pub(crate) fn admit(&self, peer: IpAddr) -> Result<Option<Origin>, Origin> {
        if peer.to_canonical().is_loopback() || is_proxy(peer, &self.proxies) {
            return Ok(None);
        }
        let origin = Origin::of(peer);
        match self.by_origin.get(&origin) {
            Some(count) if *count >= self.max_per_origin => Err(origin),
            _ => Ok(Some(origin)),
        }
    }

    pub(crate) fn take(&mut self, task: Id, activity: Arc<Activity>, origin: Option<Origin>) {
        if let Some(origin) = origin {
            *self.by_origin.entry(origin).or_default() += 1;
        }
        self.open.insert(task, Open { activity, origin });
    }

    pub(crate) fn leave(&mut self, task: Id) {
        let Some(Open { origin: Some(origin), .. }) = self.open.remove(&task) else { return };
        if let Some(count) = self.by_origin.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.by_origin.remove(&origin);
            }
        }
    }

    pub(crate) fn are_taken(&self) -> bool {
        self.open.len() >= self.max
    }

    /// Asks the connection that was idle longest to end. `false` when none is idle.
    pub(crate) fn make_room(&mut self) -> bool {
        if self.try_idlest() {
            return true;
        }
        self.look_for_idlest();
        self.try_idlest()
    }

    fn try_idlest(&mut self) -> bool {
        while let Some((task, since)) = self.idlest.pop_front() {
            let Some(Open { activity, .. }) = self.open.get(&task) else { continue };
            if activity.idle_since() == Some(since) && activity.give_way() {
                return true;
            }
        }
        false
    }

    fn look_for_idlest(&mut self) {
        let idle = self.open.iter().filter_map(|(task, open)| Some((*task, open.activity.idle_since()?)));
        let mut idle: Vec<(Id, Instant)> = idle.collect();
        idle.sort_unstable_by_key(|(_, since)| *since);
        idle.truncate(LOOKED_FOR);
        self.idlest = idle.into();
    }
}
