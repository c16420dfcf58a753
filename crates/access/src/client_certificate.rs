//! The certificate a client showed on its connection, judged for the host of each request.
//!
//! What counts is `identity::client_certificate`'s to say; this remembers the answer on the connection for as long as it
//! holds. Invariant: a certificate speaks only at the host it was asked for, by the authorities that this host has in the
//! request's own snapshot, whatever the handshake or a resumed session brought along.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use identity::client_certificate::{CertificateFault, HostAuthorities, Judgement};
use identity::identity::ClientCertificate;
use jiff::Timestamp;
use net::CertificateRequest;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::exchange::Exchange;

/// What is done with client certificates at one host.
#[derive(Debug)]
pub struct HostCertificates {
    pub authorities: HostAuthorities,
    /// How clients are asked. Shared by hosts with the same authorities, and kept while they stay the same.
    pub request: Arc<CertificateRequest>,
    /// Tells the application in headers which certificate it was.
    pub forward: bool,
}

/// Largest certificate that is put into a header, in bytes; servers take heads of 8 KB.
const MAX_FORWARDED: usize = 4 * 1_024;

const DER: HeaderName = HeaderName::from_static("cf-client-cert-der-base64");
const FINGERPRINT: HeaderName = HeaderName::from_static("cf-client-cert-sha256");

/// What the client of a connection showed, whose key it holds.
pub(crate) struct Shown {
    chain: Vec<CertificateDer<'static>>,
    judged: ArcSwapOption<Judged>,
}

/// What that amounts to at a host.
pub(crate) struct Judged {
    host: Arc<HostCertificates>,
    /// Seconds since the epoch.
    at: i64,
    judgement: Judgement,
    leaf: CertificateDer<'static>,
}

impl Shown {
    /// Takes what a handshake brought, if anything.
    pub(crate) fn of(chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        (!chain.is_empty()).then(|| Self { chain, judged: ArcSwapOption::empty() })
    }

    fn judge(&self, host: &Arc<HostCertificates>, now: i64) -> Option<Arc<Judged>> {
        // A clock that went back asks again.
        let holds = |judged: &Arc<Judged>| {
            Arc::ptr_eq(&judged.host, host) && (judged.at..judged.judgement.until).contains(&now)
        };
        if let Some(known) = self.judged.load_full().filter(holds) {
            return Some(known);
        }
        let judgement = host.authorities.judge(&self.chain, Timestamp::from_second(now).ok()?);
        let leaf = self.chain.first()?.clone();
        let judged = Arc::new(Judged { host: Arc::clone(host), at: now, judgement, leaf });
        self.judged.store(Some(Arc::clone(&judged)));
        Some(judged)
    }
}

/// Judges the certificate of a request's connection; `None` where none was shown or none is asked for.
pub(crate) fn judge(exchange: &Exchange) -> Option<Arc<Judged>> {
    let shown = exchange.client.shown.as_ref()?;
    // The handshake asked under this name; another host may believe other authorities.
    if exchange.client.server_name.as_deref() != Some(exchange.host.as_str()) {
        return None;
    }
    shown.judge(exchange.snapshot.client_certificates.get(&exchange.host)?, exchange.now.seconds())
}

impl Judged {
    pub(crate) const fn outcome(&self) -> Result<&ClientCertificate, &CertificateFault> {
        self.judgement.outcome.as_ref()
    }

    /// Until when it counts, in seconds since the epoch.
    pub(crate) const fn until(&self) -> i64 {
        self.judgement.until
    }

    /// Tells the application about a certificate that counts, where the host's settings say so.
    pub(crate) fn forward(&self, headers: &mut HeaderMap) {
        let Ok(certificate) = self.outcome() else { return };
        if !self.host.forward {
            return;
        }
        if self.leaf.len() <= MAX_FORWARDED
            && let Ok(value) = HeaderValue::try_from(STANDARD.encode(&self.leaf))
        {
            headers.insert(DER, value);
        }
        if let Ok(value) = HeaderValue::from_str(&certificate.fingerprint) {
            headers.insert(FINGERPRINT, value);
        }
    }
}

/// Writes what a record says of a certificate.
pub(crate) fn words(outcome: Result<&ClientCertificate, &str>) -> Value {
    match outcome {
        Ok(certificate) => json!({
            "status": "SUCCESS",
            "common_name": certificate.common_name,
            "issuer": certificate.issuer_dn,
            "serial": certificate.serial,
            "fingerprint": certificate.fingerprint,
        }),
        Err(fault) => json!({ "status": format!("FAILED:{fault}") }),
    }
}
