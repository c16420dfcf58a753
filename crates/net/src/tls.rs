//! What both legs share about TLS: the application protocols we speak, and the facts of a finished handshake.
//!
//! It decides which crypto provider and which protocol versions are used, once, for every configuration in the crate.
//! Invariant: aws-lc-rs is the only provider, TLS 1.2 the oldest version, and X25519MLKEM768 the first key exchange.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, CommonState, HandshakeKind, NamedGroup, ProtocolVersion};

/// The HTTP version a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    /// Returns the ALPN identifier.
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }

    /// Returns the protocol an ALPN identifier names, if it is one we speak.
    pub fn from_alpn(alpn: &[u8]) -> Option<Self> {
        match alpn {
            b"http/1.1" => Some(Self::Http1),
            b"h2" => Some(Self::Http2),
            _ => None,
        }
    }
}

/// The application protocols offered to a peer, or accepted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Offer {
    /// No ALPN extension at all: what a client without one gets mirrored.
    Nothing,
    Http1,
    Http2,
    Both,
}

impl Offer {
    /// Every value, for tables indexed by [`Offer::index`].
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Http1, Self::Http2, Self::Both];

    /// Returns the part of a client's own offer that we can speak.
    ///
    /// A client that offers only protocols we do not know gets [`Offer::Nothing`].
    pub fn mirror<A: AsRef<[u8]>>(alpn: &[A]) -> Self {
        let offers = |wanted: Protocol| alpn.iter().any(|name| name.as_ref() == wanted.alpn());
        match (offers(Protocol::Http1), offers(Protocol::Http2)) {
            (false, false) => Self::Nothing,
            (true, false) => Self::Http1,
            (false, true) => Self::Http2,
            (true, true) => Self::Both,
        }
    }

    /// Returns the offer that names just the protocol an origin chose, so that the client is given the same.
    pub const fn exactly(protocol: Option<Protocol>) -> Self {
        match protocol {
            None => Self::Nothing,
            Some(Protocol::Http1) => Self::Http1,
            Some(Protocol::Http2) => Self::Http2,
        }
    }

    pub const fn includes(self, protocol: Protocol) -> bool {
        match self {
            Self::Nothing => false,
            Self::Http1 => matches!(protocol, Protocol::Http1),
            Self::Http2 => matches!(protocol, Protocol::Http2),
            Self::Both => true,
        }
    }

    /// Returns the ALPN list, preferred first.
    pub fn alpn(self) -> Vec<Vec<u8>> {
        let list: &[Protocol] = match self {
            Self::Nothing => &[],
            Self::Http1 => &[Protocol::Http1],
            Self::Http2 => &[Protocol::Http2],
            Self::Both => &[Protocol::Http2, Protocol::Http1],
        };
        list.iter().map(|protocol| protocol.alpn().to_vec()).collect()
    }

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Http1 => 1,
            Self::Http2 => 2,
            Self::Both => 3,
        }
    }
}

/// What a finished handshake agreed on, in the spelling of the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The IANA name of the cipher suite.
    pub cipher: &'static str,
    /// The key exchange group, such as `X25519MLKEM768`; absent when a TLS 1.2 session was resumed.
    pub group: Option<&'static str>,
    /// The application protocol, if one was negotiated that we speak.
    pub alpn: Option<Protocol>,
    pub resumed: bool,
    /// From the first byte of the handshake to its end.
    pub handshake: Duration,
}

impl TlsInfo {
    pub(crate) fn of(state: &CommonState, handshake: Duration) -> Self {
        Self {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "unknown",
            },
            cipher: state.negotiated_cipher_suite().map_or("unknown", |suite| cipher_name(suite.suite())),
            group: state.negotiated_key_exchange_group().map(|group| group_name(group.name())),
            alpn: state.alpn_protocol().and_then(Protocol::from_alpn),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            handshake,
        }
    }
}

/// Rustls spells TLS 1.3 suites with its own prefix; logs carry the IANA name.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "P-256",
        NamedGroup::secp384r1 => "P-384",
        NamedGroup::secp521r1 => "P-521",
        other => other.as_str().unwrap_or("unknown"),
    }
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // What browsers ask for first: its key schedule and its records cost less than AES-256 with SHA-384, which stays on
    // offer. Clients that ask for ChaCha20 first get it.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
});

/// Returns the one crypto provider of the process.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

#[cfg(test)]
mod tests {
    use rustls::{CipherSuite, NamedGroup};

    use super::{Offer, Protocol, provider};

    #[test]
    fn offer_mirrors_only_what_both_sides_speak() {
        for (alpn, expected) in [
            (&[][..], Offer::Nothing),
            (&[&b"http/1.1"[..]][..], Offer::Http1),
            (&[b"h2"], Offer::Http2),
            (&[b"h2", b"http/1.1"], Offer::Both),
            (&[b"http/1.1", b"h2"], Offer::Both),
            (&[b"http/1.0", b"spdy/3"], Offer::Nothing),
        ] {
            assert_eq!(Offer::mirror(alpn), expected, "{alpn:?}");
        }
    }

    #[test]
    fn an_offer_lists_exactly_what_it_includes() {
        for offer in Offer::ALL {
            let listed = offer.alpn();
            for protocol in [Protocol::Http1, Protocol::Http2] {
                assert_eq!(listed.contains(&protocol.alpn().to_vec()), offer.includes(protocol), "{offer:?}");
            }
            assert_eq!(Offer::ALL[offer.index()], offer);
        }
    }

    #[test]
    fn every_suite_stays_on_offer_in_a_browsers_order() {
        let ours: Vec<_> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        assert_eq!(ours.first(), Some(&CipherSuite::TLS13_AES_128_GCM_SHA256));
        assert_eq!(ours.len(), rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES.len());
    }

    #[test]
    fn post_quantum_key_exchange_is_preferred() {
        assert_eq!(provider().kx_groups.first().map(|group| group.name()), Some(NamedGroup::X25519MLKEM768));
    }
}
