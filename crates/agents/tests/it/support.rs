//! A portal in front of servers, and a client that speaks to it without sockets between.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agents::record::{Record, Recorder};
use agents::signin::{SignIns, SignInsParts};
use agents::snapshot::{Portal, Remote, Served, Snapshot, Way};
use agents::sync::Seen;
use agents::upstream::{Bounds, Channel, Endpoint, Pace};
use agents::visit::{Person, Visit, Visitor};
use agents::{Agents, Answer, Parts};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use mcp::catalog::{Catalog, Kind};
use mcp::document::portal::{self, PortalDocument};
use mcp::document::server::ServerDocument;
use mcp::names::ServerId;
use mcp::view::ServerView;
use net::guard::GuardParams;
use net::proxy::body::{Body, empty_body, full_body};
use net::resolve::SystemResolver;
use net::upstream::{Connector, ConnectorParams, DialTimeouts, Pool, PoolLimits, Route, TrustParams, TrustStore};
use net::{Guard, Host, Offer, Origin, Scheme};
use parking_lot::Mutex;
use serde_json::{Value, json};
use types::{ApplicationId, UserId};
use uuid::Uuid;

use crate::server::Server;
use crate::vault::Memory;

pub(crate) const HOST: &str = "mcp.test";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(crate) struct Records(pub(crate) Mutex<Vec<Record>>);

impl Recorder for Records {
    fn record(&self, record: Record) {
        self.0.lock().push(record);
    }
}

/// Scripts need processes of their own; where they run, the whole program is tested.
pub(crate) struct NoScripts;

impl agents::Scripts for NoScripts {
    fn run<'a>(
        &'a self,
        _: &'a Arc<worker::Script>,
        _: Request<Body>,
        _: worker::Call,
    ) -> worker::BoxFuture<'a, Result<worker::Reply, worker::CallError>> {
        panic!("no test here runs a script")
    }
}

/// The servers that said that their definitions changed.
#[derive(Default)]
pub(crate) struct Changes(pub(crate) Mutex<Vec<String>>);

impl agents::Changed for Changes {
    fn changed(&self, server: &ServerId) {
        self.0.lock().push(server.to_string());
    }
}

impl agents::Workers for NoScripts {
    fn ask<'a>(
        &'a self,
        script: &'a types::ScriptName,
        _: Request<Body>,
        _: Arc<str>,
        _: Duration,
    ) -> worker::BoxFuture<'a, Result<worker::Answer, String>> {
        Box::pin(async move { Err(format!("there is no Worker {script}")) })
    }
}

/// Answers a request that asks for no second factor.
pub(crate) async fn respond(agents: &Agents, visit: Visit) -> Response<Body> {
    match agents.answer(HOST, visit).await {
        Answer::Response(response) => response,
        Answer::Prove(within) => panic!("a factor within {within:?} was asked for"),
    }
}

/// A portal.
pub(crate) struct Plane {
    pub(crate) agents: Agents,
    pub(crate) records: Arc<Records>,
    pub(crate) changes: Arc<Changes>,
}

pub(crate) fn door(server: &str) -> ApplicationId {
    // Distinct for distinct short names, and the same wherever it is asked for.
    ApplicationId(Uuid::from_u128(server.bytes().fold(1, |sum, byte| (sum << 8) + u128::from(byte))))
}

pub(crate) fn pool() -> Pool {
    pool_with(GuardParams { allow: vec!["127.0.0.0/8".parse().unwrap()], ..GuardParams::default() })
}

/// One that does not reach this machine, as the platform's own by default.
pub(crate) fn strict_pool() -> Pool {
    pool_with(GuardParams { refuse_private: true, ..GuardParams::default() })
}

fn pool_with(guard: GuardParams) -> Pool {
    let trust = TrustParams { bundled_roots: false, native_roots: false, ..TrustParams::default() };
    let connector = Connector::new(ConnectorParams {
        resolver: Arc::new(SystemResolver::new()),
        guard: Guard::new(guard),
        trust: TrustStore::new(&trust).unwrap(),
        clock: Arc::new(jiff::Timestamp::now),
        timeouts: DialTimeouts::default(),
    });
    Pool::new(Arc::new(connector.unwrap()), PoolLimits::default())
}

pub(crate) fn endpoint(server: &Server) -> Endpoint {
    endpoint_at(server.address, "/mcp")
}

pub(crate) fn endpoint_at(address: SocketAddr, path: &str) -> Endpoint {
    let host = Host::parse(&address.ip().to_string()).unwrap();
    let origin = Origin::new(Scheme::Http, host, address.port());
    Endpoint {
        pool: pool(),
        route: Route::new(origin, Offer::Http1),
        target: path.parse().unwrap(),
        authority: HeaderValue::try_from(address.to_string()).unwrap(),
        bounds: Bounds { head: PATIENCE, silence: PATIENCE, message: 1 << 20 },
        pace: Pace::default(),
    }
}

