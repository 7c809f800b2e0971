//! What providers prove themselves with: made, shown once, rotated.

use axum::Json;
use axum::extract::State;
use leadway_domain::secret::new_key;
use leadway_domain::settings::{
    Credentials, Provider, Settings, Signing, SigningSecret, hmac_place, rotated_keys, rotated_secrets,
};
use leadway_domain::{ProviderId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Actor;
use crate::change::Decided;
use crate::fields::OptionalInput;
use crate::path::Path;
use crate::problem::{Answer, Refusal};
use crate::providers::{ProviderView, find, put};
use crate::rotation::RotationInput;
use crate::state::{Portal, Shared};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(rotate_key))
}

/// A provider with its credentials, which are shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProviderWithKey {
    #[serde(flatten)]
    pub(crate) provider: ProviderView,
    /// Its key, for a header or the query. Not kept: it cannot be shown again.
    #[schema(example = "lwp_6f1d…")]
    pub(crate) key: String,
    /// What it signs with, where `signing` says that it does. It cannot be shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hmac_secret: Option<String>,
    /// How long key and secret before stay valid, after a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous_valid_until: Option<Timestamp>,
}

/// A provider that was changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangedProvider {
    #[serde(flatten)]
    pub(crate) provider: ProviderView,
    /// What it signs with, when this change of `signing` made it. It cannot be shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hmac_secret: Option<String>,
}

/// A provider's credentials, and its new secret if one was made.
pub(crate) type WithSecret = (Credentials, Option<String>);

/// A new secret for this way of signing, as it is shown and as it is kept; `None` for a provider that does not sign.
fn new_secret(
    portal: &Portal,
    settings: &Settings,
    provider: &ProviderId,
    signing: Signing,
) -> Answer<Option<(String, SigningSecret)>> {
    let text = match signing {
        Signing::None => return Ok(None),
        Signing::LegacyBody => portal.random.hex()?,
        Signing::StandardWebhooks => portal.random.signing_secret()?,
    };
    let secret = settings.seals().seal(&hmac_place(provider), &text, portal.random.nonce()?)?;
    Ok(Some((text, SigningSecret { secret, valid_until: None })))
}

/// The credentials of a provider that from now on signs in this way. Another way than before takes another secret; the
/// one before is of no use then.
pub(crate) fn sign_as(
    portal: &Portal,
    settings: &Settings,
    provider: &ProviderId,
    present: Credentials,
    signing: Signing,
    now: Timestamp,
) -> Answer<WithSecret> {
    if signing == present.signing {
        return Ok((present, None));
    }
    let (shown, kept) = new_secret(portal, settings, provider, signing)?.unzip();
    let credentials =
        Credentials { signing, hmac_secrets: kept.into_iter().collect(), changed_at: Some(now), ..present };
    Ok((credentials, shown))
}

/// Gives a provider a new key, and a new HMAC secret if it signs, shown in this answer only. The ones before stay valid
/// for a day unless the body says otherwise: `revoke_now` ends all earlier ones at once.
#[utoipa::path(post, path = "/api/providers/{id}/rotate-key", operation_id = "rotate_provider_key", tag = "Providers", request_body = Option<RotationInput>,
    responses((status = 200, body = ProviderWithKey), (status = 409, description = "Too many earlier keys are still valid")))]
async fn rotate_key(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    OptionalInput(fields): OptionalInput,
) -> Answer<Json<ProviderWithKey>> {
    let rotation = RotationInput::read(fields)?;
    let key = new_key("lwp", portal.random.bytes()?);
    let decide = |settings: &Settings, now: Timestamp| {
        let mut provider = Provider::clone(find(settings, &id)?);
        let Credentials { previous_keys, signing, hmac_secrets, .. } = std::mem::take(&mut provider.credentials);
        let until = rotation.until(now, previous_keys.iter().map(|key| key.valid_until))?;
        let secret = new_secret(&portal, settings, &provider.id, signing)?;
        let (hmac_secret, kept) = secret.unzip();
        // A provider of an earlier version signs with the hash of its key: that becomes a secret like any other.
        let derived =
            provider.key_hash.plain_hex().filter(|_| signing == Signing::LegacyBody && hmac_secrets.is_empty());
        let mut present = hmac_secrets;
        if let Some(hex) = derived {
            let secret = settings.seals().seal(&hmac_place(&provider.id), &hex, portal.random.nonce()?)?;
            present.push(SigningSecret { secret, valid_until: None });
        }
        provider.credentials = Credentials {
            previous_keys: rotated_keys(previous_keys, settings.seals().strengthen(provider.key_hash), now, until),
            signing,
            hmac_secrets: kept.map_or(Vec::new(), |kept| rotated_secrets(present, kept.secret, now, until)),
            changed_at: Some(now),
        };
        provider.key_hash = settings.seals().hash(&key)?;
        provider.updated_at = now;
        let answer =
            ProviderWithKey { provider: ProviderView::of(&provider), key, hmac_secret, previous_valid_until: until };
        Ok::<_, Refusal>(Decided::new(put(provider), answer))
    };
    portal.writer.change(&actor, decide).await.map(Json)
}
