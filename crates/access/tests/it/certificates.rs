//! Which certificate the listener shows to whom: the one an authority issued, a leaf of our own, or the proof of an order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use net::acme::ListenerCertificate;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{OTHER, Setup, Stand, WIKI};

/// Believes everything, to see what is shown.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// What a client is shown that asks for `host` and offers these protocols; `None` if the handshake fails.
async fn shown(stand: &Stand, host: &str, alpn: &[&str]) -> Option<CertificateDer<'static>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(stand.address).await.unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    Some(stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_issued_is_shown_at_its_host_while_it_is_valid() {
    let stand = Stand::start(Setup::default()).await;
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![WIKI.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let issued = ListenerCertificate::load(WIKI, &certificate.pem(), key.serialized_der()).unwrap();
    let own = shown(&stand, WIKI, &[]).await.unwrap();
    assert_ne!(own, *certificate.der());
    stand.change(|snapshot| snapshot.certificates = HashMap::from([(WIKI.to_owned(), Arc::new(issued))]));
    assert_eq!(shown(&stand, WIKI, &["h2"]).await.unwrap(), *certificate.der());
    assert_ne!(shown(&stand, OTHER, &[]).await.unwrap(), *certificate.der());
    stand.advance(Duration::from_secs(80 * 366 * 24 * 3_600));
    assert!(shown(&stand, WIKI, &[]).await.is_none_or(|shown| shown != *certificate.der()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validating_server_is_shown_the_proof_of_the_order_under_way_and_nothing_else() {
    let stand = Stand::start(Setup::default()).await;
    assert!(shown(&stand, WIKI, &["acme-tls/1"]).await.is_none(), "no order is under way");
    stand.challenges.put(WIKI, &"5a".repeat(32)).unwrap();
    let proof = shown(&stand, WIKI, &["acme-tls/1"]).await.unwrap();
    assert!(proof.windows(32).any(|window| window == [0x5a; 32]), "the digest is in the certificate");
    for (host, alpn) in [(WIKI, &["h2"][..]), (WIKI, &[]), (WIKI, &["h2", "acme-tls/1"])] {
        assert_ne!(shown(&stand, host, alpn).await.unwrap(), proof, "{alpn:?}");
    }
    assert!(shown(&stand, OTHER, &["acme-tls/1"]).await.is_none());
    // Applications are reached as before.
    let seen = stand.browser().get(&stand.url(WIKI, "/")).await;
    assert_eq!(seen.status, StatusCode::FOUND);
    stand.challenges.keep_only(|_| false);
    assert!(shown(&stand, WIKI, &["acme-tls/1"]).await.is_none());
}
