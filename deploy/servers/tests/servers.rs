//! The real servers: started, killed, restarted, and gone when their value is gone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use leadway_servers::{Cassandra, CassandraOptions, Error, Jars, KafkaCluster, KafkaOptions, Result, fetch};

/// Processes whose command line names one of the folders that this process's servers use.
fn processes(folders: &[PathBuf]) -> Vec<String> {
    let commands = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let command = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&command).replace('\0', " "))
    });
    let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    commands.filter(|command| names.iter().any(|name| command.contains(name))).collect()
}

/// Whether anything accepts connections there.
fn listens(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

/// Sends a Metadata request (version 12, for no topics) and returns how many brokers the answer lists.
fn brokers_known_to(address: &str) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // Key 3, version 12, correlation 1, client id "t", no tags; then an empty list of topics, two flags, no tags.
    let request = [0, 3, 0, 12, 0, 0, 0, 1, 0, 1, b't', 0, 1, 0, 0, 0];
    stream.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes())?;
    stream.write_all(&request)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(size)).unwrap()];
    stream.read_exact(&mut answer)?;
    // Correlation (4), tags (1), throttle time (4), then the number of brokers plus one.
    Ok(usize::from(answer[9]) - 1)
}

fn wait_for(what: &str, reached: impl Fn() -> bool) {
    for _ in 0..600 {
        if reached() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("30 seconds passed without: {what}");
}

#[test]
fn servers_are_killed_restarted_paused_and_gone_after_drop() {
    let cassandra = std::thread::spawn(Cassandra::start);
    let kafka = KafkaCluster::start(3).unwrap();
    let cassandra = cassandra.join().unwrap().unwrap();
    let folders = [kafka.folder().to_owned(), cassandra.folder().to_owned()];

    let bootstrap = kafka.bootstrap();
    let addresses: Vec<&str> = bootstrap.split(',').collect();
    assert_eq!(addresses.len(), kafka.brokers());
    for address in &addresses {
        wait_for("all brokers know three", || brokers_known_to(address).is_ok_and(|known| known == 3));
    }

    kafka.kill(2).unwrap();
    cassandra.kill().unwrap();
    assert!(!listens(addresses[2]) && !listens(&cassandra.contact_point()));
    wait_for("the others see it gone", || brokers_known_to(addresses[0]).is_ok_and(|known| known == 2));
    assert!(matches!(kafka.pause(2), Err(Error::NotRunning { .. })));
    assert!(matches!(kafka.kill(3), Err(Error::NoSuchBroker { broker: 3, last: 2 })));

    std::thread::scope(|scope| {
        let again = scope.spawn(|| cassandra.restart());
        kafka.restart(2).unwrap();
        again.join().unwrap().unwrap();
    });
    assert!(matches!(kafka.restart(2), Err(Error::Running { .. })));
    wait_for("the restarted broker is back", || brokers_known_to(addresses[0]).is_ok_and(|known| known == 3));

    // A paused broker keeps its connections and says nothing; the others notice, and notice that it goes on.
    kafka.pause(1).unwrap();
    assert!(listens(addresses[1]));
    wait_for("the others see it silent", || brokers_known_to(addresses[0]).is_ok_and(|known| known == 2));
    kafka.resume(1).unwrap();
    wait_for("it is back", || brokers_known_to(addresses[0]).is_ok_and(|known| known == 3));

    cassandra.pause().unwrap();
    assert!(!processes(&folders).is_empty());
    drop((kafka, cassandra));
    assert_eq!(processes(&folders), Vec::<String>::new());
    assert!(folders.iter().all(|folder| !folder.exists()));
}

/// One CQL frame (protocol version 4) and the opcode of its answer.
fn cql(stream: &mut TcpStream, opcode: u8, body: &[u8]) -> u8 {
    let mut frame = vec![0x04, 0, 0, 0, opcode];
    frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend(body);
    stream.write_all(&frame).unwrap();
    let mut header = [0; 9];
    stream.read_exact(&mut header).unwrap();
    let length = u32::from_be_bytes(header[5..].try_into().unwrap());
    std::io::copy(&mut stream.take(u64::from(length)), &mut std::io::sink()).unwrap();
    header[4]
}

/// Opcode of the answer to a sign-in: 0x10 AUTH_SUCCESS, 0x00 ERROR.
fn sign_in(cassandra: &Cassandra, user: &str, password: &str) -> u8 {
    const AUTHENTICATE: u8 = 0x03;
    let mut stream = TcpStream::connect(cassandra.contact_point()).unwrap();
    assert_eq!(cql(&mut stream, 0x01, b"\0\x01\0\x0bCQL_VERSION\0\x053.0.0"), AUTHENTICATE);
    let token = format!("\0{user}\0{password}");
    let mut body = u32::try_from(token.len()).unwrap().to_be_bytes().to_vec();
    body.extend(token.as_bytes());
    cql(&mut stream, 0x0f, &body)
}

/// What the server at an address shows as its certificates, as keytool reads it.
fn certificates(address: &str) -> String {
    let output = std::process::Command::new("keytool").args(["-printcert", "-sslserver", address]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether Kafka's own client gets an answer with this password.
fn kafka_client_signs_in(kafka: &KafkaCluster, password: &str) -> bool {
    let credentials = kafka.credentials();
    let settings = format!(
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         default.api.timeout.ms=8000\nrequest.timeout.ms=5000\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{}\" password=\"{password}\";\n",
        credentials.ca_file.as_ref().unwrap().display(),
        credentials.username.as_ref().unwrap(),
    );
    let file = kafka.folder().join("client.properties");
    std::fs::write(&file, settings).unwrap();
    let output = std::process::Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(fetch(Jars::Kafka).unwrap().join("*"))
        .args(["org.apache.kafka.tools.TopicCommand", "--list", "--bootstrap-server", &kafka.bootstrap()])
        .arg("--command-config")
        .arg(file)
        .output()
        .unwrap();
    output.status.success()
}

#[test]
fn servers_that_want_tls_and_a_sign_in_refuse_clients_without() {
    let (kafka, open_to_users, encrypted) = std::thread::scope(|scope| {
        let kafka = scope
            .spawn(|| KafkaCluster::start_with(&KafkaOptions { sasl: true, tls: true, ..KafkaOptions::default() }));
        let options = CassandraOptions { password: true, ..CassandraOptions::default() };
        let open_to_users = scope.spawn(move || Cassandra::start_with(&options));
        let options = CassandraOptions { tls: true, ..CassandraOptions::default() };
        let encrypted = scope.spawn(move || Cassandra::start_with(&options));
        (kafka.join().unwrap().unwrap(), open_to_users.join().unwrap().unwrap(), encrypted.join().unwrap().unwrap())
    });

    let credentials = open_to_users.credentials();
    let (user, password) = (credentials.username.as_deref().unwrap(), credentials.password.as_deref().unwrap());
    assert_eq!(sign_in(&open_to_users, user, password), 0x10);
    assert_eq!(sign_in(&open_to_users, user, "wrong"), 0x00);

    for address in [encrypted.contact_point(), kafka.bootstrap()] {
        let shown = certificates(&address);
        assert!(shown.contains("Issuer: CN=leadway test authority"), "{shown}");
        assert!(shown.contains("IPAddress: 127.0.0.1"), "{shown}");
    }
    assert!(kafka_client_signs_in(&kafka, kafka.credentials().password.as_deref().unwrap()));
    assert!(!kafka_client_signs_in(&kafka, "wrong"));
}

/// The child half of the test below: starts a server and waits to be killed.
#[test]
#[ignore = "run by the test below"]
fn child_that_starts_a_broker() -> Result<()> {
    let kafka = KafkaCluster::start(1)?;
    println!("folder={}", kafka.folder().display());
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}

#[test]
fn nothing_stays_when_the_process_that_started_it_is_killed() {
    use std::io::BufRead;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_starts_a_broker", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let line =
        lines.map_while(std::result::Result::ok).find(|line| line.contains("folder=")).expect("a broker started");
    let folder = PathBuf::from(line.split_once("folder=").unwrap().1);
    assert!(!processes(std::slice::from_ref(&folder)).is_empty());

    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("no process and no folder", || !folder.exists() && processes(std::slice::from_ref(&folder)).is_empty());
}
