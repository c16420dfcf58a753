//! The v4 API: one table of endpoints, and the router made from it.
//!
//! A handler reads its input, calls one operation of `administration` and renders the result. It decides nothing an
//! operation decides, draws no page and owns no listener; the console serves it beside its pages. Invariant: [`endpoints`] is the only list; routing, authorization and the OpenAPI document come from it.

mod access;
mod access_identity;
mod account;
mod explorer;
mod gate;
mod gateway;
mod kv;
mod lake;
mod library;
mod mcp;
mod network;
mod observe;
pub mod openapi;
mod paging;
mod people;
mod push_jobs;
mod replay;
mod reply;
mod session;
mod shadow;
mod signals;
pub mod table;
mod usage;
mod workers;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;

pub(crate) use administration::{app, auth, failure, form, multipart, operations, refusal, strict, throttle};

pub use gate::peer;
pub use reply::refuse;

use app::App;
use gate::Terms;
use table::Endpoint;

/// Where the API is mounted.
pub const MOUNT: &str = "/client/v4";

/// Returns every endpoint, grouped by what it is about.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    [
        account::endpoints(),
        session::endpoints(),
        gateway::endpoints(),
        library::endpoints(),
        network::endpoints(),
        workers::endpoints(),
        kv::endpoints(),
        people::endpoints(),
        access::endpoints(),
        access_identity::endpoints(),
        mcp::endpoints(),
        observe::endpoints(),
        lake::endpoints(),
        explorer::endpoints(),
        usage::endpoints(),
        shadow::endpoints(),
        push_jobs::endpoints(),
        signals::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns the OpenAPI document as JSON.
#[must_use]
pub fn openapi_json() -> String {
    openapi::document(&endpoints()).to_pretty_json().unwrap_or_else(|_| "{}".to_owned())
}

/// Builds the router; its paths are below [`MOUNT`].
pub fn router(app: &Arc<App>) -> Router<Arc<App>> {
    let mut router = Router::new();
    for endpoint in endpoints() {
        let terms = Terms { access: endpoint.access, body_limit: endpoint.body_limit };
        let route = endpoint.route.layer(from_fn_with_state((Arc::clone(app), terms), gate::admit));
        router = router.route(endpoint.path, route);
    }
    router.fallback(no_route).method_not_allowed_fallback(no_method)
}

async fn no_route(uri: axum::http::Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    refuse(StatusCode::NOT_FOUND, 7003, format!("there is no API at {path}; /openapi.json lists what there is"))
}

async fn no_method(method: axum::http::Method, uri: axum::http::Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    refuse(StatusCode::METHOD_NOT_ALLOWED, 10405, format!("{method} is not offered for {path}"))
}
