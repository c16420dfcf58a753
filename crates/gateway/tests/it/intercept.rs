//! TLS: interception, pass-through, untrusted origins, what clients think of it.

use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use gateway::{BypassEntry, BypassList, Settings};
use http::Request;
use http_body_util::Full;
use logs::Dataset;
use serde_json::json;
use testkit::{Origin, OriginTls};

use crate::support::{Setup, Stand, rule, rule_with, with};

fn hello() -> Router {
    Router::new().fallback(any(|request: axum::extract::Request| async move {
        format!("{:?} {}", request.version(), request.uri().path())
    }))
}

async fn secure(alpn: &[&str]) -> (Origin, OriginTls) {
    let tls = OriginTls::for_names(&["site.test", "*.site.test"], alpn).unwrap();
    (Origin::start(hello(), Some(&tls)).await.unwrap(), tls)
}

fn inside(path: &str, host: &str) -> Request<Full<bytes::Bytes>> {
    Request::get(path).header("host", host).body(Full::default()).unwrap()
}

#[tokio::test]
async fn an_intercepted_request_is_decided_and_recorded() {
    let (origin, tls) = secure(&["h2", "http/1.1"]).await;
    let setup = Setup {
        names: vec![("site.test", origin.address)],
        roots: vec![tls.root],
        rules: vec![rule("no admin", "block", "http.request.uri.path == \"/admin\"")],
        ..Setup::default()
    };
    let stand = Stand::start(setup).await;
    let got = stand.secure("site.test:443", "site.test", inside("/page", "site.test")).await;
    assert_eq!(got.text(), "HTTP/1.1 /page", "the origin was offered what the client offered");
    let got = stand.secure("site.test:443", "site.test", inside("/admin", "site.test")).await;
    assert_eq!(got.status, 403);
    let record = stand.http_record("https://site.test/page").await;
    assert_eq!(record["TLSVersion"], "TLSv1.3");
    assert_eq!(record["TLSKeyExchange"], "X25519MLKEM768");
    assert_eq!(record["OriginTLSKeyExchange"], "X25519MLKEM768");
    assert_eq!(record["UntrustedCertificateAction"], "none");
    assert!(record["JA4"].as_str().unwrap().starts_with("t13"), "{record}");
}

#[tokio::test]
async fn both_legs_speak_what_the_origin_chose() {
    for (alpn, expected, negotiated) in
        [(&["h2", "http/1.1"][..], "HTTP/2.0 /", &b"h2"[..]), (&["http/1.1"], "HTTP/1.1 /", b"http/1.1")]
    {
        let (origin, tls) = secure(alpn).await;
        let setup = Setup { names: vec![("site.test", origin.address)], roots: vec![tls.root], ..Setup::default() };
        let stand = Stand::start(setup).await;
        let stream = stand.tls("site.test:443", "site.test", &["h2", "http/1.1"], &stand.ca).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(negotiated));
        if negotiated == b"h2" {
            let (mut sender, _tasks) = stand.http2("site.test:443", "site.test").await;
            let request = Request::get("https://site.test/").body(Full::default()).unwrap();
            let got = crate::support::Got::read(sender.send_request(request).await.unwrap()).await;
            assert_eq!(got.text(), expected);
        } else {
            assert_eq!(stand.secure("site.test:443", "site.test", inside("/", "site.test")).await.text(), expected);
        }
    }
}

#[tokio::test]
async fn connections_on_the_list_or_under_a_rule_are_passed_through_and_recorded() {
    let (origin, tls) = secure(&["http/1.1"]).await;
    let entry = |pattern: &str| BypassEntry { pattern: pattern.to_owned(), reason: "it pins".to_owned() };
    let rules = vec![
        rule("leave it", "off", "any(http.request.domains[*] == \"rule.site.test\")"),
        rule("stopped", "block", "http.request.host == \"stopped.site.test\""),
    ];
    let setup = Setup {
        names: vec![
            ("listed.site.test", origin.address),
            ("rule.site.test", origin.address),
            ("stopped.site.test", origin.address),
        ],
        roots: vec![tls.root.clone()],
        rules,
        bypass: BypassList::compile(&[entry("listed.site.test"), entry("stopped.site.test")]).unwrap(),
        ..Setup::default()
    };
    let stand = Stand::start(setup).await;
    for (name, why) in [("listed.site.test", "it pins"), ("rule.site.test", "leave it")] {
        let target = format!("{name}:443");
        // The origin's own certificate arrives, so the gateway's authority is not needed.
        let stream = stand.tls(&target, name, &["http/1.1"], &tls.root).await.unwrap();
        drop(stream);
        let record = stand.record(Dataset::GatewayNetwork, |record| record["SNI"] == name).await;
        assert_eq!(record["Action"], "off");
        assert!(record["Explanation"].as_str().unwrap().contains(why), "{record}");
        assert!(record["JA4"].as_str().unwrap().starts_with("t13"), "{record}");
        assert!(record["BytesSent"].as_u64().unwrap() > 0 && record["BytesReceived"].as_u64().unwrap() > 0);
    }
    assert!(stand.tls("stopped.site.test:443", "stopped.site.test", &[], &tls.root).await.is_err());
    let record = stand.record(Dataset::GatewayNetwork, |record| record["SNI"] == "stopped.site.test").await;
    assert_eq!((record["Action"].as_str(), record["PolicyName"].as_str()), (Some("block"), Some("stopped")));
    assert_eq!(stand.gateway.stats().passed_through, 3);
}

