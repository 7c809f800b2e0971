//! A Cassandra of one node.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Result, io};
use crate::folder::Folder;
use crate::jars::{Jars, fetch};
use crate::java::Java;
use crate::node::{Answers, Node, log_file};
use crate::ports::Port;
use crate::process::{Lifetime, Signal};
use crate::tls::{Credentials, KeyStore};

const SETTINGS: &str = include_str!("../cassandra/cassandra.yaml");
const LOGBACK: &str = include_str!("../cassandra/logback.xml");
const JVM: &str = include_str!("../cassandra/jvm.options");
/// Measures objects inside the server's memory; the daemon warns and guesses without it.
const AGENT: &str = "jamm-0.4.0.jar";
/// Cassandra makes this user itself.
const USER: &str = "cassandra";
const USER_MADE: &str = "Created default superuser role";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What kind of Cassandra to start.
#[derive(Clone, Debug)]
pub struct CassandraOptions {
    /// Clients must sign in as [`Cassandra::credentials`] says.
    pub password: bool,
    /// Clients must speak TLS; [`Cassandra::credentials`] names the authority.
    pub tls: bool,
    /// Heap in MiB.
    pub heap_mib: u32,
    /// Port for clients; `None` takes a free one.
    pub port: Option<u16>,
    /// With all of Java's just-in-time compiler, for measurements: it takes minutes of work to be warm. Without, a start is quicker.
    pub full_compiler: bool,
}

impl Default for CassandraOptions {
    fn default() -> Self {
        CassandraOptions { password: false, tls: false, heap_mib: 768, port: None, full_compiler: false }
    }
}

/// A running Cassandra on 127.0.0.1, killed when this is dropped. Its data centre is `datacenter1`, its rack `rack1`.
pub struct Cassandra {
    node: Node,
    client: Port,
    _storage: Port,
    credentials: Credentials,
    // Last, so that the server is dead when it is removed.
    folder: Folder,
}

impl Cassandra {
    /// Starts a Cassandra without TLS and authentication and waits until it answers clients.
    ///
    /// # Errors
    /// [`crate::Error::Missing`] without Java or Maven, [`crate::Error::Start`] with the end of the server's log.
    pub fn start() -> Result<Cassandra> {
        Cassandra::start_with(&CassandraOptions::default())
    }

    /// As [`Cassandra::start`], of the kind described.
    ///
    /// # Errors
    /// As [`Cassandra::start`].
    pub fn start_with(options: &CassandraOptions) -> Result<Cassandra> {
        Cassandra::start_in(Folder::temporary("leadway-cassandra-")?, options, Lifetime::Watched)
    }

    pub(crate) fn start_in(folder: Folder, options: &CassandraOptions, lifetime: Lifetime) -> Result<Cassandra> {
        let java = Java::find()?;
        let lib = fetch(Jars::Cassandra)?;
        let client = options.port.map_or_else(Port::free, Port::fixed)?;
        let storage = Port::free()?;
        let home = folder.path().join("cassandra");
        fs::create_dir_all(&home).map_err(io("creating", &home))?;
        let keys = if options.tls { Some(KeyStore::create(&java, folder.path())?) } else { None };
        let credentials = Credentials {
            username: options.password.then(|| USER.to_owned()),
            password: options.password.then(|| USER.to_owned()),
            ca_file: keys.as_ref().map(|keys| keys.ca_file.clone()),
        };
        let yaml = yaml(&home, client.number(), storage.number(), options, keys.as_ref());
        for (name, content) in [("cassandra.yaml", yaml.as_str()), ("logback.xml", LOGBACK)] {
            let path = home.join(name);
            fs::write(&path, content).map_err(io("writing", &path))?;
        }
        let command = command(java.server(options.heap_mib, lifetime, options.full_compiler), &lib, &home);
        let answers = answers(client.number(), options.tls);
        let cassandra = Cassandra {
            node: Node::new("Cassandra", home.clone(), command, lifetime, answers),
            client,
            _storage: storage,
            credentials,
            folder,
        };
        cassandra.restart()?;
        if options.password {
            let log = log_file(&home);
            cassandra.node.wait_until(&|| fs::read_to_string(&log).is_ok_and(|text| text.contains(USER_MADE)))?;
        }
        Ok(cassandra)
    }

    /// `ip:port` for clients.
    pub fn contact_point(&self) -> String {
        format!("127.0.0.1:{}", self.client.number())
    }

    /// Where it keeps data, settings and its log (`cassandra/server.log`).
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a client needs to sign in and to trust the server; empty unless asked for in the options.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Kills it as `kill -9` does; it is gone when this returns. Data and port stay. Nothing happens when it is dead.
    ///
    /// # Errors
    /// Only when the operating system refuses.
    pub fn kill(&self) -> Result<()> {
        self.node.kill()
    }

