//! The account's signing keys: what tokens are signed with, and what is published of it (reference section 2.3).
//!
//! Decides which key signs and which are accepted: the current one signs, the one before it is still accepted for a
//! while after a rotation. Making keys is the caller's, for it needs randomness. Invariant: a key's id is the SHA-256
//! thumbprint of its public half (RFC 7638), looked up exactly, and every key signs RS256 and nothing else.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::jose::{Algorithm, JoseError, Jwk, Jwks, Unverified, encode};

/// How often keys change unless the account says otherwise: six weeks.
pub const ROTATION: Duration = Duration::from_secs(42 * 24 * 3_600);
/// How long the key before the last rotation is accepted.
pub const OVERLAP: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A key that signs.
pub struct SigningKey {
    pair: RsaKeyPair,
    jwk: Jwk,
    kid: String,
    /// PEM of a certificate over the public half, for clients that want one.
    certificate: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

/// A key that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RSA private key of 2048 to 4096 bits in PKCS #8")]
pub struct KeyError;

impl SigningKey {
    /// Reads a private key and the certificate over it.
    ///
    /// # Errors
    /// If it is not an RSA key in PKCS #8 DER.
    pub fn parse(pkcs8: &[u8], certificate: String) -> Result<Self, KeyError> {
        let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError)?;
        let public = pair.public_key();
        let n = encode(public.modulus().big_endian_without_leading_zero());
        let e = encode(public.exponent().big_endian_without_leading_zero());
        // RFC 7638 section 3.1: the required members in lexical order, without spaces.
        let thumbprint = digest(&SHA256, format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes());
        let kid: String = thumbprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let jwk = Jwk {
            kty: "RSA".to_owned(),
            kid: Some(kid.clone()),
            alg: Some("RS256".to_owned()),
            usage: Some("sig".to_owned()),
            n: Some(n),
            e: Some(e),
            ..Jwk::default()
        };
        Ok(Self { pair, jwk, kid, certificate })
    }

    /// Returns the key's id: 64 hexadecimal digits.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs claims as a compact token.
    ///
    /// # Errors
    /// If signing fails, which a key that was read does not.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, KeyError> {
        let header = json!({"alg": "RS256", "kid": self.kid, "typ": "JWT"});
        let payload = serde_json::to_vec(claims).map_err(|_| KeyError)?;
        let mut token = format!("{}.{}", encode(header.to_string().as_bytes()), encode(&payload));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        // RSASSA-PKCS1-v1_5 is deterministic: the interface asks for a source of randomness and does not use it.
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| KeyError)?;
        token.push('.');
        token.push_str(&encode(&signature));
        Ok(token)
    }
}

/// The key that signs and the one before it.
#[derive(Debug)]
pub struct KeyRing {
    current: SigningKey,
    /// With the end of its acceptance, in seconds since the epoch.
    previous: Option<(SigningKey, i64)>,
}

impl KeyRing {
    /// Makes a ring of a current key and the one it replaced, with the second at which that one ends.
    #[must_use]
    pub const fn new(current: SigningKey, previous: Option<(SigningKey, i64)>) -> Self {
        Self { current, previous }
    }

    /// Returns the key that signs.
    #[must_use]
    pub const fn current(&self) -> &SigningKey {
        &self.current
    }

    /// Gives the current key away, to be the previous one of the ring that follows.
    #[must_use]
    pub fn into_current(self) -> SigningKey {
        self.current
    }

    fn accepted(&self, now: i64) -> impl Iterator<Item = &SigningKey> {
        let previous = self.previous.as_ref().filter(move |(_, until)| now < *until).map(|(key, _)| key);
        std::iter::once(&self.current).chain(previous)
    }

    /// Returns the public halves of the keys that are accepted.
    #[must_use]
    pub fn jwks(&self, now: i64) -> Jwks {
        Jwks { keys: self.accepted(now).map(|key| key.jwk.clone()).collect() }
    }

    /// Returns the document at `/cdn-cgi/access/certs`.
    #[must_use]
    pub fn document(&self, now: i64) -> Value {
        let certificate = |key: &SigningKey| json!({"kid": key.kid, "cert": key.certificate});
        json!({
            "keys": self.jwks(now).keys,
            "public_cert": certificate(&self.current),
            "public_certs": self.accepted(now).map(certificate).collect::<Vec<_>>(),
        })
    }

    /// Checks the signature of one of our own tokens and returns its claims. A token without a key id is none of ours.
    ///
    /// # Errors
    /// If no accepted key signed it with RS256.
    pub fn verify(&self, token: &str, now: i64) -> Result<Map<String, Value>, JoseError> {
        let token = Unverified::parse(token, &[Algorithm::Rs256])?;
        if token.header.kid.is_none() {
            return Err(JoseError::UnknownKey);
        }
        token.verify(&self.jwks(now))
    }
}
