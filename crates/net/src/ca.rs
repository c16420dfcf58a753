//! The certificate authority whose certificate people install: made, read back, described.
//!
//! It decides what a usable authority is. It does not store keys and does not choose which authority is active.
//! Invariant: a [`CertificateAuthority`] can sign (its key matches its certificate, which says it is an authority), so
//! minting cannot fail later for a reason that was visible when the authority was loaded.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use types::Secret;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How far before its creation a certificate is valid, for clients whose clock is late.
pub(crate) const BACKDATE: SignedDuration = SignedDuration::from_hours(24);

/// The longest validity an authority may have (30 years), as the API documents it.
pub const MAX_VALIDITY_DAYS: u32 = 10_950;

/// X.520 gives an organisation or common name at most 64 characters.
const MAX_NAME: usize = 64;

/// The longest chain of intermediates accepted with a custom authority.
const MAX_CHAIN: usize = 4;

/// What a new authority is made from.
#[derive(Debug, Clone)]
pub struct CaParams {
    /// Shown by browsers as the issuer of every intercepted site; at most 64 characters.
    pub organisation: String,
    /// 1 to [`MAX_VALIDITY_DAYS`].
    pub validity_days: u32,
    pub now: Timestamp,
}

/// Why an authority could not be made or loaded.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("organisation must have 1 to 64 characters")]
    Organisation,
    #[error("validity must be 1 to {MAX_VALIDITY_DAYS} days")]
    Validity,
    #[error("certificate is not readable PEM")]
    Certificate,
    #[error("private key is not readable PEM or of a kind that is not supported")]
    Key,
    #[error("certificate is not a certificate authority")]
    NotAnAuthority,
    #[error("private key does not belong to the certificate")]
    Mismatch,
    #[error("authority's subject uses an encoding that cannot be reproduced in the certificates it signs")]
    Subject,
    #[error("certificate has more than {MAX_CHAIN} intermediates")]
    Chain,
    #[error("certificate could not be signed")]
    Sign(#[from] rcgen::Error),
    #[error("no randomness available")]
    Random,
}

/// What an API or a page says about an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaFacts {
    /// SHA-256 over the certificate, upper-case hexadecimal pairs joined by colons.
    pub fingerprint: String,
    /// The organisation of the subject, or its common name, or nothing.
    pub issuer_org: String,
    /// The subject in RFC 4514-like text.
    pub issuer_raw: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// An authority that can sign leaf certificates.
