//! A cluster of Kafka brokers, each of them also a controller (KRaft).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, io};
use crate::folder::Folder;
use crate::jars::{Jars, fetch};
use crate::java::Java;
use crate::node::{Node, logged};
use crate::ports::Port;
use crate::process::{Lifetime, Signal};
use crate::tls::{Credentials, KeyStore};

const LOG4J: &str = include_str!("../kafka/log4j2.properties");
/// Any UUID in base64 will do; it is the cluster's, the same on all brokers.
const CLUSTER_ID: &str = "bGVhZHdheS1zZXJ2ZXJzLg";
const MOST_BROKERS: usize = 9;
const USER: &str = "leadway";
const PASSWORD: &str = "leadway-secret";

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Number of brokers, 1 to 9. Internal topics have min(3, brokers) replicas.
    pub brokers: usize,
    /// Clients must sign in by SCRAM-SHA-512 as [`KafkaCluster::credentials`] says.
    pub sasl: bool,
    /// Clients must speak TLS; [`KafkaCluster::credentials`] names the authority.
    pub tls: bool,
    /// Heap of each broker in MiB.
    pub heap_mib: u32,
    /// Port of broker 0 for clients, its neighbours have the following ones; `None` takes free ones.
    pub first_port: Option<u16>,
    /// With all of Java's just-in-time compiler, for measurements: it takes minutes of work to be warm. Without, a start is quicker.
    pub full_compiler: bool,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        KafkaOptions { brokers: 1, sasl: false, tls: false, heap_mib: 384, first_port: None, full_compiler: false }
    }
}

/// Running brokers on 127.0.0.1, numbered from 0; `broker.id` is that number. All are killed when this is dropped.
pub struct KafkaCluster {
    nodes: Vec<Node>,
    clients: Vec<Port>,
    _others: Vec<Port>,
    credentials: Credentials,
    // Last, so that the brokers are dead when it is removed.
    folder: Folder,
}

impl KafkaCluster {
    /// Starts so many brokers, without TLS and SASL, and waits until all take requests.
    ///
    /// # Errors
    /// [`Error::Missing`] without Java or Maven, [`Error::Start`] with the end of the broker's log.
    pub fn start(brokers: usize) -> Result<KafkaCluster> {
        KafkaCluster::start_with(&KafkaOptions { brokers, ..KafkaOptions::default() })
    }

    /// As [`KafkaCluster::start`], of the kind described.
    ///
    /// # Errors
    /// As [`KafkaCluster::start`].
    pub fn start_with(options: &KafkaOptions) -> Result<KafkaCluster> {
        KafkaCluster::start_in(Folder::temporary("leadway-kafka-")?, options, Lifetime::Watched)
    }

    pub(crate) fn start_in(folder: Folder, options: &KafkaOptions, lifetime: Lifetime) -> Result<KafkaCluster> {
        let brokers = options.brokers;
        if brokers == 0 || brokers > MOST_BROKERS {
            return Err(Error::BrokerCount { brokers, most: MOST_BROKERS });
        }
        let java = Java::find()?;
        let lib = fetch(Jars::Kafka)?;
        let ports = Ports::claim(options)?;
        let keys = if options.tls { Some(KeyStore::create(&java, folder.path())?) } else { None };
        let credentials = Credentials {
            username: options.sasl.then(|| USER.to_owned()),
            password: options.sasl.then(|| PASSWORD.to_owned()),
            ca_file: keys.as_ref().map(|keys| keys.ca_file.clone()),
        };
        let mut nodes = Vec::with_capacity(brokers);
        for id in 0..brokers {
            let home = folder.path().join(format!("kafka-{id}"));
            let properties = properties(id, &ports.numbers, options, &home, keys.as_ref());
            prepare(&home, &properties)?;
            nodes.push(node(id, home, &java, &lib, options, lifetime));
        }
        for id in 0..brokers {
            format(&java, &lib, &folder.path().join(format!("kafka-{id}")), options.sasl)?;
        }
        let cluster = KafkaCluster { nodes, clients: ports.clients, _others: ports.others, credentials, folder };
        cluster.restart_all()?;
        Ok(cluster)
    }

