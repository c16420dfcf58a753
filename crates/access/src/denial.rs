//! Answers to callers that are not let through: to the sign-in, a status for programs, or the page that says why.
//!
//! Invariant: nobody is sent anywhere but to the sign-in host and to what an administrator named, and a page never tells
//! more than that no policy lets the person in.

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use identity::application::{ApplicationKind, Door, SameSite, SelfHosted};
use identity::cookie::{APP_SIGN_IN, Cookie};
use identity::identity::Identity;
use identity::session::{Ended, SessionSecret};
use identity::tag::PageType;
use maud::html;
use net::proxy::body::Body;
use serde_json::json;
use std::time::Duration;
use types::AccessPolicyId;

use crate::custom;
use crate::exchange::Exchange;
use crate::launcher;
use crate::oauth;
use crate::page::{self, Frame};
use crate::snapshot::Published;
use crate::stages::OWN;
use crate::ticket::{self, START, Start};
use crate::words::Message;

/// How long a sign-in may take from its first page.
const SIGN_IN: Duration = Duration::from_secs(4 * 3_600);
/// Life of the cookie that binds a sign-in to the browser, on the application's host.
pub(crate) const BROWSER: Duration = Duration::from_secs(24 * 3_600);
/// Longest path and query that is returned to; a longer one loses its query.
const LONGEST_RETURN: usize = 1_200;

/// Sends a browser to the sign-in host; anything else learns that it must sign in.
pub(crate) fn sign_in(
    exchange: &Exchange,
    published: &Published,
    app: &SelfHosted,
    ended: Option<Ended>,
) -> Response<Body> {
    to_sign_in(exchange, published, app, (ended, None))
}

/// The same for somebody whose request a policy covers that asks for more than they gave.
pub(crate) fn sign_in_for(
    exchange: &Exchange,
    published: &Published,
    app: &SelfHosted,
    policy: AccessPolicyId,
) -> Response<Body> {
    to_sign_in(exchange, published, app, (None, Some(policy)))
}

fn to_sign_in(
    exchange: &Exchange,
    published: &Published,
    app: &SelfHosted,
    (ended, policy): (Option<Ended>, Option<AccessPolicyId>),
) -> Response<Body> {
    if published.policies.is_service_auth_only() && app.service_tokens.answer_401 {
        return unauthorized("a service token is needed");
    }
    // Where agents can get a token, only who asks for a page by name is sent to one.
    if !(navigates(exchange) && page::asks_for_page(exchange))
        && let Some(demand) = oauth::demand(exchange, published)
    {
        return demand;
    }
    let Some(there) = sign_in_address(exchange, published, (policy, None)) else { return page::failed(exchange) };
    if !navigates(exchange) {
        let why = ended.map_or_else(|| "sign in first".to_owned(), |ended| ended.to_string());
        return page::json(
            StatusCode::UNAUTHORIZED,
            &json!({"error": "unauthenticated", "message": why, "login_url": application_root(exchange)}),
        );
    }
    sent(there)
}

/// Sends a browser to prove a second factor, whatever the policies ask for, and back to this request.
pub(crate) fn prove(exchange: &Exchange, published: &Published, within: Duration) -> Option<Response<Body>> {
    sign_in_address(exchange, published, (None, Some(within.as_secs()))).map(sent)
}

