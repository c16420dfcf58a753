//! The catalogue of an application's APIs (RFC 9727), as a link set (RFC 9264).
//!
//! What stands in it was written by whoever publishes the application, to be found before anybody has signed in; so it is
//! shown to everyone. Invariant: it names nothing but what was written.

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use identity::application::CatalogLink;
use net::proxy::body::{Body, empty_body};
use serde_json::{Map, Value, json};
use url::Url;

use super::discovery;
use crate::exchange::Exchange;
use crate::page;

/// Where RFC 9727 puts it.
const PATH: &str = "/.well-known/api-catalog";
const MEDIA_TYPE: &str = "application/linkset+json; profile=\"https://www.rfc-editor.org/info/rfc9727\"";

/// Answers a request for the catalogue of a host; `None` where its applications have none.
pub(crate) fn answer(exchange: &Exchange) -> Option<Response<Body>> {
    if exchange.path != PATH {
        return None;
    }
    let site = exchange.site(&exchange.host)?;
    let applications = exchange.snapshot.applications.iter().filter_map(|published| published.self_hosted());
    let here = applications.filter(|app| app.destinations.iter().any(|pattern| pattern.covers_host(&exchange.host)));
    let entries: Vec<Value> = here
        .flat_map(|app| &app.api_catalog)
        .map(|entry| {
            let mut context = Map::new();
            context.insert("anchor".to_owned(), json!(absolute(&site, &entry.anchor)));
            for (relation, links) in
                [("service-desc", &entry.service_desc), ("service-doc", &entry.service_doc), ("status", &entry.status)]
            {
                if !links.is_empty() {
                    let links = links.iter().map(|link| target(&site, link)).collect();
                    context.insert(relation.to_owned(), Value::Array(links));
                }
            }
            Value::Object(context)
        })
        .collect();
    if entries.is_empty() {
        return None;
    }
    let mut response = match exchange.method {
        Method::GET => page::json(StatusCode::OK, &json!({"linkset": entries})),
        Method::HEAD => Response::new(empty_body()),
        _ => return Some(page::plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here")),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    // RFC 9727 section 2: HEAD tells of the catalogue by a link.
    let link = format!("<{}>; rel=\"api-catalog\"", absolute(&site, PATH));
    if let Ok(link) = HeaderValue::try_from(link) {
        headers.insert(header::LINK, link);
    }
    Some(discovery::open(response))
}

fn absolute(site: &Url, text: &str) -> String {
    site.join(text).map_or_else(|_| text.to_owned(), String::from)
}

fn target(site: &Url, link: &CatalogLink) -> Value {
    let mut target = json!({"href": absolute(site, &link.href)});
    if let Some(media_type) = &link.media_type {
        target["type"] = json!(media_type);
    }
    target
}
