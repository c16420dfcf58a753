//! A Worker that is an MCP server: asked in this process, over no network.
//!
//! It is asked as a stateless server over Streamable HTTP is, one request at a time. Invariant: it is told who calls by
//! the portal, in `request.cf`, and gets nothing of the client's request but the message.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response};
use net::proxy::body::{Body, full_body};
use types::ScriptName;

use super::http::{Answered, Bounds, EITHER, ExchangeError, JSON, SESSION, answered};

/// Runs the owner's Workers.
pub trait Workers: Send + Sync + 'static {
    /// Asks a Worker, with `facts` as its `request.cf`. Dropping the future ends the call.
    ///
    /// # Errors
    /// In words for whoever administers it: there is no such Worker, or it failed.
    fn ask<'a>(
        &'a self,
        script: &'a ScriptName,
        request: Request<Body>,
        facts: Arc<str>,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Response<Body>, String>>;
}

/// A Worker as an MCP server.
#[derive(Clone)]
pub struct Inner {
    pub workers: Arc<dyn Workers>,
    pub script: ScriptName,
    /// JSON: who calls, and through which portal.
    pub facts: Arc<str>,
    pub bounds: Bounds,
}

impl Inner {
    /// Sends one message.
    ///
    /// # Errors
    /// The Worker failed, or its answer is none.
    pub(crate) async fn post(&self, mut headers: HeaderMap, message: Bytes) -> Result<Answered, ExchangeError> {
        headers.remove(SESSION);
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, EITHER);
        headers.insert(header::HOST, HeaderValue::from_static("mcp.internal"));
        let mut request = Request::new(full_body(message));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static("https://mcp.internal/mcp");
        *request.headers_mut() = headers;
        let asked = self.workers.ask(&self.script, request, Arc::clone(&self.facts), self.bounds.head);
        let response = asked.await.map_err(|why| ExchangeError::Gone(why.into()))?;
        answered(response, self.bounds).await
    }
}
