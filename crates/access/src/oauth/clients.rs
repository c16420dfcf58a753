//! Clients: their registration (RFC 7591), and documents at their own URLs.
//!
//! Invariants: a document is fetched through a pool that reaches the public Internet alone, bounded in bytes and time, and
//! a failure is remembered, so that an id cannot be used to hammer a host.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use identity::oauth::client::{Client, Origin};
use identity::oauth::client_document::{self, FETCH};
use identity::oauth::error::{ErrorCode, OauthError};
use identity::oauth::registration::{MAX_BYTES, RegistrationContext, register as registered};
use moka::future::Cache;
use net::proxy::body::{Body, boxed, collect, empty_body};
use net::upstream::Pool;
use url::Url;

use super::discovery::Server;
use super::tokens::{failed, refuse, unavailable};
use crate::exchange::Exchange;
use crate::ledger::LedgerError;
use crate::page;
use crate::provider;
use crate::record;
use crate::throttle;
use crate::ticket;

/// Documents of clients.
pub(crate) struct Documents {
    pool: Pool,
    fetched: Cache<Url, Arc<Fetched>>,
    failed: Cache<Url, ()>,
}

struct Fetched {
    content_type: Option<String>,
    body: Bytes,
}

/// Why there is no client.
pub(crate) enum NoClient {
    Refused(OauthError),
    Ledger(LedgerError),
}

impl Documents {
    pub(crate) fn new(pool: Pool) -> Self {
        Self {
            pool,
            fetched: Cache::builder().max_capacity(1_000).time_to_live(FETCH.keep_for).build(),
            failed: Cache::builder().max_capacity(10_000).time_to_live(FETCH.keep_failure_for).build(),
        }
    }

    async fn get(&self, address: &Url) -> Option<Arc<Fetched>> {
        if self.failed.contains_key(address) {
            return None;
        }
        // Requests for one document wait for one fetch.
        let fetched = self.fetched.optionally_get_with(address.clone(), self.fetch(address)).await;
        if fetched.is_none() {
            self.failed.insert(address.clone(), ()).await;
        }
        fetched
    }

    async fn fetch(&self, address: &Url) -> Option<Arc<Fetched>> {
        let route = provider::route(address).ok()?;
        let request = provider::request(Method::GET, address, empty_body()).ok()?;
        let whole = async {
            let answer = self.pool.send(&route, request).await.ok()?.response;
            // A redirect would let another host speak for the id.
            if answer.status() != StatusCode::OK {
                return None;
            }
            let content_type = answer.headers().get(header::CONTENT_TYPE);
            let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
            let body = collect(boxed(answer.into_body()), FETCH.max_bytes).await?;
            Some(Arc::new(Fetched { content_type, body }))
        };
        tokio::time::timeout(FETCH.timeout, whole).await.ok().flatten()
    }
}

/// Finds a client of an application by its id.
pub(crate) async fn find(exchange: &Exchange, server: Server<'_>, id: &str) -> Result<Option<Arc<Client>>, NoClient> {
    let application = server.published.application.id;
    let plane = exchange.plane();
    let Some(address) = client_document::document_url(id) else {
        return plane.oauth_ledger.client(application, id).await.map_err(NoClient::Ledger);
    };
    let Some(fetched) = plane.oauth.documents.get(&address).await else {
        let text = "the client's document cannot be fetched; it is tried again in a minute";
        return Err(NoClient::Refused(OauthError { code: ErrorCode::InvalidClient, description: text.into() }));
    };
    let rules = &server.rules.dynamic_client_registration;
    let now = exchange.now.seconds();
    client_document::client(&address, fetched.content_type.as_deref(), &fetched.body, application, rules, now)
        .map(|client| Some(Arc::new(client)))
        .map_err(NoClient::Refused)
}

/// Notes that a client got a grant, so that it is kept.
pub(crate) async fn used(exchange: &Exchange, client: &Client) {
    const DAY: i64 = 24 * 3_600;
    let now = exchange.now.seconds();
    let recently = client.last_used_at.is_some_and(|at| now.saturating_sub(at) < DAY);
    if client.origin == Origin::Document || recently {
        return;
    }
    let used = Client { last_used_at: Some(now), ..client.clone() };
    if let Err(error) = exchange.plane().oauth_ledger.keep_client(&used).await {
        tracing::warn!(%error, "the use of a client could not be noted");
    }
}

/// Registers a client.
pub(crate) async fn register(exchange: &Exchange, server: Server<'_>) -> Response<Body> {
    let plane = exchange.plane();
    if !plane.oauth.begun.admit(throttle::source(exchange.source())) {
        let text = "too many registrations from this address; wait a minute";
        let error = OauthError { code: ErrorCode::TemporarilyUnavailable, description: text.into() };
        return refuse(exchange, &error);
    }
    let within = plane.config.head_timeout;
    let body = tokio::time::timeout(within, collect(exchange.take_body(), MAX_BYTES)).await;
    let Ok(Some(body)) = body else {
        let text = "the request is too large or did not arrive";
        let error = OauthError { code: ErrorCode::InvalidClientMetadata, description: text.into() };
        return refuse(exchange, &error);
    };
    let application = server.published.application.id;
    let rules = &server.rules.dynamic_client_registration;
    let clients = match rules.enabled {
        true => plane.oauth_ledger.count_clients(application).await,
        false => Ok(0),
    };
    let (clients, Some(seed)) = (clients, ticket::random()) else { return failed(exchange) };
    let clients = match clients {
        Ok(clients) => clients,
        Err(error) => return unavailable(exchange, &error),
    };
    let context =
        RegistrationContext { application, rules, registered: clients, now: exchange.now.seconds(), seed: &seed };
    let made = match registered(&body, context) {
        Ok(made) => made,
        Err(error) => {
            // What was asked for is what an administrator needs to see to allow it.
            let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let asked: String = asked["redirect_uris"].to_string().chars().take(500).collect();
            let why = format!("a client could not register: {}; redirect_uris {asked}", error.description);
            record::oauth(exchange, server.published, None, why, false);
            return refuse(exchange, &error);
        }
    };
    if let Err(error) = plane.oauth_ledger.keep_client(&made.client).await {
        return unavailable(exchange, &error);
    }
    record::oauth(exchange, server.published, None, format!("the client {} registered", made.client.id), true);
    page::json(StatusCode::CREATED, made.reply.expose())
}
