//! Account lists (reference section 3.3): which kind of membership each type has, and whether its items fit.
//!
//! Invariant: a list that compiled holds only items of its type, in the spelling facts have.

use std::collections::HashMap;
use std::sync::Arc;

use expr::{List, ListKind, MAX_LIST_ITEMS};
use types::ListId;

macro_rules! list_types {
    ($($variant:ident $word:literal $kind:ident,)*) => {
        /// The `type` of a list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ListType { $($variant,)* }

        impl ListType {
            /// Every type with its word on the wire.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant),)*];

            /// Returns the word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Returns how items are matched.
            #[must_use]
            pub const fn kind(self) -> ListKind {
                match self { $(Self::$variant => ListKind::$kind,)* }
            }

            /// Finds a type by its word.
            #[must_use]
            pub fn named(word: &str) -> Option<Self> {
                Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, found)| *found)
            }
        }
    };
}

list_types! {
    Serial "SERIAL" Strings,
    Url "URL" Urls,
    Domain "DOMAIN" Domains,
    Email "EMAIL" Strings,
    Ip "IP" Ips,
    Category "CATEGORY" Ints,
    Location "LOCATION" Strings,
    Device "DEVICE" Strings,
    Aaguid "AAGUID" Strings,
}

/// Most faults reported for one list.
const MAX_FAULTS: usize = 20;
/// Longest item, in bytes.
const MAX_ITEM: usize = 4_096;

/// An item that does not fit its list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("item {index} (`{value}`) {message}")]
pub struct ItemError {
    /// Counted from zero.
    pub index: usize,
    /// The first characters of the item.
    pub value: String,
    pub message: &'static str,
}

/// Compiles a list's items.
///
/// # Errors
/// With the items that do not fit, at least one and at most twenty.
pub fn compile<S: AsRef<str>>(kind: ListType, items: &[S]) -> Result<List, Vec<ItemError>> {
    let mut faults = Vec::new();
    let mut spelled = Vec::with_capacity(items.len().min(MAX_LIST_ITEMS));
    for (index, item) in items.iter().enumerate() {
        let item = item.as_ref();
        match spell(kind, item) {
            Ok(text) => spelled.push(text),
            Err(message) if faults.len() < MAX_FAULTS => {
                faults.push(ItemError { index, value: item.chars().take(80).collect(), message });
            }
            Err(_) => break,
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    List::new(kind.kind(), &spelled).map_err(|error| {
        let (index, value, message) = match error {
            expr::ListError::TooLong => (MAX_LIST_ITEMS, String::new(), "is one too many"),
            expr::ListError::BadItem { index, item, .. } => (index, item, expected(kind)),
        };
        vec![ItemError { index, value, message }]
    })
}

/// Checks one item and gives it the spelling that facts have.
fn spell(kind: ListType, item: &str) -> Result<String, &'static str> {
    let trimmed = item.trim();
    if trimmed.is_empty() {
        return Err("is empty");
    }
    if item.len() > MAX_ITEM {
        return Err("is longer than 4096 bytes");
    }
    if trimmed.chars().any(char::is_control) {
        return Err("contains a control character");
    }
    let fits = match kind {
        ListType::Email => trimmed.to_lowercase().parse::<types::Email>().is_ok(),
        ListType::Location | ListType::Device | ListType::Aaguid => uuid::Uuid::parse_str(trimmed).is_ok(),
        ListType::Domain => is_domain(trimmed),
        // One item alone tells whether it can be read, and names it if not.
        ListType::Ip | ListType::Category => List::new(kind.kind(), [trimmed]).is_ok(),
        ListType::Url => is_url(trimmed),
        ListType::Serial => true,
    };
    if !fits {
        return Err(expected(kind));
    }
    Ok(match kind {
        ListType::Email | ListType::Location | ListType::Device | ListType::Aaguid => trimmed.to_lowercase(),
        ListType::Serial | ListType::Url | ListType::Domain | ListType::Ip | ListType::Category => trimmed.to_owned(),
    })
}

const fn expected(kind: ListType) -> &'static str {
    match kind {
        ListType::Serial => "is not a serial number",
        ListType::Url => "is not a URL such as `https://example.com/path` or `example.com/path`",
        ListType::Domain => "is not a domain such as `example.com`",
        ListType::Email => "is not an e-mail address",
        ListType::Ip => "is not an address, a network such as `10.0.0.0/8` or a range",
        ListType::Category => "is not a category number",
        ListType::Location | ListType::Device | ListType::Aaguid => "is not a UUID",
    }
}

