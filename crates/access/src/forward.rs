//! To the application and back: what it is told about the caller, the outgoing request, the arrived response.
//!
//! It decides nothing about who may pass. Invariant: whatever the client sent under a name that carries identity or
//! forwarding is removed, under every spelling a server may take for it; bodies stream with back-pressure both ways.

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body::Body as _;
use hyper_util::rt::TokioIo;
use identity::application::SelfHosted;
use identity::cookie::{self, Cookie};
use net::Offer;
use net::proxy::body::{Body, boxed, empty_body};
use net::proxy::{hop, serve, tunnel};
use net::upstream::{ConnectError, SendError};

use crate::backend::Backend;
use crate::caller::{Program, Signed};
use crate::exchange::Exchange;
use crate::inside;
use crate::markdown::{self, Wish};
use crate::oauth::{self, Held};
use crate::page;
use crate::snapshot::Published;
use crate::words::Message;

/// What an application is told about the caller.
pub(crate) enum Assertion<'a> {
    /// Nothing: a bypass, or a request that an address let in.
    None,
    Person(&'a Signed),
    Program {
        token: &'a str,
        /// `None`: a machine that its certificate names.
        program: Option<&'a Program>,
    },
    /// A person's agent.
    Agent {
        token: &'a str,
        held: &'a Held,
    },
}

const ASSERTION: HeaderName = HeaderName::from_static("cf-access-jwt-assertion");
const EMAIL: HeaderName = HeaderName::from_static("cf-access-authenticated-user-email");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Names under which proxies tell servers who or where a client is, or which certificate it has. Underscores count as hyphens: CGI, WSGI and their
/// kin read both alike.
pub(crate) fn speaks_of_identity(name: &str) -> bool {
    const NAMES: [&str; 13] = [
        "forwarded",
        "remote-user",
        "x-remote-user",
        "x-real-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "cf-ipcountry",
        "x-user",
        "x-authenticated-user",
        "x-client-ip",
        "x-original-url",
        "x-rewrite-url",
        "x-original-host",
    ];
    const PREFIXES: [&str; 11] = [
        "cf-access-",
        "x-forwarded",
        "x-auth-request-",
        "x-goog-authenticated",
        "x-webauth-",
        // Client certificates, under the names of the vendor, of RFC 9440 and of common proxies.
        "cf-client-cert-",
        "client-cert",
        "x-client-cert",
        "x-ssl-client",
        "ssl-client-",
        "x-amzn-mtls-",
    ];
    let begins = |with: &str| {
        let plain = name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
        name.len() >= with.len() && plain.zip(with.bytes()).all(|(a, b)| a == b)
    };
    NAMES.iter().any(|plain| plain.len() == name.len() && begins(plain)) || PREFIXES.iter().any(|with| begins(with))
}

/// Sends the request to the application and returns what comes back.
pub(crate) async fn send(exchange: &mut Exchange, published: &Published, assertion: Assertion<'_>) -> Response<Body> {
    if let Some(inside) = &published.inside {
        let request = handed_over(exchange, published);
        let answer = inside::visit(exchange, published, inside, request, &assertion).await;
        return answer.unwrap_or_else(|| page::bad_address(exchange, "its host is not one"));
    }
    let Some(backend) = &published.backend else {
        return page::simple(exchange, StatusCode::BAD_GATEWAY, Message::NoOrigin);
    };
    let wish = markdown::wish(exchange, published);
    let Some(mut request) = outgoing(exchange, backend, published, &assertion) else {
        return page::bad_address(exchange, "its path is not one");
    };
    if wish == Wish::Markdown {
        markdown::prepare(&mut request);
    }
    let mut route = backend.route.clone();
    if binds_the_connection(request.headers()) {
        route = route.with_partition(exchange.client.number);
    }
    let within = exchange.plane().config.response_timeout;
    // Without TLS nothing but HTTP/1.1 is ever tried.
    let again = if backend.route.offer == Offer::Http1 { None } else { replay(&request) };
    let outcome = match (tokio::time::timeout(within, backend.pool.send(&route, request)).await, again) {
        // The origin asked for HTTP/1.1 or its HTTP/2 does not work; the pool remembers, so this goes the other way.
        (Ok(Err(SendError::Http2Unusable(_))), Some(again)) => {
            tokio::time::timeout(within, Box::pin(backend.pool.send(&route, again))).await
        }
        (outcome, _) => outcome,
    };
    match outcome {
        Ok(Ok(answer)) => {
            let response = arrived(exchange, answer.response.map(boxed));
            markdown::turn(exchange, published, wish, response).await
        }
        Ok(Err(error)) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                application = %published.application.id,
                "an application could not be reached"
            );
            let timed_out = matches!(error, SendError::Connect(ConnectError::Timeout(_)));
            let status = if timed_out { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
            page::simple(exchange, status, Message::OriginFailed)
        }
        Err(_) => page::simple(exchange, StatusCode::GATEWAY_TIMEOUT, Message::OriginFailed),
    }
}

