//! Client certificates with a real TLS client: who is asked, what counts, and for how long.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use access::HostCertificates;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use identity::certificate::{CertificateDocument, ClientAuthorities};
use identity::client_certificate::HostAuthorities;
use net::CertificateRequest;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, ResolvesClientCert, Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, HandshakeKind, SignatureScheme};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use types::CertificateId;
use uuid::Uuid;

use crate::support::{OTHER, Setup, Stand, TEAM, WIKI, allow};
use crate::workers::{Mood, Scripts, check};
use testkit::Browser;

/// A certificate authority of the test.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// What a client has.
#[derive(Clone)]
struct Credential {
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Credential {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "laptop-7");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2090, 1, 1);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
        Credential { chain: vec![certificate.der().clone()], key: key.serialize_der(), pem }
    }

    fn authorities(&self) -> HostAuthorities {
        let document = CertificateDocument {
            name: "Devices".to_owned(),
            certificate: self.pem.clone(),
            associated_hostnames: vec![WIKI.to_owned()],
        };
        HostAuthorities::of(&[ClientAuthorities::parse(CertificateId(Uuid::nil()), &document).unwrap()])
    }

    fn request(&self) -> Arc<CertificateRequest> {
        Arc::new(CertificateRequest::new(&self.authorities().subjects()).unwrap())
    }

    /// What a host does that believes this authority.
    fn host(&self, request: &Arc<CertificateRequest>) -> Arc<HostCertificates> {
        Arc::new(HostCertificates { authorities: self.authorities(), request: Arc::clone(request), forward: true })
    }
}

/// Shows its certificate when it is asked, and remembers what it was asked.
#[derive(Debug)]
struct Shows {
    key: Arc<CertifiedKey>,
    asked: AtomicUsize,
    hints: Mutex<Vec<Vec<u8>>>,
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        *self.hints.lock().unwrap() = hints.iter().map(|hint| hint.to_vec()).collect();
        Some(Arc::clone(&self.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A TLS client with a memory for sessions.
struct Client {
    config: Arc<ClientConfig>,
    shows: Arc<Shows>,
}

impl Client {
    fn new(stand: &Stand, credential: &Credential) -> Self {
        Self::with_sessions(stand, credential, Arc::new(ClientSessionMemoryCache::new(32)))
    }

    fn with_sessions(stand: &Stand, credential: &Credential, sessions: Arc<dyn ClientSessionStore>) -> Self {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credential.key.clone()));
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let shows = Arc::new(Shows {
            key: Arc::new(CertifiedKey::new(credential.chain.clone(), key)),
            asked: AtomicUsize::new(0),
            hints: Mutex::default(),
        });
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(stand.root.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::clone(&shows) as Arc<dyn ResolvesClientCert>);
        config.resumption = Resumption::store(sessions);
        Self { config: Arc::new(config), shows }
    }

    async fn connect(&self, stand: &Stand, host: &str) -> BufReader<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(stand.address).await.unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        BufReader::new(TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await.unwrap())
    }

    /// Asks once on a connection of its own.
    async fn get(&self, stand: &Stand, host: &str) -> (StatusCode, HandshakeKind) {
        let mut connection = self.connect(stand, host).await;
        let (status, _) = ask(&mut connection, host).await.unwrap();
        (status, connection.get_ref().get_ref().1.handshake_kind().unwrap())
    }
}