    /// Starts the killed server with its data and port, and waits until it answers clients.
    ///
    /// # Errors
    /// [`crate::Error::Running`] when it is not dead, [`crate::Error::Start`] when it does not come.
    pub fn restart(&self) -> Result<()> {
        self.node.spawn()?;
        self.node.wait_ready()
    }

    /// Stops it as SIGSTOP does: its connections stay open and nothing answers.
    ///
    /// # Errors
    /// [`crate::Error::NotRunning`].
    pub fn pause(&self) -> Result<()> {
        self.node.signal(Signal::Stop)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// [`crate::Error::NotRunning`].
    pub fn resume(&self) -> Result<()> {
        self.node.signal(Signal::Continue)
    }
}

/// The whole command: `java` and its heap, then what Cassandra needs.
fn command(java: Vec<OsString>, lib: &Path, home: &Path) -> Vec<OsString> {
    let with = |name: &str, path: PathBuf| {
        let mut arg = OsString::from(name);
        arg.push(path);
        arg
    };
    let mut command = java;
    command.extend(JVM.lines().map(OsString::from));
    command.push(with("-javaagent:", lib.join(AGENT)));
    command.push(with("-Dcassandra.config=file://", home.join("cassandra.yaml")));
    command.push(with("-Dlogback.configurationFile=file://", home.join("logback.xml")));
    command.push(with("-Dcassandra.storagedir=", home.to_owned()));
    command.push(with("-Dcassandra.logdir=", home.to_owned()));
    command.extend(["-cp".into(), lib.join("*").into(), "org.apache.cassandra.service.CassandraDaemon".into()]);
    command
}

fn yaml(home: &Path, client: u16, storage: u16, options: &CassandraOptions, keys: Option<&KeyStore>) -> String {
    let authenticator = if options.password { "PasswordAuthenticator" } else { "AllowAllAuthenticator" };
    let authorizer = if options.password { "CassandraAuthorizer" } else { "AllowAllAuthorizer" };
    let mut text = format!(
        "{SETTINGS}listen_address: 127.0.0.1
rpc_address: 127.0.0.1
native_transport_port: {client}
storage_port: {storage}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: \"127.0.0.1:{storage}\"
authenticator: {authenticator}
authorizer: {authorizer}
"
    );
    let folders = [
        ("commitlog_directory", "commitlog"),
        ("hints_directory", "hints"),
        ("saved_caches_directory", "saved_caches"),
        ("cdc_raw_directory", "cdc_raw"),
    ];
    for (setting, folder) in folders {
        text.push_str(&format!("{setting}: {}\n", home.join(folder).display()));
    }
    text.push_str(&format!("data_file_directories:\n  - {}\n", home.join("data").display()));
    if let Some(keys) = keys {
        text.push_str(&format!(
            "client_encryption_options:
  enabled: true
  optional: false
  keystore: {}
  keystore_password: {}
  store_type: PKCS12
  require_client_auth: false
",
            keys.path.display(),
            keys.password,
        ));
    }
    text
}

/// Without TLS: the port answers an OPTIONS request. With it: the port, which is the last thing Cassandra opens, is open.
fn answers(port: u16, tls: bool) -> Answers {
    Box::new(move || {
        let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
        tls || answers_options(stream).unwrap_or(false)
    })
}

/// Sends OPTIONS (CQL protocol version 4, section 4.1.3) and expects SUPPORTED.
fn answers_options(mut stream: TcpStream) -> std::io::Result<bool> {
    const OPTIONS: [u8; 9] = [0x04, 0, 0, 0, 0x05, 0, 0, 0, 0];
    const RESPONSE: u8 = 0x84;
    const SUPPORTED: u8 = 0x06;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(&OPTIONS)?;
    let mut header = [0; 9];
    stream.read_exact(&mut header)?;
    let [version, _, _, _, opcode, ..] = header;
    Ok(version == RESPONSE && opcode == SUPPORTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_carry_ports_folders_and_no_authentication_by_default() {
        let text = yaml(Path::new("/x"), 1234, 5678, &CassandraOptions::default(), None);
        assert!(text.contains("native_transport_port: 1234\n"));
        assert!(text.contains("seeds: \"127.0.0.1:5678\""));
        assert!(text.contains("data_file_directories:\n  - /x/data\n"));
        assert!(text.contains("authenticator: AllowAllAuthenticator\n"));
        assert!(!text.contains("client_encryption_options"));
    }

    #[test]
    fn a_port_that_nobody_listens_on_does_not_answer() {
        let port = Port::free().unwrap();
        assert!(!answers(port.number(), false)());
    }

    #[test]
    fn a_port_that_talks_something_else_does_not_answer() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 9]).unwrap();
            stream.write_all(b"HTTP/1.1 ").unwrap();
        });
        assert!(!answers(port, false)());
        server.join().unwrap();
    }
}
