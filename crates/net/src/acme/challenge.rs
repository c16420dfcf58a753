//! The proof that we answer for a name: TLS-ALPN-01 (RFC 8737).
//!
//! A handshake that offers `acme-tls/1` and nothing else gets a certificate with the digest of the key authorization, and
//! no request. Invariant: such a certificate is shown to nobody else, and no more of them are held than the bound.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;

use crate::client_hello::ClientHello;
use crate::mint::OneCertificate;
use crate::tls::provider;

/// The protocol a validating server offers.
pub const ALPN: &[u8] = b"acme-tls/1";
/// Proofs held at once.
const MOST: usize = 256;

/// The proofs of the orders under way. Cheap to share.
#[derive(Debug, Default)]
pub struct Challenges {
    by_name: Mutex<HashMap<String, (String, Arc<ServerConfig>)>>,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    #[error("too many orders are under way")]
    Full,
    #[error("the digest is not one")]
    Digest,
    #[error("the certificate of the proof cannot be made")]
    Certificate(#[from] rcgen::Error),
    #[error("the certificate of the proof cannot be served")]
    Tls(#[from] rustls::Error),
}

impl Challenges {
    /// Answers for `name` with a digest: SHA-256 in hexadecimal.
    ///
    /// # Errors
    ///
    /// When there are too many, or the certificate cannot be made.
    pub fn put(&self, name: &str, digest: &str) -> Result<(), ChallengeError> {
        if self.by_name.lock().get(name).is_some_and(|(known, _)| known == digest) {
            return Ok(());
        }
        let config = Arc::new(config(name, &bytes(digest).ok_or(ChallengeError::Digest)?)?);
        let mut by_name = self.by_name.lock();
        if by_name.len() >= MOST && !by_name.contains_key(name) {
            return Err(ChallengeError::Full);
        }
        by_name.insert(name.to_owned(), (digest.to_owned(), config));
        Ok(())
    }

    /// Answers for these names alone from here on.
    pub fn keep_only(&self, wanted: impl Fn(&str) -> bool) {
        self.by_name.lock().retain(|name, _| wanted(name));
    }

    /// Returns what to answer a validating server with; `None` for anybody else, and where no order is under way.
    #[must_use]
    pub fn answer(&self, hello: &ClientHello) -> Option<Arc<ServerConfig>> {
        let name = hello.sni.as_deref().filter(|_| is_validation(hello))?;
        self.by_name.lock().get(name).map(|(_, config)| Arc::clone(config))
    }
}

/// Tells whether a client is a server that validates (RFC 8737 section 3: this protocol and no other).
#[must_use]
pub fn is_validation(hello: &ClientHello) -> bool {
    hello.alpn.len() == 1 && hello.alpn.iter().all(|protocol| protocol == ALPN)
}

fn bytes(digest: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digest.len() != 64 || !digest.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digest.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn config(name: &str, digest: &[u8; 32]) -> Result<ServerConfig, ChallengeError> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.der().clone();
    let signer = any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        // Not `with_single_cert`: it reads the certificate, whose critical extension is not for it.
        .with_cert_resolver(Arc::new(OneCertificate(Arc::new(CertifiedKey::new(vec![certificate], signer)))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::{ALPN, ChallengeError, Challenges, MOST};
    use crate::client_hello::ClientHello;

    fn hello(sni: Option<&str>, alpn: &[&[u8]]) -> ClientHello {
        ClientHello {
            legacy_version: 0x0303,
            versions: vec![0x0304],
            sni: sni.map(str::to_owned),
            alpn: alpn.iter().map(|protocol| protocol.to_vec()).collect(),
            ciphers: Vec::new(),
            extensions: Vec::new(),
            signature_algorithms: Vec::new(),
            groups: Vec::new(),
            key_shares: Vec::new(),
            ech: false,
            resumption: false,
            ja4: String::new(),
        }
    }

    #[test]
    fn a_proof_is_for_a_validating_server_that_names_the_host_alone() {
        let challenges = Challenges::default();
        challenges.put("docs.example.net", &"0a".repeat(32)).unwrap();
        for (hello, answered) in [
            (hello(Some("docs.example.net"), &[ALPN]), true),
            (hello(Some("docs.example.net"), &[ALPN, b"h2"]), false),
            (hello(Some("docs.example.net"), &[b"h2", b"http/1.1"]), false),
            (hello(Some("docs.example.net"), &[]), false),
            (hello(Some("wiki.example.net"), &[ALPN]), false),
            (hello(None, &[ALPN]), false),
        ] {
            assert_eq!(challenges.answer(&hello).is_some(), answered, "{hello:?}");
        }
        challenges.keep_only(|name| name != "docs.example.net");
        assert!(challenges.answer(&hello(Some("docs.example.net"), &[ALPN])).is_none());
    }

    #[test]
    fn proofs_are_bounded_and_a_digest_is_one() {
        let challenges = Challenges::default();
        for digest in ["", "zz", &"0g".repeat(32), &"é".repeat(32)] {
            assert!(matches!(challenges.put("a.example.net", digest), Err(ChallengeError::Digest)), "{digest}");
        }
        for number in 0..MOST {
            challenges.put(&format!("{number}.example.net"), &"00".repeat(32)).unwrap();
        }
        assert!(matches!(challenges.put("more.example.net", &"00".repeat(32)), Err(ChallengeError::Full)));
        challenges.put("7.example.net", &"11".repeat(32)).unwrap();
    }
}
