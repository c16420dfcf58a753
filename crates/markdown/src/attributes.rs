//! What a tag says besides its name.

use url::Url;

/// Longest address that is written.
const MOST_URL: usize = 2_048;

/// The attributes of one start tag, as they are looked up.
pub(crate) trait Attributes {
    /// Returns the value of an attribute as it is written, entities and all.
    fn raw(&self, name: &str) -> Option<String>;

    /// Returns the value of an attribute, decoded.
    fn value(&self, name: &str) -> Option<String> {
        self.raw(name).map(|raw| htmlize::unescape_attribute(&raw).into_owned())
    }

    /// Tells whether the element is not there for anybody who reads the page.
    fn hide(&self) -> bool {
        self.raw("hidden").is_some()
            || self.raw("aria-hidden").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || self.value("style").is_some_and(|style| {
                let plain: String = style.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase();
                plain.contains("display:none") || plain.contains("visibility:hidden")
            })
    }

    /// Returns where the element leads, resolved, if it is somewhere a reader may follow.
    fn address(&self, name: &str, base: Option<&Url>) -> Option<String> {
        let text = self.value(name)?;
        let text = text.trim();
        if text.is_empty() || text.len() > MOST_URL {
            return None;
        }
        let mut url = Url::options().base_url(base).parse(text).ok()?;
        if !matches!(url.scheme(), "http" | "https" | "mailto" | "tel") {
            return None;
        }
        if !url.username().is_empty() || url.password().is_some() {
            url.set_username("").ok()?;
            url.set_password(None).ok()?;
        }
        // Neither may end the destination of a link (CommonMark section 6.3).
        let text = url.as_str().replace('(', "%28").replace(')', "%29");
        let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '\\' | '|'));
        (plain && text.len() <= MOST_URL).then_some(text)
    }
}
