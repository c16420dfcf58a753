//! The answers a rule asks for in place of the origin's: block pages, redirects, and pages for what is not offered.
//!
//! It writes responses; whether one is due was decided before. Invariant: a redirect never carries a request body to
//! another site than an MCP portal of the account's own, and a plan that cannot be carried out is refused, never skipped.

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use policy::action::{BlockPlan, RedirectPlan};
use policy::redirect::{self, Context, Original, Target};
use policy::ruleset::RuleRef;

use crate::body::{Body, empty_body};
use crate::exchange::Exchange;
use crate::page::{self, Page, Side};

/// Answers with the block page, wherever the rule or the account keeps it. Returns the redirect target, if it is one.
pub(crate) fn block(exchange: &Exchange, rule: Option<&RuleRef>, plan: &BlockPlan) -> (Response<Body>, Option<String>) {
    let elsewhere = match &plan.page {
        Some(page) => Some((&page.target, page.include_context)),
        None => exchange
            .snapshot
            .settings
            .block_page
            .redirect
            .as_ref()
            .map(|redirect| (&redirect.target, redirect.include_context)),
    };
    if let Some((target, include_context)) = elsewhere {
        let location = location(exchange, rule, target, false, include_context);
        // 307 is what the product this one is compatible with sends (reference section 6.5).
        return (see(&location, StatusCode::TEMPORARY_REDIRECT), Some(location));
    }
    let reason = plan.reason.as_deref().filter(|reason| !reason.is_empty());
    let what = match reason {
        Some(reason) => reason.to_owned(),
        None => format!("Access to {} is not allowed here.", exchange.target.host),
    };
    let page = Page {
        status: StatusCode::FORBIDDEN,
        code: "blocked",
        title: "This page is blocked".to_owned(),
        what,
        side: Side::Policy,
        advice: "If you need it for your work, write to your administrator and quote the request number below."
            .to_owned(),
        request_id: exchange.id_text(),
        details: details(exchange, rule),
    };
    (render(exchange, &page), None)
}

/// Answers when a rule could not be carried out, so that what it guards stays closed.
pub(crate) fn refuse(
    exchange: &Exchange,
    rule: Option<&RuleRef>,
    code: &'static str,
    title: &str,
    what: String,
) -> Response<Body> {
    let page = Page {
        status: StatusCode::FORBIDDEN,
        code,
        title: title.to_owned(),
        what,
        side: Side::Gateway,
        advice:
            "Nothing was sent to the site. Try again in a moment; if it stays, write to your administrator and quote \
                 the request number below."
                .to_owned(),
        request_id: exchange.id_text(),
        details: details(exchange, rule),
    };
    render(exchange, &page)
}

/// Answers with the redirect of a rule.
pub(crate) fn redirect(exchange: &Exchange, rule: Option<&RuleRef>, plan: &RedirectPlan) -> (Response<Body>, String) {
    let location = location(exchange, rule, &plan.target, plan.preserve_path_and_query, plan.include_context);
    let status = if matches!(exchange.method, Method::GET | Method::HEAD) {
        StatusCode::FOUND
    } else if exchange.mcp.is_mcp() == Some(true) && is_portal(exchange, &location) {
        // A message that is sent on as it is, to where it should have gone.
        StatusCode::TEMPORARY_REDIRECT
    } else {
        // 303 makes the client ask with GET: a form or an upload must not travel to the other site.
        StatusCode::SEE_OTHER
    };
    (see(&location, status), location)
}

/// Tells whether a redirect leads to a portal of the account, by its whole host and over TLS.
fn is_portal(exchange: &Exchange, location: &str) -> bool {
    url::Url::parse(location).is_ok_and(|url| {
        url.scheme() == "https" && url.host_str().is_some_and(|host| exchange.snapshot.mcp.portals.contains(host))
    })
}

fn location(
    exchange: &Exchange,
    rule: Option<&RuleRef>,
    target: &Target,
    preserve_path_and_query: bool,
    include_context: bool,
) -> String {
    let original = Original { path: exchange.target.path(), query: exchange.target.query() };
    if !include_context {
        return redirect::location(target, preserve_path_and_query, original, None);
    }
    let rule_id = rule.map(|rule| rule.id.to_string());
    let source = exchange.source().to_string();
    let account = exchange.snapshot.account.to_string();
    let request_id = exchange.id_text();
    let referer = exchange.headers.get(header::REFERER).and_then(|value| value.to_str().ok());
    let meaning = exchange.meaning();
    let categories: Vec<String> =
        meaning.content_categories.iter().chain(meaning.security_categories).map(ToString::to_string).collect();
    let categories = categories.join(",");
    let context = Context {
        user_email: exchange.person().map(|person| person.email.as_str()),
        site_uri: Some(&exchange.target.url),
        referer,
        rule_id: rule_id.as_deref(),
        source_ip: Some(&source),
        filter: Some("http"),
        account_id: Some(&account),
        request_id: Some(&request_id),
        request_categories: Some(categories.as_str()).filter(|ids| !ids.is_empty()),
        application_name: meaning.application.filter(|_| !meaning.app_ids.is_empty()).map(|it| &*it.name),
        ..Context::default()
    };
    redirect::location(target, preserve_path_and_query, original, Some(&context))
}

fn see(location: &str, status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty_body());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Targets were checked and encoded when the rule was read, so the value is plain ASCII.
    headers.insert(header::LOCATION, HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/")));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// The small print of pages about a request.
pub(crate) fn details(exchange: &Exchange, rule: Option<&RuleRef>) -> Vec<(&'static str, String)> {
    let mut details = vec![("Site", exchange.target.url.chars().take(500).collect())];
    if let Some(rule) = rule {
        details.push(("Rule", rule.name.clone()));
        details.push(("Rule ID", rule.id.to_string()));
    }
    if let Some(person) = exchange.person() {
        details.push(("User", person.email.clone()));
    }
    details.push(("Source IP", exchange.source().to_string()));
    details.push(("Account ID", exchange.snapshot.account.to_string()));
    details
}

pub(crate) fn render(exchange: &Exchange, page: &Page) -> Response<Body> {
    page::respond(page, &exchange.snapshot.settings.block_page.look, &exchange.method, &exchange.headers)
}