/// Makes a portal of servers: looked at, and behind it.
pub(crate) async fn plane(servers: &[(&str, &Server)], settings: Value, rules: Value) -> Plane {
    let mut served = Vec::new();
    for (id, server) in servers {
        let mut credential = HeaderMap::new();
        credential.insert("authorization", HeaderValue::from_static("Bearer administrators"));
        let endpoint = Channel::from(endpoint(server));
        let seen = agents::sync::look(endpoint.clone(), credential.clone()).await.unwrap();
        served.push(serve(id, endpoint, credential, &seen, &rules));
    }
    portal(served, settings)
}

/// Makes a portal of one server, reached in any way, that was looked at.
pub(crate) async fn plane_of(id: &str, endpoint: Channel, seen: Seen, rules: Value) -> Plane {
    portal(vec![serve(id, endpoint, HeaderMap::new(), &seen, &rules)], json!({}))
}

fn serve(id: &str, endpoint: Channel, credential: HeaderMap, seen: &Seen, rules: &Value) -> Arc<Served> {
    let mut catalog = Catalog::default();
    for kind in Kind::ALL {
        catalog.extend(kind, seen.lists[kind as usize].iter().map(|item| &**item));
    }
    let document = json!({"id": id, "name": id, "hostname": "http://mcp.example.com/mcp", "auth_type": "unauthenticated", "portunus": {"rules": rules}});
    let document = ServerDocument::read(&document, None).unwrap();
    let parsed = mcp::document::server::Server::parse(id.parse().unwrap(), &document, &|_| false, &()).unwrap();
    let name = ServerId::parse(id).unwrap();
    Arc::new(Served {
        id: name.clone(),
        server: Arc::new(parsed),
        application: door(id),
        audience: format!("aud-{id}"),
        address: document.address(),
        view: Arc::new(ServerView::new(name, id, Arc::new(catalog))),
        way: Way::Remote(Box::new(Remote { endpoint, credential, version: Some(seen.version) })),
        sign_in: None,
        on_behalf: false,
    })
}

fn portal(served: Vec<Arc<Served>>, settings: Value) -> Plane {
    let ids: Vec<_> = served.iter().map(|served| json!({"server_id": served.id.as_str()})).collect();
    let mut document = json!({"id": "work", "name": "Work", "hostname": HOST, "servers": ids});
    document.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let document = PortalDocument::read(&document, None).unwrap();
    let settings = portal::Portal::parse("work".parse().unwrap(), &document, &()).unwrap();
    let portal = Portal { settings, audience: "aud-portal".to_owned(), servers: served, revision: 1 };
    let portals = [(HOST.to_owned(), Arc::new(portal))].into();
    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot { revision: 1, portals }));
    let records = Arc::new(Records::default());
    let changes = Arc::new(Changes::default());
    let agents = Agents::new(Parts {
        snapshot,
        recorder: Arc::clone(&records) as Arc<dyn Recorder>,
        scripts: Arc::new(NoScripts),
        workers: Arc::new(NoScripts),
        sign_ins: SignIns::new(SignInsParts {
            vault: Arc::new(Memory::default()),
            pool: pool(),
            within: PATIENCE,
            clock: Arc::new(jiff::Timestamp::now),
        }),
        account: types::AccountId(Uuid::nil()),
        clock: Arc::new(jiff::Timestamp::now),
        changed: Arc::clone(&changes) as Arc<dyn agents::Changed>,
    });
    Plane { agents, records, changes }
}

pub(crate) fn person(number: u128) -> Person {
    Person {
        user: UserId(Uuid::from_u128(number)),
        email: format!("p{number}@example.com").parse().unwrap(),
        name: format!("Person {number}"),
        group_ids: Vec::new(),
        group_names: Vec::new(),
        group_emails: Vec::new(),
        claims: Vec::new(),
        login_methods: Vec::new(),
        amr: Vec::new(),
        sign_in: [u8::try_from(number).unwrap(); 32],
        factor_at: None,
        agent: true,
    }
}

/// One client of one person.
#[derive(Clone)]
pub(crate) struct Client<'a> {
    pub(crate) plane: &'a Plane,
    pub(crate) visitor: Visitor,
    pub(crate) open: BTreeSet<ApplicationId>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) query: &'static str,
}

impl<'a> Client<'a> {
    pub(crate) fn new(plane: &'a Plane, person: Person, open: &[&str]) -> Self {
        Self {
            plane,
            visitor: Visitor::Person(Arc::new(person)),
            open: open.iter().map(|id| door(id)).collect(),
            headers: Vec::new(),
            query: "",
        }
    }

