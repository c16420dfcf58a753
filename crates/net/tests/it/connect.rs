//! Dialling: every verdict about a certificate, the guard, resumption, failures by stage.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use net::guard::{Guard, GuardParams, Refusal};
use net::mint::LeafNames;
use net::resolve::{Resolve, ResolveError, Resolved};
use net::upstream::{
    CertificatePolicy, ConnectError, Connector, ConnectorParams, DialTimeouts, InvalidReason, OriginCertificate, Stage,
    TrustParams, TrustStore,
};
use net::{Offer, Origin, Protocol, Scheme};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, IsCa, KeyIdMethod, KeyPair, RevocationReason,
    RevokedCertParams, SerialNumber,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Identity, Issuing, NAME, PATIENCE, Setup, TestOrigin, days, host, http, https, leaf};

/// One origin certificate, the verdict expected about it, and what a person is told.
struct Case {
    identity: Identity,
    name: &'static str,
    expected: Result<(), InvalidReason>,
    log_value: &'static str,
    words: &'static str,
}

fn case(identity: Identity, expected: Result<(), InvalidReason>, log_value: &'static str, words: &'static str) -> Case {
    Case { identity, name: NAME, expected, log_value, words }
}

fn cases(issuing: &Issuing) -> Vec<Case> {
    let stranger = Issuing::named("Strangers");
    let authority_as_leaf = {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf(&[NAME], -1, 30);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Identity::new(params.self_signed(&key).unwrap().der().clone(), &key)
    };
    let for_clients = {
        let key = KeyPair::generate().unwrap();
        let mut params: CertificateParams = leaf(&[NAME], -1, 30);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        Identity::new(params.signed_by(&key, &issuing.issuer).unwrap().der().clone(), &key)
    };
    let wildcard = Case { name: "sub.origin.test", ..case(issuing.good(), Ok(()), "VALID", "") };
    vec![
        case(issuing.good(), Ok(()), "VALID", ""),
        wildcard,
        case(issuing.issue(&[NAME], -30, -1), Err(InvalidReason::Expired), "EXPIRED", "expired on"),
        case(issuing.issue(&[NAME], 1, 30), Err(InvalidReason::NotYetValid), "EXPIRED", "not valid before"),
        case(
            issuing.issue(&["other.test"], -1, 30),
            Err(InvalidReason::HostnameMismatch),
            "HOSTNAME_MISMATCH",
            "is for other.test, not for origin.test",
        ),
        case(Identity::self_signed(&[NAME]), Err(InvalidReason::SelfSigned), "UNKNOWN", "self-signed"),
        case(authority_as_leaf, Err(InvalidReason::SelfSigned), "UNKNOWN", "self-signed"),
        case(stranger.good(), Err(InvalidReason::UnknownIssuer), "UNKNOWN", "not a trusted authority"),
        case(
            for_clients,
            Err(InvalidReason::Other("it was not issued for servers".to_owned())),
            "UNKNOWN",
            "not issued for servers",
        ),
    ]
}