    /// `host:port` of every broker, with commas between, as clients want it.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.clients.iter().map(|port| format!("127.0.0.1:{}", port.number())).collect();
        addresses.join(",")
    }

    /// Number of brokers, dead ones included.
    pub fn brokers(&self) -> usize {
        self.nodes.len()
    }

    /// Where the brokers keep data, settings and logs (`kafka-0/server.log` …).
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a client needs to sign in and to trust the brokers; empty unless asked for in the options.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Kills broker `n` as `kill -9` does; it is gone when this returns. Its data and port stay. A dead one stays dead.
    ///
    /// # Errors
    /// [`Error::NoSuchBroker`].
    pub fn kill(&self, n: usize) -> Result<()> {
        self.node(n)?.kill()
    }

    /// Starts dead broker `n` with its data and port, and waits until it takes requests.
    ///
    /// # Errors
    /// [`Error::Running`] when it is not dead, [`Error::Start`] when it does not come (a broker alone out of three waits for
    /// another controller: use [`KafkaCluster::restart_all`] after [`KafkaCluster::kill_all`]).
    pub fn restart(&self, n: usize) -> Result<()> {
        let node = self.node(n)?;
        node.spawn()?;
        node.wait_ready()
    }

    /// Stops broker `n` as SIGSTOP does: its connections stay open and nothing answers.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NoSuchBroker`].
    pub fn pause(&self, n: usize) -> Result<()> {
        self.node(n)?.signal(Signal::Stop)
    }

    /// Lets a paused broker go on.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NoSuchBroker`].
    pub fn resume(&self, n: usize) -> Result<()> {
        self.node(n)?.signal(Signal::Continue)
    }

    /// Kills every broker.
    ///
    /// # Errors
    /// Only when the operating system refuses.
    pub fn kill_all(&self) -> Result<()> {
        self.nodes.iter().try_for_each(Node::kill)
    }

    /// Starts every broker (all must be dead) and waits until all take requests.
    ///
    /// # Errors
    /// [`Error::Running`], [`Error::Start`].
    pub fn restart_all(&self) -> Result<()> {
        self.nodes.iter().try_for_each(Node::spawn)?;
        self.nodes.iter().try_for_each(Node::wait_ready)
    }

    /// Pauses every broker.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when one is dead.
    pub fn pause_all(&self) -> Result<()> {
        self.nodes.iter().try_for_each(|node| node.signal(Signal::Stop))
    }

    /// Lets every broker go on.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when one is dead.
    pub fn resume_all(&self) -> Result<()> {
        self.nodes.iter().try_for_each(|node| node.signal(Signal::Continue))
    }

    fn node(&self, n: usize) -> Result<&Node> {
        self.nodes.get(n).ok_or(Error::NoSuchBroker { broker: n, last: self.nodes.len().saturating_sub(1) })
    }
}

/// Three ports for each broker: clients, other brokers, controllers.
struct Ports {
    clients: Vec<Port>,
    others: Vec<Port>,
    numbers: Vec<BrokerPorts>,
}

#[derive(Clone, Copy)]
struct BrokerPorts {
    client: u16,
    internal: u16,
    controller: u16,
}

impl Ports {
    fn claim(options: &KafkaOptions) -> Result<Ports> {
        let mut ports = Ports { clients: Vec::new(), others: Vec::new(), numbers: Vec::new() };
        let mut wanted = options.first_port;
        for _ in 0..options.brokers {
            let client = wanted.map_or_else(Port::free, Port::fixed)?;
            wanted = wanted.map(|port| port.saturating_add(1));
            let (internal, controller) = (Port::free()?, Port::free()?);
            ports.numbers.push(BrokerPorts {
                client: client.number(),
                internal: internal.number(),
                controller: controller.number(),
            });
            ports.clients.push(client);
            ports.others.extend([internal, controller]);
        }
        Ok(ports)
    }
}

fn prepare(home: &Path, properties: &str) -> Result<()> {
    fs::create_dir_all(home).map_err(io("creating", home))?;
    for (name, content) in [("server.properties", properties), ("log4j2.properties", LOG4J)] {
        let path = home.join(name);
        fs::write(&path, content).map_err(io("writing", &path))?;
    }
    Ok(())
}

