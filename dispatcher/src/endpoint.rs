//! Where an appointment goes now, by its workspace's settings.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::Timestamp;
use leadway_domain::record::Appointment;
use leadway_domain::settings::Workspace;

use crate::Target;
use crate::client::Client;

/// What the settings say of one appointment.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint<'a> {
    /// It may be posted there.
    Post(&'a Arc<Target>, &'a Client),
    /// It waits until the operator switches the webhook on, or this node has the key of its secrets.
    Inactive,
    /// No attempt can succeed, for this reason.
    Nowhere(&'static str),
}

/// Decides about one appointment. Tests go to the test URL or nowhere: never to the client's real system.
pub(crate) fn endpoint<'a>(appointment: &Appointment, client: Option<&'a Client>) -> Endpoint<'a> {
    let Some(client) = client else {
        return Endpoint::Nowhere("the workspace was deleted");
    };
    if client.is_sealed {
        return Endpoint::Inactive;
    }
    let target = if appointment.test {
        let Some(target) = &client.test_target else {
            return Endpoint::Nowhere(
                "a test appointment, and the workspace has no test_webhook_url: set one and post another test lead",
            );
        };
        Some(target)
    } else {
        client.target.as_ref()
    };
    match target {
        Some(target) if client.workspace.webhook_active => Endpoint::Post(target, client),
        _ => Endpoint::Inactive,
    }
}

/// Whether rows of the workspace on disk may have somewhere to go, or must be given up: otherwise they stay unread.
pub(crate) fn takes_rows(client: Option<&Client>) -> bool {
    let has_target = |client: &Client| client.target.is_some() || client.test_target.is_some();
    client.is_none_or(|client| client.workspace.webhook_active && has_target(client))
}

/// Whether a delivery to a client that keeps failing is too old to go on. A change of the workspace starts the time anew:
/// somebody may have mended what was wrong.
pub(crate) fn is_too_old(appointment: &Appointment, workspace: &Workspace, now: Timestamp, longest: Duration) -> bool {
    let since = appointment.matched_at.max(workspace.updated_at);
    now.as_microsecond().saturating_sub(since.as_microsecond()) as i128 >= longest.as_micros() as i128
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::outcome::tests::appointment;
    use leadway_domain::seal::{Keyring, Seals};
    use leadway_domain::settings::{SigningSecret, signing_place};
    use leadway_domain::{Money, WorkspaceId};
    use url::Url;

    fn client(workspace: Workspace) -> Client {
        Client::new(Arc::new(workspace), &Default::default())
    }

    pub(crate) fn workspace(id: &str) -> Workspace {
        Workspace {
            id: WorkspaceId::new(id).unwrap(),
            name: id.to_owned(),
            outbound_webhook_url: Some(
                Url::parse(&format!("https://{}.example.com/hook", id.replace('_', "-"))).unwrap(),
            ),
            test_webhook_url: None,
            webhook_active: true,
            paused: false,
            past_dates: None,
            business_type: String::new(),
            payment_rate: Money::from_cents(15_000),
            signing_secrets: vec![SigningSecret { secret: "whsec_bmV3".into(), valid_until: None }],
            webhook_credentials: Default::default(),
            ignore_answer_body: false,
            phone_format: Default::default(),
            rate_limit: None,
            max_concurrency: None,
            opening_hours: Default::default(),
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_settings_decide_where_it_goes() {
        let real = appointment(1, "w");
        let test = Appointment { test: true, ..real.clone() };
        let url = Url::parse("https://test.example.com/").unwrap();
        let plain = workspace("w");
        let with_test = Workspace { test_webhook_url: Some(url.clone()), ..plain.clone() };
        let silent = client(Workspace { outbound_webhook_url: None, ..plain.clone() });
        let inactive = client(Workspace { webhook_active: false, ..with_test.clone() });
        let (plain, with_test, own_url) = (client(plain.clone()), client(with_test), plain.outbound_webhook_url);
        let posts_to = |appointment, client, url: &Url| matches!(endpoint(appointment, Some(client)), Endpoint::Post(to, _) if to.url() == url);
        assert!(posts_to(&real, &with_test, &own_url.unwrap()));
        assert!(posts_to(&test, &with_test, &url));
        assert!(matches!(endpoint(&test, Some(&plain)), Endpoint::Nowhere(why) if why.contains("test_webhook_url")));
        assert!(matches!(endpoint(&real, Some(&silent)), Endpoint::Inactive));
        assert!(matches!(endpoint(&real, Some(&inactive)), Endpoint::Inactive));
        assert!(matches!(endpoint(&test, Some(&inactive)), Endpoint::Inactive));
        assert!(matches!(endpoint(&real, None), Endpoint::Nowhere(_)));
    }

    #[test]
    fn rows_are_read_only_where_they_can_go_on() {
        let active = workspace("w");
        assert!(takes_rows(None) && takes_rows(Some(&client(active.clone()))));
        assert!(!takes_rows(Some(&client(Workspace { webhook_active: false, ..active.clone() }))));
        assert!(!takes_rows(Some(&client(Workspace { outbound_webhook_url: None, ..active }))));
    }

    #[test]
    fn a_change_of_the_workspace_starts_the_time_anew() {
        let given = appointment(1, "w");
        let longest = Duration::from_secs(3_600);
        let now = crate::schedule::later(given.matched_at, longest);
        let old = workspace("w");
        assert!(is_too_old(&given, &old, now, longest));
        assert!(!is_too_old(&given, &Workspace { updated_at: now, ..old }, now, longest));
    }

    #[test]
    fn without_the_key_of_its_secrets_a_clients_deliveries_wait() {
        let ring = Keyring::parse(&"01".repeat(32)).unwrap();
        let seals = Seals::new(ring);
        let id = WorkspaceId::new("w").unwrap();
        let secret = seals.seal(&signing_place(&id), "whsec_bmV3", [1; 12]).unwrap();
        let sealed = Workspace { signing_secrets: vec![SigningSecret { secret, valid_until: None }], ..workspace("w") };
        let given = appointment(1, "w");
        let with_key = Client::new(Arc::new(sealed.clone()), &seals);
        assert!(matches!(endpoint(&given, Some(&with_key)), Endpoint::Post(..)));
        let without = client(sealed);
        assert!(matches!(endpoint(&given, Some(&without)), Endpoint::Inactive));
        assert!(!takes_rows(Some(&without)), "nor are its rows read again and again");
    }
}
