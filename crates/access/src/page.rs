//! The pages people see: sign-in, denied, signed out, and every way things can fail.
//!
//! It renders; which page and why is decided elsewhere. Invariant: a page runs no script but
//! ours, where it asks an authenticator, loads nothing else but images that an administrator named, cannot be framed, is never cached, and everything that came from outside is escaped.

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use identity::tag::PageType;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use net::proxy::body::{Body, empty_body, full_body};
use serde_json::json;
use url::Url;

use crate::custom;
use crate::exchange::Exchange;
use crate::language;
use crate::webauthn;
use crate::words::{Language, Message};
use identity::theme::Palette;

const STYLE: &str = include_str!("page.css");

/// A page's frame.
pub(crate) struct Frame<'a> {
    pub(crate) exchange: &'a Exchange,
    pub(crate) language: Language,
    pub(crate) status: StatusCode,
    pub(crate) title: &'a str,
}

impl Frame<'_> {
    /// Renders the page: a card with the organisation's mark, the title and `content`.
    pub(crate) fn render(&self, content: &Markup) -> Response<Body> {
        self.card(content, false)
    }

    /// Renders the page as [`Frame::render`]; with the script if `content` `asks` an authenticator.
    pub(crate) fn render_asking(&self, asks: bool, content: &Markup) -> Response<Body> {
        self.card(content, asks)
    }

    fn card(&self, content: &Markup, script: bool) -> Response<Body> {
        let design = &self.exchange.snapshot.organization.design;
        let palette = Palette { back: design.background, text: design.text, ..Palette::default() };
        let body = html! {
            main {
                div.card {
                    (self.brand(design.logo.as_ref()))
                    h1 { (self.title) }
                    (content)
                }
            }
            (self.footer(&html! {}))
        };
        self.lay_out(&body, palette, design.logo.iter(), script)
    }

    /// Renders a page around the whole of its body, with the colours of `palette` and images from where `images` are.
    pub(crate) fn sheet<'i>(
        &self,
        body: &Markup,
        palette: Palette,
        images: impl Iterator<Item = &'i Url>,
    ) -> Response<Body> {
        self.lay_out(body, palette, images, false)
    }

    fn lay_out<'i>(
        &self,
        body: &Markup,
        palette: Palette,
        images: impl Iterator<Item = &'i Url>,
        script: bool,
    ) -> Response<Body> {
        let colours = palette.style();
        let page = html! {
            (DOCTYPE)
            html lang=(self.language.tag()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width,initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (self.title) " · " (self.organization()) }
                    style { (PreEscaped(STYLE)) }
                    @if !colours.is_empty() { style { (PreEscaped(colours.as_str())) } }
                    @if script { script src=(webauthn::script_address()) defer {} }
                }
                body { (body) }
            }
        };
        let mut response = text_answer(self.exchange, self.status, page.into_string());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(self.language.tag()));
        harden(headers, &policy(&colours, &sources(images), script));
        response
    }

    /// The name the organisation shows.
    pub(crate) fn organization(&self) -> &str {
        organization(self.exchange)
    }

    /// The organisation's logo, or its initial, with its name.
    pub(crate) fn brand(&self, logo: Option<&Url>) -> Markup {
        let name = self.organization();
        html! {
            div.brand {
                @if let Some(logo) = logo {
                    img src=(logo.as_str()) alt="";
                } @else {
                    span.mark aria-hidden="true" { (initial(name)) }
                }
                span { (name) }
            }
        }
    }

    /// The foot of a page: the organisation's text, `links` and the languages.
    pub(crate) fn footer(&self, links: &Markup) -> Markup {
        html! {
            footer {
                @if let Some(text) = &self.exchange.snapshot.organization.design.footer { p { (text) } }
                (links)
                (language::links(self.exchange, self.language))
            }
        }
    }
}

/// The name the organisation shows.
pub(crate) fn organization(exchange: &Exchange) -> &str {
    let organization = &exchange.snapshot.organization;
    organization.design.header.as_deref().unwrap_or(&organization.name)
}

