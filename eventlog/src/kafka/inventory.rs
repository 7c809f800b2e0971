//! What the brokers have of the log: the cluster, the topics' ids, and where each partition begins and ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leadway_domain::record::Topic;
use parking_lot::Mutex;
use rdkafka::admin::AdminClient;
use rdkafka::config::FromClientConfigAndContext;

use super::client::{Clients, Context};
use super::topic_ids::topic_ids;
use super::topics::Topics;
use crate::LogError;

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(5);
/// Under which name the cluster stands among what holds the records.
const CLUSTER: &str = "cluster";

/// Asks the brokers what they have.
pub(crate) struct Inventory {
    /// Made with the first question.
    admin: Mutex<Option<Arc<AdminClient<Context>>>>,
    clients: Clients,
    names: BTreeMap<Topic, String>,
}

impl Inventory {
    pub(crate) fn new(clients: &Clients, topics: &Topics) -> Self {
        let names = Topic::ALL.into_iter().map(|topic| (topic, topics.name(topic).to_owned())).collect();
        Self { admin: Mutex::default(), clients: clients.clone(), names }
    }

    /// The cluster and the topics with their ids, as far as the brokers have such. A topic that is gone is an error for good.
    pub(crate) async fn holders(&self) -> Result<BTreeMap<String, String>, LogError> {
        let admin = self.admin()?;
        let names: Vec<String> = self.names.values().cloned().collect();
        let asked = tokio::task::spawn_blocking(move || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let cluster = admin.inner().fetch_cluster_id(REQUEST);
            let ids = topic_ids(admin.inner(), &names, REQUEST)?;
            let metadata = admin.inner().fetch_metadata(None, REQUEST).map_err(|error| error.to_string())?;
            let exists = |name: &&&str| metadata.topics().iter().any(|topic| topic.name() == **name);
            let missing = names.iter().find(|name| !ids.contains_key(**name) && !exists(name));
            Ok::<_, String>((cluster, ids, missing.map(|name| (*name).to_owned())))
        });
        let asked = asked.await.map_err(|_| LogError::Closed)?;
        let (cluster, ids, missing) =
            asked.map_err(|error| LogError::Unavailable(format!("Kafka, asking which topics there are: {error}")))?;
        if let Some(name) = missing {
            return Err(LogError::Unusable(format!("topic {name} does not exist any more: its records are lost")));
        }
        Ok(ids.into_iter().chain(cluster.map(|id| (CLUSTER.to_owned(), id))).collect())
    }

    fn admin(&self) -> Result<Arc<AdminClient<Context>>, LogError> {
        let mut admin = self.admin.lock();
        if let Some(admin) = &*admin {
            return Ok(admin.clone());
        }
        let made = AdminClient::from_config_and_context(&self.clients.admin(), self.clients.context())
            .map_err(|e| LogError::Unusable(format!("Kafka: these settings cannot be used: {e}")))?;
        let made = Arc::new(made);
        *admin = Some(made.clone());
        Ok(made)
    }
}
