//! Leaf certificates for intercepted sites, minted on demand, and the TLS configurations that present them.
//!
//! It decides which names a leaf carries and how long it lives. It does not decide whether a site is intercepted.
//! Invariant: names are copied from an origin's certificate only when that certificate was verified, so a hostile
//! origin cannot have our authority vouch for someone else's name; and the cache never exceeds its bound.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, sign::any_ecdsa_type};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};

use crate::acme::ListenerCertificate;
use crate::ca::{BACKDATE, CertificateAuthority, offset, random_serial};
use crate::certificate_request::CertificateRequest;
use crate::client_hello;
use crate::host::Host;
use crate::tls::{Offer, provider};
use crate::upstream::OriginCertificate;

/// How many leaves a [`Minter`] remembers unless told otherwise.
pub const DEFAULT_CACHED_LEAVES: u64 = 10_000;

/// Names copied from an origin at most; a content network's certificate can carry hundreds.
const MAX_NAMES: usize = 32;

/// How long a leaf is valid. Short, so that a lost leaf key ages out by itself; long enough for a wrong client clock.
const VALIDITY: SignedDuration = SignedDuration::from_hours(24 * 14);

/// A cached leaf is replaced when it has less than this left.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(24 * 7);

/// The names a leaf certificate carries, in one order, so that equal sets share one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeafNames {
    dns: Vec<Arc<str>>,
    addresses: Vec<IpAddr>,
}

impl LeafNames {
    /// Names just the host the client asked for.
    pub fn for_host(host: &Host) -> Self {
        match host {
            Host::Name(name) => Self { dns: vec![Arc::clone(name)], addresses: Vec::new() },
            Host::Address(address) => Self { dns: Vec::new(), addresses: vec![*address] },
        }
    }

    /// Names every one of `hosts`: what a listener of the platform itself is reached by. At most 32 of each kind.
    pub fn of(hosts: impl IntoIterator<Item = Host>) -> Self {
        let mut names = Self { dns: Vec::new(), addresses: Vec::new() };
        for host in hosts {
            match host {
                Host::Name(name) if names.dns.len() < MAX_NAMES && !names.dns.contains(&name) => names.dns.push(name),
                Host::Address(address) if names.addresses.len() < MAX_NAMES && !names.addresses.contains(&address) => {
                    names.addresses.push(address);
                }
                Host::Name(_) | Host::Address(_) => {}
            }
        }
        names.dns.sort();
        names.addresses.sort();
        names
    }

    /// Names what the origin's own certificate names, always including `host`.
    ///
    /// # Security
    ///
    /// Only a certificate that was verified is mirrored; any other yields [`LeafNames::for_host`].
    pub fn mirror(host: &Host, origin: &OriginCertificate) -> Self {
        let OriginCertificate::Valid(facts) = origin else {
            return Self::for_host(host);
        };
        let dns = facts.dns_names.iter().filter_map(|name| normalised(name)).collect();
        let mut names = Self { dns, addresses: facts.addresses.clone() };
        if !names.cover(host) {
            match host {
                Host::Name(name) => names.dns.push(Arc::clone(name)),
                Host::Address(address) => names.addresses.push(*address),
            }
        }
        names.bounded(host)
    }

    pub fn dns(&self) -> &[Arc<str>] {
        &self.dns
    }

    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Reports whether a client that asked for `host` accepts a certificate with these names.
    pub fn cover(&self, host: &Host) -> bool {
        match host {
            Host::Name(host) => self.dns.iter().any(|name| covers(name, host)),
            Host::Address(address) => self.addresses.contains(address),
        }
    }

    /// Puts the names that speak for `host` first, cuts to the bound, then orders what is left.
    fn bounded(mut self, host: &Host) -> Self {
        if let Some(host) = host.name() {
            self.dns.sort_by_key(|name| !covers(name, host));
        }
        if let Some(address) = host.address() {
            self.addresses.sort_by_key(|candidate| *candidate != address);
        }
        self.dns.truncate(MAX_NAMES);
        self.addresses.truncate(MAX_NAMES);
        self.dns.sort();
        self.dns.dedup();
        self.addresses.sort();
        self.addresses.dedup();
        self
    }
}

/// Returns the one spelling of a name from a certificate, or nothing if it is not a name a leaf may carry.
fn normalised(name: &str) -> Option<Arc<str>> {
    let (wildcard, rest) = name.strip_prefix("*.").map_or((false, name), |rest| (true, rest));
    let Ok(Host::Name(rest)) = Host::parse(rest) else { return None };
    if !wildcard {
        return Some(rest);
    }
    // `*.com` would be refused by clients and is never ours to say.
    rest.contains('.').then(|| format!("*.{rest}").into())
}

