//! A workspace's settings, prepared for its attempts: what is the same in each of them is made once.

use std::sync::Arc;

use leadway_domain::seal::{SealError, Sealed, Seals};
use leadway_domain::settings::{Workspace, webhook_place};
use url::Url;

use crate::Target;
use crate::sign::Keys;

/// Who is delivered to, where, and what it is signed with.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) target: Option<Arc<Target>>,
    pub(crate) test_target: Option<Arc<Target>>,
    pub(crate) keys: Keys,
    /// Whether its secrets are sealed with a key that this node does not have: its deliveries are held meanwhile.
    pub(crate) is_sealed: bool,
}

impl Client {
    pub(crate) fn new(workspace: Arc<Workspace>, seals: &Seals) -> Self {
        Self::open(workspace.clone(), seals).unwrap_or_else(|error| {
            tracing::error!(workspace = %workspace.id, %error, "a workspace's secrets cannot be opened; its deliveries are held");
            Self { workspace, target: None, test_target: None, keys: Keys::default(), is_sealed: true }
        })
    }

    fn open(workspace: Arc<Workspace>, seals: &Seals) -> Result<Self, SealError> {
        let place = webhook_place(&workspace.id);
        let target = |url: &Option<Url>, credentials: &Option<Sealed>| {
            let Some(url) = url else { return Ok(None) };
            let credentials = credentials.as_ref().map(|sealed| seals.open(&place, sealed)).transpose()?;
            Ok(Some(Arc::new(Target::with_credentials(url, credentials))))
        };
        let credentials = &workspace.webhook_credentials;
        Ok(Self {
            target: target(&workspace.outbound_webhook_url, &credentials.outbound)?,
            test_target: target(&workspace.test_webhook_url, &credentials.test)?,
            keys: Keys::open(&workspace.id, &workspace.signing_secrets, seals)?,
            is_sealed: false,
            workspace,
        })
    }
}
