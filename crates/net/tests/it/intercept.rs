//! Minted leaves in real handshakes: who accepts them, what is negotiated, what is resumed.

use std::sync::Arc;

use jiff::Timestamp;
use net::ca::CaParams;
use net::mint::{LeafNames, MintError};
use net::server::{AcceptError, Accepted, Opening, accept, read_opening};
use net::{CertificateAuthority, Minter, Offer, Prefixed, Protocol, TlsInfo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::support::{PATIENCE, days, host};

fn authority(validity_days: u32) -> Arc<CertificateAuthority> {
    let organisation = "Acme".to_owned();
    let params = CaParams { organisation, validity_days, now: Timestamp::now() };
    Arc::new(CertificateAuthority::generate(&params).unwrap())
}

fn minter() -> Minter {
    Minter::new(authority(100), 100).unwrap()
}

fn roots(minter: &Minter) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(minter.authority().certificate_pem().as_bytes()).unwrap()).unwrap();
    roots
}

/// A client that trusts only the minter's authority.
fn client(minter: &Minter, versions: &[&'static SupportedProtocolVersion], alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(net::tls::provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots(minter))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

type Handshake = (TlsStream<DuplexStream>, Accepted<DuplexStream>);

async fn handshake(
    minter: &Minter,
    client: &Arc<ClientConfig>,
    name: &str,
    names: &LeafNames,
    offer: Offer,
) -> Result<Handshake, (std::io::Error, AcceptError)> {
    let config = minter.server_config(names, offer, Timestamp::now()).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::clone(client));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    match tokio::join!(connector.connect(name, near), accept(far, config, PATIENCE)) {
        (Ok(client), Ok(server)) => Ok((client, server)),
        (Err(client), Err(server)) => Err((client, server)),
        (client, server) => panic!("{:?} {:?}", client.err(), server.err()),
    }
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_accepts_every_kind_of_name() {
    let minter = minter();
    let long = format!("{}.example", ["a23456789012345678901234567890"; 6].join("."));
    for name in [
        "example.com",
        "a.b.c.example",
        "xn--bcher-kva.example",
        "under_score.example",
        "192.0.2.7",
        "2001:db8::7",
        &long,
    ] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let client = client(&minter, &[version], &[]);
            let names = LeafNames::for_host(&host(name));
            let (_, accepted) = handshake(&minter, &client, name, &names, Offer::Both).await.unwrap();
            let is_name = name.parse::<std::net::IpAddr>().is_err();
            assert_eq!(accepted.sni.as_deref(), is_name.then_some(name), "{name}");
        }
    }
}

#[tokio::test]
async fn post_quantum_exchange_and_the_chosen_protocol_are_reported() {
    let minter = minter();
    let names = LeafNames::for_host(&host("example.com"));
    for (offered, offer, expected) in [
        (&[&b"h2"[..], b"http/1.1"][..], Offer::Http2, Some(Protocol::Http2)),
        (&[b"h2", b"http/1.1"], Offer::Http1, Some(Protocol::Http1)),
        (&[b"h2", b"http/1.1"], Offer::Both, Some(Protocol::Http2)),
        (&[b"http/1.1"], Offer::Both, Some(Protocol::Http1)),
        (&[], Offer::Both, None),
        (&[b"h2"], Offer::Nothing, None),
    ] {
        let client = client(&minter, &[&rustls::version::TLS13], offered);
        let (_, accepted) = handshake(&minter, &client, "example.com", &names, offer).await.unwrap();
        let TlsInfo { version, group, alpn, resumed, .. } = accepted.tls;
        assert_eq!((version, group, alpn, resumed), ("TLSv1.3", Some("X25519MLKEM768"), expected, false));
        assert!(accepted.tls.cipher.starts_with("TLS_"), "{}", accepted.tls.cipher);
    }
}

