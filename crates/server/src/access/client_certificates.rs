//! Stored authorities of client certificates to what each host asks of its clients.
//!
//! It reads and groups by host. Invariant: a host believes the authorities that name it and no other, and tickets of a
//! host survive a change of configuration only if its authorities are the same as before.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use access::HostCertificates;
use identity::certificate::{CertificateDocument, CertificateSettings, ClientAuthorities};
use identity::client_certificate::HostAuthorities;
use net::CertificateRequest;
use store::{Only, ReadClientCertificates};

use super::AccessError;
use super::build::{Builder, Fault, read as read_document, words};

/// Requests in use, by the authorities they name: their DER, in order.
pub(super) type Requests = HashMap<Vec<Vec<u8>>, Arc<CertificateRequest>>;

/// Reads what every host asks of its clients.
///
/// # Errors
/// The store does not answer, or there is no randomness.
pub(super) async fn read(
    builder: &mut Builder,
    faults: &mut Vec<Fault>,
) -> Result<HashMap<String, Arc<HostCertificates>>, AccessError> {
    let grant = builder.principal.authorize::<ReadClientCertificates>(builder.account)?;
    let mut uploaded = Vec::new();
    for stored in builder.store.client_authorities().list(&grant).await? {
        let parsed = read_document::<CertificateDocument>(&stored.document.body)
            .and_then(|document| ClientAuthorities::parse(stored.id, &document).map_err(words));
        match parsed {
            Ok(authorities) => uploaded.push(authorities),
            Err(reason) => faults.push((format!("authority {}", stored.document.name), reason)),
        }
    }
    let settings = builder.store.client_certificate_settings().get(&grant, &Only).await?;
    let entries = settings.map(|settings| settings.document.entries).unwrap_or_default();
    let forwarding: Vec<String> = entries
        .iter()
        .filter_map(|entry| read_document::<CertificateSettings>(entry).ok())
        .filter(|settings| settings.client_certificate_forwarding)
        .map(|settings| settings.hostname)
        .collect();
    let mut by_host: BTreeMap<&str, Vec<&ClientAuthorities>> = BTreeMap::new();
    for authorities in &uploaded {
        for host in &authorities.hosts {
            by_host.entry(host).or_default().push(authorities);
        }
    }
    let mut requests = Requests::new();
    let mut hosts = HashMap::new();
    for (host, uploaded) in by_host {
        let mut key: Vec<Vec<u8>> =
            uploaded.iter().flat_map(|one| &one.authorities).map(|one| one.der.clone()).collect();
        key.sort();
        key.dedup();
        let authorities = HostAuthorities::of(uploaded);
        let request = match requests.get(&key).or_else(|| builder.requests.get(&key)) {
            Some(known) => Arc::clone(known),
            None => Arc::new(CertificateRequest::new(&authorities.subjects()).map_err(AccessError::key)?),
        };
        requests.insert(key, Arc::clone(&request));
        let forward = forwarding.iter().any(|forwarding| forwarding == host);
        hosts.insert(host.to_owned(), Arc::new(HostCertificates { authorities, request, forward }));
    }
    builder.requests = requests;
    Ok(hosts)
}
