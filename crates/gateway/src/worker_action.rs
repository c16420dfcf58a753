//! Asks a Worker about one request: what it is told, what its answer does, which answers are used again.
//!
//! The runtime contains the script; what a failure leads to is the stages' (`on_error`). Invariant: a Worker that
//! declines leaves the request exactly as it was, body included, or the request fails closed.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Uri};
use http_body::Body as _;
use http_body_util::BodyExt;
use net::Origin;
use parking_lot::Mutex;
use policy::ruleset::RuleRef;
use serde_json::json;
use worker::{Answer, Call, CallError, CallReport, Script};

use crate::body::{self, Body, empty_body, full_body};
use crate::exchange::{self, Exchange, Target};
use crate::fault::Fault;
use crate::gateway::Counters;
use crate::verdict_cache::{self, HeaderChange, Remembered};
use crate::worker_host::{OriginLeg, RequestHost};
use net::proxy::hop;

/// What a Worker made of a request.
pub(crate) enum Opinion {
    /// The exchange ends with this.
    Respond(Response<Body>),
    /// The request goes on; the exchange holds the changes.
    Changed,
    None,
    Failed(CallError),
}

/// One consultation.
pub(crate) struct Consulted {
    pub(crate) opinion: Opinion,
    /// Absent when a remembered answer was used.
    pub(crate) report: Option<CallReport>,
    pub(crate) wall: Duration,
    /// The Worker failed after the origin may have received what must not be sent twice: whatever the rule says about
    /// failures, the request must not go on.
    pub(crate) spent: bool,
}

/// How a rule asks.
pub(crate) struct Question<'a> {
    pub(crate) rule: &'a RuleRef,
    pub(crate) script: &'a Arc<Script>,
    pub(crate) timeout: Duration,
    pub(crate) cache: Option<&'a policy::action::CachePlan>,
    pub(crate) leg: crate::upstream::Leg,
}

/// Asks the Worker of a rule.
///
/// # Errors
/// When the Worker declined after it had read more of a body than can be replayed.
pub(crate) async fn consult(exchange: &mut Exchange, question: Question<'_>) -> Result<Consulted, Fault> {
    let started = tokio::time::Instant::now();
    let gateway = Arc::clone(&exchange.client.gateway);
    let key = question.cache.and_then(|plan| {
        let rule = question.rule.id.to_string();
        exchange.with_facts(|facts| verdict_cache::key(&question.script.key, &rule, &plan.key, facts))
    });
    if let Some(remembered) = key.as_ref().and_then(|key| gateway.verdicts.find(key)) {
        Counters::add(&gateway.counters.worker_cache_hits);
        let opinion = recall(exchange, &remembered);
        return Ok(Consulted { opinion, report: None, wall: started.elapsed(), spent: false });
    }
    Counters::add(&gateway.counters.worker_calls);
    let before = exchange.headers.clone();
    let (request, lender) = incoming(exchange);
    let host = host(exchange, question.leg);
    let call = Call { host: host.clone(), cf: facts_json(exchange, question.rule).into(), timeout: question.timeout };
    let outcome = gateway.runtime.fetch(question.script, request, call).await;
    let asked = {
        let mut leg = host.origin_leg.lock();
        if let Some(connection) = leg.connection.take() {
            exchange.connection = Some(connection);
        }
        leg.asked
    };
    let (answer, report, error) = match outcome {
        Ok(reply) => (reply.answer, Some(reply.report), None),
        Err(error) => {
            Counters::add(&gateway.counters.worker_failures);
            let report = error.report.clone();
            (Answer::NoOpinion, Some(report), Some(error))
        }
    };
    let mut spent = false;
    let keep = key.zip(question.cache).filter(|_| !asked && error.is_none());
    let opinion = match answer {
        Answer::Response(response) => {
            let response = finish_response(response);
            let response = remember_response(&gateway.verdicts, keep, response).await;
            Opinion::Respond(response)
        }
        Answer::Request(request) => match accept(exchange, question.script, request) {
            Ok(same_message) => {
                if let Some((key, plan)) = keep.filter(|_| same_message) {
                    let change = HeaderChange::between(&before, &exchange.headers);
                    gateway.verdicts.keep(key, Remembered::Headers(change), plan.ttl);
                }
                Opinion::Changed
            }
            Err(error) => {
                Counters::add(&gateway.counters.worker_failures);
                spent = !host.origin_leg.lock().release();
                restore(exchange, lender)?;
                Opinion::Failed(error)
            }
        },
        Answer::NoOpinion => {
            spent = !host.origin_leg.lock().release();
            restore(exchange, lender)?;
            match error {
                Some(error) => Opinion::Failed(error),
                None if spent => {
                    Counters::add(&gateway.counters.worker_failures);
                    Opinion::Failed(failure("it sent the request to its origin and then returned nothing"))
                }
                None => {
                    if let Some((key, plan)) = keep {
                        gateway.verdicts.keep(key, Remembered::NoOpinion, plan.ttl);
                    }
                    Opinion::None
                }
            }
        }
    };
    Ok(Consulted { opinion, report, wall: started.elapsed(), spent })
}

