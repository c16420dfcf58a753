//! A listener's own certificate, from two files that somebody else renews.
//!
//! It decides what a usable pair is and notices when the files change. It does not decide when to look and asks for no
//! certificate itself. Invariant: a [`Presented`] pair belongs together and can be served, so what is in use is only ever
//! replaced by something that works.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::host::Host;
use crate::mint::OneCertificate;
use crate::tls::{Offer, provider};

/// A chain of ten certificates with RSA-4096 keys takes 25 kB.
const MAX_FILE: u64 = 1 << 20;

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate of the listener, then the intermediates that lead to its root.
    pub certificate: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

/// A certificate ready to be served.
#[derive(Debug, Clone)]
pub struct Presented {
    pub config: Arc<ServerConfig>,
    /// Its alternative names that are host names, in lower case; `*.example.com` stands for one label.
    pub names: Arc<[String]>,
    pub not_after: Timestamp,
}

/// What tells that the files are not the ones read last, without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([Option<[i64; 4]>; 2]);

/// Why a pair cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFilesError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is larger than a certificate or key can be")]
    TooLarge { path: PathBuf },
    #[error("{path} holds no certificate in PEM form")]
    NoCertificate { path: PathBuf },
    #[error("{path} holds no private key in PEM form that is not encrypted")]
    NoKey { path: PathBuf },
    #[error("the first certificate of {path} cannot be read")]
    Unreadable { path: PathBuf },
    #[error(
        "the certificate in {certificate} and the key in {key} do not belong together or are of an unsupported kind"
    )]
    Pair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("TLS cannot be prepared")]
    Tls(#[from] rustls::Error),
}

impl CertificateFiles {
    /// Reads both files and checks that they belong together. A certificate that has expired is served all the same,
    /// because an administrator must be able to get in and replace it.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, holds something else, or the key is not the certificate's.
    pub fn load(&self) -> Result<Presented, CertificateFilesError> {
        let (certificate, key) = (read(&self.certificate)?, read(&self.key)?);
        let missing = || CertificateFilesError::NoCertificate { path: self.certificate.clone() };
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&certificate).collect::<Result<_, _>>().map_err(|_| missing())?;
        let first = chain.first().ok_or_else(missing)?;
        let (_, facts) = X509Certificate::from_der(first)
            .map_err(|_| CertificateFilesError::Unreadable { path: self.certificate.clone() })?;
        let names = names(&facts);
        let not_after = Timestamp::from_second(facts.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX);
        let key =
            PrivateKeyDer::from_pem_slice(&key).map_err(|_| CertificateFilesError::NoKey { path: self.key.clone() })?;
        let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(|source| CertificateFilesError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(OneCertificate(Arc::new(pair))));
        config.ticketer = Ticketer::new()?;
        config.alpn_protocols = Offer::Both.alpn();
        Ok(Presented { config: Arc::new(config), names, not_after })
    }

    /// Tells the files as they are from what they were; a file that is not there has a stamp too.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp([&self.certificate, &self.key].map(|path| {
            let facts = std::fs::metadata(path).ok()?;
            let inode = facts.ino().cast_signed();
            Some([inode, facts.size().cast_signed(), facts.ctime(), facts.ctime_nsec()])
        }))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateFilesError> {
    let failed = |source| CertificateFilesError::Read { path: path.to_path_buf(), source };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_FILE {
        return Err(CertificateFilesError::TooLarge { path: path.to_path_buf() });
    }
    Ok(content)
}

fn names(certificate: &X509Certificate<'_>) -> Arc<[String]> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let dns =
        alternatives.iter().filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
    dns.filter(|name| matches!(Host::parse(name.strip_prefix("*.").unwrap_or(name)), Ok(Host::Name(_))))
        .map(str::to_ascii_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{CertificateFiles, CertificateFilesError};

    fn pair(names: &[&str]) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        (rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn files() -> (tempfile::TempDir, CertificateFiles) {
        let directory = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            certificate: directory.path().join("certificate.pem"),
            key: directory.path().join("key.pem"),
        };
        (directory, files)
    }

    #[test]
    fn a_pair_is_read_with_the_names_people_may_use() {
        let (_directory, files) = files();
        let (certificate, key) = pair(&["Console.example.com", "*.example.org", "192.0.2.7"]);
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        let presented = files.load().unwrap();
        assert_eq!(*presented.names, ["console.example.com".to_owned(), "*.example.org".to_owned()]);
        assert_eq!(presented.config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_the_file_that_is_wrong() {
        let (_directory, files) = files();
        let (certificate, key) = pair(&["a.example"]);
        let (_, other) = pair(&["a.example"]);
        let big = "x".repeat(1 + (1 << 20));
        for (certificate_file, key_file, reason) in [
            (None, Some(&key), "cannot read"),
            (Some(&certificate), None, "cannot read"),
            (Some(&key), Some(&key), "holds no certificate"),
            (Some(&certificate), Some(&certificate), "holds no private key"),
            (Some(&certificate), Some(&other), "do not belong together"),
            (Some(&big), Some(&key), "larger than"),
        ] {
            for (path, content) in [(&files.certificate, certificate_file), (&files.key, key_file)] {
                let _ = std::fs::remove_file(path);
                if let Some(content) = content {
                    std::fs::write(path, content).unwrap();
                }
            }
            let error = files.load().map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
        assert!(matches!(files.load(), Err(CertificateFilesError::TooLarge { .. })));
    }

    #[test]
    fn a_stamp_changes_when_a_file_comes_goes_or_is_replaced() {
        let (_directory, files) = files();
        let none = files.stamp();
        assert_eq!(files.stamp(), none);
        std::fs::write(&files.key, "one").unwrap();
        let one = files.stamp();
        assert_ne!(one, none);
        let beside = files.key.with_extension("new");
        std::fs::write(&beside, "two").unwrap();
        std::fs::rename(&beside, &files.key).unwrap();
        assert_ne!(files.stamp(), one);
    }
}
