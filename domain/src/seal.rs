//! Secrets at rest: sealed with a key that is not in the log, so that who reads a copy of the log has nothing to use.
//!
//! A node has a [`Keyring`]: its first key seals, the others only open. What is sealed (ChaCha20-Poly1305) names its key
//! and is bound to its place: moved to another provider or workspace it cannot be opened. The [`Vault`], a record of the
//! settings, says which key the log needs, and holds the pepper of key hashes, sealed too: so sealing everything anew
//! with another key leaves the hashes as they are.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::secret::{KeyHash, Pepper, Presented, Secret};

/// How the text of something sealed begins.
const SEALED: &str = "sealed:";
/// The place of the pepper.
const PEPPER: &str = "pepper";

/// Names a seal key without telling it: the beginning of its hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealKeyId(String);

impl fmt::Display for SealKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why something cannot be sealed or opened. The texts hold nothing of the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A keyring's text is not of its form.
    #[error(
        "a seal key must be 64 hexadecimal digits (`openssl rand -hex 32` makes one); several are separated by spaces or lines"
    )]
    Form,
    /// There is no key to seal with.
    #[error("there is no seal key: set LEADWAY_SEAL_KEY or seal_key_file")]
    NoKey,
    /// The log has no vault yet.
    #[error("the settings have no vault yet: a node with the stage portal makes it at its first start")]
    NoVault,
    /// It was sealed with a key that is not here.
    #[error("it is sealed with key {0}, which this node does not have")]
    OtherKey(SealKeyId),
    /// It is damaged, or was sealed for another place.
    #[error("it is damaged, or was moved here from another record")]
    Broken,
}

struct SealKey {
    id: SealKeyId,
    cipher: LessSafeKey,
}

impl SealKey {
    fn parse(digits: &str) -> Result<Self, SealError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| SealError::Form)?;
        let hash = Sha256::new().chain_update("leadway seal key ").chain_update(bytes).finalize();
        let id = SealKeyId(hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect());
        let cipher = UnboundKey::new(&CHACHA20_POLY1305, &bytes).map_err(|_| SealError::Form)?;
        Ok(Self { id, cipher: LessSafeKey::new(cipher) })
    }
}

/// The seal keys of a node. Clones are cheap.
#[derive(Clone, Default)]
pub struct Keyring(Arc<[SealKey]>);