/// Reports whether the certificate name `name` speaks for `host`: equal, or a wildcard for exactly one label.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        None => name == host,
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
    }
}

/// Why a leaf could not be minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error("certificate authority is not valid at this time")]
    AuthorityExpired,
    #[error("a name cannot stand in a certificate")]
    Name,
    #[error("no randomness available")]
    Random,
    #[error("leaf could not be signed")]
    Sign(#[from] rcgen::Error),
    #[error("leaf could not be loaded")]
    Load(#[from] rustls::Error),
}

/// Mints leaves under one authority and hands out server configurations for them.
///
/// One per active authority: a new authority gets a new leaf key and new ticket keys, so nothing outlives a change.
pub struct Minter {
    authority: Arc<CertificateAuthority>,
    leaf_key: KeyPair,
    signer: Arc<dyn SigningKey>,
    base: ServerConfig,
    cache: moka::sync::Cache<LeafNames, Arc<Leaf>>,
    minted: AtomicU64,
}

impl std::fmt::Debug for Minter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minter").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// One minted certificate and a server configuration per ALPN choice, each built when first asked for.
#[derive(Debug)]
struct Leaf {
    key: Arc<CertifiedKey>,
    renew_at: Timestamp,
    configs: [OnceLock<Arc<ServerConfig>>; Offer::ALL.len()],
    /// The same for clients whose own order of cipher suites holds.
    mobile_configs: [OnceLock<Arc<ServerConfig>>; Offer::ALL.len()],
}

impl Minter {
    /// Prepares minting under `authority`, remembering at most `cached_leaves` certificates.
    ///
    /// # Errors
    ///
    /// When the system has no randomness for the leaf key or the ticket keys.
    pub fn new(authority: Arc<CertificateAuthority>, cached_leaves: u64) -> Result<Self, MintError> {
        let leaf_key = KeyPair::generate()?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let signer = any_ecdsa_type(&der)?;
        let mut base = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NoCertificate));
        // Tickets carry the session, so resumption costs no memory here; rustls binds each to its server name and
        // rotates the key. Every configuration shares the ticketer, so any connection resumes any other's session.
        base.ticketer = Ticketer::new()?;
        base.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            authority,
            leaf_key,
            signer,
            base,
            cache: moka::sync::Cache::new(cached_leaves),
            minted: AtomicU64::new(0),
        })
    }

    pub const fn authority(&self) -> &Arc<CertificateAuthority> {
        &self.authority
    }

    /// Returns how many certificates were signed so far.
    pub fn minted(&self) -> u64 {
        self.minted.load(Ordering::Relaxed)
    }

    /// Returns the configuration that presents a leaf with `names` and accepts the protocols in `offer`.
    ///
    /// The first call for a set of names costs one ECDSA signature; later ones a cache lookup.
    ///
    /// # Errors
    ///
    /// When the authority is not valid at `now`, or a name cannot be encoded.
    pub fn server_config(
        &self,
        names: &LeafNames,
        offer: Offer,
        now: Timestamp,
    ) -> Result<Arc<ServerConfig>, MintError> {
        let leaf = self.leaf(names, now)?;
        Ok(Arc::clone(leaf.configs[offer.index()].get_or_init(|| self.configure(&leaf, offer, true))))
    }

    /// As [`Minter::server_config`], for a client whose greeting has been read: one that asks for ChaCha20 first, because
    /// it has no AES in hardware, gets it.
    ///
    /// # Errors
    ///
    /// As [`Minter::server_config`].
    pub fn server_config_for(
        &self,
        hello: &client_hello::ClientHello,
        names: &LeafNames,
        offer: Offer,
        now: Timestamp,
    ) -> Result<Arc<ServerConfig>, MintError> {
        if !hello.prefers_chacha20() {
            return self.server_config(names, offer, now);
        }
        let leaf = self.leaf(names, now)?;
        Ok(Arc::clone(leaf.mobile_configs[offer.index()].get_or_init(|| self.configure(&leaf, offer, false))))
    }

    /// As [`Minter::server_config_for`], and asks the client for a certificate too.
    ///
    /// # Errors
    ///
    /// As [`Minter::server_config`].
    pub fn asking_config_for(
        &self,
        hello: &client_hello::ClientHello,
        names: &LeafNames,
        offer: Offer,
        now: Timestamp,
        request: &CertificateRequest,
    ) -> Result<Arc<ServerConfig>, MintError> {
        let leaf = self.leaf(names, now)?;
        Ok(present(request.base(), &leaf.key, offer, !hello.prefers_chacha20()))
    }

    /// Presents a certificate that another authority issued for the host, and asks for one if there is a `request`.
    pub fn issued_config_for(
        &self,
        hello: &client_hello::ClientHello,
        issued: &ListenerCertificate,
        offer: Offer,
        request: Option<&CertificateRequest>,
    ) -> Arc<ServerConfig> {
        let base = request.map_or(&self.base, CertificateRequest::base);
        present(base, &issued.key, offer, !hello.prefers_chacha20())
    }

    fn configure(&self, leaf: &Leaf, offer: Offer, our_order: bool) -> Arc<ServerConfig> {
        present(&self.base, &leaf.key, offer, our_order)
    }

    fn leaf(&self, names: &LeafNames, now: Timestamp) -> Result<Arc<Leaf>, MintError> {
        if let Some(leaf) = self.cache.get(names)
            && now < leaf.renew_at
        {
            return Ok(leaf);
        }
        let leaf = Arc::new(self.mint(names, now)?);
        self.cache.insert(names.clone(), Arc::clone(&leaf));
        Ok(leaf)
    }

    fn mint(&self, names: &LeafNames, now: Timestamp) -> Result<Leaf, MintError> {
        let authority = self.authority.facts();
        if now < authority.not_before || now >= authority.not_after {
            return Err(MintError::AuthorityExpired);
        }
        let not_before = (now - BACKDATE).max(authority.not_before);
        let not_after = (now + VALIDITY).min(authority.not_after);
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(names, &authority.issuer_org);
        params.subject_alt_names = alternative_names(names)?;
        params.not_before = offset(not_before).ok_or(MintError::AuthorityExpired)?;
        params.not_after = offset(not_after).ok_or(MintError::AuthorityExpired)?;
        params.serial_number = Some(random_serial().ok_or(MintError::Random)?);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.leaf_key, self.authority.issuer())?;
        self.minted.fetch_add(1, Ordering::Relaxed);
        let mut chain = vec![certificate.der().clone()];
        chain.extend_from_slice(self.authority.chain());
        Ok(Leaf {
            key: Arc::new(CertifiedKey::new(chain, Arc::clone(&self.signer))),
            renew_at: renew_at(now, not_after),
            configs: Default::default(),
            mobile_configs: Default::default(),
        })
    }
}

