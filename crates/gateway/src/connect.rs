//! CONNECT: who may open a tunnel, what is spoken inside, and whether that is read or passed through.
//!
//! Requests inside go on to `stages`. Invariant: a connection is passed through only when network rules allow it and no
//! web rule would stop its host, and every connection that is not read has a record with its name, fingerprint and bytes.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use jiff::Timestamp;
use net::server::AcceptError;
use net::upstream::Route;
use net::{BoxStream, ClientHello, Counted, Host, LeafNames, Offer, Origin, Prefixed, Protocol, Scheme};
use policy::action::ActionPlan;
use policy::facts::{ConnectionFacts, HttpFacts, L4Facts};
use policy::ruleset::{Cursor, RuleRef, Step};
use policy::trace::Scratch;

use crate::body::{Body, empty_body};
use crate::connection::{self, Client, Tunnel};
use crate::exchange::connection_facts;
use crate::fault::Fault;
use crate::gateway::Counters;
use crate::identity::Caller;
use crate::meaning;
use crate::page;
use crate::peek::{self, Kind, LateCheck};
use crate::record::{BLOCK, HttpRecord, TunnelRecord};
use crate::review::{self, Carried};
use crate::snapshot::Snapshot;
use crate::stages;
use crate::upstream;
use net::proxy::tunnel;

/// A tunnel that was granted.
pub(crate) struct Opened {
    pub(crate) client: Arc<Client>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) caller: Caller,
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// The address it leads to, once it does.
    pub(crate) reached: Option<IpAddr>,
}

/// A rule that stops a connection, if it is a rule that does, and why.
pub(crate) type Stopped = (Option<Arc<RuleRef>>, String);

/// Answers CONNECT, and serves what travels inside when it is granted.
///
/// Boxed, because what travels inside is served by the caller of this function.
pub(crate) fn open(client: &Arc<Client>, request: Request<Incoming>) -> BoxFuture<'_, Response<Body>> {
    Box::pin(grant(client, request))
}

async fn grant(client: &Arc<Client>, mut request: Request<Incoming>) -> Response<Body> {
    let snapshot = client.gateway.snapshot.load_full();
    let credential = request.headers_mut().remove(header::PROXY_AUTHORIZATION);
    let granted = stages::caller(client, &snapshot, credential.as_ref())
        .map_err(Fault::Refused)
        .and_then(|caller| target(&request).map(|(host, port)| (caller, host, port)));
    let (caller, host, port) = match granted {
        Ok(granted) => granted,
        Err(fault) => return refuse(client, &snapshot, &request, &fault).await,
    };
    let opened = Opened { client: Arc::clone(client), snapshot, caller, host, port, reached: None };
    let upgrade = hyper::upgrade::on(request);
    client.spawn(async move {
        // The client may go away between the answer and the upgrade.
        if let Ok(upgraded) = upgrade.await {
            Box::pin(opened.serve(net::proxy::serve::unwrap(upgraded))).await;
        }
    });
    Response::new(empty_body())
}

/// The destination: CONNECT names a host and a port and nothing else (RFC 9110 section 9.3.6).
fn target(request: &Request<Incoming>) -> Result<(Host, u16), Fault> {
    let bad = |why: &str| Fault::Target(why.to_owned());
    let authority = request.uri().authority().ok_or_else(|| bad("CONNECT names no host"))?;
    let port = authority.port_u16().filter(|port| *port != 0).ok_or_else(|| bad("CONNECT names no port"))?;
    let host = Host::parse(authority.host()).map_err(|error| Fault::Target(error.to_string()))?;
    Ok((host, port))
}