impl Keyring {
    /// Reads keys of 64 hexadecimal digits each, separated by white space or commas; the first one seals. No key is an
    /// empty keyring, which opens nothing.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let keys = text.split(|c: char| c.is_whitespace() || c == ',').filter(|part| !part.is_empty());
        Ok(Self(keys.map(SealKey::parse).collect::<Result<_, _>>()?))
    }

    /// The key that seals.
    pub fn first(&self) -> Option<&SealKeyId> {
        self.0.first().map(|key| &key.id)
    }

    /// Whether this key is among them.
    pub fn has(&self, id: &SealKeyId) -> bool {
        self.key(id).is_some()
    }

    /// Every key's name.
    pub fn ids(&self) -> impl Iterator<Item = &SealKeyId> {
        self.0.iter().map(|key| &key.id)
    }

    fn key(&self, id: &SealKeyId) -> Option<&SealKey> {
        self.0.iter().find(|key| key.id == *id)
    }

    fn seal(&self, place: &str, text: &str, nonce: [u8; NONCE_LEN]) -> Result<Sealed, SealError> {
        let key = self.0.first().ok_or(SealError::NoKey)?;
        let mut sealed = text.as_bytes().to_vec();
        key.cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .map_err(|_| SealError::Broken)?;
        let bytes = [nonce.as_slice(), &sealed].concat();
        Ok(Sealed(format!("{SEALED}{}:{}", key.id, STANDARD.encode(bytes))))
    }

    fn open(&self, place: &str, Sealed(text): &Sealed) -> Result<Secret, SealError> {
        let Some(rest) = text.strip_prefix(SEALED) else { return Ok(Secret::new(text.clone())) };
        let (id, body) = rest.split_once(':').ok_or(SealError::Broken)?;
        let id = SealKeyId(id.to_owned());
        let Some(key) = self.key(&id) else { return Err(SealError::OtherKey(id)) };
        let bytes = STANDARD.decode(body).map_err(|_| SealError::Broken)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(SealError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let mut sealed = sealed.to_vec();
        let opened = key.cipher.open_in_place(nonce, Aad::from(place), &mut sealed).map_err(|_| SealError::Broken)?;
        Ok(Secret::new(std::str::from_utf8(opened).map_err(|_| SealError::Broken)?))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// A secret as it stands in a record: sealed, or, in records of earlier versions, as it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// The key that it is sealed with; `None` for a plain one.
    pub fn key(&self) -> Option<SealKeyId> {
        let (id, _) = self.0.strip_prefix(SEALED)?.split_once(':')?;
        Some(SealKeyId(id.to_owned()))
    }
}

/// A secret as earlier versions wrote it: as it is.
impl From<&str> for Sealed {
    fn from(plain: &str) -> Self {
        Self(plain.to_owned())
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// The record that says which key the log's secrets are sealed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vault {
    /// The key that seals: every node must have it.
    pub key_id: SealKeyId,
    /// With what the hashes of keys are made. It stays the same for the life of the log.
    pub pepper: Sealed,
}

/// What a node can seal and open: its keyring and the log's vault.
#[derive(Clone, Debug, Default)]
pub struct Seals {
    ring: Keyring,
    vault: Option<Arc<Vault>>,
    pepper: Option<Pepper>,
}

impl Seals {
    /// Those of a node with these keys, before it has read the settings.
    pub fn new(ring: Keyring) -> Self {
        Self { ring, ..Self::default() }
    }

    /// A new log's vault, with a pepper of these random bits.
    pub fn new_vault(&self, pepper: [u8; 32], nonce: [u8; NONCE_LEN]) -> Result<Vault, SealError> {
        let key_id = self.ring.first().cloned().ok_or(SealError::NoKey)?;
        Ok(Vault { key_id, pepper: self.ring.seal(PEPPER, &hex::encode(pepper), nonce)? })
    }

    /// Takes over the log's vault. The pepper stays the same whatever the key: where it cannot be opened, one that is known
    /// goes on being used, and [`lacks`](Self::lacks) tells.
    pub fn follow(&mut self, vault: &Vault) {
        if let Ok(pepper) = self.ring.open(PEPPER, &vault.pepper) {
            self.pepper = Some(Pepper::new(pepper.expose().as_bytes()));
        }
        self.vault = Some(Arc::new(vault.clone()));
    }

    /// The log's vault.
    pub fn vault(&self) -> Option<&Arc<Vault>> {
        self.vault.as_ref()
    }

    /// The keys of this node.
    pub fn ring(&self) -> &Keyring {
        &self.ring
    }

    /// The key that the log needs and this node does not have.
    pub fn lacks(&self) -> Option<&SealKeyId> {
        let vault = self.vault.as_ref()?;
        let opens = self.ring.open(PEPPER, &vault.pepper).is_ok() && self.ring.has(&vault.key_id);
        (!opens).then_some(&vault.key_id)
    }

    /// The hash to be kept of a new key.
    pub fn hash(&self, key: &str) -> Result<KeyHash, SealError> {
        self.pepper.as_ref().map(|pepper| pepper.hash(key)).ok_or(SealError::NoVault)
    }

    /// The hash to be kept in place of a plain one.
    pub fn strengthen(&self, hash: KeyHash) -> KeyHash {
        self.pepper.as_ref().map_or(hash, |pepper| pepper.strengthen(hash))
    }

    /// A key as somebody presents it.
    pub fn presented(&self, key: &str) -> Presented {
        Presented::new(key, self.pepper.as_ref())
    }

    /// Seals a secret for its `place`. The same nonce must never be used twice: take random bits.
    pub fn seal(&self, place: &str, text: &str, nonce: [u8; NONCE_LEN]) -> Result<Sealed, SealError> {
        self.ring.seal(place, text, nonce)
    }

    /// Opens what was sealed for this `place`.
    pub fn open(&self, place: &str, sealed: &Sealed) -> Result<Secret, SealError> {
        self.ring.open(place, sealed)
    }

    /// The vault sealed with the ring's first key.
    pub fn resealed_vault(&self, vault: &Vault, nonce: [u8; NONCE_LEN]) -> Result<Vault, SealError> {
        let key_id = self.ring.first().cloned().ok_or(SealError::NoKey)?;
        let pepper = self.ring.open(PEPPER, &vault.pepper)?;
        Ok(Vault { key_id, pepper: self.ring.seal(PEPPER, pepper.expose(), nonce)? })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const FIRST: &str = "0101010101010101010101010101010101010101010101010101010101010101";
    pub(crate) const SECOND: &str = "0202020202020202020202020202020202020202020202020202020202020202";

    fn ring(text: &str) -> Keyring {
        Keyring::parse(text).unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_in_its_place_by_its_key_alone() {
        let sealed = ring(FIRST).seal("workspace/w/signing", "whsec_x", [1; 12]).unwrap();
        let text = serde_json::to_string(&sealed).unwrap();
        assert!(!text.contains("whsec_x") && !format!("{sealed:?}").contains("whsec_x"), "{text}");
        let sealed: Sealed = serde_json::from_str(&text).unwrap();
        let both = ring(&format!("{SECOND}\n{FIRST}\n"));
        for keys in [&ring(FIRST), &both] {
            assert_eq!(keys.open("workspace/w/signing", &sealed).unwrap().expose(), "whsec_x");
        }
        assert_eq!(both.open("workspace/v/signing", &sealed), Err(SealError::Broken));
        let first = ring(FIRST).first().unwrap().clone();
        assert_eq!(ring(SECOND).open("workspace/w/signing", &sealed), Err(SealError::OtherKey(first)));
        let damaged = Sealed(sealed.0.replace(&sealed.0[30..34], "AAAA"));
        assert_eq!(both.open("workspace/w/signing", &damaged), Err(SealError::Broken));
    }

    #[test]
    fn a_secret_of_an_earlier_version_opens_as_it_is() {
        assert_eq!(Keyring::default().open("anywhere", &"whsec_old".into()).unwrap().expose(), "whsec_old");
    }

    #[test]
    fn a_key_of_another_form_is_refused_without_being_quoted() {
        for text in ["secret", &FIRST[1..], &format!("{FIRST}00"), &format!("{FIRST} no")] {
            assert_eq!(Keyring::parse(text).unwrap_err(), SealError::Form);
        }
        assert!(Keyring::parse(" \n").unwrap().first().is_none());
    }

    #[test]
    fn another_key_seals_the_vault_anew_and_key_hashes_stay() {
        let mut seals = Seals::new(ring(FIRST));
        let vault = seals.new_vault([9; 32], [1; 12]).unwrap();
        assert_eq!(seals.hash("k"), Err(SealError::NoVault));
        seals.follow(&vault);
        let kept = seals.hash("k").unwrap();

        let mut both = Seals::new(ring(&format!("{SECOND},{FIRST}")));
        both.follow(&vault);
        let anew = both.resealed_vault(&vault, [2; 12]).unwrap();
        assert_eq!(Some(&anew.key_id), ring(SECOND).first());
        let mut second = Seals::new(ring(SECOND));
        second.follow(&anew);
        assert_eq!((second.hash("k").unwrap(), second.lacks()), (kept, None));

        seals.follow(&anew);
        assert_eq!(seals.lacks(), Some(&anew.key_id));
        assert!(seals.presented("k").is(&kept), "a running node goes on with the pepper that it knows");
        let mut stranger = Seals::new(Keyring::default());
        stranger.follow(&vault);
        assert_eq!(stranger.lacks(), Some(&vault.key_id));
    }
}
