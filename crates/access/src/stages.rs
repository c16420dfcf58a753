//! The life of one request at the access listener: one ordered list of stages.
//!
//! Each stage goes on or ends the exchange with an answer. Invariant: nothing is sent to an application before the gate
//! let it through, and paths of our own never reach one.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use identity::routes::{RouteError, host_of};
use net::proxy::body::{Body, boxed, empty_body};
use net::proxy::framing::FAULT_METHOD;
use net::proxy::head::HeadFault;
use net::proxy::hop;

use crate::access::Client;
use crate::client_certificate;
use crate::endpoints;
use crate::exchange::Exchange;
use crate::gate;
use crate::login;
use crate::oauth;
use crate::page;
use crate::snapshot::Published;
use crate::words::Message;

/// Where our own endpoints live, on every host.
pub(crate) const OWN: &str = "/cdn-cgi/access/";

/// Answers one request, whatever happens.
pub(crate) fn answer(client: Arc<Client>, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
    // One allocation, and one place where the whole state machine is laid out.
    Box::pin(whole(client, request))
}

async fn whole(client: Arc<Client>, request: Request<Incoming>) -> Response<Body> {
    let version = request.version();
    // What follows an upgrade is not looked at by `framing`.
    let closes = request.headers().contains_key(header::UPGRADE) || request.method().as_str() == FAULT_METHOD;
    let head = request.method() == Method::HEAD;
    let mut response = run(client, request).await;
    if head {
        head_alone(&mut response);
    }
    if version != Version::HTTP_2 {
        *response.version_mut() = Version::HTTP_11;
        if closes && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

/// Takes the content of an answer of ours out again: HTTP/2 would send it, and clients end a stream that brings some
/// (RFC 9110 section 9.3.2).
fn head_alone(response: &mut Response<Body>) {
    if response.body().is_end_stream() {
        return;
    }
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = empty_body();
}

/// The stages, in order.
async fn run(client: Arc<Client>, request: Request<Incoming>) -> Response<Body> {
    // Taken apart once; a request that cannot be read has no host to answer for.
    let mut exchange = match open(client, request) {
        Ok(exchange) => exchange,
        Err(refusal) => return page::plain(refusal.0, refusal.1),
    };
    // The certificate spoke for one host; a request for another on the same connection was led astray.
    if exchange.client.server_name.as_ref().is_some_and(|name| *name != exchange.host) {
        return page::plain(StatusCode::MISDIRECTED_REQUEST, "this connection is for another host");
    }
    exchange.certificate = client_certificate::judge(&exchange);
    // People sign in here, whatever applications there are.
    if exchange.snapshot.is_sign_in_host(&exchange.host) {
        return Box::pin(login::answer(&mut exchange)).await;
    }
    // What agents look for before they have signed in: where tokens are given, which APIs there are.
    if let Some(document) = oauth::discovery(&exchange).or_else(|| oauth::catalog(&exchange)) {
        return document;
    }
    let snapshot = Arc::clone(&exchange.snapshot);
    // Our own endpoints on an application's host: the end of a sign-in, keys, identity, sign-out.
    if exchange.path.starts_with(OWN) && snapshot.routes.has_host(&exchange.host) {
        return Box::pin(endpoints::answer(&mut exchange)).await;
    }
    // Which application: by host and path, under every reading an origin may have of them.
    let index = match snapshot.routes.find(&exchange.host, &exchange.path) {
        Ok(Some((index, _))) => index,
        Ok(None) => return page::nothing_here(&exchange),
        Err(RouteError::Host(reason) | RouteError::Path(reason)) => return page::bad_address(&exchange, reason),
        Err(RouteError::Ambiguous) => return page::bad_address(&exchange, "it can be read in more than one way"),
    };
    let Some(published) = snapshot.applications.get(index) else { return page::nothing_here(&exchange) };
    // What a part of this process tells everybody: how it is known as a client elsewhere.
    if let Some(document) = open_document(&exchange, published) {
        return document;
    }
    // Policies decide on every request; what passes is streamed.
    Box::pin(gate::answer(&mut exchange, published)).await
}

fn open_document(exchange: &Exchange, published: &Published) -> Option<Response<Body>> {
    let inside = published.inside.as_ref().filter(|_| matches!(exchange.method, Method::GET | Method::HEAD))?;
    inside.open(&exchange.path, &exchange.site(&exchange.host)?)
}

/// A request that is not taken apart: the status, and why.
struct Refusal(StatusCode, &'static str);

fn open(client: Arc<Client>, mut request: Request<Incoming>) -> Result<Exchange, Refusal> {
    if request.method().as_str() == FAULT_METHOD {
        return Err(head_fault(request.uri().path()));
    }
    if request.method() == Method::CONNECT {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "this is no proxy: name the application's address"));
    }
    let wants = request.headers().contains_key(header::UPGRADE);
    let on_upgrade = wants.then(|| hyper::upgrade::on(&mut request));
    let (mut parts, incoming) = request.into_parts();
    let named = parts.headers.get_all(header::HOST).iter().count();
    let authority = match (parts.uri.authority(), parts.headers.get(header::HOST)) {
        // HTTP/2 names the host in `:authority`; a `Host` beside it must say the same (RFC 9113 section 8.3.1).
        (Some(authority), Some(host)) if host.as_bytes() != authority.as_str().as_bytes() => {
            return Err(Refusal(StatusCode::BAD_REQUEST, "the request names two hosts"));
        }
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(host)) if named == 1 => host.to_str().unwrap_or_default().to_owned(),
        (None, _) => return Err(Refusal(StatusCode::BAD_REQUEST, "the request names no host, or more than one")),
    };
    let host = host_of(&authority).map_err(|_| Refusal(StatusCode::BAD_REQUEST, "the host is not a name"))?;
    let host = host.into_owned();
    let upgrade = hop::strip_request(&mut parts.headers);
    join_cookie_crumbs(&mut parts.headers);
    let path = parts.uri.path();
    let path = if path.is_empty() { "/" } else { path };
    if !path.starts_with('/') {
        return Err(Refusal(StatusCode::BAD_REQUEST, "the path does not begin with a slash"));
    }
    let target = match parts.uri.path_and_query() {
        Some(target) if target.as_str().starts_with('/') => target.clone(),
        // An absolute URI may go from the host to the query (RFC 3986 section 3.3).
        Some(target) => PathAndQuery::try_from(target.to_string())
            .map_err(|_| Refusal(StatusCode::BAD_REQUEST, "the path cannot be sent on"))?,
        None => PathAndQuery::from_static("/"),
    };
    Ok(Exchange {
        snapshot: client.plane.snapshot.load_full(),
        id: logs::record_id(),
        now: client.plane.now(),
        host,
        path: path.to_owned(),
        query: parts.uri.query().map(str::to_owned),
        target,
        headers: parts.headers,
        method: parts.method,
        has_body: !incoming.is_end_stream(),
        body: parking_lot::Mutex::new(boxed(incoming)),
        upgrade,
        on_upgrade,
        certificate: None,
        start: std::sync::OnceLock::new(),
        words: parking_lot::Mutex::default(),
        client,
    })
}

fn head_fault(path: &str) -> Refusal {
    let number = path.trim_start_matches('/').parse::<usize>().unwrap_or(0);
    let fault = HeadFault::ALL.get(number).copied().unwrap_or(HeadFault::RequestLine);
    let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST);
    Refusal(status, Message::BadRequest.english())
}

/// HTTP/2 clients may send each cookie as a field of its own (RFC 9113 section 8.2.3).
fn join_cookie_crumbs(headers: &mut http::HeaderMap) {
    if headers.get_all(header::COOKIE).iter().count() < 2 {
        return;
    }
    let joined: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    match HeaderValue::from_bytes(&joined.join(&b"; "[..])) {
        Ok(joined) => {
            headers.insert(header::COOKIE, joined);
        }
        Err(_) => {
            headers.remove(header::COOKIE);
        }
    }
}
