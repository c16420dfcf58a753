//! Asks clients for a certificate in the handshake, without insisting on one.
//!
//! It sees to one thing alone: that whoever shows a certificate holds its key. Whether the certificate counts, for whom and
//! until when, is judged by the plane, on every request. Invariant: a handshake without a certificate goes on, one whose
//! client does not hold the key fails, and a ticket opens only sessions that were made under the same request.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

use crate::mint::{MintError, NoCertificate};
use crate::tls::provider;

/// Certificates a client may send: its own and those that lead to an authority.
const MAX_CHAIN: usize = 10;
/// Bytes they may take. They travel in the session ticket too, whose length has 16 bits.
const MAX_CHAIN_BYTES: usize = 24 * 1_024;
/// Bytes of names that help a client choose; beyond it none are sent, which lets it choose among all it has.
const MAX_HINTS: usize = 16 * 1_024;

/// What clients of some hosts are asked for. Keep it as long as the authorities of those hosts stay the same: another one
/// opens none of its tickets.
#[derive(Debug)]
pub struct CertificateRequest {
    base: ServerConfig,
}

impl CertificateRequest {
    /// Prepares a request that names `authorities`, each the content of an X.509 `Name` as trust anchors hold it.
    ///
    /// # Errors
    ///
    /// When the system has no randomness for the ticket keys.
    pub fn new(authorities: &[Vec<u8>]) -> Result<Self, MintError> {
        let fits = authorities.iter().map(Vec::len).sum::<usize>() <= MAX_HINTS;
        let names = authorities.iter().map(|name| DistinguishedName::in_sequence(name));
        let hints = if fits { names.collect() } else { Vec::new() };
        let mut base = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(Possession { hints }))
            .with_cert_resolver(Arc::new(NoCertificate));
        // Keys of its own: a ticket of a host that asks nobody would let its holder in without being asked, and one made
        // under authorities that were removed would bring their certificate back.
        base.ticketer = Ticketer::new()?;
        base.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { base })
    }

    pub(crate) const fn base(&self) -> &ServerConfig {
        &self.base
    }
}

/// Takes any certificate whose key the client holds, and none.
#[derive(Debug)]
struct Possession {
    hints: Vec<DistinguishedName>,
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = end_entity.len() + intermediates.iter().map(|der| der.len()).sum::<usize>();
        if intermediates.len() >= MAX_CHAIN || bytes > MAX_CHAIN_BYTES {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
