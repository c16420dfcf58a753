//! What needs no account: health, metrics, the OpenAPI document, the types for Worker authors; and the outermost layer
//! that every request passes.
//!
//! Invariant: nothing here tells anything about the account; metrics are for loopback or a valid credential.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::api::{peer, refuse};
use crate::app::{App, HostNames};
use crate::auth::{Proof, authenticate};
use crate::failure::Failure;
use crate::guard;

pub(crate) fn router(_app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
        .route("/portunus.d.ts", get(worker_types))
}

/// Refuses foreign hosts before anything else looks at a request, and puts the security headers on every answer.
pub(crate) async fn protect(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let addresses = &app.deps.addresses;
    let name = guard::host_name(request.headers(), request.uri());
    let ours = name.as_deref().is_some_and(|name| is_served(name, &addresses.host_names, request.extensions()));
    let insist = addresses.insist_on_https && ours && name.as_deref().is_some_and(guard::may_insist);
    let mut response = match (name, ours) {
        (Some(_), true) => next.run(request).await,
        (Some(_), false) => {
            let message =
                "this console does not serve this host name; add it to `names` below [console] in portunus.toml";
            refuse(StatusCode::MISDIRECTED_REQUEST, 10421, message)
        }
        (None, _) => refuse(StatusCode::BAD_REQUEST, 6003, "the request needs exactly one Host"),
    };
    guard::add_security_headers(response.headers_mut(), insist);
    response
}

fn is_served(name: &str, allowed: &[String], extensions: &axum::http::Extensions) -> bool {
    guard::is_our_host(name, allowed)
        || extensions.get::<HostNames>().is_some_and(|HostNames(names)| guard::is_our_host(name, names))
}

/// Answers everything in clear on a port that speaks https.
///
/// A browser's first request is sent on to the same place over https. Whatever shows a credential is refused: it has
/// travelled in clear, and a client that is quietly sent on would never be repaired.
pub(crate) async fn in_clear(State(allowed): State<Arc<[String]>>, request: Request) -> Response {
    let headers = request.headers();
    let name = guard::host_name(headers, request.uri()).filter(|name| is_served(name, &allowed, request.extensions()));
    let authority = headers.get(header::HOST).and_then(|value| value.to_str().ok()).filter(|_| name.is_some());
    let credential = [header::AUTHORIZATION, HeaderName::from_static("x-auth-key")];
    let shows_credential = credential.iter().any(|name| headers.contains_key(name));
    let place = authority.map(|authority| {
        let path = request.uri().path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str);
        format!("https://{authority}{path}")
    });
    let mut response = match place.as_deref().map(HeaderValue::from_str) {
        Some(Ok(place)) if !guard::changes_state(request.method()) && !shows_credential => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, place)]).into_response()
        }
        _ => {
            let there = authority.map(|authority| format!(": https://{authority}/")).unwrap_or_default();
            (StatusCode::BAD_REQUEST, format!("this port speaks https only{there}\n")).into_response()
        }
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    guard::add_security_headers(response.headers_mut(), false);
    response
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready means: a configuration is in force. Traffic flows without the store, so its loss does not make us unready.
async fn readyz(State(app): State<Arc<App>>) -> Response {
    if app.deps.snapshot.status().revision > 0 {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "no configuration is in force yet\n").into_response()
}

async fn metrics(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let local =
        peer(&parts).is_some_and(|address| address.is_loopback()) && !parts.headers.contains_key("x-forwarded-for");
    if !local && let Err(error) = authenticate(&app, &parts, Proof::Header).await {
        return Failure::from(error).into_response();
    }
    let media_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, media_type)], app.deps.snapshot.metrics()).into_response()
}

async fn openapi(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.openapi.clone()).into_response()
}

async fn worker_types(State(app): State<Arc<App>>) -> Response {
    // For editors and `tsc`.
    ([(header::CONTENT_TYPE, "application/typescript; charset=utf-8")], app.deps.worker_types).into_response()
}
