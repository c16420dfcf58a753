//! The stylesheet, the script and the icon, served under names that hold a hash of their content.
//!
//! Compiled into the binary. Invariant: what a hashed name answers never changes, so browsers may keep it for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

const ICON: &str = include_str!("../../assets/portunus.svg");
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

struct Asset {
    name: String,
    media_type: HeaderValue,
    content: String,
}

impl Asset {
    fn new(stem: &str, extension: &str, media_type: &'static str, content: String) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content.as_bytes());
        let hash: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name: format!("{stem}.{hash}.{extension}"), media_type: HeaderValue::from_static(media_type), content }
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let mut sheet = include_str!("../../assets/console.css").to_owned();
    sheet.push_str(chart::STYLE);
    sheet.push_str(&choices());
    Asset::new("console", "css", "text/css; charset=utf-8", sheet)
});

static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let script = include_str!("../../assets/console.js").to_owned();
    Asset::new("console", "js", "text/javascript; charset=utf-8", script)
});

/// The rules that show the settings of the chosen action and template, so that the form needs no script for it.
fn choices() -> String {
    let actions = policy::Hook::Http.actions().iter().map(|action| ("action", action.as_str()));
    let templates = worker::templates::all().iter().map(|template| ("template", template.name.as_str()));
    let mcp = mcp::document::rule::RuleAction::WORDS.iter().map(|(word, _)| ("action", *word));
    // An action that both know has one rule.
    let mcp = mcp.filter(|(_, word)| !policy::Hook::Http.actions().iter().any(|known| known.as_str() == *word));
    let servers = super::agents::CHOICES.iter().copied();
    actions
        .chain(mcp)
        .chain(templates)
        .map(|(group, word)| (group, word, word))
        // An empty value has a word all the same.
        .chain(servers.map(|(group, value)| (group, value, if value.is_empty() { "none" } else { value })))
        .map(|(group, value, word)| {
            format!("form:has([name={group}][value=\"{value}\"]:checked) [data-{group}~=\"{word}\"]{{display:block}}\n")
        })
        .collect()
}

/// The address of the stylesheet.
pub(super) fn style() -> String {
    format!("/assets/{}", STYLE.name)
}

/// The address of the script.
pub(super) fn script() -> String {
    format!("/assets/{}", SCRIPT.name)
}

/// Serves `GET /assets/{name}`.
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let found = [&STYLE, &SCRIPT].into_iter().find(|asset| asset.name == name);
    match found {
        Some(asset) => {
            let headers = [(header::CONTENT_TYPE, asset.media_type.clone()), (header::CACHE_CONTROL, FOR_EVER)];
            (headers, asset.content.as_str()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
    }
}

/// Serves `GET /favicon.svg`.
pub(super) async fn icon() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400")),
    ];
    (headers, ICON).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The classes of a selector.
    fn classes(selector: &str) -> impl Iterator<Item = &str> {
        let ends = |character: char| !character.is_ascii_alphanumeric() && character != '-';
        selector.split('.').skip(1).map(move |rest| rest.split(ends).next().unwrap_or_default())
    }

    fn selectors(sheet: &str) -> impl Iterator<Item = &str> {
        sheet
            .split('{')
            .flat_map(|part| part.rsplit(['}', ';', '/']).next().unwrap_or_default().split(','))
            .map(str::trim)
    }

    /// Both go into one stylesheet: a class of charts that stands alone would change whatever bears its name elsewhere.
    #[test]
    fn charts_style_no_class_of_ours() {
        // The bar of a share is drawn by charts and placed by pages; a key is that of a legend wherever it is.
        const SHARED: [&str; 2] = ["share", "key"];
        let ours: BTreeSet<_> = selectors(include_str!("../../assets/console.css")).flat_map(classes).collect();
        assert!(ours.contains("said") && ours.contains("gutter"), "{ours:?}");
        let alone = selectors(chart::STYLE).filter_map(|selector| {
            let first = selector.split(char::is_whitespace).next()?;
            classes(first).next().filter(|_| first.starts_with('.'))
        });
        let both: BTreeSet<_> = alone.filter(|class| ours.contains(class) && !SHARED.contains(class)).collect();
        assert_eq!(both, BTreeSet::new());
    }
}
