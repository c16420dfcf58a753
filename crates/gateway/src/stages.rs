//! The life of one web request through the gateway: one ordered list of stages.
//!
//! Each stage either goes on or ends the exchange with an answer; what a verdict leads to is in `ruling`, what travels to
//! the origin and back in `relay`. Invariant: the record is opened first and closed by a drop guard, and nothing is sent
//! to an origin before a verdict allows it.

use std::sync::Arc;

use catalog::Classification;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use net::{Host, Origin, Scheme};
use types::RequestId;

use crate::answer;
use crate::body::{Body, Metered, boxed};
use crate::connect;
use crate::connection::{Client, Tunnel, Way};
use crate::events::{SecurityEvent, SecurityEventKind};
use crate::exchange::{self, Exchange, Seen, Target};
use crate::fault::Fault;
use crate::identity::{self, Refusal, Requirements};
use crate::mcp::Mcp;
use crate::meaning;
use crate::record::{BLOCK, HttpRecord};
use crate::ruling::{Ruled, Ruling};
use crate::snapshot::Snapshot;
use crate::websocket;
use net::proxy::framing::FAULT_METHOD;
use net::proxy::head::HeadFault;
use net::proxy::hop;
use net::proxy::interim::Interim;

/// One request with its record and the state of its decision.
pub(crate) struct Flow {
    pub(crate) exchange: Exchange,
    pub(crate) ruling: Ruling,
    pub(crate) record: HttpRecord,
    /// The credential was stripped from the headers and waits for its stage.
    credential: Option<HeaderValue>,
    /// HTTP/1 framing is given up after a request that asked to change protocols.
    closes: bool,
}

/// Answers one request, whatever happens.
pub(crate) async fn answer(
    client: Arc<Client>,
    way: Way,
    request: Request<Incoming>,
    interim: Option<Interim>,
) -> Response<Body> {
    if matches!(way, Way::Proxy) && request.method() == Method::CONNECT {
        // Boxed, as is what follows: the future of a request is moved into the connection, and should be small.
        return Box::pin(connect::open(&client, request)).await;
    }
    let snapshot = client.gateway.snapshot.load_full();
    let id = logs::record_id();
    let at = (client.gateway.clock)();
    let record = HttpRecord::open(&client, &snapshot, id, at).await;
    let (mut flow, arrival) = Flow::open(client, snapshot, record, &way, request);
    flow.exchange.interim = interim.filter(|_| flow.exchange.version == Version::HTTP_11);
    let outcome = match arrival {
        Ok(()) => Box::pin(flow.run(&way)).await,
        Err(fault) => Err(fault),
    };
    flow.close(outcome)
}

impl Flow {
    /// The stages, in order.
    async fn run(&mut self, way: &Way) -> Result<Response<Body>, Fault> {
        // Who asks comes before where to: a stranger learns nothing about rules or reachability.
        self.identify(way)?;
        // A request that has been here would go round for ever.
        self.refuse_loops()?;
        // One name must not stand in for another, or rules would judge a host that is not the one reached.
        self.refuse_fronting(way)?;
        // Network rules come before web rules; inside TLS they were held against the connection already.
        if let Some(response) = self.network_rules().await {
            return Ok(response);
        }
        // The verdict on what is known now; it reads the body, or waits for the response, only if a rule hangs on it.
        match self.rule().await? {
            Ruled::Answer(response) => return Ok(response),
            // A rule waits for the response: the request goes out under the plan that holds if that rule does not match.
            Ruled::AwaitResponse(plan) => {
                // Nothing of a response is shown before its verdict.
                self.exchange.interim = None;
                self.forward(&plan).await?;
                if self.is_settled() {
                    return self.relay();
                }
                // The same rules, with more facts.
                match self.rule().await? {
                    Ruled::Answer(response) => return Ok(response),
                    Ruled::AwaitResponse(_) | Ruled::Forward(_) => {}
                }
            }
            Ruled::Forward(plan) => self.forward(&plan).await?,
        }
        if self.is_settled() {
            return self.relay();
        }
        // Files that a quarantine rule covers are looked at before their first byte is handed on.
        if let Some(response) = self.quarantine().await? {
            return Ok(response);
        }
        // What is left is streamed, frame by frame, at the pace of the slower side.
        self.relay()
    }

