//! A gateway on loopback with everything real but the Internet: origins, certificates, journal, rules.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use bytes::Bytes;
use gateway::{
    BypassList, Directory, Endpoint, Gateway, GatewayConfig, McpPlaces, Parts, Person, Runner, SecurityEvent, Settings,
    Snapshot, Token,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use logs::{Dataset, Logs, LogsConfig};
use net::ca::{CaParams, CertificateAuthority};
use net::guard::GuardParams;
use net::resolve::{Overridden, Override, OverrideTable};
use net::upstream::{Connector, ConnectorParams, DialTimeouts, Pool, PoolLimits, TrustParams, TrustStore};
use net::{Guard, Minter};
use policy::{CompileOptions, RuleSpec, StoredRule};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use types::{AccountId, RuleId};
use uuid::Uuid;
use worker::{Answer, Body, BoxFuture, Call, CallError, CallReport, Reply, Script, ScriptKey};

pub(crate) const TOKEN: &str = "ptn_test_token";
pub(crate) const EMAIL: &str = "ada@example.test";
/// Generous, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the stand-in for Worker processes does with a call.
pub(crate) type Behaviour =
    Arc<dyn Fn(Request<Body>, Call, Arc<Script>) -> BoxFuture<'static, Result<Answer, CallError>> + Send + Sync>;

/// Answers calls with a closure, as a process would.
pub(crate) struct Scripted(pub(crate) Option<Behaviour>);

impl Runner for Scripted {
    fn fetch<'a>(
        &'a self,
        script: &'a Arc<Script>,
        request: Request<Body>,
        call: Call,
    ) -> BoxFuture<'a, Result<Reply, CallError>> {
        let run = self.0.clone().expect("the test gives a script");
        let script = Arc::clone(script);
        Box::pin(async move {
            let answer = run(request, call, script).await?;
            Ok(Reply { answer, report: CallReport::default() })
        })
    }
}

struct NoServices;

impl worker::Host for NoServices {}

/// What a stand is made from.
pub(crate) struct Setup {
    pub(crate) config: GatewayConfig,
    pub(crate) settings: Settings,
    /// v4 rule documents, in order.
    pub(crate) rules: Vec<Value>,
    /// Names and where they lead.
    pub(crate) names: Vec<(&'static str, SocketAddr)>,
    /// PEM roots for origins.
    pub(crate) roots: Vec<String>,
    pub(crate) guard: GuardParams,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) bypass: BypassList,
    pub(crate) mcp: McpPlaces,
    pub(crate) classifier: catalog::Classifier,
    pub(crate) script: Option<Behaviour>,
    /// When the person's token stops being good.
    pub(crate) expiry: Option<Timestamp>,
    /// When the person was given it.
    pub(crate) issued: Option<Timestamp>,
}

impl Default for Setup {
    fn default() -> Self {
        let allow = vec!["127.0.0.0/8".parse().unwrap()];
        Self {
            config: GatewayConfig { peek_timeout: Duration::from_secs(1), ..GatewayConfig::default() },
            settings: Settings::default(),
            rules: Vec::new(),
            names: Vec::new(),
            roots: Vec::new(),
            guard: GuardParams { allow, ..GuardParams::default() },
            endpoints: Vec::new(),
            bypass: BypassList::default(),
            mcp: McpPlaces::default(),
            classifier: catalog::Classifier::embedded(),
            script: None,
            expiry: None,
            issued: None,
        }
    }
}

/// A running gateway.
pub(crate) struct Stand {
    pub(crate) proxy: SocketAddr,
    pub(crate) gateway: Gateway,
    pub(crate) logs: Logs,
    pub(crate) ca: String,
    pub(crate) account: AccountId,
    pub(crate) events: mpsc::Receiver<SecurityEvent>,
    pub(crate) stop: CancellationToken,
    pub(crate) directory: tempfile::TempDir,
    /// Seconds by which the gateway's clock is ahead.
    pub(crate) ahead: Arc<AtomicI64>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    serving: JoinSet<()>,
}

