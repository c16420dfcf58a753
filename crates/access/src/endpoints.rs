//! Our own endpoints on an application's host (reference section 2.3): the end of a sign-in, keys, identity, sign-out.
//!
//! Invariant: none of these paths reaches an application, and what tells about a person needs their session.

use std::time::Duration;

use http::{HeaderValue, Method, Response, StatusCode, header};
use identity::app_token;
use identity::application::SameSite;
use identity::cookie::{AUTHORIZATION, BINDING, Cookie};
use identity::session::Revoked;
use net::proxy::body::Body;

use crate::caller::{self, Who};
use crate::exchange::Exchange;
use crate::gate;
use crate::issue;
use crate::language;
use crate::ledger::LedgerError;
use crate::oauth;
use crate::page;
use crate::record;
use crate::session_table::Live;
use crate::stages::OWN;
use crate::words::Message;

/// Answers a request to one of our paths on an application's host.
pub(crate) async fn answer(exchange: &mut Exchange) -> Response<Body> {
    let name = exchange.path.strip_prefix(OWN).unwrap_or_default().to_owned();
    if let Some(name) = name.strip_prefix("oauth/") {
        return oauth::answer(exchange, name).await;
    }
    if !matches!(exchange.method, Method::GET | Method::HEAD) {
        return page::plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
    }
    match name.as_str() {
        "authorized" => issue::authorized(exchange),
        "certs" => keys(exchange),
        "language" => language::switch(exchange),
        "get-identity" => match signed(exchange) {
            Some(signed) => identity_document(exchange, &signed.live),
            None => page::json(StatusCode::UNAUTHORIZED, &serde_json::json!({"error": "unauthenticated"})),
        },
        "logout" => logout(exchange).await,
        _ => page::nothing_here(exchange),
    }
}

/// Finds the person by the token of any application of this host.
fn signed(exchange: &Exchange) -> Option<caller::Signed> {
    exchange.snapshot.applications.iter().find_map(|published| {
        let app = published.self_hosted()?;
        if !app.destinations.iter().any(|pattern| pattern.covers_host(&exchange.host)) {
            return None;
        }
        match caller::identify(exchange, published, app) {
            Ok((Who::Person(signed), _)) => Some(signed),
            Ok((Who::Nobody | Who::Program(_), _)) | Err(_) => None,
        }
    })
}

/// The public halves of the signing keys.
pub(crate) fn keys(exchange: &Exchange) -> Response<Body> {
    let mut response = page::json(StatusCode::OK, &exchange.snapshot.keys.document(exchange.now.seconds()));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response.headers_mut().insert("access-control-allow-origin", HeaderValue::from_static("*"));
    response
}

/// The identity behind a session.
pub(crate) fn identity_document(exchange: &Exchange, live: &Live) -> Response<Body> {
    let identity = &live.session().identity;
    let context = gate::context(exchange);
    let mut document = app_token::identity_document(exchange.snapshot.account, identity, &context, 1);
    if let Some(Err(fault)) = exchange.client_certificate() {
        let status = serde_json::json!(format!("FAILED:{fault}"));
        document["auth_status"].clone_from(&status);
        document["mtls_auth"]["auth_status"] = status;
        document["mtls_auth"]["cert_presented"] = true.into();
    }
    page::json(StatusCode::OK, &document)
}

async fn logout(exchange: &Exchange) -> Response<Body> {
    // Of this application alone: its cookie goes, and the organisation's session stays.
    let one = exchange.parameter("scope").as_deref() == Some("app");
    if !one && let Some(signed) = signed(exchange) {
        let identity = std::sync::Arc::clone(&signed.live.session().identity);
        if let Err(error) = revoke(exchange, Revoked::Session(signed.hash)).await {
            return unavailable(exchange, &error);
        }
        record::logout(exchange, &identity);
    }
    let text = if one { Message::SignedOutApp } else { Message::SignedOutText };
    let root = exchange.site(&exchange.host).map(String::from).unwrap_or_default();
    let mut response =
        page::message(exchange, StatusCode::OK, Message::SignedOut, text, Some((&root, Message::SignInAgain)));
    forget(&mut response, &[AUTHORIZATION, BINDING]);
    response
}

/// Revokes, here at once and everywhere by the store.
pub(crate) async fn revoke(exchange: &Exchange, what: Revoked) -> Result<(), LedgerError> {
    let at = exchange.plane().ledger.revoke(what).await?;
    exchange.plane().sessions.revoke(what, at);
    Ok(())
}

/// Deletes cookies of this host.
pub(crate) fn forget(response: &mut Response<Body>, names: &[&str]) {
    for name in names {
        let cookie = Cookie::own(name, "", Duration::ZERO, SameSite::None).header();
        if let Some(value) = cookie.ok().and_then(|text| HeaderValue::try_from(text).ok()) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
}

/// The page while the store does not answer.
pub(crate) fn unavailable(exchange: &Exchange, error: &LedgerError) -> Response<Body> {
    match error {
        LedgerError::Deactivated => {
            page::message(exchange, StatusCode::FORBIDDEN, Message::Denied, Message::Deactivated, None)
        }
        LedgerError::Ended => {
            page::message(exchange, StatusCode::UNAUTHORIZED, Message::Stale, Message::StaleText, None)
        }
        LedgerError::Unavailable(why) => {
            tracing::error!(why, "sign-ins cannot be written down");
            let (title, text) = (Message::Unavailable, Message::UnavailableText);
            let mut response = page::message(exchange, StatusCode::SERVICE_UNAVAILABLE, title, text, None);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
            response
        }
    }
}
