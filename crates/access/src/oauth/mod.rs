//! Managed OAuth in front of an application (reference section 4): what `identity::oauth` decides, over HTTP.
//!
//! It owns the endpoints below `/cdn-cgi/access/oauth/`, the well-known documents, the consent page, the grants that this
//! node knows and what a request with one is answered. What a token means is the engine's; what outlives the process goes
//! through [`OauthLedger`]. Invariants: no OAuth path answers a program with a page, a bearer of ours never falls back to a
//! cookie, and a revocation ends the tokens that hang on what was revoked with the next request.

mod authorize;
mod bearer;
mod catalog;
mod clients;
mod discovery;
mod ledger;
mod standing;
mod table;
mod tokens;

use std::net::IpAddr;

use http::{Method, Response, StatusCode};
use net::proxy::body::Body;
use net::upstream::Pool;

pub use ledger::{KeptGrant, OauthLedger};
pub(crate) use table::Held;
pub use table::{Ahead, GrantTable};

pub(crate) use authorize::consent_of;
pub(crate) use bearer::{answer as answer_bearer, presented};
pub(crate) use catalog::answer as catalog;
pub(crate) use discovery::{answer as discovery, demand};

use crate::config::AccessConfig;
use crate::exchange::Exchange;
use crate::oauth::clients::Documents;
use crate::oauth::discovery::Server;
use crate::page;
use crate::throttle::Throttle;

/// What OAuth shares on this node.
pub(crate) struct Oauth {
    documents: Documents,
    /// Tokens shown to applications for agents.
    assertions: bearer::Assertions,
    /// Requests that were begun and clients that registered, by source.
    begun: Throttle<IpAddr>,
    /// Tokens that this node did not know, by source: each costs a look into the store.
    unknown: Throttle<IpAddr>,
}

impl Oauth {
    pub(crate) fn new(config: &AccessConfig, documents: Pool) -> Self {
        Self {
            documents: Documents::new(documents),
            assertions: bearer::Assertions::new(),
            begun: Throttle::new(config.sign_ins_per_minute),
            unknown: Throttle::new(config.unknown_tokens_per_minute),
        }
    }
}

/// Answers a request to an OAuth endpoint; `name` is what follows `/cdn-cgi/access/oauth/`: the endpoint, behind the
/// application where that has an issuer of its own.
pub(crate) async fn answer(exchange: &Exchange, name: &str) -> Response<Body> {
    let snapshot = std::sync::Arc::clone(&exchange.snapshot);
    let (server, name) = match name.split_once('/') {
        None => (Server::of_host(&snapshot, &exchange.host), name),
        Some((application, name)) => {
            let application = application.parse().ok();
            (application.and_then(|application| Server::named(&snapshot, &exchange.host, application)), name)
        }
    };
    let Some(server) = server else { return page::not_found_json() };
    let reads = matches!(exchange.method, Method::GET | Method::HEAD);
    match (name, &exchange.method) {
        ("authorization", _) if reads => authorize::show(exchange, server).await,
        ("consent", &Method::POST) => authorize::decide(exchange, server).await,
        ("registration" | "token" | "revoke" | "introspect", &Method::OPTIONS) => discovery::preflight("POST"),
        ("registration", &Method::POST) => discovery::open(clients::register(exchange, server).await),
        ("token", &Method::POST) => discovery::open(tokens::token(exchange, server).await),
        ("revoke", &Method::POST) => discovery::open(tokens::revoke(exchange, server).await),
        ("introspect", &Method::POST) => tokens::introspect(exchange, server).await,
        ("authorization" | "consent" | "registration" | "token" | "revoke" | "introspect", _) => {
            page::json(StatusCode::METHOD_NOT_ALLOWED, &serde_json::json!({"error": "method_not_allowed"}))
        }
        _ => page::not_found_json(),
    }
}
