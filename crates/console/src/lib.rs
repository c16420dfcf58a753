//! The console: pages for people beside the API for programs.
//!
//! It offers what `administration` can do to people as pages, and serves the v4 API. It does nothing by itself,
//! decides no traffic and owns no listener: [`router`] returns a service for one. Invariant: no page or answer shows a
//! secret.

mod pages;
mod public;

pub(crate) use administration::{app, auth, failure, guard, session, strict, throttle};
pub use administration::{multipart, operations};
pub use api;
use axum::Router;

pub use app::{
    Addresses, App, BoxFuture, ConsoleDeps, GeneratedTraffic, HostNames, Limits, McpServers, McpUnavailable,
    OriginAnswer, PolicyWorkers, Preview, PreviewError, PreviewEvent, PreviewJob, PreviewLine, PreviewReport,
    SnapshotStatus, SnapshotView, StalePart, Tried,
};
pub use auth::{AuthError, Caller, Credential, InProcess, Interface, OpContext, Proof, authenticate};
pub use failure::{Failure, Problem};

/// Builds the whole console: the API below `/client/v4`, the pages below `/`, and what is public.
///
/// Each request must carry `ConnectInfo<SocketAddr>` in its extensions, so that rates and the audit log know addresses,
/// and over TLS the [`HostNames`] of its connection.
pub fn router(deps: ConsoleDeps) -> Router {
    let app = App::new(deps, api::openapi_json().into());
    public::router(&app)
        .nest(api::MOUNT, api::router(&app))
        .merge(pages::router(&app))
        .with_state(app.clone())
        .layer(axum::middleware::from_fn_with_state(app, public::protect))
}

/// Builds what a port that speaks https answers to requests in clear: the way to https, and nothing else.
///
/// `host_names` are the same as [`Addresses::host_names`]; requests may carry [`HostNames`] too.
pub fn in_clear(host_names: &[String]) -> Router {
    Router::new().fallback(public::in_clear).with_state(host_names.into())
}