#[tokio::test]
async fn every_certificate_gets_its_verdict_and_only_a_valid_one_connects() {
    let issuing = Issuing::new();
    for Case { identity, name, expected, log_value, words } in cases(&issuing) {
        let origin = TestOrigin::https(&identity, Offer::Both).await;
        let connector = Setup::new(origin.address, &issuing).connector();
        let mut route = https(Offer::Both);
        route.origin.host = host(name);
        let anyway = route.clone().with_certificates(CertificatePolicy::AcceptUntrusted);
        let certificate = connector.connect(&anyway).await.unwrap().certificate.unwrap();
        assert_eq!(certificate.reason().cloned().map_or(Ok(()), Err), expected);
        assert_eq!(certificate.log_value(), log_value);
        let said = certificate.plain_words(&host(name)).unwrap_or_default();
        assert!(said.contains(words), "{said:?} does not say {words:?}");
        match connector.connect(&route).await {
            Ok(_) => assert!(expected.is_ok()),
            Err(ConnectError::Certificate(verdict)) => assert_eq!(verdict, certificate),
            Err(error) => panic!("{expected:?}: {error:?}"),
        }
        let mirrored = LeafNames::mirror(&host(name), &certificate);
        let copied = mirrored.dns().iter().any(|name| &**name == "*.origin.test");
        assert_eq!(copied, certificate.is_valid(), "names are copied from verified certificates only");
        assert!(mirrored.cover(&host(name)));
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_found_on_the_authoritys_list() {
    let issuing = Issuing::new();
    let now = time::OffsetDateTime::from_unix_timestamp(Timestamp::now().as_second()).unwrap();
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(4711_u64),
        revocation_time: now,
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: now - time::Duration::days(1),
        next_update: now + time::Duration::days(7),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let origin = TestOrigin::https(&issuing.good(), Offer::Both).await;
    let mut setup = Setup::new(origin.address, &issuing);
    setup.revocations = vec![list.signed_by(&issuing.issuer).unwrap().pem().unwrap()];
    let error = setup.connector().connect(&https(Offer::Both)).await.unwrap_err();
    let certificate = error.certificate().unwrap();
    assert_eq!((certificate.reason(), certificate.log_value()), (Some(&InvalidReason::Revoked), "REVOKED"));
}

#[tokio::test]
async fn without_roots_nothing_is_believed_and_with_an_extra_one_its_own_origins_are() {
    let issuing = Issuing::new();
    let origin = TestOrigin::https(&issuing.good(), Offer::Both).await;
    let mut setup = Setup::new(origin.address, &issuing);
    setup.roots.clear();
    let connector = setup.connector();
    let error = connector.connect(&https(Offer::Both)).await.unwrap_err();
    assert_eq!(error.stage(), Stage::Certificate);
    let extra_pem = vec![issuing.pem.clone()];
    let params = TrustParams { bundled_roots: false, native_roots: false, extra_pem, revocation_pem: Vec::new() };
    connector.replace_trust(TrustStore::new(&params).unwrap());
    connector.connect(&https(Offer::Both)).await.unwrap();
    let broken = TrustParams { extra_pem: vec![issuing.pem, "nonsense".to_owned()], ..params };
    TrustStore::new(&broken).unwrap_err();
}

#[tokio::test]
async fn handshake_facts_are_reported() {
    let issuing = Issuing::new();
    let origin = TestOrigin::https(&issuing.good(), Offer::Both).await;
    let connector = Setup::new(origin.address, &issuing).connector();
    for (offer, expected) in [
        (Offer::Both, Some(Protocol::Http2)),
        (Offer::Http1, Some(Protocol::Http1)),
        (Offer::Http2, Some(Protocol::Http2)),
        (Offer::Nothing, None),
    ] {
        let mut route = https(offer);
        route.origin.host = host(NAME);
        let connection = connector.connect(&route).await.unwrap();
        let tls = connection.tls.clone().unwrap();
        assert_eq!((tls.version, tls.alpn), ("TLSv1.3", expected));
        assert_eq!(tls.group, Some("X25519MLKEM768"), "post-quantum by default");
        assert_eq!(connection.peer, origin.address);
        assert_eq!(connection.protocol(), expected.unwrap_or(Protocol::Http1));
        assert!(connection.counters.read() > 0 && connection.counters.written() > 0);
        let facts = connection.certificate.unwrap();
        assert_eq!(facts.facts().dns_names, [NAME, "*.origin.test"]);
        assert!(facts.facts().issuer.contains("Test Roots"), "{}", facts.facts().issuer);
    }
}

#[tokio::test]
async fn a_resumed_session_is_judged_again() {
    let issuing = Issuing::new();
    let origin = TestOrigin::https(&issuing.good(), Offer::Http1).await;
    let later = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&later);
    let mut setup = Setup::new(origin.address, &issuing);
    setup.clock =
        Arc::new(move || if switch.load(Ordering::SeqCst) { Timestamp::now() + days(365) } else { Timestamp::now() });
    let connector = setup.connector();
    let route = https(Offer::Http1);
    let mut first = connector.connect(&route).await.unwrap();
    assert!(!first.tls.as_ref().unwrap().resumed);
    // An answer makes sure the tickets behind it were read.
    first.stream.write_all(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n").await.unwrap();
    first.stream.read_u8().await.unwrap();
    let second = connector.connect(&route).await.unwrap();
    assert!(second.tls.unwrap().resumed);
    assert!(second.certificate.unwrap().is_valid());
    later.store(true, Ordering::SeqCst);
    let error = connector.connect(&route).await.unwrap_err();
    assert_eq!(error.certificate().and_then(|verdict| verdict.reason()), Some(&InvalidReason::Expired));
}

#[tokio::test]
async fn loopback_is_refused_unless_allowed() {
    let issuing = Issuing::new();
    let origin = TestOrigin::start(None, crate::support::Behaviour::default()).await;
    let mut setup = Setup::new(origin.address, &issuing);
    setup.allow_loopback = false;
    let connector = setup.connector();
    let by_address = Origin::new(Scheme::Http, origin.address.ip().into(), origin.address.port());
    for route in [http(), net::upstream::Route::new(by_address, Offer::Nothing)] {
        let error = connector.connect(&route).await.unwrap_err();
        assert!(matches!(error, ConnectError::Refused(Refusal::Loopback)), "{error:?}");
        assert_eq!(error.stage(), Stage::Guard);
    }
    assert_eq!(origin.seen.connections(), 0);
    let allow = vec![format!("{NAME}:80").parse().unwrap()];
    connector.replace_guard(Guard::new(GuardParams { allow, ..GuardParams::default() }));
    connector.connect(&http()).await.unwrap();
}

/// Answers with one address the first time and another ever after, as a rebinding name server does.
#[derive(Debug)]
struct Rebinding(AtomicUsize, [SocketAddr; 2]);

impl Resolve for Rebinding {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        let turn = self.0.fetch_add(1, Ordering::SeqCst).min(1);
        let found = Resolved { addresses: vec![self.1[turn]], valid_for: Duration::ZERO };
        Box::pin(std::future::ready(Ok(found)))
    }
}

fn connector(resolver: Arc<dyn Resolve>, allow: &[&str], timeouts: DialTimeouts) -> Connector {
    let trust =
        TrustParams { bundled_roots: false, native_roots: false, extra_pem: Vec::new(), revocation_pem: Vec::new() };
    let allow = allow.iter().map(|allow| allow.parse().unwrap()).collect();
    Connector::new(ConnectorParams {
        resolver,
        guard: Guard::new(GuardParams { allow, ..GuardParams::default() }),
        trust: TrustStore::new(&trust).unwrap(),
        clock: Arc::new(Timestamp::now),
        timeouts,
    })
    .unwrap()
}

fn patient() -> DialTimeouts {
    DialTimeouts { resolve: PATIENCE, tcp: PATIENCE, tls: PATIENCE }
}

#[tokio::test]
async fn a_name_that_moves_to_a_refused_address_is_refused() {
    let origin = TestOrigin::start(None, crate::support::Behaviour::default()).await;
    let inner: SocketAddr = "127.0.0.2:80".parse().unwrap();
    let resolver = Arc::new(Rebinding(AtomicUsize::new(0), [origin.address, inner]));
    let connector = connector(resolver, &["127.0.0.1"], patient());
    connector.dial(&host("moving.test"), 80).await.unwrap();
    let error = connector.dial(&host("moving.test"), 80).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused(Refusal::Loopback)), "{error:?}");
}