fn outgoing(
    exchange: &mut Exchange,
    backend: &Backend,
    published: &Published,
    assertion: &Assertion<'_>,
) -> Option<Request<Body>> {
    let mut headers = std::mem::take(&mut exchange.headers);
    clean(&mut headers, published.self_hosted().and_then(|app| app.service_tokens.header.as_deref()));
    let keep_token = matches!(assertion, Assertion::Person(_) | Assertion::Program { .. });
    strip_cookies(&mut headers, keep_token);
    match assertion {
        Assertion::None => {}
        Assertion::Person(signed) => {
            headers.insert(ASSERTION, signed.token.header.clone());
            let email = &signed.live.session().identity.email;
            headers.insert(EMAIL, HeaderValue::from_str(email.as_str()).ok()?);
        }
        Assertion::Program { token, .. } => {
            headers.insert(ASSERTION, HeaderValue::from_str(token).ok()?);
        }
        Assertion::Agent { token, held } => {
            headers.insert(ASSERTION, HeaderValue::from_str(token).ok()?);
            let email = &held.kept.session.identity.email;
            headers.insert(EMAIL, HeaderValue::from_str(email.as_str()).ok()?);
        }
    }
    if let Some(judged) = &exchange.certificate {
        judged.forward(&mut headers);
    }
    let port = exchange.plane().config.public_port;
    let authority = if port == 443 { exchange.host.clone() } else { format!("{}:{port}", exchange.host) };
    let authority = HeaderValue::try_from(authority).ok()?;
    headers.insert(FORWARDED_FOR, HeaderValue::try_from(exchange.source().to_string()).ok()?);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers.insert(FORWARDED_HOST, authority.clone());
    headers.insert(FORWARDED_PORT, HeaderValue::from(port));
    let host = match &backend.host_header {
        Some(host) => HeaderValue::from_str(host).ok()?,
        None => authority,
    };
    headers.insert(header::HOST, host);
    if let Some(protocol) = exchange.upgrade.clone() {
        hop::restore_upgrade(&mut headers, protocol);
    }
    Some(request(exchange, headers))
}

/// The request as an application of this process sees it.
fn handed_over(exchange: &mut Exchange, published: &Published) -> Request<Body> {
    let mut headers = std::mem::take(&mut exchange.headers);
    clean(&mut headers, published.self_hosted().and_then(|app| app.service_tokens.header.as_deref()));
    strip_cookies(&mut headers, false);
    request(exchange, headers)
}

fn request(exchange: &Exchange, headers: HeaderMap) -> Request<Body> {
    let body = if exchange.has_body { exchange.take_body() } else { empty_body() };
    let mut request = Request::new(body);
    request.method_mut().clone_from(&exchange.method);
    *request.uri_mut() = Uri::from(exchange.target.clone());
    *request.headers_mut() = headers;
    request
}

/// Removes every header that speaks of identity or forwarding, and those of service tokens.
fn clean(headers: &mut HeaderMap, service_header: Option<&str>) {
    let named: Vec<HeaderName> = headers.keys().filter(|name| speaks_of_identity(name.as_str())).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    // Whoever learned the token of an agent could act as the person at this application.
    if oauth::presented(headers).is_some() {
        headers.remove(header::AUTHORIZATION);
    }
    // The header an application chose for service tokens may be `Authorization`, which then holds ours only as JSON.
    if let Some(name) = service_header {
        let ours = headers.get(name).is_some_and(|value| value.as_bytes().trim_ascii_start().starts_with(b"{"));
        if ours {
            headers.remove(name);
        }
    }
}

fn strip_cookies(headers: &mut HeaderMap, keep_token: bool) {
    // Crumbs were joined when the request arrived, so this is all of them.
    let header::Entry::Occupied(mut cookies) = headers.entry(header::COOKIE) else { return };
    let kept = cookie::for_origin(cookies.get().as_bytes(), keep_token);
    match kept.and_then(|kept| HeaderValue::from_bytes(&kept).ok()) {
        Some(kept) => drop(cookies.insert(kept)),
        None => drop(cookies.remove()),
    }
}

