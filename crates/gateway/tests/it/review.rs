//! Tunnels and WebSockets that outlive what they were granted for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use gateway::{BypassEntry, BypassList, GatewayConfig, Settings};
use jiff::{SignedDuration, Timestamp};
use logs::Dataset;
use serde_json::json;
use testkit::{Origin, OriginTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{PATIENCE, Setup, Stand, client_config, get, rule};

/// What takes the grant away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// The clock passes the token's end.
    Expiry,
    /// The person, or the token, is removed.
    Removal,
    NetworkRule,
    WebRule,
    /// A change that has nothing to do with it.
    Unrelated,
}

const ALL: [Change; 5] = [Change::Expiry, Change::Removal, Change::NetworkRule, Change::WebRule, Change::Unrelated];

impl Change {
    fn make(self, stand: &Stand) {
        let block = |traffic: &str, hook: &str| {
            let mut document = rule("closed since", "block", traffic);
            document["filters"] = json!([hook]);
            document
        };
        match self {
            Self::Expiry => stand.ahead.store(7200, Ordering::Relaxed),
            Self::Removal => stand.change(&[], false),
            Self::NetworkRule => stand.change(&[block("net.dst.ip == 127.0.0.1", "l4")], true),
            Self::WebRule => stand.change(&[block("http.request.host == \"site.test\"", "http")], true),
            Self::Unrelated => stand.change(&[block("http.request.host == \"third.test\"", "http")], true),
        }
    }

    const fn named(self) -> &'static str {
        match self {
            Self::Expiry | Self::Removal => "not good any more",
            Self::NetworkRule => "network rule \"closed since\" blocks it",
            Self::WebRule => "rule \"closed since\" blocks it",
            Self::Unrelated => "",
        }
    }
}

/// A gateway in front of `origin`, and of `witness`, which echoes bytes under another name.
async fn stand(origin: SocketAddr, witness: SocketAddr, tls: Option<&OriginTls>, bypass: bool) -> Stand {
    let exempt = BypassEntry { pattern: "site.test".to_owned(), reason: "pinned".to_owned() };
    let exempt: Vec<BypassEntry> = bypass.then_some(exempt).into_iter().collect();
    Stand::start(Setup {
        config: GatewayConfig {
            peek_timeout: Duration::from_secs(1),
            review_interval: Duration::from_millis(20),
            ..GatewayConfig::default()
        },
        settings: Settings { require_identity: true, ..Settings::default() },
        names: vec![("site.test", origin), ("other.test", witness)],
        roots: tls.iter().map(|tls| tls.root.clone()).collect(),
        bypass: BypassList::compile(exempt.as_slice()).unwrap(),
        expiry: Some(Timestamp::now() + SignedDuration::from_hours(1)),
        ..Setup::default()
    })
    .await
}

/// Sends a word and expects it back.
async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(b"\x01ping").await.unwrap();
    let mut answer = [0; 5];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"\x01ping");
}

/// Waits until the gateway ends `stream`, through which the client keeps talking.
async fn ends(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let end = async {
        let mut byte = [0; 5];
        loop {
            // Traffic must not keep alive what is withdrawn.
            if stream.write_all(b"\x01ping").await.is_err() || stream.read_exact(&mut byte).await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, end).await.expect("the connection ends");
}

/// Echoes bytes, over TLS if given.
async fn echoing(tls: Option<&OriginTls>) -> (SocketAddr, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tls.map(|tls| tokio_rustls::TlsAcceptor::from(Arc::clone(&tls.config)));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                async fn serve(stream: impl AsyncRead + AsyncWrite) {
                    let (mut read, mut write) = tokio::io::split(stream);
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                }
                match acceptor {
                    None => serve(stream).await,
                    Some(acceptor) => serve(acceptor.accept(stream).await.unwrap()).await,
                }
            });
        }
    });
    (address, tasks)
}

/// Waits until every connection has been held against the rules of now at least once: one to a host that is closed from
/// here on ends only by that.
async fn reviewed(stand: &Stand) {
    let witness = stand.connect_as_person("other.test:22").await;
    let closed = rule("other closed", "block", "http.request.host == \"other.test\"");
    stand.change(&[closed], true);
    ends(witness).await;
}