    /// Takes the request apart. A fault found here is answered by the same way as any other.
    fn open(
        client: Arc<Client>,
        snapshot: Arc<Snapshot>,
        record: HttpRecord,
        way: &Way,
        request: Request<Incoming>,
    ) -> (Box<Self>, Result<(), Fault>) {
        let (id, at) = (record.fields.id, record.fields.datetime);
        let extended = matches!(way, Way::Inside(_)) && websocket::is_extended(&request);
        let (mut request, on_upgrade) = {
            let mut request = request;
            let wants = extended || request.headers().contains_key(header::UPGRADE);
            let on_upgrade = wants.then(|| hyper::upgrade::on(&mut request));
            (request, on_upgrade)
        };
        if extended {
            websocket::as_upgrade(&mut request);
        }
        let credential = request.headers_mut().remove(header::PROXY_AUTHORIZATION);
        let (mut parts, incoming) = request.into_parts();
        let aimed = aim(&parts, way);
        let (target, arrival) = match aimed {
            Ok(target) => (target, Ok(())),
            Err(fault) => (nowhere(), Err(fault)),
        };
        // What follows these is not looked at by `framing`.
        let unframed = parts.headers.contains_key(header::UPGRADE) || parts.method == Method::CONNECT;
        let closes = unframed || parts.method.as_str() == FAULT_METHOD;
        let upgrade = hop::strip_request(&mut parts.headers);
        let upgrade = if extended { Some(websocket::PROTOCOL) } else { upgrade };
        let has_body = !incoming.is_end_stream();
        let tunnel = match way {
            Way::Proxy => None,
            Way::Inside(tunnel) => Some(Arc::clone(tunnel)),
        };
        let mime = if has_body { exchange::media_type(&parts.headers) } else { None };
        let mcp = Mcp::of(&target, &parts.method, &parts.headers, has_body, mime.as_deref(), &snapshot.mcp);
        let mut exchange = Exchange {
            mcp,
            snapshot,
            tunnel,
            id: RequestId(id),
            at,
            caller: identity::Caller::default(),
            method: parts.method,
            version: parts.version,
            target,
            classification: Classification::NOTHING,
            moved: false,
            mime,
            upload: Seen { types: None, size: if has_body { exchange::declared_length(&parts.headers) } else { None } },
            headers: parts.headers,
            body: boxed(incoming),
            has_body,
            upgrade,
            on_upgrade,
            extended,
            interim: None,
            package: None,
            addresses: None,
            connection: None,
            arrived: None,
            download: Seen::default(),
            client,
        };
        join_cookie_crumbs(&mut exchange.headers);
        if let Host::Address(address) = exchange.target.origin.host {
            exchange.addresses = Some(vec![address]);
        }
        exchange.classify();
        exchange.recognise_package();
        let mut flow = Box::new(Self { exchange, ruling: Ruling::default(), record, credential, closes });
        flow.describe();
        (flow, arrival)
    }

    /// Fills the part of the record that the request itself says.
    fn describe(&mut self) {
        let (exchange, fields) = (&self.exchange, &mut self.record.fields);
        fields.http_host.clone_from(&exchange.target.host);
        fields.url.clone_from(&exchange.target.url);
        exchange.method.as_str().clone_into(&mut fields.http_method);
        exchange::version_text(exchange.version).clone_into(&mut fields.http_version);
        fields.destination_port = exchange.target.origin.port;
        if exchange.has_body { "some" } else { "none" }.clone_into(&mut fields.request_body);
        if let Some(mime) = &exchange.mime {
            fields.request_content_type.clone_from(mime);
        }
        if let Some(tunnel) = &exchange.tunnel {
            if let Some(hello) = &tunnel.hello {
                fields.ja4.clone_from(&hello.ja4);
            }
            if let Some(tls) = &tunnel.tls {
                tls.version.clone_into(&mut fields.tls_version);
                tls.group.unwrap_or_default().clone_into(&mut fields.tls_key_exchange);
            }
        }
        let meaning = exchange.snapshot.classifier.meaning(exchange.classification);
        meaning::describe_request(&meaning, fields);
        self.record.headers(&exchange.headers);
        self.note_mcp();
    }

    /// Writes what is known of MCP so far: a client may go away before there is more.
    pub(crate) fn note_mcp(&mut self) {
        if self.exchange.mcp.is_mcp() == Some(true) {
            self.exchange.mcp.write(&mut self.record.fields);
        }
    }

