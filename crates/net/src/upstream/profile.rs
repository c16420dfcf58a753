//! What is remembered about an origin, so that the next client can be answered before the origin is dialled again.
//!
//! It is advice for the client's leg: which protocol to mirror, which names to mint. It is never proof: a connection
//! that carries a request is verified itself. Invariant: bounded in number and age.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::trust::OriginCertificate;
use crate::host::Origin;
use crate::tls::{Offer, Protocol, TlsInfo};

/// Origins remembered at once.
const MAX_PROFILES: u64 = 10_000;

/// How long a good profile is believed.
const KEEP: Duration = Duration::from_secs(600);

/// How long a bad certificate is remembered: its owner may repair it any moment.
const KEEP_INVALID: Duration = Duration::from_secs(30);

/// What an origin did when it was last dialled with one offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginProfile {
    /// The protocol it chose from the offer.
    pub alpn: Option<Protocol>,
    /// Its HTTP/2 turned out not to work; only HTTP/1.1 is used for it.
    pub http1_only: bool,
    /// The verdict about its certificate; absent without TLS.
    pub certificate: Option<Arc<OriginCertificate>>,
    pub tls: Option<TlsInfo>,
    learned: Instant,
}

impl OriginProfile {
    pub(super) fn new(tls: Option<TlsInfo>, certificate: Option<Arc<OriginCertificate>>) -> Self {
        let alpn = tls.as_ref().and_then(|tls| tls.alpn);
        Self { alpn, http1_only: false, certificate, tls, learned: Instant::now() }
    }

    /// Returns what to accept from a client so that both legs speak the same protocol where they can.
    pub const fn mirrored(&self, client: Offer) -> Offer {
        let chosen = if self.http1_only { Some(Protocol::Http1) } else { self.alpn };
        match chosen {
            Some(protocol) if client.includes(protocol) => Offer::exactly(Some(protocol)),
            // The origin has no say in what the client can speak; the gateway translates.
            _ => client,
        }
    }

    fn is_fresh(&self) -> bool {
        let valid = self.certificate.as_ref().is_none_or(|certificate| certificate.is_valid());
        self.learned.elapsed() < if valid { KEEP } else { KEEP_INVALID }
    }
}

/// The profiles of all origins.
#[derive(Debug)]
pub(super) struct OriginProfiles(moka::sync::Cache<(Origin, Offer), Arc<OriginProfile>>);

impl OriginProfiles {
    pub(super) fn new() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(MAX_PROFILES).time_to_live(KEEP).build())
    }

    pub(super) fn find(&self, origin: &Origin, offer: Offer) -> Option<Arc<OriginProfile>> {
        self.0.get(&(origin.clone(), offer)).filter(|profile| profile.is_fresh())
    }

    /// Remembers `profile`, keeping the knowledge that an origin's HTTP/2 does not work.
    pub(super) fn learn(&self, origin: &Origin, offer: Offer, mut profile: OriginProfile) -> Arc<OriginProfile> {
        profile.http1_only = self.find(origin, offer).is_some_and(|known| known.http1_only);
        let profile = Arc::new(profile);
        self.0.insert((origin.clone(), offer), Arc::clone(&profile));
        profile
    }

    /// Remembers that the origin asked for HTTP/1.1, or that its HTTP/2 is broken.
    pub(super) fn http1_only(&self, origin: &Origin, offer: Offer) {
        let known = self.find(origin, offer);
        let mut profile = known.map_or_else(|| OriginProfile::new(None, None), |known| (*known).clone());
        profile.http1_only = true;
        self.0.insert((origin.clone(), offer), Arc::new(profile));
    }

    pub(super) fn clear(&self) {
        self.0.invalidate_all();
    }
}
