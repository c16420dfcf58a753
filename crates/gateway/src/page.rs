//! The pages a person sees in place of an answer: blocked, failed, sign in. HTML, JSON or plain text, by `Accept`.
//!
//! It renders; which page and which words come from `fault` and `stages`. Invariant: a page loads nothing, runs no
//! script, is never cached, and everything that came from outside is escaped.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use maud::{DOCTYPE, PreEscaped, html};
use serde::Serialize;

use crate::body::{Body, empty_body, full_body};

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    /// The organisation's policy.
    Policy,
    /// The person's program or browser.
    Client,
    /// The site.
    Origin,
    /// This gateway.
    Gateway,
}

impl Side {
    const fn words(self) -> &'static str {
        match self {
            Self::Policy => "Your organisation's policy",
            Self::Client => "Your program or browser",
            Self::Origin => "The site",
            Self::Gateway => "This gateway",
        }
    }
}

/// What a page says.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Page {
    #[serde(serialize_with = "number")]
    pub(crate) status: StatusCode,
    /// A word for programs.
    pub(crate) code: &'static str,
    pub(crate) title: String,
    /// What happened, one or two sentences.
    pub(crate) what: String,
    pub(crate) side: Side,
    /// What to do about it.
    pub(crate) advice: String,
    pub(crate) request_id: String,
    /// Small print: name and value.
    pub(crate) details: Vec<(&'static str, String)>,
}

fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

/// How an account wants its block page to look (`block_page` of reference section 5.6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    pub name: String,
    pub header_text: String,
    pub footer_text: String,
    /// `#rrggbb`; anything else is ignored.
    pub background_color: String,
    /// A `data:image/…` URI; pages load nothing, so anything else is ignored.
    pub logo: String,
    pub mailto_address: String,
    pub mailto_subject: String,
    /// Hides the small print.
    pub suppress_footer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Html,
    Json,
    Text,
}

/// Renders `page` in the form the client accepts.
pub(crate) fn respond(page: &Page, look: &Look, method: &Method, request: &HeaderMap) -> Response<Body> {
    let format = negotiate(request);
    let (content_type, text) = match format {
        Format::Html => ("text/html; charset=utf-8", as_html(page, look)),
        Format::Json => ("application/json", as_json(page)),
        Format::Text => ("text/plain; charset=utf-8", as_text(page, look)),
    };
    let mut response = Response::new(empty_body());
    *response.status_mut() = page.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'self'",
        ),
    );
    if let Ok(id) = HeaderValue::from_str(&page.request_id) {
        headers.insert("x-portunus-request-id", id);
    }
    // Content-Length stands for what GET would bring (RFC 9110 section 9.3.2).
    if *method != Method::HEAD {
        *response.body_mut() = full_body(Bytes::from(text));
    }
    response
}

/// Picks the form with the highest weight; browsers name HTML, most programs name nothing and get plain text.
fn negotiate(request: &HeaderMap) -> Format {
    let mut best = (0, Format::Text);
    for value in request.get_all(header::ACCEPT) {
        let Ok(value) = value.to_str() else { continue };
        for part in value.split(',').take(32) {
            let mut parameters = part.split(';');
            let media = parameters.next().unwrap_or_default().trim();
            let format = match media {
                "text/html" | "application/xhtml+xml" => Format::Html,
                "application/json" | "application/problem+json" => Format::Json,
                "text/plain" | "text/*" => Format::Text,
                media if media.starts_with("application/") && media.ends_with("+json") => Format::Json,
                _ => continue,
            };
            let weight = parameters.find_map(|p| p.trim().strip_prefix("q=")).map_or(1000, thousandths);
            if weight > best.0 {
                best = (weight, format);
            }
        }
    }
    if best.0 == 0 {
        // A program that posts JSON reads JSON.
        let json = request.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
        return if json { Format::Json } else { Format::Text };
    }
    best.1
}

fn thousandths(text: &str) -> u32 {
    text.trim().parse::<f32>().map_or(0, |weight| {
        let scaled = (weight.clamp(0.0, 1.0) * 1000.0).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
        let whole = scaled as u32;
        whole
    })
}

fn as_json(page: &Page) -> String {
    let details: serde_json::Map<String, serde_json::Value> =
        page.details.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
    let mut error = serde_json::to_value(page).unwrap_or_default();
    if let Some(object) = error.as_object_mut() {
        object.insert("details".to_owned(), details.into());
    }
    serde_json::json!({ "error": error }).to_string()
}

