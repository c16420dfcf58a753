//! Whether an origin's certificate is to be believed, as a value with its reason.
//!
//! It verifies chain, name, time and (where lists are given) revocation. It does not decide what an untrusted
//! certificate leads to. Invariant: the handshake always proves possession of the certificate's key; only the verdict
//! about the certificate itself is left to [`TrustStore::judge`], which every connection passes through, resumed or not.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::ca::{fingerprint, timestamp};
use crate::host::Host;
use crate::tls::provider;

/// Names read from one certificate. Certificates of content networks carry a few hundred.
const MAX_NAMES: usize = 512;

/// Certificates of one chain looked at.
const MAX_CHAIN: usize = 12;

/// Chains whose verification is remembered.
const MAX_REMEMBERED: u64 = 4_096;

/// How long a successful verification is remembered.
const REMEMBER_FOR: Duration = Duration::from_secs(600);

/// What an origin's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// As written in the certificate, wildcards included.
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub subject: String,
    pub issuer: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// SHA-256, upper-case hexadecimal pairs joined by colons.
    pub fingerprint: String,
}

/// Why a certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum InvalidReason {
    Expired,
    NotYetValid,
    UnknownIssuer,
    SelfSigned,
    HostnameMismatch,
    Revoked,
    WeakSignature,
    /// Anything rarer, in the verifier's words.
    Other(String),
}

/// The verdict about an origin's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginCertificate {
    Valid(CertificateFacts),
    Invalid { reason: InvalidReason, facts: CertificateFacts },
}

impl OriginCertificate {
    pub const fn facts(&self) -> &CertificateFacts {
        match self {
            Self::Valid(facts) | Self::Invalid { facts, .. } => facts,
        }
    }

    pub const fn is_valid(&self) -> bool {
        matches!(self, Self::Valid(_))
    }

    /// Returns the reason it is not believed, if it is not.
    pub const fn reason(&self) -> Option<&InvalidReason> {
        match self {
            Self::Valid(_) => None,
            Self::Invalid { reason, .. } => Some(reason),
        }
    }

    /// Returns the value of `OriginTLSCertificateValidationResult` in session logs.
    pub const fn log_value(&self) -> &'static str {
        match self.reason() {
            None => "VALID",
            Some(InvalidReason::Expired | InvalidReason::NotYetValid) => "EXPIRED",
            Some(InvalidReason::Revoked) => "REVOKED",
            Some(InvalidReason::HostnameMismatch) => "HOSTNAME_MISMATCH",
            Some(_) => "UNKNOWN",
        }
    }

    /// Says what is wrong to the person who wanted to reach `host`, or nothing when nothing is.
    ///
    /// Names from the certificate are an outsider's text: escape it where it is shown.
    pub fn plain_words(&self, host: &Host) -> Option<String> {
        let facts = self.facts();
        let reason = self.reason()?;
        Some(match reason {
            InvalidReason::Expired => format!("The certificate of {host} expired on {}.", day(facts.not_after)),
            InvalidReason::NotYetValid => {
                format!("The certificate of {host} is not valid before {}.", day(facts.not_before))
            }
            InvalidReason::UnknownIssuer => format!(
                "The certificate of {host} was issued by \"{}\", which is not a trusted authority, or an intermediate \
                 certificate is missing.",
                shortened(&facts.issuer)
            ),
            InvalidReason::SelfSigned => {
                format!("The certificate of {host} is self-signed: no authority vouches for it.")
            }
            InvalidReason::HostnameMismatch => match facts.dns_names.first() {
                Some(name) => {
                    format!("The certificate presented is for {}, not for {host}.", shortened(name))
                }
                None => format!("The certificate presented does not name {host}."),
            },
            InvalidReason::Revoked => format!("The certificate of {host} was revoked by its authority."),
            InvalidReason::WeakSignature => {
                format!("The certificate of {host} is signed with an algorithm that is not safe.")
            }
            InvalidReason::Other(text) => format!("The certificate of {host} cannot be used: {text}."),
        })
    }
}