fn is_domain(text: &str) -> bool {
    let name = text.strip_prefix("*.").or_else(|| text.strip_prefix('.')).unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn is_url(text: &str) -> bool {
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let web = whole.starts_with("http://") || whole.starts_with("https://");
    web && url::Url::parse(&whole).is_ok_and(|url| url.host_str().is_some())
}

/// The compiled lists of an account, by id.
#[derive(Debug, Clone, Default)]
pub struct ListSet {
    lists: HashMap<String, Arc<List>>,
}

impl ListSet {
    /// Puts a list in place of an earlier one with the same id.
    pub fn insert(&mut self, id: ListId, list: impl Into<Arc<List>>) {
        self.lists.insert(id.to_string(), list.into());
    }

    /// Counts the lists.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }
}

impl expr::Lists for ListSet {
    fn list(&self, name: &str) -> Option<Arc<List>> {
        self.lists.get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use expr::{Lists as _, ValueRef};

    use super::{ListSet, ListType, compile};

    #[test]
    fn every_type_takes_its_items_and_names_those_it_refuses() {
        for (kind, good, bad, message) in [
            ("SERIAL", "C02XL0", "", "item 0 (``) is empty"),
            (
                "URL",
                "example.com/path",
                "ftp://x",
                "item 0 (`ftp://x`) is not a URL such as `https://example.com/path` or `example.com/path`",
            ),
            (
                "DOMAIN",
                "*.Example.com",
                "exa mple.com",
                "item 0 (`exa mple.com`) is not a domain such as `example.com`",
            ),
            ("EMAIL", "User@example.com", "user", "item 0 (`user`) is not an e-mail address"),
            (
                "IP",
                "10.0.0.0/8",
                "10.0.0.0/99",
                "item 0 (`10.0.0.0/99`) is not an address, a network such as `10.0.0.0/8` or a range",
            ),
            ("CATEGORY", "117", "malware", "item 0 (`malware`) is not a category number"),
            ("LOCATION", "51fe39d9-d584-48f5-9eed-36cd14ada791", "x", "item 0 (`x`) is not a UUID"),
            ("DEVICE", "51fe39d9-d584-48f5-9eed-36cd14ada791", "x", "item 0 (`x`) is not a UUID"),
            ("AAGUID", "51fe39d9-d584-48f5-9eed-36cd14ada791", "x", "item 0 (`x`) is not a UUID"),
        ] {
            let kind = ListType::named(kind).unwrap();
            assert!(compile(kind, &[good]).is_ok(), "{good}");
            let faults = compile(kind, &[bad]).unwrap_err();
            assert_eq!(faults[0].to_string(), message);
        }
        assert!(ListType::named("domain").is_none());
    }

    #[test]
    fn addresses_match_in_lower_case() {
        let list = compile(ListType::Email, &["User@Example.com"]).unwrap();
        assert!(list.contains(ValueRef::from("user@example.com")));
    }

    #[test]
    fn several_faults_are_reported_up_to_a_bound() {
        let items: Vec<String> = (0..50).map(|n| format!("bad {n}")).collect();
        assert_eq!(compile(ListType::Email, &items).unwrap_err().len(), 20);
    }

    #[test]
    fn a_set_finds_its_lists_by_id() {
        let mut set = ListSet::default();
        let id = "51fe39d9-d584-48f5-9eed-36cd14ada791";
        set.insert(id.parse().unwrap(), compile(ListType::Serial, &["a"]).unwrap());
        assert!(set.list(id).is_some());
        assert!(set.list("other").is_none());
    }
}
