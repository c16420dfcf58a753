//! The authorization server of each application, its metadata documents (RFC 9728, RFC 8414), and the challenge that leads
//! to them.
//!
//! One application speaks for a host: its issuer is the origin the client dialled. A further one of the same host has an
//! issuer with a path, which names it whatever paths it has. Invariants: everything that names an issuer says the same text;
//! and an endpoint is of one application, so that clients, codes and tokens of another are unknown there.

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use identity::application::{OauthDocument, SelfHosted};
use identity::oauth::metadata::{self, Challenge, Issuer, Offers, WellKnown};
use net::proxy::body::{Body, empty_body};
use serde_json::json;
use types::ApplicationId;

use crate::exchange::Exchange;
use crate::page;
use crate::snapshot::{Published, Snapshot};

/// The authorization server of an application at a host.
#[derive(Clone, Copy)]
pub(crate) struct Server<'s> {
    pub(crate) published: &'s Published,
    pub(crate) app: &'s SelfHosted,
    pub(crate) rules: &'s OauthDocument,
    /// It speaks for the host; else its issuer names the application.
    pub(crate) of_host: bool,
}

impl<'s> Server<'s> {
    fn new(published: &'s Published, host: &str) -> Option<Self> {
        let app = published.self_hosted()?;
        let rules = app.oauth.as_ref()?;
        let here = app.destinations.iter().any(|pattern| pattern.covers_host(host));
        here.then_some(Self { published, app, rules, of_host: false })
    }

    /// Finds the application that speaks for a host: the one its root belongs to, else the first with managed OAuth.
    pub(crate) fn of_host(snapshot: &'s Snapshot, host: &str) -> Option<Self> {
        let root = snapshot.routes.find(host, "/").ok().flatten();
        let root = root.and_then(|(index, _)| Self::new(snapshot.applications.get(index)?, host));
        let found = root.or_else(|| snapshot.applications.iter().find_map(|published| Self::new(published, host)));
        found.map(|server| Self { of_host: true, ..server })
    }

    /// Finds the one that gives tokens for an application; `None` where managed OAuth is off.
    pub(crate) fn of(snapshot: &'s Snapshot, host: &str, published: &'s Published) -> Option<Self> {
        let speaks = Self::of_host(snapshot, host).filter(|server| server.is(published));
        speaks.or_else(|| Self::new(published, host))
    }

    /// Finds the one whose issuer names an application.
    pub(crate) fn named(snapshot: &'s Snapshot, host: &str, application: ApplicationId) -> Option<Self> {
        let found = snapshot.applications.iter().find(|published| published.application.id == application)?;
        Self::new(found, host)
    }

    fn is(&self, published: &Published) -> bool {
        self.published.application.id == published.application.id
    }

    /// Returns its issuer at the host of a request.
    pub(crate) fn issuer(&self, exchange: &Exchange) -> Option<Issuer> {
        let application = (!self.of_host).then_some(self.published.application.id);
        Some(Issuer { origin: origin(exchange)?, application })
    }

    /// Returns the resource of clients that name none: the first page of the application at this host.
    pub(crate) fn resource(&self, exchange: &Exchange) -> Option<String> {
        let origin = origin(exchange)?;
        let patterns = self.app.destinations.iter().filter(|pattern| pattern.covers_host(&exchange.host));
        let path = patterns.map(identity::destination::Pattern::path).find(|path| !path.contains('*'));
        Some(match path.filter(|_| !self.of_host) {
            Some(path) => format!("{origin}{path}"),
            None => origin,
        })
    }
}

/// Returns `https://host[:port]` as it was dialled.
pub(crate) fn origin(exchange: &Exchange) -> Option<String> {
    exchange.site(&exchange.host).map(|site| site.origin().ascii_serialization())
}

/// Finds the authorization server of what lies at a path of the host.
fn at<'s>(snapshot: &'s Snapshot, host: &str, path: &str) -> Option<Server<'s>> {
    let within = if path.is_empty() { "/" } else { path };
    match snapshot.routes.find(host, within).ok().flatten() {
        Some((index, _)) => Server::of(snapshot, host, snapshot.applications.get(index)?),
        // A host of which applications have paths alone still has its documents at the root.
        None if path.is_empty() => Server::of_host(snapshot, host),
        None => None,
    }
}

/// Answers a request for a well-known document, if its path is one of an application with managed OAuth. Every other
/// goes on to the application, which may have documents of its own.
pub(crate) fn answer(exchange: &Exchange) -> Option<Response<Body>> {
    let found = metadata::recognise(&exchange.path)?;
    let (snapshot, host) = (&*exchange.snapshot, exchange.host.as_str());
    let server = match found {
        WellKnown::ProtectedResource(path) => at(snapshot, host, path)?,
        WellKnown::AuthorizationServer(path) => match Issuer::application_of(path) {
            Some(application) => Server::named(snapshot, host, application)?,
            None => at(snapshot, host, path)?,
        },
    };
    let issuer = server.issuer(exchange)?;
    Some(match exchange.method {
        Method::OPTIONS => preflight("GET"),
        Method::GET | Method::HEAD => {
            let document = match found {
                WellKnown::ProtectedResource(path) => {
                    let team = &exchange.snapshot.organization.auth_domain;
                    metadata::protected_resource(&issuer.origin, path, &issuer.url(), team)
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
    Server::of(&exchange.snapshot, &exchange.host, published)?;
    // A bearer that is not ours was meant for us: there is nobody else here who could have given it.
    let bearer = exchange
        .header("authorization")
        .is_some_and(|value| value.split(' ').next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer")));
    Some(challenge(exchange, if bearer { Challenge::InvalidToken } else { Challenge::Missing }))
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
    let origin = origin(exchange).unwrap_or_default();
    if let Ok(value) = HeaderValue::try_from(why.header(&origin, &exchange.path)) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}
