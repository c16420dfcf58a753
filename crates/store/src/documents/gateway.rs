//! The account's gateway settings: configuration, logging, certificates, proxy endpoints.
//!
//! Configuration and logging keep the author's JSON (reference sections 5.6 and 5.8); the policy plane reads it.
//! Invariant: a certificate's private key is only ever stored sealed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use types::{CertificateId, ProxyEndpointId};

use super::document;
use crate::document::Only;
use crate::seal::Sealed;

/// The `settings` object of `/gateway/configuration`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// As the API takes and returns it.
    pub settings: Map<String, Value>,
}

document!(Configuration, Configuration, id Only, ReadGateway / WriteGateway {});

/// The body of `/gateway/logging`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Logging {
    /// As the API takes and returns it: `redact_pii`, `settings_by_rule_type`.
    pub settings: Map<String, Value>,
}

document!(Logging, Logging, id Only, ReadGateway / WriteGateway {});

/// How long records are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// By the name of the dataset; the others are kept as they are by default.
    pub datasets: BTreeMap<String, DatasetRetention>,
}

/// How long the records of one dataset are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetRetention {
    /// In days.
    pub days: u32,
    /// How large it may get, in bytes; without it, it shares the room of those that have none.
    pub max_bytes: Option<u64>,
}

document!(Retention, Retention, id Only, ReadLogs / WriteLogs {});

/// The weekly letter about what is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageDigest {
    /// Who gets it; nobody: it is not written.
    pub recipients: Vec<String>,
    /// The last day, in UTC, of the week that was written about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_up_to: Option<String>,
}

document!(UsageDigest, UsageDigest, id Only, ReadLogs / WriteLogs {});

/// A certificate authority that signs the leaves the gateway shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Who made it.
    #[serde(rename = "type")]
    pub origin: CertificateOrigin,
    /// Where it stands in its life.
    pub binding_status: BindingStatus,
    /// The certificate, PEM.
    pub certificate: String,
    /// The private key, PKCS #8 PEM, sealed.
    pub private_key: Sealed,
    /// The SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    /// The issuer's organisation.
    #[serde(default)]
    pub issuer_org: String,
    /// The issuer's whole name.
    #[serde(default)]
    pub issuer_raw: String,
    /// When it expires.
    pub expires_on: Timestamp,
}

/// A certificate authority to be stored; its key is sealed on the way in.
#[derive(Debug, Clone)]
pub struct NewCertificate {
    /// Who made it.
    pub origin: CertificateOrigin,
    /// Where it stands in its life.
    pub binding_status: BindingStatus,
    /// The certificate, PEM.
    pub certificate: String,
    /// The private key, PKCS #8 PEM.
    pub private_key: types::Secret<String>,
    /// The SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    /// The issuer's organisation.
    pub issuer_org: String,
    /// The issuer's whole name.
    pub issuer_raw: String,
    /// When it expires.
    pub expires_on: Timestamp,
}

/// Who made a certificate authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateOrigin {
    /// The owner, who uploaded it.
    Custom,
    /// The gateway.
    GatewayManaged,
}

/// Where a certificate stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindingStatus {
    /// Being handed to the nodes.
    PendingDeployment,
    /// May be put in use.
    Available,
    /// Being withdrawn.
    PendingDeletion,
    /// Kept, and not on the nodes.
    Inactive,
}

document!(Certificate, Certificate, id CertificateId, ReadGateway / WriteGateway {
    const MAX_COUNT: usize = 100;
});

/// A proxy address of its own, open to source ranges or to signed-in people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyEndpoint {
    /// Its name; unique in the account.
    pub name: String,
    /// Who may use it.
    pub kind: ProxyEndpointKind,
    /// The source ranges, for `ip` endpoints.
    #[serde(default)]
    pub ips: Vec<String>,
    /// The generated label that tells endpoints apart.
    pub subdomain: String,
}

/// Who may use a proxy endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyEndpointKind {
    /// Anyone from its source ranges.
    #[default]
    Ip,
    /// People with a credential.
    Identity,
}

document!(ProxyEndpoint, ProxyEndpoint, id ProxyEndpointId, ReadGateway / WriteGateway {
    const MAX_COUNT: usize = 500;

    fn unique_name(&self) -> Option<&str> {
        Some(&self.name)
    }
});