fn as_text(page: &Page, look: &Look) -> String {
    use std::fmt::Write;

    let mut text = String::new();
    let brand = if look.name.is_empty() { "Portunus" } else { &look.name };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{brand}: {} ({})\n\n{}", page.title, page.status.as_u16(), page.what);
    let _ = writeln!(text, "Who can act: {}.\nWhat to do: {}\n", page.side.words(), page.advice);
    for (name, value) in &page.details {
        let _ = writeln!(text, "{name}: {value}");
    }
    let _ = writeln!(text, "Request: {}", page.request_id);
    text
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1a1d21; --soft: #4b5259; --paper: #f4f5f7; --card: #ffffff; --line: #d5d9de; --mark: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #eceef0; --soft: #b4bbc2; --paper: #111417; --card: #1b1f24; --line: #343a41; --mark: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.25rem; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { width: 100%; max-width: 40rem; background: var(--card); border: 1px solid var(--line); border-top: .3rem solid var(--mark); border-radius: .5rem; padding: 1.5rem 1.75rem; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; line-height: 1.25; margin: .25rem 0 .75rem; }
h2 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p { margin: .25rem 0; }
.brand, footer { color: var(--soft); font-size: .875rem; }
.brand img { max-height: 3rem; max-width: 12rem; display: block; margin-bottom: .5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1.25rem 0 0; padding-top: 1rem; border-top: 1px solid var(--line); font-size: .875rem; }
dt { color: var(--soft); } dd { margin: 0; font-family: ui-monospace, monospace; }
a { color: inherit; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
";

fn as_html(page: &Page, look: &Look) -> String {
    let brand = if look.name.is_empty() { "Portunus" } else { &look.name };
    let background = background(look);
    let logo = look.logo.starts_with("data:image/").then_some(&look.logo);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (page.title) " · " (brand) }
                style { (PreEscaped(STYLE)) @if let Some(rule) = &background { (PreEscaped(rule)) } }
            }
            body {
                main {
                    p.brand { @if let Some(logo) = logo { img src=(logo) alt=""; } (brand) }
                    h1 { (page.title) }
                    @if !look.header_text.is_empty() { p { (look.header_text) } }
                    p { (page.what) }
                    h2 { "Who can act" }
                    p { (page.side.words()) }
                    h2 { "What to do" }
                    p { (page.advice) }
                    @if let Some(link) = mail_link(page, look) { p { a href=(link) { "Write to " (look.mailto_address) } } }
                    @if !look.suppress_footer {
                        dl {
                            @for (name, value) in &page.details { dt { (name) } dd { (value) } }
                            dt { "Status" } dd { (page.status.as_u16()) " " (page.code) }
                            dt { "Request" } dd { (page.request_id) }
                        }
                    }
                    @if !look.footer_text.is_empty() { footer { p { (look.footer_text) } } }
                }
            }
        }
    }
    .into_string()
}

/// A colour chosen for light pages applies to light pages; dark mode keeps its contrast.
fn background(look: &Look) -> Option<String> {
    let digits = look.background_color.strip_prefix('#')?;
    (digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| format!("@media (prefers-color-scheme: light) {{ :root {{ --paper: #{digits}; }} }}"))
}

/// A mail with the diagnostic lines of reference section 6.5.
fn mail_link(page: &Page, look: &Look) -> Option<String> {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    if look.mailto_address.is_empty() {
        return None;
    }
    let mut lines = String::new();
    for (name, value) in &page.details {
        lines.push_str(name);
        lines.push_str(": ");
        lines.push_str(value);
        lines.push_str("\r\n");
    }
    lines.push_str("Request: ");
    lines.push_str(&page.request_id);
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    Some(format!(
        "mailto:{}?subject={}&body={}",
        encode(&look.mailto_address),
        encode(&look.mailto_subject),
        encode(&lines)
    ))
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
    use http::{Method, StatusCode};
    use http_body_util::BodyExt;

    use super::{Format, Look, Page, Side, negotiate, respond};

    fn page() -> Page {
        Page {
            status: StatusCode::FORBIDDEN,
            code: "blocked",
            title: "This page is blocked".to_owned(),
            what: "A rule named <b>\"x\"</b> says no.".to_owned(),
            side: Side::Policy,
            advice: "Ask.".to_owned(),
            request_id: "0190".to_owned(),
            details: vec![("Site", "http://a/?<script>".to_owned())],
        }
    }

    fn accepting(text: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(ACCEPT, text.parse().unwrap());
        map
    }

    #[test]
    fn accept_decides_the_form() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Html),
            ("*/*", Format::Text),
            ("application/json", Format::Json),
            ("application/json, text/plain, */*", Format::Json),
            ("text/html;q=0.2, application/json;q=0.9", Format::Json),
            ("text/html;q=0, text/plain;q=0.1", Format::Text),
            ("application/vnd.api+json", Format::Json),
            ("image/avif,image/webp,*/*;q=0.8", Format::Text),
            ("q=;;;,,", Format::Text),
        ] {
            assert_eq!(negotiate(&accepting(accept)), expected, "{accept}");
        }
        assert_eq!(negotiate(&HeaderMap::new()), Format::Text);
    }

    #[tokio::test]
    async fn text_from_outside_is_escaped_in_every_form() {
        let look =
            Look { background_color: "#fff} body{x:y".to_owned(), logo: "https://x/".to_owned(), ..Look::default() };
        let html = respond(&page(), &look, &Method::GET, &accepting("text/html"));
        assert_eq!(html.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        let html = String::from_utf8(html.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        assert!(html.contains("&lt;script&gt;") && !html.contains("<script") && !html.contains("<b>"), "{html}");
        assert!(!html.contains("body{x") && !html.contains("https://x/"), "{html}");
        let json = respond(&page(), &look, &Method::GET, &accepting("application/json"));
        let json: serde_json::Value =
            serde_json::from_slice(&json.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(json["error"]["status"], 403);
        assert_eq!(json["error"]["details"]["Site"], "http://a/?<script>");
    }

    #[tokio::test]
    async fn head_is_answered_without_a_body_but_with_its_length() {
        let response = respond(&page(), &Look::default(), &Method::HEAD, &accepting("text/html"));
        assert!(response.headers()[CONTENT_LENGTH].to_str().unwrap().parse::<usize>().unwrap() > 500);
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
}
