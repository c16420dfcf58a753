//! Signing out everywhere: whether the person means it.
//!
//! It decides whether a request may end the sessions of a person in other browsers; ending them is the sign-in host's.
//! Invariant: nothing that another site makes a browser do ends more than this browser's session.

use http::{Response, StatusCode};
use identity::cookie::SIGN_IN as SIGN_IN_COOKIE;
use identity::session::SessionHash;
use maud::html;
use net::proxy::body::Body;

use crate::exchange::Exchange;
use crate::login::{self, COOKIE_LIFE};
use crate::page::{self, Frame};
use crate::stages::OWN;
use crate::ticket::{SIGN_OUT, SignOutForm};
use crate::words::Message;

/// Tells whether the person went there themselves: from a page of this host, or by the address bar. Only browsers can say
/// so, and no script of another site can say it for them (Fetch Metadata).
pub(crate) fn is_meant(exchange: &Exchange) -> bool {
    matches!(exchange.header("sec-fetch-site"), Some("same-origin" | "none"))
}

/// Asks the person of a session whether they mean it.
pub(crate) fn ask(exchange: &Exchange, session: SessionHash) -> Response<Body> {
    if !page::wants_page(exchange) {
        let (title, text) = (Message::SignOutEverywhere, Message::SignOutEverywhereText);
        return page::message(exchange, StatusCode::FORBIDDEN, title, text, None);
    }
    let Some((key, cookie)) = login::browser(exchange) else { return page::failed(exchange) };
    let expires = exchange.now.after(COOKIE_LIFE).seconds();
    let form = SignOutForm { key, session: session.text(), expires };
    let Ok(state) = exchange.snapshot.seal.seal(SIGN_OUT, &form) else { return page::failed(exchange) };
    let query = exchange.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    let language = exchange.language(&[]);
    let title = Message::SignOutEverywhere.text(language);
    let mut response = Frame { exchange, language, status: StatusCode::OK, title }.render(&html! {
        p { (Message::SignOutEverywhereText.text(language)) }
        form method="post" action=(format!("{OWN}logout{query}")) {
            input type="hidden" name="state" value=(state);
            button type="submit" { (title) }
        }
    });
    login::set_cookie(&mut response, SIGN_IN_COOKIE, &cookie, COOKIE_LIFE);
    response
}

/// Reads the answer: `true` if it is this browser's to the question that was asked of `session`.
///
/// # Errors
/// The answer to a form that cannot be read.
pub(crate) async fn is_confirmed(exchange: &Exchange, session: SessionHash) -> Result<bool, Response<Body>> {
    let fields = login::form_fields(exchange, login::LONGEST_FORM).await?;
    let state = login::field(&fields, "state").unwrap_or_default();
    let form: Option<SignOutForm> = exchange.snapshot.seal.open(SIGN_OUT, &state).ok();
    Ok(form.is_some_and(|form| {
        form.session == session.text() && exchange.now.seconds() < form.expires && login::is_own(exchange, &form.key)
    }))
}