/// Writes the cluster's id, its first metadata and, with SASL, the user into the broker's folder.
fn format(java: &Java, lib: &Path, home: &Path, sasl: bool) -> Result<()> {
    let mut args = Vec::from(class_path(lib, home));
    args.extend(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"].map(OsString::from));
    args.push(home.join("server.properties").into());
    if sasl {
        args.push("--add-scram".into());
        args.push(format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]").into());
    }
    java.run("java", "kafka.tools.StorageTool", &args).map(drop)
}

fn node(id: usize, home: PathBuf, java: &Java, lib: &Path, options: &KafkaOptions, lifetime: Lifetime) -> Node {
    let mut command = java.server(options.heap_mib, lifetime, options.full_compiler);
    command.extend(class_path(lib, &home));
    command.push("kafka.Kafka".into());
    command.push(home.join("server.properties").into());
    let answers = logged(&home, "Kafka Server started");
    Node::new(&format!("Kafka broker {id}"), home, command, lifetime, answers)
}

fn class_path(lib: &Path, home: &Path) -> [OsString; 3] {
    let mut log4j = OsString::from("-Dlog4j2.configurationFile=");
    log4j.push(home.join("log4j2.properties"));
    [log4j, "-cp".into(), lib.join("*").into()]
}

/// The broker's settings. Bounds are short, so that a test sees a dead broker, consumer or producer within seconds.
fn properties(
    id: usize,
    ports: &[BrokerPorts],
    options: &KafkaOptions,
    home: &Path,
    keys: Option<&KeyStore>,
) -> String {
    let own = ports.get(id).copied().unwrap_or(BrokerPorts { client: 0, internal: 0, controller: 0 });
    let listeners = format!(
        "CLIENT://127.0.0.1:{},INTERNAL://127.0.0.1:{},CONTROLLER://127.0.0.1:{}",
        own.client, own.internal, own.controller
    );
    let advertised = format!("CLIENT://127.0.0.1:{},INTERNAL://127.0.0.1:{}", own.client, own.internal);
    let voters: Vec<String> =
        ports.iter().enumerate().map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.controller)).collect();
    let protocol = match (options.sasl, options.tls) {
        (false, false) => "PLAINTEXT",
        (false, true) => "SSL",
        (true, false) => "SASL_PLAINTEXT",
        (true, true) => "SASL_SSL",
    };
    let replicas = ports.len().min(3);
    let in_sync = ports.len().min(2);
    let mut text = format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map=CLIENT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.retention.minutes=2147483647
offsets.topic.num.partitions=8
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
",
        voters = voters.join(","),
        data = home.join("data").display(),
    );
    text.push_str(include_str!("../kafka/server.properties"));
    if options.sasl {
        text.push_str(
            "sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
",
        );
    }
    if let Some(keys) = keys {
        text.push_str(&format!(
            "ssl.keystore.location={}
ssl.keystore.password={password}
ssl.key.password={password}
",
            keys.path.display(),
            password = keys.password,
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: [BrokerPorts; 2] =
        [BrokerPorts { client: 1, internal: 2, controller: 3 }, BrokerPorts { client: 4, internal: 5, controller: 6 }];

    #[test]
    fn every_broker_names_all_voters_and_its_own_ports() {
        let text = properties(1, &PORTS, &KafkaOptions::default(), Path::new("/x"), None);
        assert!(text.contains("node.id=1\n"));
        assert!(text.contains("controller.quorum.voters=0@127.0.0.1:3,1@127.0.0.1:6\n"));
        assert!(text.contains("advertised.listeners=CLIENT://127.0.0.1:4,INTERNAL://127.0.0.1:5\n"));
        assert!(text.contains("CLIENT:PLAINTEXT"));
        assert!(text.contains("offsets.topic.replication.factor=2\n"));
    }

    #[test]
    fn no_setting_stands_twice() {
        let keys = KeyStore { path: "/k".into(), password: "p".into(), ca_file: "/c".into() };
        let options = KafkaOptions { sasl: true, tls: true, ..KafkaOptions::default() };
        let text = properties(0, &PORTS, &options, Path::new("/x"), Some(&keys));
        assert!(text.contains("CLIENT:SASL_SSL"));
        let names: Vec<&str> = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        let unique: std::collections::BTreeSet<&&str> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn a_cluster_of_no_brokers_is_refused() {
        assert!(matches!(KafkaCluster::start(0), Err(Error::BrokerCount { brokers: 0, .. })));
    }
}
