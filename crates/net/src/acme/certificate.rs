//! A certificate that an authority issued, with its key, ready for a listener.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::tls::provider;

/// Longest chain that is read, in bytes of PEM.
const MAX_CHAIN: usize = 64 * 1_024;

/// A certificate in use.
#[derive(Debug)]
pub struct ListenerCertificate {
    pub(crate) key: Arc<CertifiedKey>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Why a chain cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenerCertificateError {
    #[error("it is no certificate chain in PEM form of at most {MAX_CHAIN} bytes")]
    Chain,
    #[error("it is not for {0}")]
    Name(String),
    #[error("it does not belong to the key")]
    Key(#[source] rustls::Error),
}

impl ListenerCertificate {
    /// Reads a chain, the certificate for `name` first, and its key in PKCS #8 DER.
    ///
    /// # Errors
    ///
    /// When the chain cannot be read, is for other names, or belongs to another key.
    pub fn load(name: &str, chain: &str, key: &[u8]) -> Result<Self, ListenerCertificateError> {
        use ListenerCertificateError::Chain;
        if chain.len() > MAX_CHAIN {
            return Err(Chain);
        }
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().map_err(|_| Chain)?;
        let first = chain.first().ok_or(Chain)?;
        let (_, facts) = X509Certificate::from_der(first).map_err(|_| Chain)?;
        let alternatives = facts.subject_alternative_name().map_err(|_| Chain)?;
        let speaks = alternatives.is_some_and(|names| {
            let is = |general: &GeneralName<'_>| matches!(general, GeneralName::DNSName(dns) if dns.eq_ignore_ascii_case(name));
            names.value.general_names.iter().any(is)
        });
        if !speaks {
            return Err(ListenerCertificateError::Name(name.to_owned()));
        }
        let moment = |seconds: i64| Timestamp::from_second(seconds).map_err(|_| Chain);
        let not_before = moment(facts.validity().not_before.timestamp())?;
        let not_after = moment(facts.validity().not_after.timestamp())?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(ListenerCertificateError::Key)?;
        Ok(Self { key: Arc::new(key), not_before, not_after })
    }

    /// Tells whether it is valid at a moment.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::ListenerCertificate;

    #[test]
    fn only_a_chain_for_the_name_and_the_key_is_served() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let params = CertificateParams::new(vec!["docs.example.net".to_owned()]).unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        let load = |name: &str, chain: &str, key: &KeyPair| {
            ListenerCertificate::load(name, chain, key.serialized_der()).map_err(|error| error.to_string())
        };
        let loaded = load("docs.example.net", &chain, &key).unwrap();
        assert!(loaded.is_valid(jiff::Timestamp::now()) && !loaded.is_valid(loaded.not_after));
        for (name, chain, key, reason) in [
            ("wiki.example.net", chain.as_str(), &key, "it is not for wiki.example.net"),
            ("docs.example.net", &chain, &other, "it does not belong to the key"),
            ("docs.example.net", "", &key, "it is no certificate chain"),
            ("docs.example.net", &key.serialize_pem(), &key, "it is no certificate chain"),
        ] {
            let error = load(name, chain, key).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
