//! What a new node needs before anybody can use it: products and an admin.

use std::sync::Arc;

use leadway_domain::record::Topic;
use leadway_domain::secret::new_key;
use leadway_domain::settings::{Account, Change, DEFAULT_PRODUCTS, Entity, Product, Role, Settings, SettingsChange};
use leadway_domain::{Clock, Offset, Partition, Timestamp};
use leadway_eventlog::{EventLog, NewRecord, SettingsHandle};

use crate::keys::new_account;
use crate::{Error, Random};

/// Name of the account that the environment's key belongs to.
const ADMIN: &str = "admin";
/// What the node calls itself in the log of changes.
pub(crate) const SYSTEM: &str = "system";
/// A key shorter than this might be guessed.
const SHORTEST_KEY: usize = 24;

/// What the first start did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FirstStart {
    /// Whether the log held no settings before.
    pub is_first: bool,
    /// The admin key that was made; print it once, it cannot be shown again. `None` when one was given or exists.
    pub new_admin_key: Option<String>,
}

/// Makes sure that there are products (at the very first start), a vault and an admin. `admin_key` is the value of
/// `LEADWAY_ADMIN_KEY`: the account `admin` has exactly this key after the call. Without it, an admin is made when there
/// is none. Everything is one change, so that a crash leaves all of it or nothing.
pub async fn first_start(
    log: Arc<dyn EventLog>,
    settings: SettingsHandle,
    clock: Clock,
    random: &Random,
    admin_key: Option<String>,
) -> Result<FirstStart, Error> {
    let admin_key = admin_key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
    loop {
        // Where several nodes start at once, the first change counts, and the others look again.
        if let Some(done) = attempt(&*log, &settings, &clock, random, admin_key.as_deref()).await? {
            return Ok(done);
        }
    }
}

/// `None` when another node's change came first.
async fn attempt(
    log: &dyn EventLog,
    settings: &SettingsHandle,
    clock: &Clock,
    random: &Random,
    admin_key: Option<&str>,
) -> Result<Option<FirstStart>, Error> {
    let end = log.end(Topic::Settings, Partition(0)).await?;
    if let Some(last) = end.0.checked_sub(1) {
        settings.wait_for(Offset(last)).await?;
    }
    let present = settings.load();
    let now = clock.now();
    // The log's identity stands before the first setting.
    let is_first = present.is_untouched();
    let mut changes = if is_first { default_products() } else { Vec::new() };
    let mut next = Settings::clone(&present);
    if present.seals().vault().is_none() {
        let vault = Change::Put(Entity::Vault(present.seals().new_vault(random.bytes()?, random.nonce()?)?));
        next.apply(&vault);
        changes.push(vault);
    }
    let mut new_admin_key = None;
    let account = match admin_key {
        Some(key) => with_given_key(&next, key, now)?,
        None if present.accounts.values().any(|a| a.role == Role::Admin) => None,
        None => {
            let key = new_key("lwk", random.bytes()?);
            let account = new_account(ADMIN.to_owned(), next.seals().hash(&key)?, Role::Admin, now);
            new_admin_key = Some(key);
            Some(account)
        }
    };
    changes.extend(account.map(|account| Change::Put(Entity::Account(account))));
    if !changes.is_empty() {
        let record = SettingsChange::new(&present, SYSTEM, now, Change::Batch(changes)).only_at(end);
        for address in log.append(vec![NewRecord::of(&record, now)]).await? {
            if !record.counts_at(address.offset) {
                return Ok(None);
            }
            settings.wait_for(address.offset).await?;
        }
    }
    Ok(Some(FirstStart { is_first, new_admin_key }))
}

fn default_products() -> Vec<Change> {
    let product = |(name, synonyms): &(&str, &[&str])| Product {
        name: (*name).to_owned(),
        synonyms: synonyms.iter().map(|s| (*s).to_owned()).collect(),
        auto_schedule: false,
    };
    DEFAULT_PRODUCTS.iter().map(|p| Change::Put(Entity::Product(product(p)))).collect()
}

/// The account `admin` with this key, if it is not so already.
fn with_given_key(settings: &Settings, key: &str, now: Timestamp) -> Result<Option<Account>, Error> {
    if !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::AdminKey { rule: "must be visible ASCII characters; or unset it to have one made" });
    }
    if key.len() < SHORTEST_KEY {
        return Err(Error::AdminKey { rule: "must have at least 24 characters; or unset it to have one made" });
    }
    match settings.account_by_key(key) {
        Some(holder) if holder.name != ADMIN || holder.role != Role::Admin => {
            Err(Error::AdminKey { rule: "is the key of another account; choose another, or revoke that one" })
        }
        Some(_) => Ok(None),
        None => {
            let key_hash = settings.seals().hash(key)?;
            Ok(Some(match settings.accounts.values().find(|a| a.name == ADMIN) {
                Some(old) => Account { key_hash, role: Role::Admin, ..Account::clone(old) },
                None => new_account(ADMIN.to_owned(), key_hash, Role::Admin, now),
            }))
        }
    }
}