async fn refuse(
    client: &Client,
    snapshot: &Arc<Snapshot>,
    request: &Request<Incoming>,
    fault: &Fault,
) -> Response<Body> {
    let id = logs::record_id();
    let mut record = HttpRecord::open(client, snapshot, id, (client.gateway.clock)()).await;
    record.headers(request.headers());
    "CONNECT".clone_into(&mut record.fields.http_method);
    record.fields.http_host = request.uri().host().unwrap_or_default().chars().take(255).collect();
    record.decided(BLOCK, fault.what());
    record.fields.http_status_code = fault.status().as_u16();
    record.auth_event(client, snapshot, fault);
    let details = vec![("Source IP", client.source_text.clone())];
    let page = fault.page(&id.to_string(), details);
    let mut response = page::respond(&page, &snapshot.settings.block_page.look, &Method::GET, request.headers());
    stages::challenge(fault, response.headers_mut());
    // See `framing`: what follows a CONNECT is not looked at as HTTP.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

impl Opened {
    async fn serve(self, mut stream: BoxStream) {
        let wait = self.client.gateway.config.peek_timeout;
        let Ok((kind, bytes)) = peek::peek(&mut stream, wait).await else { return };
        let stream: BoxStream = if bytes.is_empty() { stream } else { Box::new(Prefixed::new(bytes, stream)) };
        match kind {
            Kind::Nothing => {}
            Kind::Tls(hello) => self.tls(stream, hello).await,
            Kind::Http1 => self.plain(stream, Protocol::Http1).await,
            Kind::Http2 => self.plain(stream, Protocol::Http2).await,
            Kind::Opaque => self.pass(stream, "not HTTP or TLS").await,
            Kind::Undecided => {
                let watched = Box::new(LateCheck::new(stream));
                self.pass(watched, "the client waits for the server to speak").await;
            }
            Kind::BrokenTls => {
                let mut record = self.record(None).await;
                "CLIENT_TLS_ERROR".clone_into(&mut record.fields.connection_close_reason);
                record.decided(BLOCK, "the connection starts like TLS and is not");
            }
        }
    }

    /// HTTP without TLS inside the tunnel: the same stages, one request at a time.
    async fn plain(self, stream: BoxStream, protocol: Protocol) {
        let Self { client, snapshot, caller, host, port, .. } = self;
        let judged = snapshot.revision.into();
        // The connection may outlive many snapshots; each request takes the one of its time.
        drop(snapshot);
        let tunnel = Tunnel { scheme: Scheme::Http, host, port, caller, hello: None, tls: None, judged };
        connection::serve_inside(&client, stream, tunnel, protocol).await;
    }

    async fn tls(mut self, stream: BoxStream, hello: Box<ClientHello>) {
        let sni = hello.sni.as_deref().and_then(|name| Host::parse(name).ok());
        match self.passes(&hello, sni.as_ref()).await {
            Some((rule, why)) => {
                Counters::add(&self.client.gateway.counters.passed_through);
                self.pass_tls(stream, &hello, sni.as_ref(), rule, why).await;
            }
            None => self.intercept(stream, hello, sni).await,
        }
    }

    /// Decides whether TLS is passed through, and says why.
    ///
    /// # Security
    /// The server name is the client's word. With a name in CONNECT both must be exempt; with an address, the address must
    /// be one of that name's, or claiming an exempt name would be a way around inspection.
    async fn passes(&self, hello: &ClientHello, sni: Option<&Host>) -> Option<Stopped> {
        let found = Some(self.exempt_by_names(sni).await?);
        if let (Some(sni), Host::Address(address)) = (sni, &self.host) {
            let resolved = match sni.name() {
                Some(name) => self.snapshot.resolver.resolve(name, self.port).await.ok()?,
                None => return None,
            };
            if !resolved.addresses.iter().any(|found| found.ip() == *address) {
                return None;
            }
        }
        tracing::trace!(ja4 = hello.ja4, "a TLS connection is passed through");
        found
    }

    /// Says why every name of a connection is exempt from decryption, if it is.
    pub(crate) async fn exempt_by_names(&self, sni: Option<&Host>) -> Option<Stopped> {
        let names: Vec<String> = [sni, Some(&self.host)]
            .into_iter()
            .flatten()
            .filter(|host| sni.is_none() || host.name().is_some())
            .map(bare)
            .collect();
        let mut found = None;
        for name in &names {
            found = Some(self.exempt(name).await?);
        }
        found
    }

    /// Says why `host` is exempt from decryption, if it is.
    async fn exempt(&self, host: &str) -> Option<Stopped> {
        if !self.snapshot.settings.tls_decrypt {
            return Some((None, "TLS decryption is switched off".to_owned()));
        }
        let now = (self.client.gateway.clock)();
        let mut scratch = Scratch::new();
        let mut addresses = None;
        let step = self.with_facts(host, None, |facts| {
            self.snapshot.http.decide_connection(&HttpFacts::of_connection(facts), now, &mut scratch)
        });
        let verdict = match step {
            Step::Verdict(verdict) => verdict,
            Step::Needs(_) => {
                addresses.clone_from(&self.resolve(host).await);
                self.with_facts(host, addresses.as_deref(), |facts| {
                    self.snapshot.http.finish_connection(&HttpFacts::of_connection(facts), now, &mut scratch)
                })
            }
        };
        if let ActionPlan::Off = verdict.action {
            let why = verdict.rule.as_ref().map_or_else(String::new, |rule| format!("rule \"{}\"", rule.name));
            return Some((verdict.rule, format!("{why} says not to inspect it")));
        }
        let reason = self.snapshot.bypass.reason(host)?;
        Some((None, format!("on the do-not-inspect list: {reason}")))
    }

    pub(crate) fn with_facts<T>(
        &self,
        host: &str,
        addresses: Option<&[IpAddr]>,
        read: impl FnOnce(ConnectionFacts<'_>) -> T,
    ) -> T {
        let classifier = &self.snapshot.classifier;
        let meaning = meaning::facts(classifier, self.client.first_host.classify(classifier, host));
        read(connection_facts(&self.client, &self.caller, Some(host), meaning, Some(self.port), addresses))
    }

    /// The host that rules judge: the name in CONNECT; for an address the name in the TLS greeting, which is resolved here
    /// or was checked against the address, so that what is judged is what is reached.
    pub(crate) fn judged<'a>(&'a self, sni: Option<&'a Host>) -> &'a Host {
        match (&self.host, sni) {
            (Host::Address(_), Some(sni)) => sni,
            (host, _) => host,
        }
    }

    pub(crate) async fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        if let Some(reached) = self.reached {
            return Some(vec![reached]);
        }
        match Host::parse(host).ok()? {
            Host::Address(address) => Some(vec![address]),
            Host::Name(name) => {
                let found = self.snapshot.resolver.resolve(&name, self.port).await;
                // Without an address rules see an empty list, and connecting says what is wrong.
                Some(
                    found
                        .map(|found| found.addresses.iter().map(std::net::SocketAddr::ip).collect())
                        .unwrap_or_default(),
                )
            }
        }
    }

    async fn pass_tls(
        &mut self,
        stream: BoxStream,
        hello: &ClientHello,
        sni: Option<&Host>,
        rule: Option<Arc<RuleRef>>,
        why: String,
    ) {
        let mut record = self.record(Some(hello)).await;
        match self.stops_passing(sni, rule.is_some()).await {
            Some((rule, why)) => {
                record.decided(BLOCK, why);
                if let Some(rule) = rule {
                    record.rule(&rule);
                }
            }
            None => {
                record.decided("off", why);
                if let Some(rule) = rule {
                    record.rule(&rule);
                }
                self.carry(stream, record, &Carried::Tls { sni }).await;
            }
        }
    }

    /// Passes a protocol that is not read.
    async fn pass(mut self, stream: BoxStream, what: &str) {
        Counters::add(&self.client.gateway.counters.tunnels);
        let mut record = self.record(None).await;
        match self.stops_opaque().await {
            Some((rule, why)) => {
                record.decided(BLOCK, why);
                if let Some(rule) = rule {
                    record.rule(&rule);
                }
            }
            None => {
                record.decided("allow", format!("passed through: {what}"));
                self.carry(stream, record, &Carried::Opaque).await;
            }
        }
    }

    /// Dials the destination and copies both ways.
    async fn carry(&mut self, stream: BoxStream, mut record: TunnelRecord, carried: &Carried<'_>) {
        let stream = Counted::with_counters(stream, Arc::clone(&record.bytes));
        let connector = Arc::clone(self.snapshot.upstream.connector());
        let dialled = tokio::time::timeout(
            self.client.gateway.config.connect_timeout,
            Box::pin(connector.dial(&self.host, self.port)),
        );
        match dialled.await {
            Ok(Ok(dialled)) => {
                record.fields.destination_ip = dialled.peer.ip().to_string();
                self.reached = Some(dialled.peer.ip());
                // The name may have led elsewhere when rules were asked (DNS rebinding): what counts is where it led.
                if self.reads_addresses()
                    && let Some(stopped) = self.stops(carried).await
                {
                    return review::record(&mut record, stopped);
                }
                let idle = self.client.gateway.config.tunnel_idle_timeout;
                tokio::select! {
                    ended = tunnel::copy(stream, dialled.stream, idle) => {
                        ended.as_str().clone_into(&mut record.fields.connection_close_reason);
                    }
                    stopped = self.withdrawn(carried) => review::record(&mut record, stopped),
                }
            }
            Ok(Err(error)) => {
                let fault = upstream::connect_fault(&error, &self.host);
                if let Fault::Guard { .. } = fault {
                    record.decided(BLOCK, fault.what());
                }
                record.fields.error = fault.what();
                "ORIGIN_UNREACHABLE".clone_into(&mut record.fields.connection_close_reason);
            }
            Err(_) => {
                record.fields.error = Fault::ConnectTimeout { host: self.host.to_string() }.what();
                "ORIGIN_UNREACHABLE".clone_into(&mut record.fields.connection_close_reason);
            }
        }
    }

    /// Network rules come before web rules.
    pub(crate) async fn stopped_by_network_rules(&self, protocol: &str, host: &Host) -> Option<Stopped> {
        let rules = &self.snapshot.l4;
        if rules.is_empty() {
            return None;
        }
        let host = bare(host);
        let addresses = self.resolve(&host).await;
        let now = (self.client.gateway.clock)();
        let verdict = self.with_facts(&host, addresses.as_deref(), |facts| {
            let detected = Some(Some(protocol).filter(|protocol| !protocol.is_empty()));
            let facts = ConnectionFacts { detected_protocol: detected, ..facts };
            rules.finish(&L4Facts(facts), now, Cursor::start(), &mut Scratch::new())
        });
        stopped(&verdict.action, verdict.rule, "network rule", &self.caller, now)
    }

    /// Web rules that are settled by the host alone hold for what cannot be read, too. Those that need more do not match.
    pub(crate) async fn stopped_by_web_rules(&self, host: &Host) -> Option<Stopped> {
        let host = bare(host);
        let addresses = self.resolve(&host).await;
        let now = (self.client.gateway.clock)();
        let verdict = self.with_facts(&host, addresses.as_deref(), |facts| {
            let facts = HttpFacts::of_connection(facts);
            self.snapshot.http.finish(&facts, now, Cursor::start(), &mut Scratch::new())
        });
        stopped(&verdict.action, verdict.rule, "rule", &self.caller, now)
    }

    /// Answers the client's handshake with a minted certificate and serves what is inside.
    async fn intercept(self, stream: BoxStream, hello: Box<ClientHello>, sni: Option<Host>) {
        let origin_host = self.judged(sni.as_ref()).clone();
        if let Some((rule, why)) = self.stopped_by_network_rules("tls", &origin_host).await {
            let mut record = self.record(Some(&hello)).await;
            record.decided(BLOCK, why);
            if let Some(rule) = rule {
                record.rule(&rule);
            }
            return;
        }
        let client_offer = Offer::mirror(&hello.alpn);
        let presented = sni.clone().unwrap_or_else(|| self.host.clone());
        let (names, offer) = self.mirror(&presented, &origin_host, client_offer).await;
        let gateway = &self.client.gateway;
        let accepted = match self.snapshot.minter.server_config_for(&hello, &names, offer, (gateway.clock)()) {
            Ok(config) => net::server::accept(stream, config, gateway.config.handshake_timeout).await,
            Err(error) => {
                let mut record = self.record(Some(&hello)).await;
                record.decided(BLOCK, "no certificate could be issued for it");
                record.fields.error = error.to_string();
                return;
            }
        };
        match accepted {
            Ok(accepted) => {
                Counters::add(&gateway.counters.intercepted);
                let protocol = accepted.tls.alpn.unwrap_or(Protocol::Http1);
                let judged = self.snapshot.revision.into();
                // The connection may outlive many snapshots; each request takes the one of its time.
                drop(self.snapshot);
                let tunnel = Tunnel {
                    scheme: Scheme::Https,
                    host: origin_host,
                    port: self.port,
                    caller: self.caller,
                    hello: Some(hello),
                    tls: Some(accepted.tls),
                    judged,
                };
                connection::serve_inside(&self.client, accepted.stream, tunnel, protocol).await;
            }
            Err(error) => self.handshake_failed(&hello, &error).await,
        }
    }

    /// Finds the names to mint and the protocols to accept, from what is known about the origin or by asking it.
    async fn mirror(&self, presented: &Host, origin_host: &Host, client_offer: Offer) -> (LeafNames, Offer) {
        let route = Route::new(Origin::new(Scheme::Https, origin_host.clone(), self.port), client_offer);
        let pool = &self.snapshot.upstream;
        let known = match pool.profile(&route) {
            Some(profile) => Some(profile),
            // A host that a rule blocks anyway is not contacted for the sake of a certificate.
            None if self.stopped_by_web_rules(origin_host).await.is_some() => None,
            None => {
                let within = self.client.gateway.config.handshake_timeout / 2;
                tokio::time::timeout(within, pool.prepare(&route)).await.ok().and_then(Result::ok)
            }
        };
        match known {
            Some(profile) => {
                let names = match &profile.certificate {
                    Some(certificate) => LeafNames::mirror(presented, certificate),
                    None => LeafNames::for_host(presented),
                };
                (names, profile.mirrored(client_offer))
            }
            // The page that says why needs a certificate all the same.
            None => (LeafNames::for_host(presented), client_offer),
        }
    }

    async fn handshake_failed(&self, hello: &ClientHello, error: &AcceptError) {
        let mut record = self.record(Some(hello)).await;
        "CLIENT_TLS_ERROR".clone_into(&mut record.fields.connection_close_reason);
        record.fields.error = error.to_string();
        let why = match error {
            AcceptError::Distrusted(_) => {
                "the client does not trust the gateway's certificate: install the account's authority on it, or, if the \
                 program pins certificates, put the host on the do-not-inspect list"
            }
            AcceptError::Timeout | AcceptError::Handshake(_) | AcceptError::Io(_) => {
                "the client did not complete its TLS handshake"
            }
        };
        record.decided("unknown", why);
    }

    pub(crate) async fn record(&self, hello: Option<&ClientHello>) -> TunnelRecord {
        let host = bare(&self.host);
        let mut record = TunnelRecord::open(&self.client, &self.snapshot, &self.caller, &host, self.port).await;
        if let Some(hello) = hello {
            record.fields.sni = hello.sni.clone().unwrap_or_default();
            record.fields.ja4.clone_from(&hello.ja4);
            "tls".clone_into(&mut record.fields.detected_protocol);
        }
        if let Host::Address(address) = &self.host {
            record.fields.destination_ip = address.to_string();
        }
        let sni = hello.and_then(|hello| hello.sni.as_deref()).and_then(|name| Host::parse(name).ok());
        let classifier = &self.snapshot.classifier;
        let judged = bare(self.judged(sni.as_ref()));
        let meaning = classifier.meaning(self.client.first_host.classify(classifier, &judged));
        meaning::describe_connection(&meaning, &mut record.fields);
        record
    }
}

/// Whether an action lets a connection pass that nobody can look into.
fn stopped(
    action: &ActionPlan,
    rule: Option<Arc<RuleRef>>,
    kind: &str,
    caller: &Caller,
    now: Timestamp,
) -> Option<Stopped> {
    let name = rule.as_ref().map_or("", |rule| rule.name.as_str());
    if let ActionPlan::Allow(plan) = action
        && let Some(fault) = caller.session_fault(plan.check_session, now)
    {
        let why = format!("{kind} \"{name}\" allows it to people who signed in lately. {fault}");
        return Some((rule, why));
    }
    match action {
        ActionPlan::Allow(_) | ActionPlan::Off | ActionPlan::NoScan | ActionPlan::NoIsolate => None,
        ActionPlan::Block(_) | ActionPlan::Unevaluable(_) => {
            Some((rule.clone(), format!("{kind} \"{name}\" blocks it")))
        }
        // A question that cannot be asked, a page that cannot be shown: closed.
        ActionPlan::Redirect(_)
        | ActionPlan::Isolate(_)
        | ActionPlan::Quarantine(_)
        | ActionPlan::Worker(_)
        | ActionPlan::Managed(_) => Some((
            rule.clone(),
            format!(
                "{kind} \"{name}\" ({}) cannot be carried out on a connection that is not decrypted",
                action.word()
            ),
        )),
    }
}

/// A host without the brackets of an IPv6 address.
pub(crate) fn bare(host: &Host) -> String {
    match host {
        Host::Name(name) => name.to_string(),
        Host::Address(address) => address.to_string(),
    }
}

impl Tunnel {
    /// Says whether a request inside may be for `host`: the name in CONNECT, or any name over plain HTTP to an address,
    /// because that name is resolved here.
    pub(crate) fn stands_for(&self, host: &Host) -> bool {
        self.host == *host || (self.hello.is_none() && self.host.address().is_some())
    }
}
