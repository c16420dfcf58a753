//! Which application speaks for a host, its metadata documents (RFC 9728, RFC 8414), and the challenge that leads to them.
//!
//! Invariant: a host has one authorization server; its issuer is the origin the client dialled, and everything that names
//! it says the same text.

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use identity::application::{OauthDocument, SelfHosted};
use identity::oauth::metadata::{self, Challenge, Offers, WellKnown};
use net::proxy::body::{Body, empty_body};
use serde_json::json;

use crate::exchange::Exchange;
use crate::page;
use crate::snapshot::{Published, Snapshot};

/// The application whose authorization server a host is.
#[derive(Clone, Copy)]
pub(crate) struct Server<'s> {
    pub(crate) published: &'s Published,
    pub(crate) app: &'s SelfHosted,
    pub(crate) rules: &'s OauthDocument,
}

/// Finds the application that speaks for a host: the one its root belongs to, else the first with managed OAuth.
pub(crate) fn server<'s>(snapshot: &'s Snapshot, host: &str) -> Option<Server<'s>> {
    let as_server = |published: &'s Published| {
        let app = published.self_hosted()?;
        Some(Server { published, app, rules: app.oauth.as_ref()? })
    };
    let root = snapshot.routes.find(host, "/").ok().flatten();
    let root = root.and_then(|(index, _)| as_server(snapshot.applications.get(index)?));
    root.or_else(|| {
        let mut all = snapshot.applications.iter().filter_map(as_server);
        all.find(|server| server.app.destinations.iter().any(|pattern| pattern.covers_host(host)))
    })
}

/// Returns the issuer, `https://host[:port]` as it was dialled.
pub(crate) fn issuer(exchange: &Exchange) -> Option<String> {
    exchange.site(&exchange.host).map(|site| site.origin().ascii_serialization())
}

/// Answers a request for a well-known document, if its path is one of an application with managed OAuth. Every other
/// goes on to the application, which may have documents of its own.
pub(crate) fn answer(exchange: &Exchange) -> Option<Response<Body>> {
    let found = metadata::recognise(&exchange.path)?;
    let server = server(&exchange.snapshot, &exchange.host)?;
    let issuer = issuer(exchange)?;
    let (WellKnown::ProtectedResource(path) | WellKnown::AuthorizationServer(path)) = found;
    let within = if path.is_empty() { "/" } else { path };
    let covered = exchange.snapshot.routes.find(&exchange.host, within).ok().flatten();
    let covered = covered.and_then(|(index, _)| exchange.snapshot.applications.get(index));
    let ours = covered.is_some_and(|published| published.application.id == server.published.application.id);
    // A host of which the application has a path alone still has its documents at the root.
    let at_root = path.is_empty() && covered.is_none();
    if !(ours || at_root) {
        return None;
    }
    Some(match exchange.method {
        Method::OPTIONS => preflight("GET"),
        Method::GET | Method::HEAD => {
            let document = match found {
                WellKnown::ProtectedResource(path) => {
                    let team = &exchange.snapshot.organization.auth_domain;
                    metadata::protected_resource(&issuer, path, &issuer, team)
                }
                WellKnown::AuthorizationServer(_) => {
                    let registration = server.rules.dynamic_client_registration.enabled;
                    metadata::authorization_server(&issuer, Offers { registration, client_documents: true })
                }
            };
            let mut response = open(page::json(StatusCode::OK, &document));
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
            response
        }
        _ => open(page::json(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "method_not_allowed"}))),
    })
}

/// Lets scripts of every site read an answer. No cookie decides what it says.
pub(crate) fn open(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("WWW-Authenticate"));
    response
}

/// Answers the preflight of a script that uses an open endpoint.
pub(crate) fn preflight(method: &'static str) -> Response<Body> {
    let mut response = open(Response::new(empty_body()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(method));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, mcp-protocol-version"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Tells a client without a token how to get one; `None` where managed OAuth is off.
pub(crate) fn demand(exchange: &Exchange, published: &Published) -> Option<Response<Body>> {
    let server = server(&exchange.snapshot, &exchange.host)?;
    (server.published.application.id == published.application.id).then(|| {
        // A bearer that is not ours was meant for us: there is nobody else here who could have given it.
        let bearer = exchange
            .header("authorization")
            .is_some_and(|value| value.split(' ').next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer")));
        challenge(exchange, if bearer { Challenge::InvalidToken } else { Challenge::Missing })
    })
}

/// Writes a refusal with its challenge (RFC 6750 section 3, RFC 9728 section 5.1).
pub(crate) fn challenge(exchange: &Exchange, why: Challenge<'_>) -> Response<Body> {
    let status = StatusCode::from_u16(why.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    let (error, text) = match why {
        Challenge::Missing => {
            ("unauthenticated", "an access token is needed; the header WWW-Authenticate tells where from")
        }
        Challenge::InvalidToken => ("invalid_token", "the access token is expired, revoked or not for this resource"),
        Challenge::InsufficientScope(_) => ("insufficient_scope", "the access token does not reach this far"),
    };
    let mut response = page::json(status, &json!({"error": error, "error_description": text, "ray_id": exchange.id}));
    let origin = issuer(exchange).unwrap_or_default();
    if let Ok(value) = HeaderValue::try_from(why.header(&origin, &exchange.path)) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}