/// Completes a configuration for one certificate.
fn present(base: &ServerConfig, key: &Arc<CertifiedKey>, offer: Offer, our_order: bool) -> Arc<ServerConfig> {
    let mut config = base.clone();
    // AES-128-GCM comes first with us: its key schedule costs a fraction of that of AES-256 with SHA-384.
    config.ignore_client_order = our_order;
    config.cert_resolver = Arc::new(OneCertificate(Arc::clone(key)));
    config.alpn_protocols = offer.alpn();
    Arc::new(config)
}

/// A leaf cut short by its authority's end is used to that end; there is nothing better to mint.
fn renew_at(now: Timestamp, not_after: Timestamp) -> Timestamp {
    let usual = not_after - RENEW_BEFORE;
    if usual > now { usual } else { not_after }
}

fn subject(names: &LeafNames, organisation: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    // A common name holds at most 64 characters; clients read the alternative names.
    let name = names.dns.iter().find(|name| name.len() <= 64).map(|name| name.to_string());
    let name = name.or_else(|| names.addresses.first().map(ToString::to_string));
    subject.push(DnType::CommonName, name.unwrap_or_else(|| "gateway".to_owned()));
    if !organisation.is_empty() {
        subject.push(DnType::OrganizationName, organisation);
    }
    subject
}

fn alternative_names(names: &LeafNames) -> Result<Vec<SanType>, MintError> {
    let dns = names.dns.iter().map(|name| {
        let name = name.to_string().try_into().map_err(|_| MintError::Name)?;
        Ok(SanType::DnsName(name))
    });
    dns.chain(names.addresses.iter().map(|address| Ok(SanType::IpAddress(*address)))).collect()
}

/// Presents the same certificate whatever the client names; the caller chose it for this very connection.
#[derive(Debug)]
pub(crate) struct OneCertificate(pub(crate) Arc<CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Stands in the base configuration, which is never served.
#[derive(Debug)]
pub(crate) struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