    fn identify(&mut self, way: &Way) -> Result<(), Fault> {
        let caller = match way {
            // The credential was sent when the tunnel was opened; requests inside carry none. Tunnels live long, so
            // whether it is still good is asked each time.
            Way::Inside(tunnel) => {
                let (client, snapshot) = (&self.exchange.client, &self.exchange.snapshot);
                let (source, needs) = (client.source.ip(), requirements(client, snapshot));
                identity::again(&snapshot.people, &snapshot.proxy_endpoints, source, &tunnel.caller, needs)
            }
            Way::Proxy => caller(&self.exchange.client, &self.exchange.snapshot, self.credential.as_ref()),
        };
        self.exchange.caller = caller.map_err(Fault::Refused)?;
        self.record.caller(&self.exchange.caller);
        Ok(())
    }

    fn refuse_loops(&self) -> Result<(), Fault> {
        match &self.exchange.client.gateway.config.via {
            Some(pseudonym) if hop::is_loop(&self.exchange.headers, pseudonym) => Err(Fault::Loop),
            _ => Ok(()),
        }
    }

    fn refuse_fronting(&self, way: &Way) -> Result<(), Fault> {
        let Way::Inside(tunnel) = way else { return Ok(()) };
        if !self.exchange.client.gateway.config.refuse_fronting {
            return Ok(());
        }
        let origin = &self.exchange.target.origin;
        if origin.port == tunnel.port && tunnel.stands_for(&origin.host) {
            return Ok(());
        }
        Err(Fault::Fronting { tunnel: format!("{}:{}", tunnel.host, tunnel.port), host: origin.authority() })
    }

    /// Closes the exchange: writes what is known to the record and hands the record to the body that is left to send.
    fn close(mut self: Box<Self>, outcome: Result<Response<Body>, Fault>) -> Response<Body> {
        let mut response = match outcome {
            Ok(response) => response,
            Err(fault) => self.fail(&fault),
        };
        if self.exchange.version != Version::HTTP_2 {
            *response.version_mut() = Version::HTTP_11;
            // See `framing`: after such a request the connection carries either the other protocol or nothing.
            if self.closes && response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
        if self.exchange.extended {
            websocket::answer(&mut response);
        }
        self.trace();
        let Self { mut record, exchange, .. } = *self;
        record.mcp = Some(exchange.mcp).filter(Mcp::is_worth_noting).map(Box::new);
        record.fields.http_status_code = response.status().as_u16();
        let counter = Arc::clone(&record.download);
        response.map(|body| Metered::boxed(body, counter, record))
    }

    /// Turns a fault into its page, its record and, where a security team should know, an event.
    fn fail(&mut self, fault: &Fault) -> Response<Body> {
        let what = fault.what();
        self.record.fields.error = what.clone();
        if fault.is_refusal() {
            self.record.decided(BLOCK, what.clone());
        }
        if let Some(kind) = fault.event() {
            self.report(kind, what);
        }
        let page = fault.page(&self.exchange.id_text(), answer::details(&self.exchange, None));
        let mut response = answer::render(&self.exchange, &page);
        challenge(fault, response.headers_mut());
        response
    }

    /// Sends a security event about this request.
    pub(crate) fn report(&self, kind: SecurityEventKind, detail: String) {
        let exchange = &self.exchange;
        let fields = &self.record.fields;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        exchange.client.gateway.events.send(SecurityEvent {
            kind,
            at: exchange.at.to_string(),
            account_id: exchange.snapshot.account.to_string(),
            request_id: exchange.id_text(),
            user_email: exchange.person().map(|person| person.email.clone()),
            source_ip: exchange.source().to_string(),
            host: exchange.target.host.clone(),
            url: Some(exchange.target.url.clone()),
            rule_id: text(&fields.policy_id),
            rule_name: text(&fields.policy_name),
            script: text(&fields.worker_script),
            detail,
        });
    }
}

/// Decides who sends a request or opens a tunnel, and counts failures.
pub(crate) fn caller(
    client: &Client,
    snapshot: &crate::Snapshot,
    credential: Option<&HeaderValue>,
) -> Result<identity::Caller, Refusal> {
    let source = client.source.ip();
    let needs = requirements(client, snapshot);
    let caller = identity::identify(&snapshot.people, &snapshot.proxy_endpoints, source, credential, needs);
    caller.map_err(|refusal| {
        let too_many = refusal == Refusal::Wrong && client.gateway.failures.count(source);
        if too_many { Refusal::TooMany } else { refusal }
    })
}

pub(crate) fn requirements(client: &Client, snapshot: &crate::Snapshot) -> Requirements {
    Requirements {
        trust_loopback: client.gateway.config.trust_loopback && !snapshot.settings.require_identity,
        now: (client.gateway.clock)(),
    }
}

/// Adds the headers that go with a status of refusal.
pub(crate) fn challenge(fault: &Fault, headers: &mut HeaderMap) {
    if matches!(fault, Fault::Refused(Refusal::Missing | Refusal::Wrong)) {
        let realm = HeaderValue::from_static("Basic realm=\"Portunus\", charset=\"UTF-8\"");
        headers.insert(header::PROXY_AUTHENTICATE, realm);
    }
    if let Some(seconds) = fault.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    }
}