#[tokio::test]
async fn claiming_an_exempt_name_is_no_way_around_inspection() {
    let (origin, tls) = secure(&["http/1.1"]).await;
    let entry = BypassEntry { pattern: "listed.site.test".to_owned(), reason: "it pins".to_owned() };
    let setup = Setup {
        names: vec![("site.test", origin.address), ("listed.site.test", "127.0.0.9:443".parse().unwrap())],
        roots: vec![tls.root.clone()],
        bypass: BypassList::compile(&[entry]).unwrap(),
        ..Setup::default()
    };
    let stand = Stand::start(setup).await;
    for target in ["site.test:443".to_owned(), origin.address.to_string()] {
        // Passed through, the origin's certificate would verify; intercepted, it is the gateway's.
        assert!(stand.tls(&target, "listed.site.test", &[], &tls.root).await.is_err(), "{target}");
        assert!(stand.tls(&target, "listed.site.test", &[], &stand.ca).await.is_ok(), "{target}");
    }
}

#[tokio::test]
async fn decryption_can_be_switched_off() {
    let (origin, tls) = secure(&[]).await;
    let settings = Settings { tls_decrypt: false, ..Settings::default() };
    let setup = Setup { names: vec![("site.test", origin.address)], settings, ..Setup::default() };
    let stand = Stand::start(setup).await;
    assert!(stand.tls("site.test:443", "site.test", &[], &tls.root).await.is_ok());
}

#[tokio::test]
async fn one_host_inside_a_tunnel_does_not_stand_in_for_another() {
    let (origin, tls) = secure(&["h2", "http/1.1"]).await;
    let names = vec![("site.test", origin.address), ("other.site.test", origin.address)];
    let stand = Stand::start(Setup { names, roots: vec![tls.root], ..Setup::default() }).await;
    let got = stand.secure("site.test:443", "site.test", inside("/", "other.site.test")).await;
    assert_eq!(got.status, 421);
    let got = stand.secure("site.test:443", "site.test", inside("/", "site.test:8443")).await;
    assert_eq!(got.status, 421);
    let (mut sender, _tasks) = stand.http2("site.test:443", "site.test").await;
    let request = Request::get("https://other.site.test/").body(Full::default()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 421);
    let request = Request::get("https://site.test/").header("host", "other.site.test").body(Full::default()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 400);
}

/// An origin whose certificate is wrong in one way.
async fn untrusted(kind: &str) -> (Origin, Vec<String>) {
    let root = OriginTls::for_names(&["site.test"], &["http/1.1"]).unwrap();
    let (tls, roots) = match kind {
        "mismatch" => {
            let other = OriginTls::for_names(&["elsewhere.test"], &["http/1.1"]).unwrap();
            let root = other.root.clone();
            (other, vec![root])
        }
        "expired" => expired(),
        _ => (root, Vec::new()),
    };
    (Origin::start(hello(), Some(&tls)).await.unwrap(), roots)
}

fn expired() -> (OriginTls, Vec<String>) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let pem = root.self_signed(&root_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec!["site.test".to_owned()]).unwrap();
    leaf.not_before = date_time_ymd(2019, 1, 1);
    leaf.not_after = date_time_ymd(2020, 1, 1);
    let leaf = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(leaf.der().to_vec())],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (OriginTls { root: pem.clone(), config: Arc::new(config) }, vec![pem])
}

#[tokio::test]
async fn an_untrusted_origin_is_named_with_its_fault_unless_a_rule_passes_it_through() {
    for (kind, words) in [
        ("unknown", "not a trusted authority"),
        ("mismatch", "for elsewhere.test"),
        ("expired", "expired on 2020-01-01"),
    ] {
        let (origin, roots) = untrusted(kind).await;
        let plan = |action: &str| json!({ "untrusted_cert": { "action": action } });
        let rules = vec![
            rule_with("through", "allow", "http.request.uri.path == \"/through\"", plan("pass_through")),
            rule_with("blocked", "allow", "http.request.uri.path == \"/blocked\"", plan("block")),
        ];
        let setup = Setup { names: vec![("site.test", origin.address)], roots, rules, ..Setup::default() };
        let mut stand = Stand::start(setup).await;
        let page = with(inside("/error", "site.test"), "accept", "text/html");
        let got = stand.secure("site.test:443", "site.test", page).await;
        assert_eq!(got.status.as_u16(), 526, "{kind}: {}", got.text());
        assert!(got.text().contains(words), "{kind}: {}", got.text());
        let event = stand.events.recv().await.unwrap();
        assert_eq!(event.kind, gateway::SecurityEventKind::UntrustedCertificate);
        let got = stand.secure("site.test:443", "site.test", inside("/blocked", "site.test")).await;
        assert_eq!(got.status.as_u16(), 403, "{kind}: {}", got.text());
        let got = stand.secure("site.test:443", "site.test", inside("/through", "site.test")).await;
        assert_eq!(got.text(), "HTTP/1.1 /through", "{kind}");
        for (path, action) in [("error", "error"), ("blocked", "block"), ("through", "passThrough")] {
            let record = stand.http_record(&format!("https://site.test/{path}")).await;
            assert_eq!(record["UntrustedCertificateAction"], action, "{kind}");
        }
    }
}