/// Asks for the first page on a connection and leaves it open.
async fn ask(connection: &mut BufReader<TlsStream<TcpStream>>, host: &str) -> io::Result<(StatusCode, String)> {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let (mut status, mut length, mut line) = (None, 0, String::new());
    loop {
        line.clear();
        if connection.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let field = line.trim_end().to_ascii_lowercase();
        match field.strip_prefix("content-length: ") {
            Some(bytes) => length = bytes.parse().unwrap(),
            None if field.is_empty() => break,
            None => status = status.or_else(|| field.split(' ').nth(1)?.parse().ok()),
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    Ok((StatusCode::from_u16(status.unwrap()).unwrap(), String::from_utf8(body).unwrap()))
}

fn machines() -> Value {
    json!({"name": "Machines", "decision": "non_identity", "include": [{"certificate": {}}]})
}

fn at_wiki(host: Arc<HostCertificates>) -> HashMap<String, Arc<HostCertificates>> {
    HashMap::from([(WIKI.to_owned(), host)])
}

/// A stand whose wiki lets machines of the authority in.
async fn stand(authority: &Authority) -> Stand {
    let client_certificates = at_wiki(authority.host(&authority.request()));
    let more = vec![(json!({"name": "Other", "domain": OTHER}), vec![machines()])];
    Stand::start(Setup { policies: vec![machines()], more, client_certificates, ..Setup::default() }).await
}

fn browser(stand: &Stand, credential: Option<&Credential>) -> Browser {
    Browser::with_certificate(&[TEAM, WIKI, OTHER], stand.address, &stand.root, credential.map(|one| one.pem.as_str()))
}

fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_a_certificate_is_let_in_and_the_application_told_which() {
    let devices = Authority::new("Devices");
    let stand = stand(&devices).await;
    let credential = devices.sign(|_| {});
    let mut browser = browser(&stand, Some(&credential));
    let request = browser
        .request(http::Method::GET, &stand.url(WIKI, "/"))
        .header("client-cert", ":Zm9yZ2Vk:")
        .header("cf-client-cert-sha256", "forged")
        .header("cf_client_cert_verified", "forged");
    let seen = browser.send(request).await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.text);
    assert!(!seen.text.contains("forged") && !seen.text.contains("Zm9yZ2Vk"), "{}", seen.text);
    let told: Value = serde_json::from_str(&seen.text).unwrap();
    let headers = &told["headers"];
    let token = claims(&headers["cf-access-jwt-assertion"]);
    assert_eq!((&token["common_name"], &token["sub"]), (&json!("laptop-7"), &json!("")));
    assert!(headers["cf-access-authenticated-user-email"].is_null());
    let der = base64::engine::general_purpose::STANDARD.encode(&credential.chain[0]);
    assert_eq!(headers["cf-client-cert-der-base64"], der);
    assert_eq!(headers["cf-client-cert-sha256"].as_str().unwrap().len(), 64);
    // The cookie is for the application: without the certificate it opens nothing.
    let cookies = std::mem::take(&mut browser.cookies);
    assert!(cookies.contains_key(&(WIKI.to_owned(), "CF_Authorization".to_owned())));
    let mut without = self::browser(&stand, None);
    without.cookies = cookies;
    assert_eq!(without.get(&stand.url(WIKI, "/")).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_count_ends_in_a_refusal_that_the_record_explains() {
    let (devices, stranger) = (Authority::new("Devices"), Authority::new("Stranger"));
    let stand = stand(&devices).await;
    for (credential, why) in [
        (None, None),
        (Some(stranger.sign(|_| {})), Some("FAILED:no authority of this host signed it")),
        (
            Some(devices.sign(|params| params.not_after = date_time_ymd(2021, 2, 3))),
            Some("FAILED:it, or one it hangs on, expired on 2021-02-03 00:00 UTC"),
        ),
        (
            Some(devices.sign(|params| params.not_before = date_time_ymd(2080, 2, 3))),
            Some("FAILED:it, or one it hangs on, is not valid before 2080-02-03 00:00 UTC"),
        ),
        (
            Some(devices.sign(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
            Some("FAILED:it is not made for clients (extended key usage clientAuth)"),
        ),
    ] {
        let seen = browser(&stand, credential.as_ref()).get(&stand.url(WIKI, "/")).await;
        assert_eq!(seen.status, StatusCode::FORBIDDEN, "{why:?}: {}", seen.text);
        let record = stand.records().await.pop().unwrap();
        assert_eq!(record["ClientCertificate"]["status"].as_str(), why);
        let reason = record["Reason"].as_str().unwrap();
        assert_eq!(reason.contains("the client certificate does not count"), why.is_some(), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_hold_the_key_gets_no_answer_at_all() {
    let devices = Authority::new("Devices");
    let stand = stand(&devices).await;
    let stolen = Credential { key: devices.sign(|_| {}).key, ..devices.sign(|_| {}) };
    let client = Client::new(&stand, &stolen);
    // Nor does one whose chain is out of bounds: it would not fit a ticket.
    let endless = devices.sign(|_| {});
    let endless = Credential { chain: vec![endless.chain[0].clone(); 11], ..endless };
    let mut connection = Client::new(&stand, &endless).connect(&stand, WIKI).await;
    assert!(ask(&mut connection, WIKI).await.is_err());
    // With TLS 1.3 the client hears of it only with its first read.
    let mut connection = client.connect(&stand, WIKI).await;
    assert!(ask(&mut connection, WIKI).await.is_err());
    assert_eq!(client.shows.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_hosts_with_an_authority_ask_and_they_say_for_which() {
    let devices = Authority::new("Devices");
    let stand = stand(&devices).await;
    let client = Client::new(&stand, &devices.sign(|_| {}));
    assert_eq!(client.get(&stand, OTHER).await.0, StatusCode::FORBIDDEN);
    assert_eq!(client.shows.asked.load(Ordering::SeqCst), 0);
    assert_eq!(client.get(&stand, WIKI).await.0, StatusCode::OK);
    assert_eq!(client.shows.asked.load(Ordering::SeqCst), 1);
    let hints = client.shows.hints.lock().unwrap().clone();
    assert!(hints.len() == 1 && hints[0].windows(7).any(|text| text == b"Devices"), "{hints:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_showed_a_certificate_at_one_host_is_for_no_other() {
    let devices = Authority::new("Devices");
    let stand = stand(&devices).await;
    let client = Client::new(&stand, &devices.sign(|_| {}));
    let mut connection = client.connect(&stand, WIKI).await;
    assert_eq!(ask(&mut connection, OTHER).await.unwrap().0, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(ask(&mut connection, WIKI).await.unwrap().0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_http2_is_for_the_host_that_it_was_opened_for_too() {
    let devices = Authority::new("Devices");
    let stand = stand(&devices).await;
    let mut client = Client::new(&stand, &devices.sign(|_| {}));
    Arc::make_mut(&mut client.config).alpn_protocols = vec![b"h2".to_vec()];
    let connection = client.connect(&stand, WIKI).await.into_inner();
    let io = hyper_util::rt::TokioIo::new(connection);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let mut driving = tokio::task::JoinSet::new();
    driving.spawn(connection);
    let port = stand.address.port();
    for (authority, host, status) in [
        (WIKI.to_owned(), None, StatusCode::OK),
        (OTHER.to_owned(), None, StatusCode::MISDIRECTED_REQUEST),
        (format!("{OTHER}:{port}"), None, StatusCode::MISDIRECTED_REQUEST),
        (TEAM.to_owned(), None, StatusCode::MISDIRECTED_REQUEST),
        // Nor does a `Host` beside `:authority` lead there.
        (WIKI.to_owned(), Some(OTHER), StatusCode::BAD_REQUEST),
        (OTHER.to_owned(), Some(WIKI), StatusCode::BAD_REQUEST),
        (OTHER.to_owned(), Some(OTHER), StatusCode::MISDIRECTED_REQUEST),
        (format!("{WIKI}:{port}"), None, StatusCode::OK),
    ] {
        let mut request = http::Request::get(format!("https://{authority}/")).header("accept", "application/json");
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!((answer.version(), answer.status()), (http::Version::HTTP_2, status), "{authority} {host:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_told_of_the_certificate_and_asked_anew_about_another() {
    let (devices, stranger) = (Authority::new("Devices"), Authority::new("Stranger"));
    let scripts = Scripts::that(Mood::Allows);
    let open = json!({"name": "Open", "decision": "bypass", "include": [check(60)]});
    let setup = Setup {
        policies: vec![open],
        client_certificates: at_wiki(devices.host(&devices.request())),
        workers: Arc::clone(&scripts),
        ..Setup::default()
    };
    let stand = Stand::start(setup).await;
    let laptop = |organisation: &'static str| {
        devices.sign(|params| params.distinguished_name.push(DnType::OrganizationName, organisation))
    };
    let (acme, other) = (laptop("Acme, Inc."), laptop("Other"));
    let expired = devices.sign(|params| params.not_after = date_time_ymd(2021, 2, 3));
    let mut fingerprints = Vec::new();
    for (credential, presented, verified, subject, until) in [
        (Some(&acme), "1", "SUCCESS", r"O=Acme\, Inc., CN=laptop-7", "Jan  1 00:00:00 2090 GMT"),
        (Some(&other), "1", "SUCCESS", "O=Other, CN=laptop-7", "Jan  1 00:00:00 2090 GMT"),
        (Some(&stranger.sign(|_| {})), "1", "FAILED:no authority of this host signed it", "", ""),
        (Some(&expired), "1", "FAILED:it, or one it hangs on, expired on 2021-02-03 00:00 UTC", "", ""),
        (None, "0", "NONE", "", ""),
    ] {
        let mut browser = browser(&stand, credential);
        // The answer is kept for the same certificate, and for no other.
        for _ in 0..2 {
            assert_eq!(browser.get(&stand.url(WIKI, "/")).await.status, StatusCode::OK);
        }
        let asked = scripts.asked();
        assert_eq!(asked.len(), 1, "{verified}");
        let told = &asked[0]["tlsClientAuth"];
        assert_eq!((&told["certPresented"], &told["certVerified"]), (&json!(presented), &json!(verified)));
        assert_eq!((&told["certSubjectDN"], &told["certNotAfter"]), (&json!(subject), &json!(until)));
        let counts = verified == "SUCCESS";
        assert_eq!(told["certIssuerDN"], if counts { "CN=Devices" } else { "" });
        assert_eq!(told["certSerial"].as_str().unwrap().is_empty(), !counts);
        fingerprints.push(told["certFingerprintSHA256"].clone());
    }
    assert!(fingerprints[0] != fingerprints[1] && fingerprints[0].as_str().unwrap().len() == 64, "{fingerprints:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_judged_again_when_authorities_and_time_change() {
    let (devices, successor) = (Authority::new("Devices"), Authority::new("Successor"));
    let stand = stand(&devices).await;
    let day = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48)).to_zoned(jiff::tz::TimeZone::UTC).date();
    let (month, of_month) = (u8::try_from(day.month()).unwrap(), u8::try_from(day.day()).unwrap());
    let short = devices.sign(|params| params.not_after = date_time_ymd(day.year().into(), month, of_month));
    let client = Client::new(&stand, &short);
    let mut connection = client.connect(&stand, WIKI).await;
    assert_eq!(ask(&mut connection, WIKI).await.unwrap().0, StatusCode::OK);
    for (hosts, status) in [
        (at_wiki(successor.host(&successor.request())), StatusCode::FORBIDDEN),
        (at_wiki(devices.host(&devices.request())), StatusCode::OK),
        (HashMap::new(), StatusCode::FORBIDDEN),
        (at_wiki(devices.host(&devices.request())), StatusCode::OK),
    ] {
        stand.change(|snapshot| snapshot.client_certificates = hosts);
        assert_eq!(ask(&mut connection, WIKI).await.unwrap().0, status);
    }
    stand.advance(Duration::from_secs(49 * 3_600));
    assert_eq!(ask(&mut connection, WIKI).await.unwrap().0, StatusCode::FORBIDDEN);
    let record = stand.records().await.pop().unwrap();
    assert!(record["Reason"].as_str().unwrap().contains("expired on"), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_session_brings_its_certificate_only_while_the_host_believes_its_authority() {
    let (devices, successor) = (Authority::new("Devices"), Authority::new("Successor"));
    let stand = stand(&devices).await;
    let client = Client::new(&stand, &devices.sign(|_| {}));
    assert_eq!(client.get(&stand, WIKI).await, (StatusCode::OK, HandshakeKind::Full));
    assert_eq!(client.get(&stand, WIKI).await, (StatusCode::OK, HandshakeKind::Resumed));
    assert_eq!(client.shows.asked.load(Ordering::SeqCst), 1, "the resumed session did not ask");
    // Even with the keys of the tickets unchanged, what the session brings is judged by the authorities in force.
    let request = Arc::clone(&stand.snapshot.load().client_certificates[WIKI].request);
    stand.change(|snapshot| snapshot.client_certificates = at_wiki(successor.host(&request)));
    assert_eq!(client.get(&stand, WIKI).await, (StatusCode::FORBIDDEN, HandshakeKind::Resumed));
    // Other authorities have tickets of their own, and so have hosts that ask nobody.
    stand.change(|snapshot| snapshot.client_certificates = at_wiki(successor.host(&successor.request())));
    assert_eq!(client.get(&stand, WIKI).await, (StatusCode::FORBIDDEN, HandshakeKind::Full));
    stand.change(|snapshot| snapshot.client_certificates = HashMap::new());
    assert_eq!(client.get(&stand, WIKI).await, (StatusCode::FORBIDDEN, HandshakeKind::Full));
    assert_eq!(client.get(&stand, WIKI).await, (StatusCode::FORBIDDEN, HandshakeKind::Resumed));
    // A client that got its ticket while nobody was asked is asked once the host has an authority.
    stand.change(|snapshot| snapshot.client_certificates = at_wiki(devices.host(&devices.request())));
    assert_eq!(client.get(&stand, WIKI).await, (StatusCode::OK, HandshakeKind::Full));
}

/// Offers the session of one host to every other.
#[derive(Debug)]
struct Mixed(ClientSessionMemoryCache);

impl Mixed {
    fn one() -> ServerName<'static> {
        ServerName::try_from(WIKI).unwrap()
    }
}

impl ClientSessionStore for Mixed {
    fn set_kx_hint(&self, _: ServerName<'static>, group: rustls::NamedGroup) {
        self.0.set_kx_hint(Self::one(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        self.0.kx_hint(&Self::one())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: rustls::client::Tls12ClientSessionValue) {
        self.0.set_tls12_session(Self::one(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.0.tls12_session(&Self::one())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&Self::one());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: rustls::client::Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(Self::one(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&Self::one())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_host_resumes_at_no_other_even_with_the_same_authorities() {
    let devices = Authority::new("Devices");
    let stand = stand(&devices).await;
    let request = devices.request();
    stand.change(|snapshot| {
        snapshot.client_certificates =
            [WIKI, OTHER].map(|host| (host.to_owned(), devices.host(&request))).into_iter().collect();
    });
    let sessions = Arc::new(Mixed(ClientSessionMemoryCache::new(32)));
    let client = Client::with_sessions(&stand, &devices.sign(|_| {}), sessions);
    assert_eq!(client.get(&stand, WIKI).await, (StatusCode::OK, HandshakeKind::Full));
    assert_eq!(client.get(&stand, OTHER).await, (StatusCode::OK, HandshakeKind::Full));
    assert_eq!(client.shows.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_asks_people_for_a_certificate_beside_their_sign_in() {
    let devices = Authority::new("Devices");
    let mut staff = allow(json!({"email_domain": {"domain": "example.test"}}));
    staff["require"] = json!([{"common_name": {"common_name": "laptop-7"}}]);
    let client_certificates = at_wiki(devices.host(&devices.request()));
    let stand = Stand::start(Setup { policies: vec![staff], client_certificates, ..Setup::default() }).await;
    let mut person = browser(&stand, Some(&devices.sign(|_| {})));
    let seen = stand.sign_in(&mut person, "/").await;
    assert_eq!(seen.status, StatusCode::OK, "{}", seen.text);
    let told: Value = serde_json::from_str(&seen.text).unwrap();
    let token = claims(&told["headers"]["cf-access-jwt-assertion"]);
    assert_eq!((&token["common_name"], &token["email"]), (&json!("laptop-7"), &json!("ada@example.test")));
    let identity = person.get(&stand.url(WIKI, "/cdn-cgi/access/get-identity")).await;
    let identity: Value = serde_json::from_str(&identity.text).unwrap();
    assert_eq!((&identity["auth_status"], &identity["common_name"]), (&json!("SUCCESS"), &json!("laptop-7")));
    assert_eq!(identity["mtls_auth"]["cert_issuer_dn"], "CN=Devices");
    // The same session from a device without the certificate, and with that of another device.
    let other = devices.sign(|params| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "laptop-8");
    });
    for credential in [None, Some(&other)] {
        let mut thief = browser(&stand, credential);
        thief.cookies = person.cookies.clone();
        assert_eq!(thief.get(&stand.url(WIKI, "/")).await.status, StatusCode::FORBIDDEN);
    }
    // Without it the sign-in itself ends at the door.
    let mut stranger = browser(&stand, None);
    assert_eq!(stand.sign_in(&mut stranger, "/").await.status, StatusCode::FORBIDDEN);
}
