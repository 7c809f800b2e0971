//! Clients that nothing can be sent to because their URLs lead to the public internet without TLS. Earlier versions sent there.

use leadway_domain::WorkspaceId;
use leadway_domain::settings::Settings;
use leadway_domain::target::check_plain;

/// So many are named; of more, the number is told.
const NAMED: usize = 50;

/// Says, for a node's start, whose deliveries fail: after an upgrade no change of the settings would tell.
pub fn warn_of_plain_targets(settings: &Settings, allow_private: bool) {
    let unsent = unsent(settings, allow_private);
    if unsent.is_empty() {
        return;
    }
    let named: Vec<&str> = unsent.iter().take(NAMED).map(|id| id.as_str()).collect();
    tracing::warn!(
        count = unsent.len(),
        workspaces = named.join(" "),
        "webhook URLs of these workspaces begin with http:// and nothing is sent there: over the public internet only https:// is used; \
         change the URLs, or allow private addresses where they lead to these (dispatcher.allow_private_targets)"
    );
}

/// The workspaces with a webhook URL of which the URL alone tells that nothing is sent there. Where private addresses are
/// allowed, what a name leads to is told by each attempt.
fn unsent(settings: &Settings, allow_private: bool) -> Vec<&WorkspaceId> {
    let active = settings.workspaces.values().filter(|workspace| workspace.webhook_active);
    let unsent = active.filter(|workspace| {
        let mut urls = [&workspace.outbound_webhook_url, &workspace.test_webhook_url].into_iter().flatten();
        urls.any(|url| check_plain(url, allow_private).is_err())
    });
    unsent.map(|workspace| &workspace.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::tests::workspace;
    use leadway_domain::settings::{Change, Entity};

    #[test]
    fn those_that_plain_http_is_not_sent_to_are_named() {
        let mut settings = Settings::default();
        for (id, url, test_url, active) in [
            ("tls", "https://client.example.com/", None, true),
            ("named", "http://client.example.com/", None, true),
            ("public", "http://8.8.8.8/", None, true),
            ("private", "http://10.0.0.8/", None, true),
            ("test_only", "https://client.example.com/", Some("http://8.8.8.8/"), true),
            ("inactive", "http://8.8.8.8/", None, false),
        ] {
            let mut workspace = workspace(id);
            workspace.outbound_webhook_url = Some(url.parse().unwrap());
            workspace.test_webhook_url = test_url.map(|url| url.parse().unwrap());
            workspace.webhook_active = active;
            settings.apply(&Change::Put(Entity::Workspace(workspace)));
        }
        let named = |allow| unsent(&settings, allow).into_iter().map(WorkspaceId::as_str).collect::<Vec<_>>();
        assert_eq!(named(false), ["named", "private", "public", "test_only"]);
        assert_eq!(named(true), ["public", "test_only"]);
    }
}
