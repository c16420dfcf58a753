//! What the gateway needs of others to run Workers: a runner, and everything a script asks for that is not HTTP.
//!
//! Both are traits, so that a gateway can be driven without processes or a store. Invariant: neither is called while a
//! lock is held.

use std::sync::Arc;

use http::Request;
use worker::{Body, BoxFuture, Call, CallError, Reply, Script};

/// Everything a Worker may ask for except `fetch`: KV, service bindings, the admin API, rate limits, its cache.
///
/// `server` implements [`worker::Host`] for those; within a request the gateway puts its own `fetch` in front, and
/// outside of any `server` calls [`crate::fetch`], which takes the same guarded path as a person's requests.
pub type Services = Arc<dyn worker::Host>;

/// Runs `fetch` handlers.
pub trait Runner: Send + Sync + 'static {
    /// Invokes the script's `fetch` handler. Dropping the future cancels the call.
    fn fetch<'a>(
        &'a self,
        script: &'a Arc<Script>,
        request: Request<Body>,
        call: Call,
    ) -> BoxFuture<'a, Result<Reply, CallError>>;
}

impl Runner for worker::Runtime {
    fn fetch<'a>(
        &'a self,
        script: &'a Arc<Script>,
        request: Request<Body>,
        call: Call,
    ) -> BoxFuture<'a, Result<Reply, CallError>> {
        Self::fetch(self, script, request, call)
    }
}
