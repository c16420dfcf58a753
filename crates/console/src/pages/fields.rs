//! The fields of a submitted form or a query string.
//!
//! Reads text only; operations decide what it may be. Invariant: the number of fields is bounded.

use serde_json::Value;

/// Most fields of one form.
const MOST: usize = 2_000;

/// Names and values in the order they were sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `application/x-www-form-urlencoded` text.
    pub(super) fn parse(text: &[u8]) -> Self {
        // Browsers end the lines of a text area with CRLF; sources and expressions are kept with LF.
        let value = |value: &str| value.replace("\r\n", "\n");
        Self(url::form_urlencoded::parse(text).take(MOST).map(|(name, text)| (name.into(), value(&text))).collect())
    }

    /// The value of a field, without outer spaces; empty when it was not sent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// The value of a field as it was sent.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// The value of a field, if it was sent at all.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A text, or nothing when it is empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.get(name);
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Whether a box was ticked.
    pub(super) fn ticked(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Every value of a field that may be sent several times.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The address of a page that is narrowed by the fields named, as far as they say something, from `offset` on.
    pub(super) fn address(&self, path: &str, names: &[&str], offset: usize) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(names.iter().map(|name| (*name, self.get(name))).filter(|(_, value)| !value.is_empty()));
        if offset > 0 {
            query.append_pair("offset", &offset.to_string());
        }
        let query = query.finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    /// The lines of a text area that are not empty.
    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        self.get(name).lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// A number where the text is one, the text itself where it is not, so that the operation can say what is wrong.
    pub(super) fn number(&self, name: &str) -> Option<Value> {
        let text = self.get(name);
        if text.is_empty() {
            return None;
        }
        Some(text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from))
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;

    #[test]
    fn a_form_is_read_as_browsers_send_it() {
        let fields = Fields::parse(b"name=+A%26B+&on=&source=a%0D%0Ab&n=12&m=x&tag=1&tag=2");
        assert_eq!(fields.get("name"), "A&B");
        assert_eq!(fields.raw("source"), "a\nb");
        assert!(fields.ticked("on") && !fields.ticked("off"));
        assert_eq!(fields.text("on"), None);
        assert_eq!(fields.number("n"), Some(12.into()));
        assert_eq!(fields.number("m"), Some("x".into()));
        assert_eq!(fields.all("tag").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(fields.lines("source"), ["a", "b"]);
    }
}
