//! Sealing of what a browser carries between two steps of a sign-in: AES-256-GCM under a key of the account.
//!
//! It decides whether a text is one that we sealed for this purpose. It keeps nothing, so a sign-in under way costs no
//! memory and may go on at another node. Invariant: a text opens only for the purpose it was sealed for.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The key of an account.
#[derive(Clone)]
pub struct SealKey(Arc<RandomizedNonceKey>);

/// A text that was not sealed by us for this purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a text of ours")]
pub struct NotSealed;

/// Longest text that is opened, in bytes.
const LONGEST: usize = 8 << 10;

impl SealKey {
    /// Makes the key of 256 random bits.
    ///
    /// # Errors
    /// Never with 32 bytes.
    pub fn new(bytes: &[u8; 32]) -> Result<Self, NotSealed> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes).map(|key| Self(Arc::new(key))).map_err(|_| NotSealed)
    }

    /// Seals a value; the text is base64url.
    ///
    /// # Errors
    /// If the value is no JSON or there is no randomness.
    pub(crate) fn seal(&self, purpose: &str, value: &impl Serialize) -> Result<String, NotSealed> {
        let mut bytes = serde_json::to_vec(value).map_err(|_| NotSealed)?;
        let nonce =
            self.0.seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut bytes).map_err(|_| NotSealed)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut bytes);
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a text.
    ///
    /// # Errors
    /// If it was not sealed for `purpose` under this key.
    pub(crate) fn open<T: DeserializeOwned>(&self, purpose: &str, text: &str) -> Result<T, NotSealed> {
        if text.len() > LONGEST {
            return Err(NotSealed);
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotSealed)?;
        if bytes.len() < NONCE_LEN {
            return Err(NotSealed);
        }
        let mut sealed = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| NotSealed)?;
        let opened = self.0.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut sealed).map_err(|_| NotSealed)?;
        serde_json::from_slice(opened).map_err(|_| NotSealed)
    }
}

#[cfg(test)]
mod tests {
    use super::SealKey;

    #[test]
    fn a_text_opens_for_its_purpose_and_key_alone() {
        let key = SealKey::new(&[7; 32]).unwrap();
        let text = key.seal("a", &("x", 1)).unwrap();
        assert_eq!(key.open::<(String, u8)>("a", &text), Ok(("x".to_owned(), 1)));
        assert!(key.open::<(String, u8)>("b", &text).is_err());
        assert!(SealKey::new(&[8; 32]).unwrap().open::<(String, u8)>("a", &text).is_err());
        let mut broken = text.clone().into_bytes();
        broken[20] ^= 1;
        for text in ["", "AAAA", &"A".repeat(9_000), std::str::from_utf8(&broken).unwrap()] {
            assert!(key.open::<(String, u8)>("a", text).is_err());
        }
    }
}
