//! One question to an authorization server.
//!
//! Invariants: an address that a server named is reached through the guarded way alone, one at the server's own origin or
//! from the administrator by the server's way; no redirect is followed, and every answer is bounded in bytes and time.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request};
use mcp::oauth::MAX_DOCUMENT;
use mcp::oauth::flow::TokenRequest;
use net::proxy::body::{Body, boxed, collect, empty_body, full_body};
use net::upstream::{Pool, Route, SendError, request_for_json};
use serde_json::Value;
use url::Url;

use super::SignIn;

/// The way to authorization servers.
pub(super) struct Wire {
    /// Reaches what the network settings let the platform reach.
    pub(super) guarded: Pool,
    /// For one question.
    pub(super) within: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("{0} is not an address that can be asked")]
    Address(Url),
    #[error("the authorization server did not answer in time")]
    Late,
    #[error("the authorization server cannot be reached")]
    Send(#[from] SendError),
    #[error("the authorization server's answer is too large or broke off")]
    Body,
}

/// An answer, read whole.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Wire {
    pub(super) async fn get(&self, site: &SignIn, address: &Url) -> Result<Answer, WireError> {
        self.send(site, address, request(Method::GET, address, empty_body())?).await
    }

    pub(super) async fn post_json(&self, site: &SignIn, address: &Url, body: &Value) -> Result<Answer, WireError> {
        let mut request = request(Method::POST, address, full_body(body.to_string()))?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.send(site, address, request).await
    }

    pub(super) async fn post_form(&self, site: &SignIn, asked: &TokenRequest) -> Result<Answer, WireError> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&asked.form).finish();
        let mut request = request(Method::POST, &asked.address, full_body(body))?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some((id, secret)) = &asked.basic {
            let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret.expose())));
            let mut value = HeaderValue::try_from(format!("Basic {pair}"))
                .map_err(|_| WireError::Address(asked.address.clone()))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        self.send(site, &asked.address, request).await
    }

    async fn send(&self, site: &SignIn, address: &Url, request: Request<Body>) -> Result<Answer, WireError> {
        let route = Route::to(address).ok_or_else(|| WireError::Address(address.clone()))?;
        let pool = if site.vouches_for(address) { &site.endpoint.pool } else { &self.guarded };
        let whole = async {
            let response = pool.send_erased(route, request).await?.response;
            let status = response.status().as_u16();
            let body = collect(boxed(response.into_body()), MAX_DOCUMENT).await.ok_or(WireError::Body)?;
            Ok(Answer { status, body })
        };
        tokio::time::timeout(self.within, whole).await.map_err(|_| WireError::Late)?
    }
}

impl SignIn {
    /// Whether the administrator named the address: it is at the server's origin, or among a client's settings.
    fn vouches_for(&self, address: &Url) -> bool {
        let manual = self.manual.as_ref().is_some_and(|manual| {
            let client = &manual.client;
            [Some(&client.token_endpoint), client.revocation_endpoint.as_ref()].contains(&Some(address))
        });
        manual || address.origin() == self.address.origin()
    }
}

fn request(method: Method, address: &Url, body: Body) -> Result<Request<Body>, WireError> {
    request_for_json(method, address, body).map_err(|_| WireError::Address(address.clone()))
}
