//! What needs no account: health, metrics, the OpenAPI document, the types for Worker authors; and the outermost layer
//! that every request passes.
//!
//! Invariant: nothing here tells anything about the account; metrics are for loopback or a valid credential.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::api::{peer, refuse};
use crate::app::App;
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
    let https = app.deps.addresses.https;
    let name = guard::host_name(request.headers(), request.uri());
    let mut response = match name {
        Some(name) if guard::is_our_host(&name, &app.deps.addresses.host_names) => next.run(request).await,
        Some(_) => {
            let message = "this console does not serve this host name; add it to the console's host names";
            refuse(StatusCode::MISDIRECTED_REQUEST, 10421, message)
        }
        None => refuse(StatusCode::BAD_REQUEST, 6003, "the request needs exactly one Host"),
    };
    guard::add_security_headers(response.headers_mut(), https);
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