fn day(moment: Timestamp) -> String {
    moment.to_zoned(TimeZone::UTC).date().to_string()
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 120;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(std::iter::once('…')).collect()
}

/// What is believed in.
#[derive(Debug, Clone)]
pub struct TrustParams {
    /// The Mozilla roots compiled into this binary.
    pub bundled_roots: bool,
    /// The roots this machine's administrator installed.
    pub native_roots: bool,
    /// More roots, or certificates of single origins, PEM; each text may hold several.
    pub extra_pem: Vec<String>,
    /// Revocation lists, PEM; authorities without a list are not checked for revocation.
    pub revocation_pem: Vec<String>,
}

impl Default for TrustParams {
    fn default() -> Self {
        Self { bundled_roots: true, native_roots: true, extra_pem: Vec::new(), revocation_pem: Vec::new() }
    }
}

/// Why a trust store could not be built.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("additional certificate {0} is not readable PEM or not a usable root")]
    Certificate(usize),
    #[error("revocation list {0} is not readable")]
    RevocationList(usize),
    #[error("verifier could not be built: {0}")]
    Verifier(String),
}

/// Verifies certificates against one set of roots.
pub struct TrustStore {
    /// Absent when there is no root at all; nothing is believed then.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    remembered: moka::sync::Cache<[u8; 32], Arc<OriginCertificate>>,
}

impl fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustStore").field("roots", &self.verifier.is_some()).finish_non_exhaustive()
    }
}

impl TrustStore {
    /// Collects the roots. Reads the system's store when asked to, so call it off the hot path.
    ///
    /// # Errors
    ///
    /// When an additional certificate or a revocation list cannot be used; a bad system root is only skipped.
    pub fn new(params: &TrustParams) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        if params.bundled_roots {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if params.native_roots {
            let native = rustls_native_certs::load_native_certs();
            for error in &native.errors {
                tracing::warn!(%error, "a system root certificate was skipped");
            }
            roots.add_parsable_certificates(native.certs);
        }
        for (index, pem) in params.extra_pem.iter().enumerate() {
            let mut found = false;
            for der in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let der = der.map_err(|_| TrustError::Certificate(index))?;
                roots.add(der).map_err(|_| TrustError::Certificate(index))?;
                found = true;
            }
            if !found {
                return Err(TrustError::Certificate(index));
            }
        }
        Ok(Self { verifier: verifier(roots, &params.revocation_pem)?, remembered: remembered() })
    }

    /// Verifies the chain an origin presented, leaf first, for `host` at `now`.
    pub fn judge(&self, chain: &[CertificateDer<'_>], host: &Host, now: Timestamp) -> Arc<OriginCertificate> {
        let key = remember_key(chain, host);
        if let Some(known) = self.remembered.get(&key)
            && (known.facts().not_before..known.facts().not_after).contains(&now)
        {
            return known;
        }
        let verdict = Arc::new(self.verify(chain, host, now));
        if verdict.is_valid() {
            self.remembered.insert(key, Arc::clone(&verdict));
        }
        verdict
    }

    fn verify(&self, chain: &[CertificateDer<'_>], host: &Host, now: Timestamp) -> OriginCertificate {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return invalid(InvalidReason::Other("no certificate was presented".to_owned()), unreadable(&[]));
        };
        let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
            return invalid(InvalidReason::Other("it cannot be read".to_owned()), unreadable(leaf));
        };
        let facts = facts_of(leaf, &parsed);
        let self_issued = parsed.issuer().as_raw() == parsed.subject().as_raw();
        let unknown = if self_issued { InvalidReason::SelfSigned } else { InvalidReason::UnknownIssuer };
        let Some(verifier) = &self.verifier else { return invalid(unknown, facts) };
        let Ok(name) = server_name(host) else {
            return invalid(InvalidReason::HostnameMismatch, facts);
        };
        let Ok(seconds) = u64::try_from(now.as_second()) else {
            return invalid(InvalidReason::NotYetValid, facts);
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let intermediates = &intermediates[..intermediates.len().min(MAX_CHAIN)];
        match verifier.verify_server_cert(leaf, intermediates, &name, &[], now) {
            Ok(_) => OriginCertificate::Valid(facts),
            Err(error) => invalid(reason(&error, unknown, self_issued), facts),
        }
    }
}