/// Makes `change` and expects what it leads to.
async fn expect(stand: &Stand, change: Change, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    echo(&mut stream).await;
    change.make(stand);
    if change == Change::Unrelated {
        reviewed(stand).await;
        echo(&mut stream).await;
        return;
    }
    ends(stream).await;
    let record = stand
        .record(Dataset::GatewayNetwork, |record| {
            record["Explanation"].as_str().is_some_and(|why| why.contains(change.named()))
        })
        .await;
    assert_eq!(
        (record["Action"].as_str(), record["ConnectionCloseReason"].as_str()),
        (Some("block"), Some("PROXY_CONN_REFUSED")),
        "{change:?}"
    );
}

#[tokio::test]
async fn a_tunnel_that_is_passed_through_ends_with_its_grant() {
    let tls = OriginTls::for_names(&["site.test"], &[]).unwrap();
    let (address, _tasks) = echoing(Some(&tls)).await;
    let (witness, _more) = echoing(None).await;
    for change in ALL {
        let stand = stand(address, witness, Some(&tls), true).await;
        let tunnel = stand.connect_as_person("site.test:443").await;
        let connector = TlsConnector::from(Arc::new(client_config(&tls.root, &[])));
        let stream = connector.connect("site.test".try_into().unwrap(), tunnel).await.unwrap();
        expect(&stand, change, stream).await;
    }
}

#[tokio::test]
async fn a_tunnel_of_another_protocol_ends_with_its_grant() {
    let (address, _tasks) = echoing(None).await;
    for change in ALL {
        let stand = stand(address, address, None, false).await;
        let tunnel = stand.connect_as_person("site.test:22").await;
        expect(&stand, change, tunnel).await;
    }
}

fn sockets() -> Router {
    let echo = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        })
    };
    Router::new().fallback(any(echo))
}

#[tokio::test]
async fn a_websocket_ends_with_its_grant() {
    let tls = OriginTls::for_names(&["site.test"], &["http/1.1"]).unwrap();
    let origin = Origin::start(sockets(), Some(&tls)).await.unwrap();
    let (witness, _tasks) = echoing(None).await;
    for change in ALL {
        let stand = stand(origin.address, witness, Some(&tls), false).await;
        let tunnel = stand.connect_as_person("site.test:443").await;
        let connector = TlsConnector::from(Arc::new(client_config(&stand.ca, &["http/1.1"])));
        let stream = connector.connect("site.test".try_into().unwrap(), tunnel).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async("wss://site.test/", stream).await.unwrap();
        let mut talk = async || -> bool {
            if socket.send(Message::text("hi")).await.is_err() {
                return false;
            }
            matches!(tokio::time::timeout(PATIENCE, socket.next()).await.unwrap(), Some(Ok(Message::Text(_))))
        };
        assert!(talk().await);
        change.make(&stand);
        if change == Change::Unrelated {
            reviewed(&stand).await;
            assert!(talk().await);
            continue;
        }
        while talk().await {}
        let record = stand.record(Dataset::GatewayNetwork, |record| record["DestinationHost"] == "site.test").await;
        assert!(record["Explanation"].as_str().unwrap().contains(change.named()), "{change:?} {record}");
    }
}

#[tokio::test]
async fn a_network_rule_holds_for_the_next_request_of_an_open_connection() {
    let tls = OriginTls::for_names(&["site.test"], &["http/1.1"]).unwrap();
    let origin = Origin::start(Router::new().fallback(any(|| async { "hello" })), Some(&tls)).await.unwrap();
    let setup = Setup { names: vec![("site.test", origin.address)], roots: vec![tls.root.clone()], ..Setup::default() };
    let stand = Stand::start(setup).await;
    let stream = stand.tls("site.test:443", "site.test", &["http/1.1"], &stand.ca).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = || {
        let mut request = get("/");
        request.headers_mut().insert("host", "site.test".parse().unwrap());
        request
    };
    let mut send = async || {
        let got = crate::support::Got::read(sender.send_request(request()).await.unwrap()).await;
        got.status.as_u16()
    };
    assert_eq!(send().await, 200);
    Change::Unrelated.make(&stand);
    assert_eq!(send().await, 200);
    Change::NetworkRule.make(&stand);
    assert_eq!(send().await, 403);
}
