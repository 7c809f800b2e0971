use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

type Fill = dyn Fn(&mut [u8; 32]) -> Result<(), getrandom::Error> + Send + Sync;

/// Where keys and secrets take their randomness from.
#[derive(Clone)]
pub struct Random(Arc<Fill>);

impl Random {
    /// The operating system's generator.
    pub fn system() -> Self {
        Self(Arc::new(|bytes| getrandom::fill(bytes)))
    }

    /// A generator that repeats itself: for tests and simulations only.
    pub fn seeded(seed: u64) -> Self {
        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
        Self(Arc::new(move |bytes| {
            rng.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
            Ok(())
        }))
    }

    /// 256 random bits.
    pub(crate) fn bytes(&self) -> Result<[u8; 32], getrandom::Error> {
        let mut bytes = [0; 32];
        (self.0)(&mut bytes)?;
        Ok(bytes)
    }

    /// The nonce of something sealed.
    pub(crate) fn nonce(&self) -> Result<[u8; 12], getrandom::Error> {
        let mut nonce = [0; 12];
        nonce.iter_mut().zip(self.bytes()?).for_each(|(byte, random)| *byte = random);
        Ok(nonce)
    }

    /// 256 random bits as hexadecimal digits.
    pub(crate) fn hex(&self) -> Result<String, getrandom::Error> {
        Ok(self.bytes()?.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// A Standard Webhooks secret: `whsec_` and 32 bytes in base64.
    pub(crate) fn signing_secret(&self) -> Result<String, getrandom::Error> {
        Ok(format!("whsec_{}", STANDARD.encode(self.bytes()?)))
    }
}
