//! A Worker that is an MCP server: asked in this process, over no network.
//!
//! It is asked as a stateless server over Streamable HTTP is, one request at a time. Invariant: it is told who calls by
//! the portal, in `request.cf`, and gets nothing of the client's request but the message.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::header::{self, HeaderMap, HeaderValue};
use net::proxy::body::full_body;
use types::ScriptName;
use worker::Answer;

use super::http::{Answered, Bounds, EITHER, ExchangeError, JSON, SESSION, answered};
use crate::workers::Workers;

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
        match asked.await.map_err(|why| ExchangeError::Gone(why.into()))? {
            Answer::Response(response) => answered(response, self.bounds).await,
            Answer::Request(_) | Answer::NoOpinion => {
                Err(ExchangeError::Gone(format!("the Worker {} answered with no response", self.script).into()))
            }
        }
    }
}