#[tokio::test]
async fn a_session_is_resumed_on_another_connection_and_configuration() {
    let minter = minter();
    let names = LeafNames::for_host(&host("example.com"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = client(&minter, &[version], &[b"h2", b"http/1.1"]);
        let mut kinds = Vec::new();
        for offer in [Offer::Http2, Offer::Http2, Offer::Http1] {
            let (mut near, mut accepted) = handshake(&minter, &client, "example.com", &names, offer).await.unwrap();
            // Tickets of TLS 1.3 follow the handshake; reading makes the client see them.
            accepted.stream.write_all(b"x").await.unwrap();
            accepted.stream.flush().await.unwrap();
            near.read_u8().await.unwrap();
            kinds.push(accepted.tls.resumed);
        }
        assert_eq!(kinds, [false, true, true], "{version:?}");
    }
}

#[tokio::test]
async fn sessions_do_not_survive_a_change_of_authority() {
    let (old, new) = (minter(), minter());
    let names = LeafNames::for_host(&host("example.com"));
    let client = client(&old, &[&rustls::version::TLS13], &[]);
    let (mut near, mut accepted) = handshake(&old, &client, "example.com", &names, Offer::Nothing).await.unwrap();
    accepted.stream.write_all(b"x").await.unwrap();
    accepted.stream.flush().await.unwrap();
    near.read_u8().await.unwrap();
    let (_, error) = handshake(&new, &client, "example.com", &names, Offer::Nothing).await.unwrap_err();
    assert!(matches!(error, AcceptError::Distrusted(_)), "{error:?}");
}

#[tokio::test]
async fn a_client_without_the_authority_is_reported_as_distrusting() {
    let (ours, other) = (minter(), minter());
    let names = LeafNames::for_host(&host("example.com"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = client(&other, &[version], &[]);
        let (_, error) = handshake(&ours, &client, "example.com", &names, Offer::Nothing).await.unwrap_err();
        assert!(matches!(error, AcceptError::Distrusted(_)), "{error:?}");
    }
}

#[tokio::test]
async fn aes_128_is_agreed_on_unless_the_client_has_no_aes_in_hardware() {
    use rustls::CipherSuite::{self, *};

    let minter = minter();
    let names = LeafNames::for_host(&host("example.com"));
    for (order, expected) in [
        (
            [TLS13_AES_256_GCM_SHA384, TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256],
            TLS13_AES_128_GCM_SHA256,
        ),
        (
            [TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384],
            TLS13_CHACHA20_POLY1305_SHA256,
        ),
    ] {
        let mut provider = rustls::crypto::CryptoProvider::clone(&net::tls::provider());
        let place = |suite: CipherSuite| order.iter().position(|wanted| *wanted == suite).unwrap_or(usize::MAX);
        provider.cipher_suites.sort_by_key(|suite| place(suite.suite()));
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots(&minter))
            .with_no_client_auth();
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let connector = TlsConnector::from(Arc::new(config));
        let server = async {
            let (opening, bytes) = read_opening(&mut far, bytes::Bytes::new(), PATIENCE).await.unwrap();
            let Opening::Tls(hello) = opening else { panic!("{opening:?}") };
            let config = minter.server_config_for(&hello, &names, Offer::Nothing, Timestamp::now()).unwrap();
            accept(Prefixed::new(bytes, far), config, PATIENCE).await.unwrap()
        };
        let name = ServerName::try_from("example.com").unwrap();
        let (near, _) = tokio::join!(connector.connect(name, near), server);
        let suite = near.unwrap().get_ref().1.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, expected, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_not_waited_for() {
    let minter = minter();
    let names = LeafNames::for_host(&host("example.com"));
    let config = minter.server_config(&names, Offer::Both, Timestamp::now()).unwrap();
    let (near, _far) = tokio::io::duplex(64);
    assert!(matches!(accept(near, config, PATIENCE).await, Err(AcceptError::Timeout)));
}

#[tokio::test]
async fn leaves_carry_what_clients_and_standards_ask_for() {
    let minter = minter();
    let client = client(&minter, &[&rustls::version::TLS13], &[]);
    let mut serials = Vec::new();
    for name in ["a.example", "b.example"] {
        let names = LeafNames::for_host(&host(name));
        let (near, _) = handshake(&minter, &client, name, &names, Offer::Nothing).await.unwrap();
        let chain = near.get_ref().1.peer_certificates().unwrap().to_vec();
        assert_eq!(chain.len(), 1, "the root is not sent");
        let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
        let now = Timestamp::now().as_second();
        let validity = leaf.validity();
        assert!(validity.not_before.timestamp() < now - 23 * 3600, "backdated for late clocks");
        assert!(validity.not_after.timestamp() < now + 15 * 24 * 3600, "short-lived");
        assert!(leaf.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(leaf.extended_key_usage().unwrap().unwrap().value.server_auth);
        assert!(!leaf.is_ca());
        assert!(leaf.extensions().iter().any(|extension| {
            matches!(extension.parsed_extension(), x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(_))
        }));
        serials.push(leaf.raw_serial().to_vec());
    }
    assert_ne!(serials[0], serials[1], "one key, one issuer: only the serial tells leaves apart");
}

#[test]
fn a_leaf_is_signed_once_for_all_offers_and_again_when_it_grows_old() {
    let minter = minter();
    let names = LeafNames::for_host(&host("example.com"));
    let now = Timestamp::now();
    for offer in Offer::ALL {
        let first = minter.server_config(&names, offer, now).unwrap();
        let again = minter.server_config(&names, offer, now + days(6)).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
    }
    assert_eq!(minter.minted(), 1);
    minter.server_config(&names, Offer::Both, now + days(8)).unwrap();
    assert_eq!(minter.minted(), 2);
}

#[test]
fn nothing_is_minted_outside_the_authoritys_life() {
    let minter = Minter::new(authority(3), 10).unwrap();
    let names = LeafNames::for_host(&host("example.com"));
    for (offset, possible) in [(-2, false), (0, true), (2, true), (4, false)] {
        let outcome = minter.server_config(&names, Offer::Both, Timestamp::now() + days(offset));
        match outcome {
            Ok(_) => assert!(possible, "{offset}"),
            Err(error) => assert!(matches!(error, MintError::AuthorityExpired) && !possible, "{offset}: {error}"),
        }
    }
}