pub struct CertificateAuthority {
    certificate_pem: String,
    key_pem: Secret<String>,
    facts: CaFacts,
    issuer: Issuer<'static, KeyPair>,
    /// What is sent after the leaf: nothing for a root, the authority and its intermediates otherwise.
    chain: Vec<CertificateDer<'static>>,
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// Makes a new root with a P-256 key.
    ///
    /// # Errors
    ///
    /// When the parameters are out of range or the system has no randomness.
    pub fn generate(params: &CaParams) -> Result<Self, CaError> {
        let organisation = params.organisation.trim();
        if organisation.is_empty() || organisation.chars().count() > MAX_NAME {
            return Err(CaError::Organisation);
        }
        if !(1..=MAX_VALIDITY_DAYS).contains(&params.validity_days) {
            return Err(CaError::Validity);
        }
        let validity = SignedDuration::from_hours(24 * i64::from(params.validity_days));
        let serial = random_serial().ok_or(CaError::Random)?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, organisation);
        subject.push(DnType::CommonName, common_name(organisation, &serial));
        let mut certificate = CertificateParams::default();
        certificate.distinguished_name = subject;
        certificate.not_before = offset(params.now - BACKDATE).ok_or(CaError::Validity)?;
        certificate.not_after = offset(params.now + validity).ok_or(CaError::Validity)?;
        certificate.serial_number = Some(serial);
        // A path length of zero: this key signs leaves, never another authority.
        certificate.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        certificate.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let signed = certificate.self_signed(&key)?;
        Self::from_pem(&signed.pem(), &Secret::new(key.serialize_pem()))
    }

    /// Reads an authority back: the certificate (intermediates may follow it) and its private key, both PEM.
    ///
    /// # Errors
    ///
    /// When either is unreadable, they do not belong together, or the certificate may not sign others.
    pub fn from_pem(certificate_pem: &str, key_pem: &Secret<String>) -> Result<Self, CaError> {
        let mut chain = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
            .take(MAX_CHAIN + 2)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CaError::Certificate)?;
        let der = chain.first().ok_or(CaError::Certificate)?.clone();
        if chain.len() > MAX_CHAIN + 1 {
            return Err(CaError::Chain);
        }
        let key = KeyPair::from_pem(key_pem.expose()).map_err(|_| CaError::Key)?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| CaError::Certificate)?;
        if !may_sign_others(&parsed) {
            return Err(CaError::NotAnAuthority);
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
            return Err(CaError::Mismatch);
        }
        let facts = facts_of(&der, &parsed)?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|_| CaError::Subject)?;
        check_subject_survives(&issuer, &parsed)?;
        if parsed.issuer().as_raw() == parsed.subject().as_raw() {
            // Whoever trusts a root has it; sending it would only make every handshake longer.
            chain.clear();
        }
        Ok(Self { certificate_pem: certificate_pem.to_owned(), key_pem: key_pem.clone(), facts, issuer, chain })
    }

    /// Returns the certificate to install, PEM, as it was given.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Returns the private key in PKCS#8 PEM.
    ///
    /// # Security
    ///
    /// Whoever has it can impersonate any site to everyone who installed the certificate. It belongs in a sealed store.
    pub const fn key_pem(&self) -> &Secret<String> {
        &self.key_pem
    }

    pub const fn facts(&self) -> &CaFacts {
        &self.facts
    }

    pub(crate) const fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// Ends in a part of the serial: clients that know two authorities by one name try the wrong key.
fn common_name(organisation: &str, serial: &SerialNumber) -> String {
    let mark: String = serial.to_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let full = format!("{organisation} Gateway CA {mark}");
    if full.chars().count() <= MAX_NAME { full } else { format!("Gateway CA {mark}") }
}

fn may_sign_others(certificate: &X509Certificate<'_>) -> bool {
    let authority = certificate.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca);
    let usage = certificate.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
    authority && usage
}

/// Signs a throw-away certificate and compares the issuer bytes: a client matches issuer to subject byte by byte.
fn check_subject_survives(issuer: &Issuer<'static, KeyPair>, ca: &X509Certificate<'_>) -> Result<(), CaError> {
    let probe = CertificateParams::default().signed_by(issuer.key(), issuer)?;
    let (_, parsed) = X509Certificate::from_der(probe.der()).map_err(|_| CaError::Certificate)?;
    if parsed.issuer().as_raw() == ca.subject().as_raw() { Ok(()) } else { Err(CaError::Subject) }
}

fn facts_of(der: &CertificateDer<'_>, certificate: &X509Certificate<'_>) -> Result<CaFacts, CaError> {
    let subject = certificate.subject();
    let organisation =
        subject.iter_organization().chain(subject.iter_common_name()).find_map(|name| name.as_str().ok());
    let validity = certificate.validity();
    Ok(CaFacts {
        fingerprint: fingerprint(der),
        issuer_org: organisation.unwrap_or_default().to_owned(),
        issuer_raw: subject.to_string(),
        not_before: timestamp(validity.not_before.timestamp()).ok_or(CaError::Certificate)?,
        not_after: timestamp(validity.not_after.timestamp()).ok_or(CaError::Certificate)?,
    })
}