/// What the script's `fetch` handler is given. The body is lent, so that it can come back.
fn incoming(exchange: &mut Exchange) -> (Request<Body>, Option<body::Lender>) {
    let (body, lender) = if exchange.has_body {
        let (lent, lender) = body::lend(exchange.take_body(), exchange.client.gateway.config.body_head_bytes);
        (lent, Some(lender))
    } else {
        (empty_body(), None)
    };
    let mut request = Request::new(body);
    request.method_mut().clone_from(&exchange.method);
    if let Ok(uri) = Uri::try_from(exchange.target.url.as_str()) {
        *request.uri_mut() = uri;
    }
    request.headers_mut().clone_from(&exchange.headers);
    (request, lender)
}

/// The host of the call.
fn host(exchange: &Exchange, leg: crate::upstream::Leg) -> Arc<RequestHost> {
    Arc::new(RequestHost {
        gateway: Arc::clone(&exchange.client.gateway),
        snapshot: Arc::clone(&exchange.snapshot),
        origin: exchange.target.origin.clone(),
        repeatable: hop::is_replayable(&exchange.method),
        leg,
        origin_leg: Mutex::new(OriginLeg::default()),
    })
}

/// Puts the lent body back.
fn restore(exchange: &mut Exchange, lender: Option<body::Lender>) -> Result<(), Fault> {
    if let Some(lender) = lender {
        exchange.body = lender.reclaim().ok_or_else(|| {
            Fault::Configuration(
                "its Worker declined after it had read more of the body than can be sent again; let it answer, or \
                 read less"
                    .to_owned(),
            )
        })?;
    }
    Ok(())
}

/// Applies a `Request` that the script returned. True when only headers differ.
fn accept(exchange: &mut Exchange, script: &Script, request: Request<Body>) -> Result<bool, CallError> {
    let (parts, body) = request.into_parts();
    let target = target_of(&parts.uri).ok_or_else(|| failure("the returned request has no http or https URL"))?;
    let same_origin = target.origin == exchange.target.origin;
    if !same_origin {
        let url = url::Url::parse(&target.url).map_err(|_| failure("the returned request has no valid URL"))?;
        // Sending people elsewhere is egress, whether the script fetches or returns the request.
        if !script.egress.permits(&url) {
            return Err(failure("the returned request goes to another origin, which the script's egress list lacks"));
        }
    }
    let same_message = target.url == exchange.target.url && parts.method == exchange.method && !exchange.has_body;
    exchange.target = target;
    exchange.classify();
    exchange.recognise_package();
    exchange.method = parts.method;
    exchange.headers = parts.headers;
    hop::strip_request(&mut exchange.headers);
    // The body may be another one; its length is taken from the body itself.
    exchange.headers.remove(http::header::CONTENT_LENGTH);
    exchange.has_body = !body.is_end_stream();
    exchange.body = body;
    exchange.mime = exchange::media_type(&exchange.headers);
    if !same_origin {
        exchange.addresses = match exchange.target.origin.host {
            net::Host::Address(address) => Some(vec![address]),
            net::Host::Name(_) => None,
        };
        exchange.moved = true;
    }
    exchange.upload = exchange::Seen::default();
    exchange.recognise_mcp();
    Ok(same_message)
}

/// A failure that the gateway finds in what the script returned.
fn failure(message: &str) -> CallError {
    CallError {
        kind: worker::CallErrorKind::Exception,
        message: message.to_owned(),
        stack: String::new(),
        pass_through: false,
        report: CallReport::default(),
    }
}

