//! The admin API and the console.
//!
//! It authenticates and authorizes, validates what people and programs send, and keeps it through `store`; it shows what
//! was recorded through `logs`. It decides no traffic and owns no listener: [`router`] returns a service for one.
//! Invariants: everything that changes something stands in the audit log; no page or answer shows a secret; whatever is
//! kept per caller is bounded.

pub mod api;
mod app;
mod audit;
mod auth;
mod failure;
mod form;
mod guard;
pub mod multipart;
pub mod operations;
mod pages;
mod paging;
mod password;
mod public;
mod session;
mod strict;
mod throttle;

use axum::Router;

pub use app::{
    Addresses, App, BoxFuture, ConsoleDeps, HostNames, Limits, Preview, PreviewError, PreviewEvent, PreviewJob,
    PreviewLine, PreviewReport, SnapshotStatus, SnapshotView, StalePart,
};
pub use auth::{AuthError, Caller, Credential, InProcess, Interface, OpContext, Proof, authenticate};
pub use failure::{Failure, Problem};

/// Builds the whole console: the API below `/client/v4`, the pages below `/`, and what is public.
///
/// Each request must carry `ConnectInfo<SocketAddr>` in its extensions, so that rates and the audit log know addresses,
/// and over TLS the [`HostNames`] of its connection.
pub fn router(deps: ConsoleDeps) -> Router {
    let app = App::new(deps);
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