/// Returns the SHA-256 fingerprint in the form browsers show.
pub fn fingerprint(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let mut text = String::with_capacity(95);
    for byte in digest.as_ref() {
        let separator = if text.is_empty() { "" } else { ":" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{byte:02X}");
    }
    text
}

pub(crate) fn timestamp(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}

pub(crate) fn offset(moment: Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(moment.as_second()).ok()
}

/// Returns a positive 127-bit serial.
///
/// Every leaf shares one key, and the encoder's own default derives the serial from the key: two certificates with one
/// issuer and one serial are refused by Firefox.
pub(crate) fn random_serial() -> Option<SerialNumber> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    // Not negative, and no leading zero octet that an encoder would have to strip.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Some(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use rcgen::{CertificateParams, DnType, IsCa, KeyPair};
    use types::Secret;

    use super::{CaError, CaParams, CertificateAuthority, MAX_VALIDITY_DAYS};

    fn params(organisation: &str, validity_days: u32) -> CaParams {
        CaParams { organisation: organisation.to_owned(), validity_days, now: now() }
    }

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn generated_authority_describes_itself_and_can_be_read_back() {
        let made = CertificateAuthority::generate(&params("Acme Räder", 1825)).unwrap();
        let read = CertificateAuthority::from_pem(made.certificate_pem(), made.key_pem()).unwrap();
        assert_eq!(made.facts(), read.facts());
        let facts = read.facts();
        assert_eq!(facts.issuer_org, "Acme Räder");
        assert!(facts.issuer_raw.contains("Acme Räder Gateway CA"), "{}", facts.issuer_raw);
        assert_eq!(facts.not_before, now() - SignedDuration::from_hours(24));
        assert_eq!(facts.not_after, now() + SignedDuration::from_hours(24 * 1825));
        assert_eq!(facts.fingerprint.len(), 95);
        assert!(read.chain().is_empty(), "a root is not sent");
        assert!(!format!("{read:?}").contains("PRIVATE"));
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        for (organisation, days) in [("", 10), (" ", 10), (&"x".repeat(65), 10), ("A", 0), ("A", MAX_VALIDITY_DAYS + 1)]
        {
            CertificateAuthority::generate(&params(organisation, days)).unwrap_err();
        }
        for (organisation, days) in [(&*"x".repeat(64), 1), ("A", MAX_VALIDITY_DAYS)] {
            CertificateAuthority::generate(&params(organisation, days)).unwrap();
        }
    }

    #[test]
    fn what_cannot_sign_is_not_an_authority() {
        let ours = CertificateAuthority::generate(&params("One", 10)).unwrap();
        let other = CertificateAuthority::generate(&params("Two", 10)).unwrap();
        let leaf_key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec!["leaf.example".to_owned()]).unwrap();
        leaf.is_ca = IsCa::ExplicitNoCa;
        let leaf = leaf.self_signed(&leaf_key).unwrap();
        let leaf_key = Secret::new(leaf_key.serialize_pem());
        let load = |certificate: &str, key: &Secret<String>| CertificateAuthority::from_pem(certificate, key).err();
        assert!(matches!(load(ours.certificate_pem(), other.key_pem()), Some(CaError::Mismatch)));
        assert!(matches!(load(&leaf.pem(), &leaf_key), Some(CaError::NotAnAuthority)));
        assert!(matches!(load("", ours.key_pem()), Some(CaError::Certificate)));
        assert!(matches!(
            load("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ours.key_pem()),
            Some(CaError::Certificate)
        ));
        assert!(matches!(load(ours.certificate_pem(), &Secret::new(String::new())), Some(CaError::Key)));
        let many = ours.certificate_pem().repeat(6);
        assert!(matches!(load(&many, ours.key_pem()), Some(CaError::Chain)));
    }

    #[test]
    fn an_intermediate_authority_sends_itself_with_every_leaf() {
        let root = CertificateAuthority::generate(&params("Root", 100)).unwrap();
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let mut intermediate = CertificateParams::default();
        intermediate.distinguished_name.push(DnType::CommonName, "Issuing");
        intermediate.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let signed = intermediate.signed_by(&key, root.issuer()).unwrap();
        let loaded = CertificateAuthority::from_pem(&signed.pem(), &Secret::new(key.serialize_pem())).unwrap();
        assert_eq!(loaded.chain().len(), 1);
    }
}
