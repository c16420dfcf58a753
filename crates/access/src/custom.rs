//! The organisation's own pages for callers that are not let through (reference sections 1.2 and 1.10).
//!
//! Decides which page is shown and what stands in the place of its placeholders. Invariant: whatever its author wrote
//! runs no script, sends no form and is framed by nobody, so that it can do nothing in the name of the application on
//! whose host it stands.

use http::{Response, StatusCode};
use identity::application::Door;
use identity::tag::PageType;
use maud::Render;
use net::proxy::body::Body;

use crate::exchange::Exchange;
use crate::page;

/// A page as its author stored it.
#[derive(Debug, Clone)]
pub struct CustomPage {
    pub kind: PageType,
    pub html: String,
}

/// Links may open; the page is of no origin, so no cookie and no storage is in its reach.
const POLICY: &str = "sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation; \
    default-src 'none'; style-src 'unsafe-inline'; img-src https: data:; font-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// Shows the page for `kind`: the application's own, else the organisation's. `None` when neither names one.
pub(crate) fn answer(
    exchange: &Exchange,
    kind: PageType,
    door: Option<Door<'_>>,
    values: &[(&str, &str)],
) -> Option<Response<Body>> {
    let snapshot = &exchange.snapshot;
    let organization = match kind {
        PageType::IdentityDenied => snapshot.organization.denied_page,
        PageType::Forbidden => snapshot.organization.forbidden_page,
        PageType::Login | PageType::Interstitial => None,
    };
    let named = door.into_iter().flat_map(|door| &door.denied.pages).chain(&organization);
    let found = named.filter_map(|id| snapshot.pages.get(id)).find(|page| page.kind == kind)?;
    let ray = exchange.id.to_string();
    let text = fill(&found.html, &[values, &[("ray_id", &ray)]].concat());
    Some(page::own_markup(exchange, StatusCode::FORBIDDEN, text, POLICY))
}

/// Puts values, escaped, in the place of `{{ name }}`. A placeholder that nobody knows stays as it is.
fn fill(html: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let value = after.split_once("}}").and_then(|(name, after)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name.trim())?;
            Some((value, after))
        });
        match value {
            Some((value, after)) => {
                filled.push_str(&value.render().0);
                rest = after;
            }
            None => {
                filled.push_str("{{");
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn placeholders_are_filled_and_what_fills_them_is_escaped() {
        let values = [("ray_id", "01-2"), ("email", "<script>\"&")];
        for (html, filled) in [
            ("<p>{{ ray_id }}</p>", "<p>01-2</p>"),
            ("{{ray_id}}{{email}}", "01-2&lt;script&gt;&quot;&amp;"),
            ("{{ other }} {{ ray_id", "{{ other }} {{ ray_id"),
            ("{{ {{ ray_id }}", "{{ 01-2"),
            ("no braces", "no braces"),
        ] {
            assert_eq!(fill(html, &values), filled, "{html}");
        }
    }
}