#[tokio::test]
async fn a_client_that_refuses_the_authority_is_recorded_with_the_remedy() {
    let (origin, tls) = secure(&["http/1.1"]).await;
    let setup = Setup { names: vec![("site.test", origin.address)], roots: vec![tls.root.clone()], ..Setup::default() };
    let stand = Stand::start(setup).await;
    assert!(stand.tls("site.test:443", "site.test", &["http/1.1"], &tls.root).await.is_err());
    let record = stand.record(Dataset::GatewayNetwork, |record| record["SNI"] == "site.test").await;
    assert!(record["Explanation"].as_str().unwrap().contains("do-not-inspect list"), "{record}");
    assert_eq!(record["ConnectionCloseReason"], "CLIENT_TLS_ERROR");
}

#[tokio::test]
async fn an_origin_that_cannot_be_reached_is_explained_inside_the_tunnel() {
    let stand = Stand::start(Setup::default()).await;
    let got = stand.secure("nowhere.test:443", "nowhere.test", inside("/", "nowhere.test")).await;
    assert_eq!(got.status, 502);
    assert!(got.text().contains("could not be resolved"), "{}", got.text());
}

#[tokio::test]
async fn plain_http_inside_a_tunnel_is_decided_like_any_other() {
    let origin = Origin::start(hello(), None).await.unwrap();
    let rules = vec![rule("no admin", "block", "http.request.uri.path == \"/admin\"")];
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], rules, ..Setup::default() }).await;
    for (path, host, status) in
        [("/page", "site.test:80", 200), ("/admin", "site.test:80", 403), ("/", "other.test:80", 421)]
    {
        let stream = stand.connect("site.test:80").await;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(connection);
        let got = crate::support::Got::read(sender.send_request(inside(path, host)).await.unwrap()).await;
        assert_eq!(got.status.as_u16(), status, "{path} {host}: {}", got.text());
    }
    assert_eq!(stand.http_record("http://site.test/page").await["HTTPStatusCode"], 200);
}

#[tokio::test]
async fn waiting_out_the_look_at_the_first_bytes_does_not_carry_tls_unread() {
    let (origin, tls) = secure(&["http/1.1"]).await;
    let config = gateway::GatewayConfig { peek_timeout: std::time::Duration::from_millis(1), ..Default::default() };
    let setup =
        Setup { names: vec![("site.test", origin.address)], roots: vec![tls.root.clone()], config, ..Setup::default() };
    let stand = Stand::start(setup).await;
    let stream = stand.connect("site.test:443").await;
    // The gateway takes it for a protocol in which the server speaks first.
    while stand.gateway.stats().tunnels == 0 {
        tokio::task::yield_now().await;
    }
    let connector = tokio_rustls::TlsConnector::from(Arc::new(crate::support::client_config(&tls.root, &[])));
    assert!(connector.connect("site.test".try_into().unwrap(), stream).await.is_err());
}

#[tokio::test]
async fn network_rules_come_before_web_rules() {
    let origin = Origin::start(hello(), None).await.unwrap();
    let mut network = rule("no plain there", "block", "net.dst.port == 80");
    network["filters"] = json!(["l4"]);
    let rules = vec![rule("all", "allow", "http.request.host == \"site.test\""), network];
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], rules, ..Setup::default() }).await;
    let got = stand.send(crate::support::get("http://site.test/")).await;
    assert_eq!(got.status, 403);
    assert_eq!(stand.http_record("http://site.test/").await["PolicyName"], "no plain there");
    assert_eq!(stand.send(crate::support::get("http://site.test:8080/")).await.status, 200);
}

#[tokio::test]
async fn other_protocols_are_carried_and_recorded_unless_a_rule_stops_the_host() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 4];
            if stream.read_exact(&mut bytes).await.is_ok() {
                let _ = stream.write_all(&bytes).await;
            }
        }
    });
    let rules = vec![rule("no ssh there", "block", "http.request.host == \"closed.test\"")];
    let names = vec![("open.test", address), ("closed.test", address)];
    let stand = Stand::start(Setup { names, rules, ..Setup::default() }).await;
    for (name, echoed, action) in [("open.test", 4, "allow"), ("closed.test", 0, "block")] {
        let mut stream = stand.connect(&format!("{name}:22")).await;
        stream.write_all(b"\x00\x01\x02\x03").await.unwrap();
        let mut answer = Vec::new();
        // A connection that is refused may be reset.
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer.len(), echoed, "{name}");
        drop(stream);
        let record = stand.record(Dataset::GatewayNetwork, |record| record["DestinationHost"] == name).await;
        assert_eq!(record["Action"], action);
    }
}
