//! Connecting.

use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::NewSessionError;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::{Consistency, SerialConsistency};
use tokio::time::Instant;

use super::client::pauses;
use super::options::{Consistency as Asked, Options};
#[cfg(feature = "tls")]
use super::tls;
use crate::TablesError;

/// How long one try to connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it lives, and how long it may take to tell.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Connects, trying again until a node answers or the time for it is over.
pub(super) async fn connect(options: &Options) -> Result<Session, TablesError> {
    let builder = builder(options)?;
    let deadline = Instant::now() + options.start_timeout();
    let mut told = false;
    for pause in pauses() {
        let error = match builder.build().await {
            Ok(session) => return Ok(session),
            Err(error) => refused(options, &error),
        };
        if !error.is_transient() || Instant::now() + pause >= deadline {
            return Err(error);
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%error, "waiting for the database");
        }
        tokio::time::sleep(pause).await;
    }
    Err(TablesError::Unavailable("the database does not answer".into()))
}

fn builder(options: &Options) -> Result<SessionBuilder, TablesError> {
    let mut policy = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = &options.local_datacenter {
        policy = policy.prefer_datacenter(datacenter.clone()).permit_dc_failover(false);
    }
    let (consistency, serial) = match options.consistency {
        Asked::LocalQuorum => (Consistency::LocalQuorum, SerialConsistency::LocalSerial),
        Asked::Quorum => (Consistency::Quorum, SerialConsistency::Serial),
    };
    let profile = ExecutionProfile::builder()
        .consistency(consistency)
        .serial_consistency(Some(serial))
        .request_timeout(Some(options.request_timeout()))
        .load_balancing_policy(policy.build())
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(options.node_list())
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(CONNECT)
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE)
        .schema_agreement_timeout(options.start_timeout())
        .keyspaces_to_fetch([options.keyspace.as_str()]);
    #[cfg(feature = "tls")]
    {
        builder = builder.tls_context(tls::config(options)?);
    }
    if !options.user.is_empty() {
        builder = builder.user(&options.user, options.read_password()?);
    }
    Ok(builder)
}

fn refused(options: &Options, error: &NewSessionError) -> TablesError {
    let text = error.to_string();
    if text.contains("Bad credentials") || text.contains("Authentication") || text.contains("credentials") {
        return TablesError::Unusable(format!(
            "the database refuses user {:?} (scylla.user, scylla.password): {text}",
            options.user
        ));
    }
    TablesError::Unavailable(format!("no node of scylla.nodes ({}) can be used: {text}", options.nodes))
}