fn target_of(uri: &Uri) -> Option<Target> {
    let scheme = exchange::scheme(uri)?;
    let host = net::Host::parse(uri.host()?).ok()?;
    let port = uri.port_u16().unwrap_or_else(|| scheme.default_port());
    Some(Target::new(Origin::new(scheme, host, port), uri.path_and_query().map_or("/", |path| path.as_str())))
}

fn finish_response(mut response: Response<Body>) -> Response<Body> {
    hop::strip_response(response.headers_mut());
    // hyper frames what is sent; a length that the script invented must not.
    if let Some(exact) = response.body().size_hint().exact()
        && !response.headers().contains_key(http::header::CONTENT_ENCODING)
        && exact > 0
    {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, exact.into());
    }
    response
}

/// Uses a remembered answer.
fn recall(exchange: &mut Exchange, remembered: &Remembered) -> Opinion {
    match remembered {
        Remembered::NoOpinion => Opinion::None,
        Remembered::Headers(change) => {
            change.apply(&mut exchange.headers);
            exchange.recognise_mcp();
            Opinion::Changed
        }
        Remembered::Response { status, headers, body } => {
            let mut response = Response::new(full_body(body.clone()));
            *response.status_mut() = *status;
            response.headers_mut().clone_from(headers);
            Opinion::Respond(response)
        }
    }
}

/// Keeps a short response for the next time; longer ones pass untouched.
async fn remember_response(
    cache: &verdict_cache::VerdictCache,
    keep: Option<(verdict_cache::Key, &policy::action::CachePlan)>,
    response: Response<Body>,
) -> Response<Body> {
    let Some((key, plan)) = keep else { return response };
    let short = response.body().size_hint().upper().is_some_and(|size| size <= verdict_cache::MOST_BODY as u64);
    if !short {
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(collected) = body.collect().await else {
        return Response::from_parts(parts, empty_body());
    };
    let body = collected.to_bytes();
    let remembered = Remembered::Response { status: parts.status, headers: parts.headers.clone(), body: body.clone() };
    cache.keep(key, remembered, plan.ttl);
    Response::from_parts(parts, full_body(body))
}

/// Writes `request.cf`: everything the rule knew, and a place for what later parts of the product will know.
fn facts_json(exchange: &Exchange, rule: &RuleRef) -> String {
    let identity = exchange.person().map(|person| {
        let groups: Vec<_> = person
            .group_names
            .iter()
            .enumerate()
            .map(|(at, name)| {
                json!({
                    "id": person.group_ids.get(at),
                    "name": name,
                    "email": person.group_emails.get(at),
                })
            })
            .collect();
        json!({ "id": person.id, "email": person.email, "name": person.name, "groups": groups })
    });
    let meaning = exchange.meaning();
    let application = meaning.application.filter(|_| !meaning.app_ids.is_empty()).map(|application| {
        json!({
            "id": application.id,
            "slug": &*application.slug,
            "name": &*application.name,
            "type": application.kind,
            "status": meaning.app_statuses.first(),
            "ai": application.ai().map(catalog::AiKind::as_str).collect::<Vec<_>>(),
        })
    });
    let hello = exchange.tunnel.as_ref().and_then(|tunnel| tunnel.hello.as_deref());
    let tls = exchange.tunnel.as_ref().and_then(|tunnel| tunnel.tls.as_ref());
    json!({
        "requestId": exchange.id_text(),
        "accountId": exchange.snapshot.account.to_string(),
        "identity": identity,
        "device": null,
        "risk": null,
        "application": application,
        "country": null,
        "contentCategories": meaning.content_categories,
        "securityCategories": meaning.security_categories,
        "detections": { "uploadTypes": exchange.upload.types },
        "rule": { "id": rule.id.to_string(), "name": rule.name, "precedence": rule.precedence },
        "source": { "ip": exchange.source().to_string(), "port": exchange.client.source.port() },
        "proxyEndpoint": exchange.caller.endpoint.as_deref(),
        "httpProtocol": exchange::version_text(exchange.version),
        "tlsVersion": tls.map(|tls| tls.version),
        "tlsCipher": tls.map(|tls| tls.cipher),
        "ja4": hello.map(|hello| hello.ja4.as_str()),
    })
    .to_string()
}
