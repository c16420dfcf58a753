//! Which language pages speak, and the switch between them.
//!
//! Invariant: what somebody chose comes before everything else, and the switch leads nowhere but back to the host it
//! stands on.

use std::time::Duration;

use http::{HeaderValue, Response, header};
use identity::application::SameSite;
use identity::cookie::{Cookie, LANGUAGE, ReturnUrl};
use maud::{Markup, html};
use net::proxy::body::Body;

use crate::exchange::Exchange;
use crate::page;
use crate::stages::OWN;
use crate::words::{Language, Message};

/// A choice is kept for a year.
const KEPT: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Returns the language of pages: what the person chose, else the application's or organisation's own, else what the
/// browser asks for.
pub(crate) fn of(exchange: &Exchange, wanted: &[String]) -> Language {
    if let Some(chosen) = exchange.cookies(LANGUAGE).find_map(Language::named) {
        return chosen;
    }
    let own = if wanted.is_empty() { &exchange.snapshot.organization.languages } else { wanted };
    Language::choose(own, exchange.header("accept-language").unwrap_or_default())
}

/// Keeps a choice in this browser and goes back.
pub(crate) fn switch(exchange: &Exchange) -> Response<Body> {
    let Some(chosen) = exchange.parameter("to").and_then(|tag| Language::named(&tag)) else {
        return page::nothing_here(exchange);
    };
    let back = exchange.parameter("back").zip(exchange.site(&exchange.host));
    let back = back.and_then(|(back, site)| ReturnUrl::parse(&back, &site).ok());
    let mut response = page::redirect(back.as_ref().map_or("/", ReturnUrl::as_str));
    let cookie = Cookie::own(LANGUAGE, chosen.tag(), KEPT, SameSite::Lax).header();
    if let Some(value) = cookie.ok().and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

/// The switch, with every language in its own words. Nothing where a page cannot be asked for again.
pub(crate) fn links(exchange: &Exchange, language: Language) -> Markup {
    let Some(back) = exchange.again() else { return html! {} };
    let address = |language: Language| {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("to", language.tag())
            .append_pair("back", &back)
            .finish();
        format!("{OWN}language?{query}")
    };
    html! {
        nav.languages aria-label=(Message::Languages.text(language)) {
            @for other in Language::ALL {
                @if other == language {
                    span aria-current="true" { (other.name()) }
                } @else {
                    a href=(address(other)) lang=(other.tag()) hreflang=(other.tag()) { (other.name()) }
                }
            }
        }
    }
}