fn sent((address, cookie): (String, Option<HeaderValue>)) -> Response<Body> {
    let mut response = page::redirect(&address);
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Tells whether the request is a browser going somewhere, which can follow a redirect to a page.
fn navigates(exchange: &Exchange) -> bool {
    let script = exchange.header("x-requested-with").is_some_and(|value| value.eq_ignore_ascii_case("xmlhttprequest"));
    let fetched = exchange.header("sec-fetch-mode").is_some_and(|mode| mode != "navigate");
    let reads = matches!(exchange.method, Method::GET | Method::HEAD | Method::POST);
    !script && !fetched && exchange.upgrade.is_none() && reads && page::wants_page(exchange)
}

fn application_root(exchange: &Exchange) -> String {
    exchange.site(&exchange.host).map(String::from).unwrap_or_default()
}

/// Writes the address of the sign-in and the cookie that binds it to this browser.
fn sign_in_address(
    exchange: &Exchange,
    published: &Published,
    (policy, factor_within): (Option<AccessPolicyId>, Option<u64>),
) -> Option<(String, Option<HeaderValue>)> {
    // A browser that has a secret keeps it, so that several tabs can sign in at once.
    let known = exchange.cookies(APP_SIGN_IN).find_map(SessionSecret::parse);
    let fresh = known.is_none();
    let secret = match known {
        Some(secret) => secret,
        None => SessionSecret::of(ticket::random()?),
    };
    let back = exchange.path_and_query();
    let back = if exchange.method == Method::GET && back.len() <= LONGEST_RETURN {
        back
    } else if exchange.path.len() <= LONGEST_RETURN {
        exchange.path.clone()
    } else {
        "/".to_owned()
    };
    let start = Start {
        application: published.application.id,
        host: exchange.host.clone(),
        back: back.clone(),
        browser: secret.hash().text(),
        certificate: exchange.certificate_for_sign_in(),
        policy,
        factor_within,
        approves: None,
        expires: exchange.now.after(SIGN_IN).seconds(),
    };
    let meta = exchange.snapshot.seal.seal(START, &start).ok()?;
    let mut address = exchange.site(&exchange.snapshot.organization.auth_domain)?;
    address.set_path(&format!("{OWN}login/{}", exchange.host));
    address
        .query_pairs_mut()
        .append_pair("kid", &published.application.aud.to_string())
        .append_pair("redirect_url", &back)
        .append_pair("meta", &meta);
    let cookie = fresh.then(|| {
        let text = secret.text();
        // The browser comes back from the sign-in host, which may be another site.
        Cookie::own(APP_SIGN_IN, &text, BROWSER, SameSite::None).header().ok()
    });
    let cookie = match cookie {
        Some(text) => Some(HeaderValue::try_from(text?).ok()?),
        None => None,
    };
    Some((address.into(), cookie))
}

/// 401 for a program whose service token is missing or wrong.
pub(crate) fn unauthorized(why: &str) -> Response<Body> {
    page::json(StatusCode::UNAUTHORIZED, &json!({"error": "unauthorized", "message": why}))
}

/// 403 for a program whose service token is good and not covered.
pub(crate) fn forbidden_program(why: &str) -> Response<Body> {
    page::json(StatusCode::FORBIDDEN, &json!({"error": "forbidden", "message": why}))
}

/// 403 where nobody is let in by signing in.
pub(crate) fn nobody<'a>(exchange: &Exchange, door: impl Into<Door<'a>>) -> Response<Body> {
    let door = door.into();
    if let Some(url) = &door.denied.non_identity_url {
        return page::redirect(url.as_str());
    }
    if page::wants_page(exchange)
        && let Some(page) = custom::answer(exchange, PageType::Forbidden, Some(door), &[])
    {
        return page;
    }
    page::message(exchange, StatusCode::FORBIDDEN, Message::Denied, Message::DeniedNobody, None)
}

/// 403 for a person no policy lets in.
pub(crate) fn denied<'a>(
    exchange: &Exchange,
    published: &Published,
    door: impl Into<Door<'a>>,
    identity: Option<&Identity>,
) -> Response<Body> {
    denied_with(exchange, published, door, identity, Message::DeniedText)
}

/// The same for another reason.
pub(crate) fn denied_with<'a>(
    exchange: &Exchange,
    published: &Published,
    door: impl Into<Door<'a>>,
    identity: Option<&Identity>,
    why: Message,
) -> Response<Body> {
    let door = door.into();
    let mut response = match &door.denied.url {
        Some(url) if page::wants_page(exchange) => page::redirect(url.as_str()),
        _ if !page::wants_page(exchange) => page::json(
            StatusCode::FORBIDDEN,
            &json!({"error": "forbidden", "message": why.english(), "ray_id": exchange.id}),
        ),
        _ => denied_page(exchange, published, door, identity, why),
    };
    response.headers_mut().insert("cf-access-error", HeaderValue::from_static("forbidden"));
    response
}

fn denied_page(
    exchange: &Exchange,
    published: &Published,
    door: Door<'_>,
    identity: Option<&Identity>,
    why: Message,
) -> Response<Body> {
    let kind = if identity.is_some() { PageType::IdentityDenied } else { PageType::Forbidden };
    let email = identity.map(|identity| identity.email.as_str()).unwrap_or_default();
    let values = [("app_name", published.application.name.as_str()), ("email", email)];
    if let Some(own) = custom::answer(exchange, kind, Some(door), &values) {
        return own;
    }
    let language = exchange.language(&door.sign_in.languages);
    let title = Message::Denied.text(language);
    let text = if identity.is_some() { why } else { Message::DeniedNobody };
    let logout = exchange.site(&exchange.snapshot.organization.auth_domain).map(|mut address| {
        address.set_path(&format!("{OWN}logout"));
        address.query_pairs_mut().append_pair("to", published.application.id.to_string().as_str());
        address
    });
    // Whoever was refused at the launcher is not sent there again.
    let launcher = launcher::address(exchange)
        .filter(|_| identity.is_some() && !matches!(published.application.kind, ApplicationKind::Launcher(_)));
    Frame { exchange, language, status: StatusCode::FORBIDDEN, title }.render(&html! {
        @match &door.denied.message {
            Some(own) => p { (own) },
            None => p { (text.text(language)) },
        }
        dl.facts {
            dt { (Message::Application.text(language)) }
            dd { (published.application.name) }
            @if let Some(identity) = identity {
                dt { (Message::SignedInAs.text(language)) }
                dd { (identity.email) }
            }
            dt { (Message::Reference.text(language)) }
            dd { code { (exchange.id) } }
        }
        @if let Some(launcher) = &launcher {
            a.button href=(launcher.as_str()) { (Message::OpenLauncher.text(language)) }
        }
        @if identity.is_some() && let Some(logout) = &logout {
            a.button.quiet href=(logout.as_str()) { (Message::OtherAccount.text(language)) }
        }
    })
}
