//! Certificate authorities for client certificates: the v4 document (reference section 2.8).
//!
//! Decides whether a PEM text holds authorities; judging a client by them is [`crate::client_certificate`]'s. Invariant: an
//! [`Authority`] is a certificate that may sign others.

use jiff::Timestamp;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::CertificateId;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::destination::Pattern;
use crate::document::{self, Problem, Problems};

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// Members the API returns and takes back without effect.
pub const READ_ONLY: [&str; 6] = ["id", "uid", "fingerprint", "expires_on", "created_at", "updated_at"];
/// Longest PEM text, in bytes.
pub const MAX_PEM: usize = 64 * 1_024;
const MAX_AUTHORITIES: usize = 32;
const MAX_HOSTS: usize = 256;

/// A CA as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateDocument {
    pub name: String,
    pub certificate: String,
    pub associated_hostnames: Vec<String>,
}

impl CertificateDocument {
    /// Reads what an author sent.
    ///
    /// # Errors
    /// With every fault of shape found.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        document::read(value, &READ_ONLY)
    }
}

/// One entry of `/access/certificates/settings`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateSettings {
    pub hostname: String,
    pub china_network: bool,
    /// Adds headers about the client certificate for the origin.
    pub client_certificate_forwarding: bool,
}

/// CAs that are trusted for some hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthorities {
    pub id: CertificateId,
    pub name: String,
    /// Hosts in lower case, exact.
    pub hosts: Vec<String>,
    /// At least one.
    pub authorities: Vec<Authority>,
}

/// One CA certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    pub der: Vec<u8>,
    pub subject: String,
    pub expires: Timestamp,
    /// MD5 of the certificate as the v4 API writes it: pairs of upper-case digits with colons. A name, not a protection.
    pub fingerprint: String,
}

impl ClientAuthorities {
    /// Makes trusted CAs of a document.
    ///
    /// # Errors
    /// With every fault found.
    pub fn parse(id: CertificateId, document: &CertificateDocument) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let name = problems.check("/name", document::name(&document.name, 255)).unwrap_or_default();
        let authorities = problems.check("/certificate", authorities(&document.certificate)).unwrap_or_default();
        let mut hosts = Vec::new();
        if document.associated_hostnames.len() > MAX_HOSTS {
            problems.add("/associated_hostnames", format!("must hold at most {MAX_HOSTS} host names"));
        }
        for (index, text) in document.associated_hostnames.iter().enumerate().take(MAX_HOSTS) {
            match text.parse::<Pattern>() {
                Ok(pattern) if pattern.has_exact_host() && pattern.path().is_empty() => {
                    hosts.push(pattern.host().to_owned());
                }
                Ok(_) | Err(_) => problems.add(format!("/associated_hostnames/{index}"), "must be one host name"),
            }
        }
        problems.finish(Self { id, name, hosts, authorities })
    }
}

/// Reads PEM certificates, each of which must be a CA.
///
/// # Errors
/// If there is none, one is not a CA, or the text is too long.
pub fn authorities(pem: &str) -> Result<Vec<Authority>, String> {
    if pem.len() > MAX_PEM {
        return Err(format!("must be at most {MAX_PEM} bytes"));
    }
    let mut found = Vec::new();
    for block in x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|_| "not PEM".to_owned())?;
        if block.label != "CERTIFICATE" {
            return Err(format!(
                "holds a `{}`; only certificates belong here",
                block.label.chars().take(40).collect::<String>()
            ));
        }
        if found.len() == MAX_AUTHORITIES {
            return Err(format!("must hold at most {MAX_AUTHORITIES} certificates"));
        }
        found.push(authority(&block.contents)?);
    }
    if found.is_empty() { Err("must hold a PEM certificate".to_owned()) } else { Ok(found) }
}

fn authority(der: &[u8]) -> Result<Authority, String> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| "not an X.509 certificate".to_owned())?;
    if !rest.is_empty() {
        return Err("bytes follow the certificate".to_owned());
    }
    // RFC 5280 section 4.2.1.3: where key usage is named, an authority's holds keyCertSign.
    let usage = certificate.key_usage().map_err(|_| "names its key usage twice".to_owned())?;
    if !certificate.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(format!("`{}` is not a certificate authority", certificate.subject()));
    }
    // What signatures cannot be held against would be asked for and never match.
    webpki::anchor_from_trusted_cert(&der.into()).map_err(|error| format!("cannot be trusted: {error}"))?;
    let expires = Timestamp::from_second(certificate.validity().not_after.timestamp())
        .map_err(|_| "expires outside of all time".to_owned())?;
    let digest = Md5::digest(der);
    let fingerprint: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    Ok(Authority {
        der: der.to_vec(),
        subject: certificate.subject().to_string(),
        expires,
        fingerprint: fingerprint.join(":"),
    })
}
