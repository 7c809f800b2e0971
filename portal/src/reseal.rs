//! Sealing everything anew: what earlier versions kept as it is, and what is sealed with a key that is to go.

use std::sync::Arc;

use leadway_domain::record::Topic;
use leadway_domain::seal::{SealError, Sealed, Seals};
use leadway_domain::settings::{
    Account, Change, Entity, Provider, Settings, SettingsChange, Signing, SigningSecret, Workspace, hmac_place,
    signing_place, webhook_place,
};
use leadway_domain::{Clock, Offset, Partition};
use leadway_eventlog::{EventLog, NewRecord, SettingsHandle};

use crate::first_start::SYSTEM;
use crate::{Error, Random};

/// Most settings of one record.
const AT_ONCE: usize = 200;

/// Seals every secret of the settings with the first key of this node, and strengthens key hashes of earlier versions.
/// Tells how many settings it wrote anew. It can be broken off and called again, also beside running nodes, as long as
/// these have the key too.
pub async fn reseal(
    log: Arc<dyn EventLog>,
    settings: SettingsHandle,
    clock: Clock,
    random: &Random,
) -> Result<usize, Error> {
    reseal_with(log, settings, clock, random, false).await
}

/// Gives a log whose seal key is lost another one: a new vault, and nothing of what only the lost key opens. No key of a provider
/// or account is known any more, signing secrets of workspaces are new ones that nobody was shown, and names and passwords
/// of webhooks are gone: all of it is to be made anew.
pub async fn replace_lost_key(
    log: Arc<dyn EventLog>,
    settings: SettingsHandle,
    clock: Clock,
    random: &Random,
) -> Result<usize, Error> {
    reseal_with(log, settings, clock, random, true).await
}

async fn reseal_with(
    log: Arc<dyn EventLog>,
    settings: SettingsHandle,
    clock: Clock,
    random: &Random,
    is_lost: bool,
) -> Result<usize, Error> {
    let mut done = 0;
    loop {
        let end = log.end(Topic::Settings, Partition(0)).await?;
        if let Some(last) = end.0.checked_sub(1) {
            settings.wait_for(Offset(last)).await?;
        }
        let present = settings.load();
        let anew = Anew { settings: &present, seals: present.seals(), random, is_lost };
        let entities = anew.entities()?;
        if entities.is_empty() {
            return Ok(done);
        }
        done += entities.len();
        let now = clock.now();
        let change = Change::Batch(entities.iter().cloned().map(Change::Put).collect());
        let mut record = SettingsChange::new(&Settings::default(), SYSTEM, now, change).only_at(end);
        // Nothing that people see has changed, and what stood there is not to be written once more.
        record.before = entities.into_iter().map(Some).collect();
        for address in log.append(vec![NewRecord::of(&record, now)]).await? {
            settings.wait_for(address.offset).await?;
        }
    }
}

struct Anew<'s> {
    settings: &'s Settings,
    seals: &'s Seals,
    random: &'s Random,
    /// Whether what cannot be opened is given up.
    is_lost: bool,
}

impl Anew<'_> {
    /// The first of those that are to be written anew; none when everything is as it should be.
    fn entities(&self) -> Result<Vec<Entity>, Error> {
        let vault = self.seals.vault().ok_or(SealError::NoVault)?;
        if Some(&vault.key_id) != self.seals.ring().first() {
            if self.is_lost && self.seals.lacks().is_some() {
                return Ok(vec![Entity::Vault(self.seals.new_vault(self.random.bytes()?, self.random.nonce()?)?)]);
            }
            // Alone: whoever lacks the key learns it before anything else is sealed with it.
            return Ok(vec![Entity::Vault(self.seals.resealed_vault(vault, self.random.nonce()?)?)]);
        }
        let mut entities = Vec::new();
        for provider in self.settings.providers.values() {
            entities.extend(self.provider(provider)?.map(Entity::Provider));
        }
        for workspace in self.settings.workspaces.values() {
            entities.extend(self.workspace(workspace)?.map(Entity::Workspace));
        }
        for account in self.settings.accounts.values() {
            let key_hash = self.seals.strengthen(account.key_hash);
            let anew = (key_hash != account.key_hash).then(|| Account { key_hash, ..Account::clone(account) });
            entities.extend(anew.map(Entity::Account));
        }
        entities.truncate(AT_ONCE);
        Ok(entities)
    }

    fn provider(&self, present: &Provider) -> Result<Option<Provider>, Error> {
        let mut anew = present.clone();
        let place = hmac_place(&present.id);
        let credentials = &mut anew.credentials;
        if credentials.signing == Signing::LegacyBody
            && credentials.hmac_secrets.is_empty()
            && let Some(derived) = present.key_hash.plain_hex()
        {
            credentials.hmac_secrets.push(SigningSecret { secret: derived.as_str().into(), valid_until: None });
        }
        credentials.hmac_secrets.retain(|secret| !self.is_given_up(&secret.secret));
        for secret in &mut credentials.hmac_secrets {
            self.seal(&place, &mut secret.secret)?;
        }
        for previous in &mut credentials.previous_keys {
            previous.key_hash = self.seals.strengthen(previous.key_hash);
        }
        anew.key_hash = self.seals.strengthen(anew.key_hash);
        Ok((anew != *present).then_some(anew))
    }

    fn workspace(&self, present: &Workspace) -> Result<Option<Workspace>, Error> {
        let mut anew = present.clone();
        anew.signing_secrets.retain(|secret| !self.is_given_up(&secret.secret));
        if anew.signing_secrets.is_empty() && !present.signing_secrets.is_empty() {
            let secret = self.random.signing_secret()?.as_str().into();
            anew.signing_secrets.push(SigningSecret { secret, valid_until: None });
        }
        for secret in &mut anew.signing_secrets {
            self.seal(&signing_place(&present.id), &mut secret.secret)?;
        }
        let credentials = &mut anew.webhook_credentials;
        credentials.outbound.take_if(|sealed| self.is_given_up(sealed));
        credentials.test.take_if(|sealed| self.is_given_up(sealed));
        for sealed in credentials.outbound.iter_mut().chain(&mut credentials.test) {
            self.seal(&webhook_place(&present.id), sealed)?;
        }
        Ok((anew != *present).then_some(anew))
    }

    fn is_given_up(&self, sealed: &Sealed) -> bool {
        self.is_lost && sealed.key().is_some_and(|key| !self.seals.ring().has(&key))
    }

    fn seal(&self, place: &str, sealed: &mut Sealed) -> Result<(), Error> {
        if sealed.key().as_ref() != self.seals.ring().first() {
            let text = self.seals.open(place, sealed)?;
            *sealed = self.seals.seal(place, text.expose(), self.random.nonce()?)?;
        }
        Ok(())
    }
}