/// A copy of a request that may be sent twice: safe by its method and without a body.
fn replay(request: &Request<Body>) -> Option<Request<Body>> {
    if !hop::is_replayable(request.method()) || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(empty_body());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// NTLM and Negotiate authenticate a connection, which must then belong to one client alone.
fn binds_the_connection(headers: &HeaderMap) -> bool {
    headers.get_all(header::AUTHORIZATION).iter().any(|value| {
        let scheme = value.as_bytes().split(|b| *b == b' ').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

fn arrived(exchange: &mut Exchange, mut response: Response<Body>) -> Response<Body> {
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let origin = switched.then(|| hyper::upgrade::on(&mut response));
    let (mut parts, body) = response.into_parts();
    let protocol = switched.then(|| parts.headers.get(header::UPGRADE).cloned()).flatten();
    hop::strip_response(&mut parts.headers);
    keep_own_cookies(&mut parts.headers);
    let mut response = Response::from_parts(parts, body);
    let Some(origin) = origin else { return response };
    let (Some(client), Some(protocol)) = (exchange.on_upgrade.take(), protocol) else {
        return page::simple(exchange, StatusCode::BAD_GATEWAY, Message::OriginFailed);
    };
    hop::restore_upgrade(response.headers_mut(), protocol);
    let owner = Arc::clone(&exchange.client);
    let idle = exchange.plane().config.tunnel_idle_timeout;
    exchange.client.tasks.spawn(async move {
        // The client's side is ready once hyper has written the 101.
        let (Ok(client), Ok(origin)) = tokio::join!(client, origin) else { return };
        tunnel::copy(serve::unwrap(client), TokioIo::new(origin), idle).await;
        drop(owner);
    });
    response
}

/// An application must not set cookies that are ours.
fn keep_own_cookies(headers: &mut HeaderMap) {
    let ours = |value: &HeaderValue| {
        let pair = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        cookie::is_ours(pair, false)
    };
    if !headers.get_all(header::SET_COOKIE).iter().any(ours) {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(header::SET_COOKIE).iter().filter(|value| !ours(value)).cloned().collect();
    headers.remove(header::SET_COOKIE);
    for value in kept {
        headers.append(header::SET_COOKIE, value);
    }
}

/// Adds what a cross-origin answer needs, in the place of what the application says about it.
pub(crate) fn cross_origin(headers: &mut HeaderMap, app: &SelfHosted, origin: &str) {
    for (name, value) in app.cors.response_headers(origin) {
        let Ok(value) = HeaderValue::try_from(value) else { continue };
        if name == "vary" {
            headers.append(header::VARY, value);
        } else {
            headers.insert(name, value);
        }
    }
}

/// Sets the cookie that a program earns.
pub(crate) fn remember(headers: &mut HeaderMap, app: &SelfHosted, token: &str, lifetime: Duration) {
    let cookie = Cookie::application(token, "/", lifetime, app.cookie);
    if let Some(value) = cookie.header().ok().and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.append(header::SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::{clean, keep_own_cookies, speaks_of_identity, strip_cookies};

    #[test]
    fn headers_that_speak_of_identity_do_not_pass_under_any_spelling() {
        for name in [
            "cf-access-jwt-assertion",
            "cf_access_jwt_assertion",
            "cf-access-authenticated-user-email",
            "cf_access-client-id",
            "x-forwarded-for",
            "x_forwarded_user",
            "x-forwarded-email",
            "remote_user",
            "forwarded",
            "x-auth-request-email",
            "x_webauth_user",
            "x-original-url",
            "cf-client-cert-der-base64",
            "cf_client_cert_sha256",
            "client-cert",
            "client_cert-chain",
            "x-ssl-client-verify",
        ] {
            assert!(speaks_of_identity(name), "{name}");
        }
        for name in
            ["cookie", "accept", "x-requested-with", "authorization", "x-csrf-token", "cf-ray", "x-user-agent", "x", ""]
        {
            assert!(!speaks_of_identity(name), "{name}");
        }
    }

    #[test]
    fn a_service_token_stays_here_and_other_credentials_pass() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "{\"cf-access-client-id\":\"x\"}".parse().unwrap());
        clean(&mut headers, Some("authorization"));
        assert!(headers.is_empty());
        headers.insert("authorization", "Bearer x".parse().unwrap());
        clean(&mut headers, Some("authorization"));
        assert_eq!(headers.len(), 1);
        headers.append("authorization", "bearer  oauth:x".parse().unwrap());
        clean(&mut headers, None);
        assert!(headers.is_empty());
    }

    #[test]
    fn cookies_of_ours_pass_in_neither_direction() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", "a=1; CF_Binding=x; CF_Authorization=t".parse().unwrap());
        strip_cookies(&mut headers, true);
        assert_eq!(headers["cookie"], "a=1; CF_Authorization=t");
        // A cookie of the application may hold any bytes; it is not lost for them, and hides none of ours.
        headers.insert("cookie", http::HeaderValue::from_bytes(b"\xa0CF_Device=d; CF_Binding=x; a=\xff").unwrap());
        strip_cookies(&mut headers, true);
        assert_eq!(headers["cookie"].as_bytes(), b"a=\xff");
        headers.clear();
        for forged in ["CF_Authorization=forged", "=CF_Authorization=forged; Path=/", "CF_Binding; Path=/"] {
            headers.append("set-cookie", forged.parse().unwrap());
        }
        headers.append("set-cookie", "a=1".parse().unwrap());
        keep_own_cookies(&mut headers);
        assert_eq!(headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1"]);
    }
}
