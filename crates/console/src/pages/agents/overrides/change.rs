//! One change of a tool or prompt as a form holds it.
//!
//! Invariant: two changes that mean the same are written the same, so that a row tells whether it was touched.

use mcp::document::overrides::OverrideDocument;
use serde_json::json;

use super::ROWS;
use crate::pages::fields::Fields;

/// What is changed. An empty text changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// `None` leaves it as it is elsewhere.
    pub(super) enabled: Option<bool>,
    pub(super) alias: Option<String>,
    pub(super) description: Option<String>,
}

impl Change {
    pub(super) fn of(document: &OverrideDocument) -> Self {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Self { enabled: document.enabled, alias: text(&document.alias), description: text(&document.description) }
    }

    /// The change as text, by which a form says over what it was drawn.
    pub(super) fn word(&self) -> String {
        // Browsers end lines their own way.
        let description = self.description.as_ref().map(|text| text.replace("\r\n", "\n"));
        json!([self.enabled, self.alias, description]).to_string()
    }

    /// Puts the change into a list, in the place of the one that stands there.
    pub(super) fn put(&self, name: &str, list: &mut Vec<OverrideDocument>) {
        let Self { enabled, alias, description } = self.clone();
        let entry = OverrideDocument { name: name.to_owned(), alias, description, enabled };
        let found = list.iter().position(|change| change.name == name);
        match (found, *self == Self::default()) {
            (Some(index), true) => drop(list.remove(index)),
            (Some(index), false) => list[index] = entry,
            (None, true) => {}
            (None, false) => list.push(entry),
        }
    }
}

/// A row as it was sent.
pub(super) struct Typed {
    pub(super) name: String,
    pub(super) change: Change,
    /// The change over which the row was drawn.
    pub(super) was: String,
    /// The row is for a name that the author wrote.
    pub(super) new: bool,
}

impl Typed {
    /// Reads the rows of a form, and the one for a name that the server does not offer.
    pub(super) fn read(fields: &Fields) -> Vec<Self> {
        let row = |index: &str| {
            let field = |member: &str| fields.find(&format!("{member}.{index}"));
            let name = field("name")?.to_owned();
            let text = |member: &str| field(member).filter(|text| !text.is_empty()).map(str::to_owned);
            let change = Change {
                enabled: field("enabled").and_then(|word| word.parse().ok()),
                alias: field("alias").map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned),
                description: text("description"),
            };
            let new = index == "new";
            let was = if new { Change::default().word() } else { field("was").unwrap_or_default().to_owned() };
            Some(Self { name: if new { name.trim().to_owned() } else { name }, change, was, new })
        };
        let mut all: Vec<Self> = (0..ROWS).filter_map(|index| row(&index.to_string())).collect();
        all.extend(row("new"));
        all
    }

    /// Whether anything was typed into the row.
    pub(super) fn is_changed(&self) -> bool {
        self.change.word() != self.was
    }
}

#[cfg(test)]
mod tests {
    use mcp::document::overrides::OverrideDocument;

    use super::{Change, Typed};
    use crate::pages::fields::Fields;

    fn document(description: &str) -> OverrideDocument {
        OverrideDocument {
            name: "get".to_owned(),
            alias: Some(String::new()),
            description: Some(description.to_owned()),
            enabled: None,
        }
    }

    #[test]
    fn a_row_that_was_left_alone_is_not_changed() {
        let stands = Change::of(&document(" Two\r\nlines \n"));
        let form = |description: &str| {
            let fields = [
                ("name.0", "get"),
                ("was.0", &stands.word()),
                ("enabled.0", ""),
                ("alias.0", " "),
                ("description.0", description),
                ("name.new", ""),
                ("enabled.new", ""),
            ];
            let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            Typed::read(&Fields::parse(text.as_bytes())).iter().map(Typed::is_changed).collect::<Vec<_>>()
        };
        assert_eq!(form(" Two\r\nlines \r\n"), [false, false]);
        assert_eq!(form("Two"), [true, false]);
    }

    #[test]
    fn a_change_that_changes_nothing_leaves_the_list() {
        let mut list = vec![document("Gets it.")];
        let hidden = Change { enabled: Some(false), ..Change::of(&list[0]) };
        hidden.put("get", &mut list);
        assert_eq!((list.len(), list[0].enabled, list[0].alias.clone()), (1, Some(false), None));
        hidden.put("other", &mut list);
        Change::default().put("get", &mut list);
        Change::default().put("get", &mut list);
        assert_eq!(list.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), ["other"]);
    }
}
