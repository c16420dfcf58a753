//! Who asks: credentials, proxy endpoints, refusals.

use std::sync::atomic::Ordering;

use axum::Router;
use axum::routing::any;
use gateway::{Endpoint, EndpointKind, SecurityEventKind, Settings};
use jiff::{SignedDuration, Timestamp};
use testkit::Origin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use types::ProxyEndpointId;
use uuid::Uuid;

use crate::support::{EMAIL, Setup, Stand, TOKEN, credential, get, rule, with};

async fn origin() -> Origin {
    Origin::start(Router::new().fallback(any(|| async { "hello" })), None).await.unwrap()
}

fn strict() -> Settings {
    Settings { require_identity: true, ..Settings::default() }
}

#[tokio::test]
async fn a_person_is_known_by_their_token_and_the_credential_stays_here() {
    let echo = |headers: axum::http::HeaderMap| async move { format!("{:?}", headers.get("proxy-authorization")) };
    let origin = Origin::start(Router::new().fallback(any(echo)), None).await.unwrap();
    let rules = vec![rule("only ada", "block", "http.request.host == \"site.test\"")];
    let mut rules = rules;
    rules[0]["identity"] =
        "not(identity.email == \"ada@example.test\" and any(identity.groups.name[*] in {\"finance\"}))".into();
    let stand = Stand::start(Setup { names: vec![("site.test", origin.address)], rules, ..Setup::default() }).await;
    let known = with(get("http://site.test/"), "proxy-authorization", &credential(EMAIL, TOKEN));
    let got = stand.send(known).await;
    assert_eq!((got.status.as_u16(), got.text().as_str()), (200, "None"));
    let record = stand.http_record("http://site.test/").await;
    assert_eq!(record["Email"], EMAIL);
    assert_eq!(record["GroupNames"][0], "finance");
    assert_eq!(stand.get("http://site.test/other").await.status, 403, "nobody in particular is not ada");
}

#[tokio::test]
async fn a_stranger_is_asked_and_a_wrong_credential_is_never_nobody() {
    let origin = origin().await;
    let setup = Setup { names: vec![("site.test", origin.address)], settings: strict(), ..Setup::default() };
    let mut stand = Stand::start(setup).await;
    let got = stand.get("http://site.test/").await;
    assert_eq!(got.status, 407);
    assert!(got.header("proxy-authenticate").starts_with("Basic realm="));
    let wrong = with(get("http://site.test/"), "proxy-authorization", &credential(EMAIL, "wrong"));
    assert_eq!(stand.send(wrong).await.status, 407);
    assert_eq!(stand.events.recv().await.unwrap().kind, SecurityEventKind::AuthenticationFailed);
    let answer = stand.raw("CONNECT site.test:443 HTTP/1.1\r\nHost: site.test:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 407 ") && answer.contains("proxy-authenticate: Basic"), "{answer}");
    let record = stand.record(logs::Dataset::GatewayHttp, |record| record["HTTPMethod"] == "CONNECT").await;
    assert_eq!((record["Action"].as_str(), record["HTTPHost"].as_str()), (Some("block"), Some("site.test")));
}

#[tokio::test]
async fn too_many_failures_slow_a_source_down_but_lock_nobody_out() {
    let origin = origin().await;
    let config = gateway::GatewayConfig { failures_per_minute: 2, ..gateway::GatewayConfig::default() };
    let setup = Setup { names: vec![("site.test", origin.address)], config, ..Setup::default() };
    let stand = Stand::start(setup).await;
    let attempt = |password: &str| with(get("http://site.test/"), "proxy-authorization", &credential(EMAIL, password));
    for expected in [407, 407, 429] {
        assert_eq!(stand.send(attempt("guess")).await.status.as_u16(), expected);
    }
    assert_eq!(stand.send(attempt(TOKEN)).await.status, 200);
}

#[tokio::test]
async fn a_proxy_endpoint_serves_its_sources_without_credentials() {
    let origin = origin().await;
    let endpoint = Endpoint {
        id: ProxyEndpointId(Uuid::from_u128(9)),
        subdomain: "branch".to_owned(),
        kind: EndpointKind::Ip,
        ips: vec!["127.0.0.0/8".parse().unwrap()],
    };
    let rules = vec![rule("branch only", "block", "proxy.endpoint == \"branch\" and http.request.uri.path == \"/no\"")];
    let setup = Setup {
        names: vec![("site.test", origin.address)],
        settings: strict(),
        endpoints: vec![endpoint],
        rules,
        ..Setup::default()
    };
    let stand = Stand::start(setup).await;
    assert_eq!(stand.get("http://site.test/yes").await.status, 200);
    assert_eq!(stand.get("http://site.test/no").await.status, 403);
    let record = stand.http_record("http://site.test/yes").await;
    assert_eq!((record["ProxyEndpoint"].as_str(), record.get("Email")), (Some("branch"), None));
}