/// Decides where a request goes.
fn aim(parts: &Parts, way: &Way) -> Result<Target, Fault> {
    if parts.method.as_str() == FAULT_METHOD {
        let number = parts.uri.path().get(1..).and_then(|number| number.parse::<usize>().ok());
        let fault = number.and_then(|number| HeadFault::ALL.get(number)).copied();
        return Err(Fault::Head(fault.unwrap_or(HeadFault::RequestLine)));
    }
    // HTTP/2 lets the same length be given twice, and an HTTP/1.1 origin may take that for something else.
    if parts.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(Fault::Head(HeadFault::DuplicateLength));
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    match way {
        Way::Proxy => {
            let why = "a proxy request names the whole URL";
            let scheme = exchange::scheme(&parts.uri).ok_or_else(|| Fault::Target(why.to_owned()))?;
            let origin = origin(scheme, parts.uri.authority().map(http::uri::Authority::as_str), None)?;
            Ok(Target::new(origin, path))
        }
        Way::Inside(_) if parts.method == Method::CONNECT => {
            Err(Fault::Target("a tunnel cannot be opened inside a tunnel".to_owned()))
        }
        Way::Inside(tunnel) => {
            let authority = inner_authority(parts)?;
            let origin = origin(tunnel.scheme, authority.as_deref(), Some(tunnel))?;
            Ok(Target::new(origin, path))
        }
    }
}

/// The authority a request inside a tunnel names: in HTTP/2 `:authority` and `host` must agree.
fn inner_authority(parts: &Parts) -> Result<Option<String>, Fault> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.to_str().map_err(|_| Fault::Head(HeadFault::BadHost))?),
        (Some(_), Some(_)) => return Err(Fault::Head(HeadFault::BadHost)),
    };
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Err(Fault::Head(HeadFault::HostMismatch))
        }
        (Some(text), _) | (None, Some(text)) => Ok(Some(text.to_owned())),
        (None, None) => Ok(None),
    }
}

/// Reads an authority; what it leaves out is the tunnel's.
fn origin(scheme: Scheme, authority: Option<&str>, tunnel: Option<&Tunnel>) -> Result<Origin, Fault> {
    let bad = |why: String| Fault::Target(why);
    let Some(text) = authority.filter(|text| !text.is_empty()) else {
        let tunnel = tunnel.ok_or_else(|| bad("it names no host".to_owned()))?;
        return Ok(Origin::new(scheme, tunnel.host.clone(), tunnel.port));
    };
    if let Some(tunnel) = tunnel
        && let Some(origin) = same_as(tunnel, scheme, text)
    {
        return Ok(origin);
    }
    let authority: http::uri::Authority = text.parse().map_err(|_| bad("its host is not a host name".to_owned()))?;
    if text.contains('@') {
        return Err(Fault::Head(HeadFault::BadHost));
    }
    let host = Host::parse(authority.host()).map_err(|error| bad(error.to_string()))?;
    // HTTP inside a tunnel may leave out a port that is not the scheme's own.
    let fallback = tunnel.map_or(scheme.default_port(), |tunnel| tunnel.port);
    Ok(Origin::new(scheme, host, authority.port_u16().unwrap_or(fallback)))
}

/// What most requests inside a tunnel name: the very host and port that were asked for, which need no reading again.
fn same_as(tunnel: &Tunnel, scheme: Scheme, text: &str) -> Option<Origin> {
    let rest = text.strip_prefix(tunnel.host.name()?)?;
    let same = match rest.strip_prefix(':') {
        Some(port) => port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse() == Ok(tunnel.port),
        None => rest.is_empty(),
    };
    same.then(|| Origin::new(scheme, tunnel.host.clone(), tunnel.port))
}

/// The target of a request that names none, for its record and page.
fn nowhere() -> Target {
    Target::new(Origin::new(Scheme::Http, Host::Address(std::net::Ipv4Addr::UNSPECIFIED.into()), 0), "/")
}

/// HTTP/2 splits cookies into several fields; every other version has one (RFC 9113 section 8.2.3).
fn join_cookie_crumbs(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let joined: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&joined.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}
