//! A workspace's settings, prepared for its attempts: what is the same in each of them is made once.

use std::sync::Arc;

use leadway_domain::settings::Workspace;

use crate::Target;
use crate::sign::Keys;

/// Who is delivered to, where, and what it is signed with.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) target: Option<Arc<Target>>,
    pub(crate) test_target: Option<Arc<Target>>,
    pub(crate) keys: Keys,
}

impl Client {
    pub(crate) fn new(workspace: Arc<Workspace>) -> Self {
        let target = |url| Arc::new(Target::new(url));
        Self {
            target: workspace.outbound_webhook_url.as_ref().map(target),
            test_target: workspace.test_webhook_url.as_ref().map(target),
            keys: Keys::new(&workspace.signing_secrets),
            workspace,
        }
    }
}
