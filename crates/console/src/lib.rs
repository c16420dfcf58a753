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
    Addresses, App, BoxFuture, ConsoleDeps, Limits, Preview, PreviewError, PreviewEvent, PreviewJob, PreviewLine,
    PreviewReport, SnapshotStatus, SnapshotView, StalePart,
};
pub use auth::{AuthError, Caller, Credential, InProcess, Interface, OpContext, Proof, authenticate};
pub use failure::{Failure, Problem};

/// Builds the whole console: the API below `/client/v4`, the pages below `/`, and what is public.
///
/// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that rates and the audit log know addresses.
pub fn router(deps: ConsoleDeps) -> Router {
    let app = App::new(deps);
    public::router(&app)
        .nest(api::MOUNT, api::router(&app))
        .merge(pages::router(&app))
        .with_state(app.clone())
        .layer(axum::middleware::from_fn_with_state(app, public::protect))
}