    /// Begins a session of the newest version with sessions.
    pub(crate) async fn begin(self, capabilities: Value) -> Self {
        self.begin_with("2025-11-25", capabilities).await
    }

    /// Begins a session.
    pub(crate) async fn begin_with(mut self, version: &str, capabilities: Value) -> Self {
        let params = json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "client", "version": "7"}});
        let response = self.post(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
        assert_eq!(response.status(), 200);
        let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        self.headers = vec![("mcp-session-id", session), ("mcp-protocol-version", version.to_owned())];
        self
    }

    pub(crate) async fn send(&self, method: &str, body: Body, more: &[(&'static str, String)]) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(format!("/mcp{}", self.query));
        for (name, value) in self.headers.iter().chain(more) {
            request = request.header(*name, value);
        }
        let visit = Visit {
            request: request.body(body).unwrap(),
            id: Uuid::now_v7(),
            site: format!("https://{HOST}/").parse().unwrap(),
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            visitor: self.visitor.clone(),
            open: self.open.clone(),
        };
        respond(&self.plane.agents, visit).await
    }

    pub(crate) async fn post(&self, message: &Value) -> Response<Body> {
        self.send("POST", full_body(message.to_string()), &[]).await
    }

    /// Asks, and returns the answer with what came before it.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> (Vec<Value>, Value) {
        let message = json!({"jsonrpc": "2.0", "id": "c-1", "method": method, "params": params});
        let mut messages = messages(self.post(&message).await).await;
        let answer = messages.pop().unwrap();
        assert_eq!(answer["id"], "c-1", "{answer}");
        (messages, answer)
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await.1
    }

    /// Asks as a client of the stateless era does.
    pub(crate) async fn ask_stateless(&self, method: &str, params: Value) -> Response<Body> {
        self.ask_able(json!({}), method, params).await
    }

    /// The same, of a client that can do more.
    pub(crate) async fn ask_stateless_with(&self, method: &str, params: Value, capabilities: Value) -> Response<Body> {
        self.ask_able(capabilities, method, params).await
    }

    /// Asks as a client of the stateless era that can do something.
    pub(crate) async fn ask_able(&self, capabilities: Value, method: &str, mut params: Value) -> Response<Body> {
        let name = ["name", "uri", "taskId"].iter().find_map(|member| params.get(member));
        let name = name.and_then(Value::as_str).map(str::to_owned);
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": capabilities,
            "io.modelcontextprotocol/clientInfo": {"name": "stateless", "version": "1"},
        });
        meta.as_object_mut().unwrap().extend(params["_meta"].as_object().cloned().unwrap_or_default());
        params["_meta"] = meta;
        let mut more = vec![("mcp-protocol-version", "2026-07-28".to_owned()), ("mcp-method", method.to_owned())];
        more.extend(name.map(|name| ("mcp-name", name)));
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.send("POST", full_body(message.to_string()), &more).await
    }

    pub(crate) async fn listen(&self) -> Response<Body> {
        self.send("GET", empty_body(), &[("accept", "text/event-stream".to_owned())]).await
    }

    pub(crate) async fn names(&self, method: &str) -> Vec<String> {
        let (_, answer) = self.ask(method, json!({})).await;
        let list = answer["result"].as_object().unwrap().values().find_map(Value::as_array).unwrap().clone();
        list.iter()
            .map(|item| {
                let key = item.get("uriTemplate").or_else(|| item.get("uri")).unwrap_or(&item["name"]);
                key.as_str().unwrap().to_owned()
            })
            .collect()
    }
}

/// Every message of a response.
pub(crate) async fn messages(response: Response<Body>) -> Vec<Value> {
    let events = response.headers()["content-type"] == "text/event-stream";
    let bytes = tokio::time::timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
    if events { read_events(&bytes) } else { vec![serde_json::from_slice(&bytes).unwrap()] }
}

pub(crate) fn read_events(bytes: &Bytes) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.split("\n\n")
        .filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")))
        .filter(|data| !data.is_empty())
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// Reads one message of a stream that goes on.
pub(crate) async fn next_event(body: &mut Body) -> Value {
    loop {
        let text = next_raw(body).await.expect("the stream ended");
        if let Some(message) = read_events(&Bytes::from(text)).pop() {
            return message;
        }
    }
}

/// Reads one event of a stream as it was written; `None` at its end.
pub(crate) async fn next_raw(body: &mut Body) -> Option<String> {
    let frame = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap()?.unwrap();
    Some(String::from_utf8(frame.data_ref().unwrap().to_vec()).unwrap())
}

/// Waits for something to become true.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{what} did not happen");
}
