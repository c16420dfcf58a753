//! Makes the key pairs that Access signs tokens with, each with a certificate for clients that want one.
//!
//! It does not sign tokens and keeps nothing. Invariant: a pair is RSA of 2048 bits in PKCS #8, and its certificate
//! signs nothing but itself.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use types::Secret;

use crate::ca::{offset, random_serial};

/// A fresh key pair.
#[derive(Debug)]
pub struct SigningPair {
    /// PKCS #8 DER.
    pub private_key: Secret<Vec<u8>>,
    /// A certificate over the public half, PEM.
    pub certificate: String,
}

/// Why no pair was made.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The cryptography library refused.
    #[error("the cryptography library made no key")]
    Key,
    /// The certificate cannot be made.
    #[error("the certificate over a signing key cannot be made")]
    Certificate(#[from] rcgen::Error),
}

/// Makes a key pair whose certificate names `subject` and is valid from `now` on for `validity`.
///
/// # Errors
///
/// When the system has no randomness or a time is out of range.
pub fn generate(subject: &str, now: Timestamp, validity: SignedDuration) -> Result<SigningPair, SigningError> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| SigningError::Key)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| SigningError::Key)?;
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der.as_ref()), &PKCS_RSA_SHA256)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, subject);
    let mut certificate = CertificateParams::default();
    certificate.distinguished_name = name;
    certificate.not_before = offset(now).ok_or(SigningError::Key)?;
    certificate.not_after = offset(now + validity).ok_or(SigningError::Key)?;
    certificate.serial_number = Some(random_serial().ok_or(SigningError::Key)?);
    certificate.is_ca = IsCa::ExplicitNoCa;
    certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let certificate = certificate.self_signed(&key)?.pem();
    Ok(SigningPair { private_key: Secret::new(der.as_ref().to_vec()), certificate })
}