impl Stand {
    pub(crate) async fn start(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let account = AccountId(Uuid::from_u128(7));
        let logs = Logs::open(&directory.path().join("logs"), LogsConfig::default()).await.unwrap();
        let authority = CertificateAuthority::generate(&CaParams {
            organisation: "Test".to_owned(),
            validity_days: 30,
            now: Timestamp::now(),
        });
        let authority = Arc::new(authority.unwrap());
        let ca = authority.certificate_pem().to_owned();
        let ahead = Arc::new(AtomicI64::new(0));
        let clock: net::Clock = {
            let ahead = Arc::clone(&ahead);
            Arc::new(move || Timestamp::now() + jiff::SignedDuration::from_secs(ahead.load(Ordering::Relaxed)))
        };
        let mut table = OverrideTable::default();
        for (name, address) in &setup.names {
            table.insert(name, None, Override::Socket(*address));
        }
        let resolver: Arc<dyn net::resolve::Resolve> =
            Arc::new(Overridden::new(table, Arc::new(net::resolve::Nowhere)));
        let trust = TrustParams {
            bundled_roots: false,
            native_roots: false,
            extra_pem: setup.roots.clone(),
            ..TrustParams::default()
        };
        let connector = Connector::new(ConnectorParams {
            resolver: Arc::clone(&resolver),
            guard: Guard::new(setup.guard),
            trust: TrustStore::new(&trust).unwrap(),
            clock: Arc::clone(&clock),
            timeouts: DialTimeouts::default(),
        });
        let upstream = Pool::new(Arc::new(connector.unwrap()), PoolLimits::default());
        let (rules, workers) = compile(account, &setup.rules);
        let person = Person {
            id: "5f1f2d6e-0000-4000-8000-000000000001".to_owned(),
            email: EMAIL.to_owned(),
            name: "Ada".to_owned(),
            group_ids: vec!["1".to_owned()],
            group_names: vec!["finance".to_owned()],
            group_emails: vec!["finance@example.test".to_owned()],
        };
        let snapshot = Snapshot {
            account,
            revision: 1,
            http: Arc::new(rules.http),
            l4: Arc::new(rules.l4),
            workers: Arc::new(workers),
            people: Arc::new(Directory::of([Token {
                hash: Directory::hash(TOKEN),
                person: Arc::new(person),
                issued: setup.issued,
                until: setup.expiry,
            }])),
            proxy_endpoints: setup.endpoints.into(),
            settings: setup.settings,
            classifier: Arc::new(setup.classifier),
            bypass: Arc::new(setup.bypass),
            mcp: Arc::new(setup.mcp),
            minter: Arc::new(Minter::new(authority, 100).unwrap()),
            upstream,
            resolver,
        };
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let (gateway, events) = Gateway::new(Parts {
            config: setup.config,
            snapshot: Arc::clone(&snapshot),
            runtime: Arc::new(Scripted(setup.script)),
            logs: logs.clone(),
            services: Arc::new(NoServices),
            clock,
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        let (running, token) = (gateway.clone(), stop.clone());
        serving.spawn(async move { running.serve(listener, token).await });
        Self { proxy, gateway, logs, ca, account, events, stop, directory, ahead, snapshot, serving }
    }

    /// Puts the next configuration in force: other rules, and the people as they are, or nobody.
    pub(crate) fn change(&self, rules: &[Value], people: bool) {
        let before = self.snapshot.load_full();
        let (rules, workers) = compile(self.account, rules);
        self.snapshot.store(Arc::new(Snapshot {
            account: self.account,
            revision: before.revision + 1,
            http: rules.http.into(),
            l4: rules.l4.into(),
            workers: workers.into(),
            people: if people { before.people.clone() } else { Arc::default() },
            proxy_endpoints: before.proxy_endpoints.clone(),
            settings: before.settings.clone(),
            classifier: before.classifier.clone(),
            bypass: before.bypass.clone(),
            mcp: before.mcp.clone(),
            minter: Arc::clone(&before.minter),
            upstream: before.upstream.clone(),
            resolver: Arc::clone(&before.resolver),
        }));
    }

    /// Waits for a record that fits.
    pub(crate) async fn record(&self, dataset: Dataset, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = self.records(dataset).await.into_iter().find(|record| fits(record));
            if let Some(found) = found {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "no such record: {:#?}", self.records(dataset).await);
            tokio::task::yield_now().await;
            self.logs.flush().await.unwrap();
        }
    }

    /// Every record, newest first.
    pub(crate) async fn records(&self, dataset: Dataset) -> Vec<Value> {
        self.logs.flush().await.unwrap();
        let page = self.logs.query(logs::Query::newest(self.account, dataset)).await.unwrap();
        page.entries.into_iter().map(|entry| Value::Object(entry.fields)).collect()
    }

    /// The record of the request for `url`.
    pub(crate) async fn http_record(&self, url: &str) -> Value {
        self.record(Dataset::GatewayHttp, |record| record["URL"] == url).await
    }

    /// Stops the gateway and waits until it has drained.
    pub(crate) async fn drain(&mut self) {
        self.stop.cancel();
        self.serving.join_next().await.unwrap().unwrap();
    }

    /// Connects to the proxy port.
    pub(crate) async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.proxy).await.unwrap()
    }

    /// Sends `request` as it stands and reads until the gateway closes.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = self.dial().await;
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        // A connection that is refused may be reset; what arrived counts.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends one request in absolute form.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Got {
        let stream = self.dial().await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        Got::read(response).await
    }

    pub(crate) async fn get(&self, url: &str) -> Got {
        self.send(get(url)).await
    }

    /// Opens a tunnel; what comes back is the stream inside it.
    pub(crate) async fn connect(&self, target: &str) -> TcpStream {
        self.connect_as(target, "").await
    }

    /// Opens a tunnel with the person's credential.
    pub(crate) async fn connect_as_person(&self, target: &str) -> TcpStream {
        self.connect_as(target, &format!("Proxy-Authorization: {}\r\n", credential(EMAIL, TOKEN))).await
    }

    async fn connect_as(&self, target: &str, fields: &str) -> TcpStream {
        let mut stream = self.dial().await;
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        stream
    }

    /// Opens TLS inside a tunnel, trusting `root`.
    pub(crate) async fn tls(
        &self,
        target: &str,
        name: &str,
        alpn: &[&str],
        root: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = self.connect(target).await;
        let connector = TlsConnector::from(Arc::new(client_config(root, alpn)));
        connector.connect(name.to_owned().try_into().unwrap(), stream).await
    }

    /// Sends one request over HTTP/1.1 inside an intercepted tunnel.
    pub(crate) async fn secure(&self, target: &str, name: &str, request: Request<Full<Bytes>>) -> Got {
        let stream = self.tls(target, name, &["http/1.1"], &self.ca).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        Got::read(sender.send_request(request).await.unwrap()).await
    }

    /// Opens HTTP/2 inside an intercepted tunnel.
    pub(crate) async fn http2(
        &self,
        target: &str,
        name: &str,
    ) -> (http2::SendRequest<Full<Bytes>>, JoinSet<hyper::Result<()>>) {
        let stream = self.tls(target, name, &["h2"], &self.ca).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        (sender, tasks)
    }
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Got {
    pub(crate) async fn read(response: Response<hyper::body::Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let collected = tokio::time::timeout(PATIENCE, body.collect()).await.expect("a body in time").unwrap();
        let trailers = collected.trailers().cloned();
        Self { status: parts.status, headers: parts.headers, body: collected.to_bytes(), trailers }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn get(url: &str) -> Request<Full<Bytes>> {
    let host = url.parse::<http::Uri>().unwrap().authority().map(|authority| authority.to_string());
    let mut request = Request::get(url);
    if let Some(host) = host {
        request = request.header("host", host);
    }
    request.body(Full::default()).unwrap()
}

pub(crate) fn post(url: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let (mut parts, _) = get(url).into_parts();
    parts.method = http::Method::POST;
    Request::from_parts(parts, Full::new(body.into()))
}

pub(crate) fn credential(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// Adds a header to a request.
pub(crate) fn with(mut request: Request<Full<Bytes>>, name: &'static str, value: &str) -> Request<Full<Bytes>> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

pub(crate) fn client_config(root: &str, alpn: &[&str]) -> rustls::ClientConfig {
    use rustls::pki_types::pem::PemObject;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// Compiles rules, numbering them; each `worker` or `managed` rule gets a script named after its position.
fn compile(account: AccountId, rules: &[Value]) -> (policy::CompileReport, HashMap<RuleId, Arc<Script>>) {
    let mut workers = HashMap::new();
    let stored: Vec<StoredRule> = rules
        .iter()
        .enumerate()
        .map(|(at, document)| {
            let id = RuleId(Uuid::from_u128(at as u128 + 1));
            let spec = RuleSpec::parse(document).unwrap_or_else(|faults| panic!("{document}: {faults:?}"));
            let script = Script {
                key: ScriptKey { account, name: format!("script-{at}"), version: "1".to_owned() },
                modules: Vec::new(),
                bindings: std::collections::BTreeMap::new(),
                egress: worker::EgressList::parse(["listed.test"]).unwrap(),
                limits: worker::protocol::Limits::default(),
                isolation: worker::protocol::Isolation::default(),
            };
            workers.insert(id, Arc::new(script));
            StoredRule { id, precedence: (at as i64 + 1) * 1000, spec }
        })
        .collect();
    let report = policy::compile(&stored, &NoLists, CompileOptions::default());
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    (report, workers)
}

struct NoLists;

impl expr::Lists for NoLists {
    fn list(&self, _name: &str) -> Option<Arc<expr::List>> {
        None
    }
}

/// A rule document of the `http` hook.
pub(crate) fn rule(name: &str, action: &str, traffic: &str) -> Value {
    serde_json::json!({ "name": name, "action": action, "enabled": true, "filters": ["http"], "traffic": traffic })
}

/// As [`rule`], with settings.
pub(crate) fn rule_with(name: &str, action: &str, traffic: &str, settings: Value) -> Value {
    let mut document = rule(name, action, traffic);
    document["rule_settings"] = settings;
    document
}