#[tokio::test]
async fn a_token_that_expires_ends_the_tunnels_it_opened() {
    let origin = origin().await;
    let expiry = Some(Timestamp::now() + SignedDuration::from_hours(1));
    let setup = Setup { names: vec![("site.test", origin.address)], settings: strict(), expiry, ..Setup::default() };
    let stand = Stand::start(setup).await;
    let mut tunnel = stand.dial().await;
    let credential = credential(EMAIL, TOKEN);
    let open =
        format!("CONNECT site.test:80 HTTP/1.1\r\nHost: site.test:80\r\nProxy-Authorization: {credential}\r\n\r\n");
    tunnel.write_all(open.as_bytes()).await.unwrap();
    assert!(head(&mut tunnel).await.starts_with("HTTP/1.1 200"));
    let inside = b"HEAD / HTTP/1.1\r\nHost: site.test\r\n\r\n";
    tunnel.write_all(inside).await.unwrap();
    assert!(head(&mut tunnel).await.starts_with("HTTP/1.1 200"));
    stand.ahead.store(7200, Ordering::Relaxed);
    tunnel.write_all(inside).await.unwrap();
    let refused = head(&mut tunnel).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let again = with(get("http://site.test/"), "proxy-authorization", &credential);
    assert_eq!(stand.send(again).await.status, 407);
}

#[tokio::test]
async fn an_old_session_is_asked_to_sign_in_again() {
    let origin = origin().await;
    let settings = serde_json::json!({ "check_session": { "enforce": true, "duration": "24h" } });
    let now = Timestamp::now();
    for (issued, credential_sent, status, words) in [
        (Some(now - SignedDuration::from_hours(1)), true, 200, ""),
        (
            Some(now - SignedDuration::from_hours(49)),
            true,
            403,
            "within the last 1 d, and this proxy token was issued 2 d 1 h ago",
        ),
        (None, true, 403, "nothing says when this proxy token was issued"),
        (None, false, 403, "comes without a proxy token"),
    ] {
        for hook in ["http", "l4"] {
            let traffic = if hook == "http" { "http.request.host == \"site.test\"" } else { "net.dst.port == 80" };
            let mut fresh = crate::support::rule_with("fresh", "allow", traffic, settings.clone());
            fresh["filters"] = serde_json::json!([hook]);
            let names = vec![("site.test", origin.address)];
            let stand = Stand::start(Setup { names, rules: vec![fresh], issued, ..Setup::default() }).await;
            let mut request = get("http://site.test/");
            if credential_sent {
                request = with(request, "proxy-authorization", &credential(EMAIL, TOKEN));
            }
            let got = stand.send(request).await;
            assert_eq!(got.status.as_u16(), status, "{hook} {}", got.text());
            assert!(got.text().contains(words), "{}", got.text());
        }
    }
}

#[tokio::test]
async fn a_tunnel_that_nobody_reads_needs_a_fresh_session_too() {
    let origin = origin().await;
    let settings = serde_json::json!({ "check_session": { "enforce": true, "duration": "1h" } });
    let mut fresh = crate::support::rule_with("fresh", "allow", "net.dst.port == 22", settings);
    fresh["filters"] = serde_json::json!(["l4"]);
    let issued = Some(Timestamp::now() - SignedDuration::from_hours(2));
    let stand = Stand::start(Setup {
        names: vec![("site.test", origin.address)],
        rules: vec![fresh],
        issued,
        ..Setup::default()
    })
    .await;
    let mut tunnel = stand.connect_as_person("site.test:22").await;
    let _ = tunnel.write_all(b"\x00\x01\x02\x03").await;
    let mut answer = Vec::new();
    let _ = tunnel.read_to_end(&mut answer).await;
    let record = stand.record(logs::Dataset::GatewayNetwork, |record| record["DestinationPort"] == 22).await;
    assert_eq!(record["Action"], "block");
    assert!(record["Explanation"].as_str().unwrap().contains("issued 2 h ago"), "{record}");
}

/// Reads one head.
async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "{}", String::from_utf8_lossy(&read));
        read.push(byte[0]);
    }
    String::from_utf8(read).unwrap()
}