fn remembered() -> moka::sync::Cache<[u8; 32], Arc<OriginCertificate>> {
    moka::sync::Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBER_FOR).build()
}

fn verifier(roots: RootCertStore, lists: &[String]) -> Result<Option<Arc<WebPkiServerVerifier>>, TrustError> {
    if roots.is_empty() {
        return Ok(None);
    }
    let mut revocation = Vec::new();
    for (index, pem) in lists.iter().enumerate() {
        for list in CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()) {
            revocation.push(list.map_err(|_| TrustError::RevocationList(index))?);
        }
    }
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .with_crls(revocation)
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status();
    builder.build().map(Some).map_err(|error| TrustError::Verifier(error.to_string()))
}

const fn invalid(reason: InvalidReason, facts: CertificateFacts) -> OriginCertificate {
    OriginCertificate::Invalid { reason, facts }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
fn reason(error: &rustls::Error, unknown: InvalidReason, self_issued: bool) -> InvalidReason {
    let rustls::Error::InvalidCertificate(error) = error else {
        return InvalidReason::Other(error.to_string());
    };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => InvalidReason::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => InvalidReason::NotYetValid,
        CertificateError::UnknownIssuer => unknown,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            InvalidReason::HostnameMismatch
        }
        CertificateError::Revoked => InvalidReason::Revoked,
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => InvalidReason::WeakSignature,
        CertificateError::BadEncoding => InvalidReason::Other("it is not correctly encoded".to_owned()),
        CertificateError::BadSignature => InvalidReason::Other("its signature does not verify".to_owned()),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            InvalidReason::Other("it was not issued for servers".to_owned())
        }
        // A home-made certificate that calls itself an authority; the verifier has no name for that case.
        CertificateError::Other(_) if self_issued => InvalidReason::SelfSigned,
        other => InvalidReason::Other(other.to_string()),
    }
}

fn remember_key(chain: &[CertificateDer<'_>], host: &Host) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut part = |bytes: &[u8]| {
        // The length keeps two ways of cutting the same bytes apart.
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    part(host.to_string().as_bytes());
    for certificate in chain {
        part(certificate);
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

/// Returns the name the origin is asked for and verified against.
pub(super) fn server_name(host: &Host) -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
    match host {
        Host::Name(name) => ServerName::try_from(name.to_string()),
        Host::Address(address) => Ok(ServerName::from(*address)),
    }
}

fn facts_of(leaf: &CertificateDer<'_>, certificate: &X509Certificate<'_>) -> CertificateFacts {
    let mut facts = CertificateFacts {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        not_before: timestamp(certificate.validity().not_before.timestamp()).unwrap_or(Timestamp::MIN),
        not_after: timestamp(certificate.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX),
        ..unreadable(leaf)
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names).take(MAX_NAMES) {
        if let GeneralName::DNSName(name) = name
            && name.len() <= 255
        {
            facts.dns_names.push((*name).to_owned());
        } else if let GeneralName::IPAddress(bytes) = name {
            facts.addresses.extend(address(bytes));
        }
    }
    facts
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn unreadable(leaf: &[u8]) -> CertificateFacts {
    CertificateFacts {
        dns_names: Vec::new(),
        addresses: Vec::new(),
        subject: String::new(),
        issuer: String::new(),
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
        fingerprint: fingerprint(leaf),
    }
}

/// Checks, during the handshake, that the peer holds the key of the certificate it shows, and nothing else.
///
/// # Security
///
/// It believes every certificate. [`super::Connector`] judges the chain before it hands out the connection. One shared
/// verifier instead of one per connection is also what lets rustls resume sessions.
#[derive(Debug)]
pub(super) struct PossessionOnly(WebPkiSupportedAlgorithms);

impl PossessionOnly {
    pub(super) fn new() -> Self {
        Self(provider().signature_verification_algorithms)
    }
}

impl ServerCertVerifier for PossessionOnly {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
