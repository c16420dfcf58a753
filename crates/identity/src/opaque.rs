//! Opaque secrets: their text from the caller's random bytes, the hash that is stored, and sealing under a secret that is
//! not stored.
//!
//! Decides no policy. Invariant: what this module gives to be stored does not let a reader of the store present it.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// 32 bytes from the system's random source, drawn by the caller for one use.
pub type Seed = [u8; 32];

/// The SHA-256 hash of a secret's text. Secrets hold 256 random bits, so that a plain hash is enough.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &Self::of(text).0).is_ok()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}{:02x}…", self.0[0], self.0[1], self.0[2])
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = BASE64.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom("not a SHA-256 hash"))
    }
}

/// A key that is stored to recognise what it signed; it opens nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MacKey(Digest);

impl MacKey {
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self(Digest(seed))
    }

    /// Returns the first 128 bits of the HMAC-SHA256 of `message`.
    #[must_use]
    pub fn tag(&self, message: &[u8]) -> [u8; 16] {
        let mut tag = [0; 16];
        tag.copy_from_slice(&derive(&self.0.0, message)[..16]);
        tag
    }

    /// Compares in constant time.
    #[must_use]
    pub fn verifies(&self, message: &[u8], tag: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.tag(message), tag).is_ok()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

/// Derives 32 bytes for one purpose: HMAC-SHA256 of the purpose under the key.
#[must_use]
pub fn derive(key: &[u8], purpose: &[u8]) -> Seed {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), purpose);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// Writes bytes as base64url without padding (RFC 4648 section 5).
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Reads exactly `N` bytes of base64url; any other spelling of them is refused.
#[must_use]
pub fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Base64 has 4 characters for 3 bytes; a longer text cannot be right, so it is not decoded.
    if text.len() != (N * 4).div_ceil(3) {
        return None;
    }
    BASE64.decode(text).ok()?.try_into().ok()
}

/// Bytes that only the holder of a secret can read: AES-256-GCM under a key derived from the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// Seals `plain` under `secret`. `seed` must be new, since it gives the nonce.
    #[must_use]
    pub fn new(secret: &str, seed: &Seed, plain: &[u8]) -> Option<Self> {
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&derive(seed, b"nonce")[..12]);
        let mut sealed = plain.to_vec();
        key(secret)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).ok()?;
        Some(Self(BASE64.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// Opens with the secret it was sealed under; `None` for any other.
    #[must_use]
    pub fn open(&self, secret: &str) -> Option<Vec<u8>> {
        let mut bytes = BASE64.decode(&self.0).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(12)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        Some(key(secret)?.open_in_place(nonce, Aad::empty(), sealed).ok()?.to_vec())
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

fn key(secret: &str) -> Option<LessSafeKey> {
    // Another purpose than the stored hash, which is plain SHA-256: the hash does not give the key.
    let key = derive(secret.as_bytes(), b"seal the successor");
    UnboundKey::new(&AES_256_GCM, &key).ok().map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::{Digest, Sealed, bytes, text};

    #[test]
    fn only_the_secret_opens_what_it_sealed() {
        let sealed = Sealed::new("the token", &[7; 32], b"its successor").unwrap();
        assert_eq!(sealed.open("the token").unwrap(), b"its successor");
        assert_eq!(sealed.open("another token"), None);
        let stored = serde_json::to_string(&sealed).unwrap();
        assert!(!stored.contains("successor"));
        assert_eq!(serde_json::from_str::<Sealed>("\"AA\"").unwrap().open("the token"), None);
    }

    #[test]
    fn a_secret_has_one_spelling() {
        let spelling = text(&[255; 16]);
        assert_eq!(bytes::<16>(&spelling), Some([255; 16]));
        for wrong in [format!("{spelling}="), spelling.to_lowercase() + "A", spelling[1..].to_owned(), "é".repeat(11)]
        {
            assert_eq!(bytes::<16>(&wrong), None, "{wrong}");
        }
        assert!(Digest::of("a").matches("a") && !Digest::of("a").matches("b"));
    }
}