/// The first letter of a name, as a mark.
pub(crate) fn initial(name: &str) -> String {
    let first = name.chars().find(|character| character.is_alphanumeric());
    first.map(|character| character.to_uppercase().collect()).unwrap_or_default()
}

/// An answer of markup that somebody else wrote, under a policy that holds it.
pub(crate) fn own_markup(exchange: &Exchange, status: StatusCode, markup: String, policy: &str) -> Response<Body> {
    let mut response = text_answer(exchange, status, markup);
    harden(response.headers_mut(), policy);
    response
}

fn text_answer(exchange: &Exchange, status: StatusCode, text: String) -> Response<Body> {
    let length = text.len();
    let mut response = Response::new(if exchange.method == Method::HEAD { empty_body() } else { full_body(text) });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Returns the sources of a policy that images come from, each once.
fn sources<'i>(images: impl Iterator<Item = &'i Url>) -> String {
    let mut sources: Vec<String> = images
        .map(|image| if image.scheme() == "data" { "data:".to_owned() } else { image.origin().ascii_serialization() })
        .collect();
    sources.sort_unstable();
    sources.dedup();
    sources.join(" ")
}

/// The Content-Security-Policy of a page of ours, which may load our own script or none.
fn policy(colours: &str, images: &str, script: bool) -> String {
    // A form may lead to the identity provider by a redirect, which browsers hold against `form-action` too; so that
    // stands in no policy here, and every form posts to this host by its own address.
    format!(
        "default-src 'none'; style-src 'sha256-{}'{}; img-src {}; base-uri 'none'; frame-ancestors 'none'{}",
        style_hash(),
        if colours.is_empty() { String::new() } else { format!(" 'sha256-{}'", hash(colours)) },
        if images.is_empty() { "'none'" } else { images },
        if script { "; script-src 'self'" } else { "" }
    )
}

/// The headers every page carries, whoever wrote it.
fn harden(headers: &mut http::HeaderMap, policy: &str) {
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
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HASH.get_or_init(|| hash(STYLE))
}

fn hash(style: &str) -> String {
    use base64::Engine as _;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash)
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
        (reference(exchange, language))
    })
}

/// The number by which a help desk finds the record of this exchange.
pub(crate) fn reference(exchange: &Exchange, language: Language) -> Markup {
    html! { p.soft { (Message::Reference.text(language)) ": " code { (exchange.id) } } }
}

/// The page of a failure towards the application.
pub(crate) fn simple(exchange: &Exchange, status: StatusCode, title: Message) -> Response<Body> {
    message(exchange, status, title, Message::OriginText, None)
}

pub(crate) fn failed(exchange: &Exchange) -> Response<Body> {
    message(exchange, StatusCode::INTERNAL_SERVER_ERROR, Message::Failed, Message::FailedText, None)
}

pub(crate) fn nothing_here(exchange: &Exchange) -> Response<Body> {
    let denies = exchange.snapshot.organization.deny_unmatched;
    if denies
        && wants_page(exchange)
        && let Some(page) = custom::answer(exchange, PageType::Forbidden, None, &[])
    {
        return page;
    }
    let status = if denies { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
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

/// Tells whether the client asks for a page by name, as browsers that go somewhere do.
pub(crate) fn asks_for_page(exchange: &Exchange) -> bool {
    exchange.header("accept").is_some_and(|accept| accept.contains("text/html"))
}

/// Nothing here, for programs.
pub(crate) fn not_found_json() -> Response<Body> {
    json(StatusCode::NOT_FOUND, &json!({"error": "not_found"}))
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

#[cfg(test)]
mod tests {
    use identity::theme;

    #[test]
    fn the_cards_are_what_the_theme_takes_them_for() {
        let sheet = include_str!("page.css");
        let line = |start: &str| sheet.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        let (light, dark) = (line(":root"), line("@media(prefers-color-scheme:dark)"));
        assert!(light.contains("--card:#fff;") && light.contains(&format!("--text:{};", theme::LIGHT_TEXT)));
        for (name, colour) in [("text", theme::DARK_TEXT), ("card", theme::DARK), ("back", theme::DARK_BACK)] {
            assert!(dark.contains(&format!("--{name}:{colour};")), "{name}");
        }
    }
}
