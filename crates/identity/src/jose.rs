//! Compact JSON Web Signatures and key sets (RFC 7515, 7517, 7518), as far as Access needs them.
//!
//! Decides whether a signature is good under a key that the caller trusts. Never picks a key or an algorithm because a
//! token says so alone: the key is looked up by its exact id, and the algorithm must be one that this key was published
//! for. Invariant: `none` and every HMAC are unknown here, so a public key can never be used as a shared secret.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest token that is read, in bytes.
pub const MAX_TOKEN: usize = 16 * 1_024;
/// Most keys of one set.
pub const MAX_KEYS: usize = 64;

/// The algorithms of reference section 3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Rs256,
    Rs512,
    Ps512,
    Es256,
    Es384,
    Es512,
}

impl Algorithm {
    /// Every algorithm with its name.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("RS256", Self::Rs256),
        ("RS512", Self::Rs512),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("ES512", Self::Es512),
    ];

    /// Finds an algorithm by its name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, found)| *found)
    }

    /// Tells whether a key of type `kty` on curve `crv` is one for this algorithm.
    fn fits(self, key: &Jwk) -> bool {
        let curve = |wanted: &str| key.kty == "EC" && key.crv.as_deref() == Some(wanted);
        match self {
            Self::Rs256 | Self::Rs512 | Self::Ps512 => key.kty == "RSA",
            Self::Es256 => curve("P-256"),
            Self::Es384 => curve("P-384"),
            Self::Es512 => curve("P-521"),
        }
    }
}

/// A public key (RFC 7517). Members that are not needed are skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Jwk {
    pub kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}

/// A key set (RFC 7517 section 5).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    pub keys: Vec<Jwk>,
}

impl Jwks {
    /// Reads a key set; keys of kinds that are not understood are kept and never match.
    ///
    /// # Errors
    /// If the text is not a key set, or too large.
    pub fn parse(text: &[u8]) -> Result<Self, JoseError> {
        if text.len() > 1_024 * 1_024 {
            return Err(JoseError::TooLarge);
        }
        let set: Self = serde_json::from_slice(text).map_err(|_| JoseError::Malformed)?;
        if set.keys.len() > MAX_KEYS { Err(JoseError::TooLarge) } else { Ok(set) }
    }

    /// Finds the key of a token: by its exact id, or the only fitting key when the token names none.
    fn find(&self, header: &Header) -> Result<&Jwk, JoseError> {
        let fitting = self.keys.iter().filter(|key| {
            header.algorithm.fits(key)
                && key.usage.as_deref().is_none_or(|usage| usage == "sig")
                && key.alg.as_deref().is_none_or(|alg| Algorithm::named(alg) == Some(header.algorithm))
        });
        let mut found = fitting.filter(|key| header.kid.is_none() || key.kid == header.kid);
        match (found.next(), found.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(JoseError::AmbiguousKey),
            (None, _) => Err(JoseError::UnknownKey),
        }
    }
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoseError {
    #[error("the token is too large")]
    TooLarge,
    #[error("the token is not a signed JSON Web Token")]
    Malformed,
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    #[error("the token demands an extension that is not understood")]
    Critical,
    /// Fresh keys may know it.
    #[error("the token's key is not among the keys known")]
    UnknownKey,
    #[error("the token names no key and several fit")]
    AmbiguousKey,
    #[error("the signature is wrong")]
    Signature,
}

/// What a token's header says, of what is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    pub typ: Option<String>,
}

/// A token split into its parts, its signature not yet checked.
pub struct Unverified<'t> {
    pub header: Header,
    signed: &'t str,
    payload: &'t str,
    signature: Vec<u8>,
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<'t> Unverified<'t> {
    /// Splits a compact token.
    ///
    /// # Errors
    /// If it is none, or its algorithm is not among `accepted`.
    pub fn parse(token: &'t str, accepted: &[Algorithm]) -> Result<Self, JoseError> {
        if token.len() > MAX_TOKEN {
            return Err(JoseError::TooLarge);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JoseError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(JoseError::Malformed)?;
        if payload.contains('.') {
            return Err(JoseError::Malformed);
        }
        let members: Map<String, Value> = serde_json::from_slice(&decode(header)?).map_err(|_| JoseError::Malformed)?;
        // RFC 7515 section 4.1.11: what is critical and not understood makes the token invalid.
        if members.contains_key("crit") {
            return Err(JoseError::Critical);
        }
        let word = |name: &str| members.get(name).map(|value| value.as_str().ok_or(JoseError::Malformed)).transpose();
        let algorithm = word("alg")?.and_then(Algorithm::named).filter(|found| accepted.contains(found));
        let header = Header {
            algorithm: algorithm.ok_or(JoseError::Algorithm)?,
            kid: word("kid")?.map(str::to_owned),
            typ: word("typ")?.map(str::to_owned),
        };
        Ok(Self { header, signed, payload, signature: decode(signature)? })
    }

    /// Checks the signature with a key of the set and returns the claims.
    ///
    /// # Errors
    /// If there is no such key or the signature is wrong.
    pub fn verify(&self, keys: &Jwks) -> Result<Map<String, Value>, JoseError> {
        let key = keys.find(&self.header)?;
        let message = self.signed.as_bytes();
        let wrong = |_| JoseError::Signature;
        match self.header.algorithm {
            Algorithm::Rs256 => {
                rsa(key)?.verify(&RSA_PKCS1_2048_8192_SHA256, message, &self.signature).map_err(wrong)?
            }
            Algorithm::Rs512 => {
                rsa(key)?.verify(&RSA_PKCS1_2048_8192_SHA512, message, &self.signature).map_err(wrong)?
            }
            Algorithm::Ps512 => rsa(key)?.verify(&RSA_PSS_2048_8192_SHA512, message, &self.signature).map_err(wrong)?,
            Algorithm::Es256 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point(key, 32)?)
                    .verify(message, &self.signature)
                    .map_err(wrong)?;
            }
            Algorithm::Es384 => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point(key, 48)?)
                    .verify(message, &self.signature)
                    .map_err(wrong)?;
            }
            Algorithm::Es512 => {
                UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, point(key, 66)?)
                    .verify(message, &self.signature)
                    .map_err(wrong)?;
            }
        }
        serde_json::from_slice(&decode(self.payload)?).map_err(|_| JoseError::Malformed)
    }
}

fn decode(text: &str) -> Result<Vec<u8>, JoseError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JoseError::Malformed)
}

/// Writes bytes as tokens carry them: base64url without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(key: &Jwk) -> Result<RsaPublicKeyComponents<Vec<u8>>, JoseError> {
    let part = |text: &Option<String>| decode(text.as_deref().unwrap_or_default());
    Ok(RsaPublicKeyComponents { n: part(&key.n)?, e: part(&key.e)? })
}

/// Makes the uncompressed point of a key (SEC 1 section 2.3.3); each coordinate must have its full length.
fn point(key: &Jwk, size: usize) -> Result<Vec<u8>, JoseError> {
    let mut point = vec![4];
    for coordinate in [&key.x, &key.y] {
        let bytes = decode(coordinate.as_deref().unwrap_or_default())?;
        if bytes.len() != size {
            return Err(JoseError::Malformed);
        }
        point.extend(bytes);
    }
    Ok(point)
}