/// Answers everything with a fixed list.
#[derive(Debug)]
struct Fixed(Vec<SocketAddr>);

impl Resolve for Fixed {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        let found = Resolved { addresses: self.0.clone(), valid_for: Duration::ZERO };
        Box::pin(std::future::ready(Ok(found)))
    }
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let origin = TestOrigin::start(None, crate::support::Behaviour::default()).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let resolver = Arc::new(Fixed(vec![closed, closed, origin.address]));
    let dialled = connector(resolver, &["127.0.0.1"], patient()).dial(&host(NAME), 80).await.unwrap();
    assert_eq!(dialled.peer, origin.address);
}

#[tokio::test]
async fn failures_name_their_stage() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = connector(Arc::new(Fixed(vec![closed])), &["127.0.0.1"], patient());
    let unknown = connector(Arc::new(net::resolve::Nowhere), &[], patient());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap();
    let soon = DialTimeouts { tls: Duration::from_millis(50), ..patient() };
    let impatient = connector(Arc::new(Fixed(vec![silent_address])), &["127.0.0.1"], soon);
    let plain = TestOrigin::start(None, crate::support::Behaviour::default()).await;
    let not_tls = connector(Arc::new(Fixed(vec![plain.address])), &["127.0.0.1"], patient());
    for (connector, expected, is_timeout) in [
        (refused, Stage::Tcp, false),
        (unknown, Stage::Resolve, false),
        (impatient, Stage::Tls, true),
        (not_tls, Stage::Tls, false),
    ] {
        let error = connector.connect(&https(Offer::Both)).await.unwrap_err();
        assert_eq!(error.stage(), expected, "{error:?}");
        assert_eq!(matches!(error, ConnectError::Timeout(_)), is_timeout, "{error:?}");
    }
}

#[test]
fn names_are_mirrored_from_a_verified_certificate_within_bounds() {
    let facts = |names: &[String]| net::upstream::CertificateFacts {
        dns_names: names.to_vec(),
        addresses: Vec::new(),
        subject: String::new(),
        issuer: String::new(),
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
        fingerprint: String::new(),
    };
    let many: Vec<String> = (0..500).map(|n| format!("n{n}.example")).chain(["*.site.example".to_owned()]).collect();
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (asked, names, expected) in [
        ("site.example", own(&["site.example", "*.site.example"]), own(&["*.site.example", "site.example"])),
        ("a.site.example", own(&["*.site.example"]), own(&["*.site.example"])),
        ("a.b.site.example", own(&["*.site.example"]), own(&["*.site.example", "a.b.site.example"])),
        ("A.Site.Example", own(&["A.SITE.example"]), own(&["a.site.example"])),
        ("a.example", own(&["*.example", "*", "bad name", "a\0.example"]), own(&["a.example"])),
        ("192.0.2.1", own(&["site.example"]), own(&["site.example"])),
    ] {
        let mirrored = LeafNames::mirror(&host(asked), &OriginCertificate::Valid(facts(&names)));
        let dns: Vec<_> = mirrored.dns().iter().map(ToString::to_string).collect();
        assert_eq!(dns, expected, "{asked}");
        assert!(mirrored.cover(&host(asked)), "{asked}");
    }
    let bounded = LeafNames::mirror(&host("a.site.example"), &OriginCertificate::Valid(facts(&many)));
    assert_eq!(bounded.dns().len(), 32);
    assert!(bounded.cover(&host("a.site.example")), "the name that matters survives the cut");
}
