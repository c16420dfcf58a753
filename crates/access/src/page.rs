//! The pages people see: sign-in, denied, signed out, and every way things can fail.
//!
//! It renders; which page and why is decided elsewhere. Invariant: a page runs no script, loads nothing but the
//! organisation's logo, cannot be framed, is never cached, and everything that came from outside is escaped.

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use net::proxy::body::{Body, empty_body, full_body};
use serde_json::json;

use crate::exchange::Exchange;
use crate::words::{Language, Message};

const STYLE: &str = "
:root{color-scheme:light dark;--back:#f4f5f7;--card:#fff;--text:#1b1f24;--soft:#57606a;--line:#d0d7de;--act:#0b57d0;--on:#fff;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--back:#0e1116;--card:#171b21;--text:#e6edf3;--soft:#9aa4af;--line:#3a424c;--act:#8ab4f8;--on:#0e1116;--bad:#f2b8b5}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{width:100%;max-width:26rem;background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1.75rem}
header{display:flex;align-items:center;gap:.6rem;color:var(--soft);font-size:.95rem;margin-bottom:1rem;overflow-wrap:anywhere}
header img{max-height:2rem;max-width:8rem}
h1{font-size:1.4rem;line-height:1.25;margin:0 0 .5rem}
p{margin:.5rem 0;overflow-wrap:anywhere}
form{margin:1rem 0 0}
label{display:block;font-weight:600;margin:.9rem 0 .3rem}
input,textarea{width:100%;font:inherit;color:inherit;background:transparent;border:1px solid var(--soft);border-radius:8px;padding:.6rem .7rem}
button,.button{display:block;width:100%;font:inherit;font-weight:600;text-align:center;text-decoration:none;color:var(--on);background:var(--act);border:1px solid var(--act);border-radius:8px;padding:.65rem .8rem;margin-top:1rem;cursor:pointer}
button.quiet,.button.quiet{color:var(--act);background:transparent}
:focus-visible{outline:3px solid var(--act);outline-offset:2px}
a{color:var(--act)}
.error{color:var(--bad);font-weight:600}
.soft,footer{color:var(--soft);font-size:.875rem}
footer{margin-top:1.5rem;border-top:1px solid var(--line);padding-top:.75rem}
hr{border:0;border-top:1px solid var(--line);margin:1.5rem 0 0}
";

/// A page's frame.
pub(crate) struct Frame<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) language: Language,
    pub(crate) status: StatusCode,
    pub(crate) title: &'a str,
}

impl Frame<'_> {
    /// Renders the page around `content`.
    pub(crate) fn render(&self, content: &Markup) -> Response<Body> {
        let organization = &self.exchange.snapshot.organization;
        let name = organization.design.header_text.as_deref().filter(|text| !text.is_empty());
        let name = name.unwrap_or(&organization.name);
        let footer = organization.design.footer_text.as_deref().unwrap_or_default();
        let logo = organization.logo.as_ref();
        let page = html! {
            (DOCTYPE)
            html lang=(self.language.tag()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width,initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (self.title) " · " (name) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        header {
                            @if let Some(logo) = logo { img src=(logo.as_str()) alt=""; }
                            span { (name) }
                        }
                        h1 { (self.title) }
                        (content)
                        @if !footer.is_empty() { footer { (footer) } }
                    }
                }
            }
        };
        let mut response = body(self.exchange, page.into_string());
        *response.status_mut() = self.status;
        let image = logo.map(|logo| logo.origin().ascii_serialization()).unwrap_or_default();
        harden(response.headers_mut(), &image);
        response
    }
}

fn body(exchange: &Exchange, text: String) -> Response<Body> {
    let length = text.len();
    let mut response = Response::new(if exchange.method == Method::HEAD { empty_body() } else { full_body(text) });
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// The headers every page of ours carries.
fn harden(headers: &mut http::HeaderMap, image: &str) {
    // A form may lead to the identity provider by a redirect, which browsers hold against `form-action` too; so that
    // stands in no policy here, and every form posts to this host by its own address.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; img-src {}; base-uri 'none'; frame-ancestors 'none'",
        style_hash(),
        if image.is_empty() { "'none'" } else { image }
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn style_hash() -> &'static str {
    use base64::Engine as _;
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HASH.get_or_init(|| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
        base64::engine::general_purpose::STANDARD.encode(hash)
    })
}

/// A page of one message, in JSON for programs.
pub(crate) fn message(
    exchange: &Exchange,
    status: StatusCode,
    title: Message,
    text: Message,
    link: Option<(&str, Message)>,
) -> Response<Body> {
    if !wants_page(exchange) {
        return json(status, &json!({"error": title.english(), "message": text.english(), "ray_id": exchange.id}));
    }
    let language = exchange.language(&[]);
    let frame = Frame { exchange, language, status, title: title.text(language) };
    frame.render(&html! {
        p { (text.text(language)) }
        @if let Some((address, label)) = link { a.button href=(address) { (label.text(language)) } }
        p.soft { (Message::Reference.text(language)) ": " code { (exchange.id) } }
    })
}

/// The page of a failure towards the application.
pub(crate) fn simple(exchange: &Exchange, status: StatusCode, title: Message) -> Response<Body> {
    message(exchange, status, title, Message::OriginText, None)
}

pub(crate) fn failed(exchange: &Exchange) -> Response<Body> {
    message(exchange, StatusCode::INTERNAL_SERVER_ERROR, Message::Failed, Message::FailedText, None)
}

pub(crate) fn nothing_here(exchange: &Exchange) -> Response<Body> {
    let status =
        if exchange.snapshot.organization.deny_unmatched { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
    message(exchange, status, Message::NothingHere, Message::NothingHereText, None)
}

pub(crate) fn bad_address(exchange: &Exchange, reason: &'static str) -> Response<Body> {
    tracing::debug!(reason, host = %exchange.host, "a path was refused");
    message(exchange, StatusCode::BAD_REQUEST, Message::BadAddress, Message::BadAddressText, None)
}

/// Tells whether the client shows pages.
pub(crate) fn wants_page(exchange: &Exchange) -> bool {
    let accept = exchange.header("accept").unwrap_or("*/*");
    accept.contains("text/html") || accept.contains("*/*") && !accept.contains("application/json")
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full_body(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An answer in plain text, for requests that name nobody to show a page to.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full_body(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Sends a browser elsewhere.
pub(crate) fn redirect(address: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::try_from(address) else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "the address to go to cannot be written");
    };
    let mut response = Response::new(empty_body());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}
