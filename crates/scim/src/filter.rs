//! Filters and attribute paths (RFC 7644 sections 3.4.2.2 and 3.5.2), as far as providers send them: `eq` and `and`.
//!
//! Decides what a filter means for a record. Operators beyond those are refused by name, for a filter that is half
//! understood finds the wrong people. Invariant: a [`Filter`] names only attributes that are kept.

use serde_json::Value;

use super::group::Group;
use super::user::User;
use super::{ErrorType, ResourceType, ScimError};

/// Longest filter or path, in bytes.
pub const MAX_FILTER: usize = 2_048;
/// Most comparisons of one filter.
pub const MAX_TERMS: usize = 8;

/// A place in a record: `attribute`, `attribute.part`, `attribute[filter].part`. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Of another schema than the core ones, so nothing that is kept.
    pub foreign: bool,
    pub attribute: String,
    pub filter: Option<Filter>,
    pub part: Option<String>,
}

/// Comparisons that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    path: Path,
    value: Value,
}

/// One value of a record, to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept<'a> {
    Exact(&'a str),
    Folded(&'a str),
    Truth(bool),
}

impl Kept<'_> {
    fn equals(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Exact(own), Value::String(text)) => own == text,
            (Self::Folded(own), Value::String(text)) => own.to_lowercase() == text.to_lowercase(),
            (Self::Truth(own), Value::Bool(truth)) => own == *truth,
            (Self::Truth(own), Value::String(text)) => text.eq_ignore_ascii_case(if own { "true" } else { "false" }),
            _ => false,
        }
    }
}

impl Filter {
    /// Reads the filter of a query.
    ///
    /// # Errors
    /// If it is none, uses another operator, or names an attribute that is not kept.
    pub fn parse(kind: ResourceType, text: &str) -> Result<Self, ScimError> {
        let mut reader = Reader::new(text, ErrorType::InvalidFilter)?;
        let filter = reader.filter(false)?;
        reader.end()?;
        for term in &filter.0 {
            let Path { foreign, attribute, part, .. } = &term.path;
            let known = match kind {
                ResourceType::User => matches!(
                    (attribute.as_str(), part.as_deref()),
                    ("id" | "username" | "externalid" | "displayname" | "active" | "emails", None)
                        | ("emails", Some("value" | "type"))
                        | ("name", Some("givenname" | "familyname" | "formatted"))
                ),
                ResourceType::Group => matches!(
                    (attribute.as_str(), part.as_deref()),
                    ("id" | "externalid" | "displayname" | "members", None) | ("members", Some("value"))
                ),
            };
            if *foreign || !known {
                let detail = format!("records are not found by `{attribute}`");
                return Err(ScimError::bad(ErrorType::InvalidFilter, detail));
            }
        }
        Ok(filter)
    }

    /// Returns the text that an attribute must equal, for a caller that keeps an index. `attribute` is in lower case.
    #[must_use]
    pub fn exact(&self, attribute: &str) -> Option<&str> {
        let term = self.0.iter().find(|term| term.path.attribute == attribute && term.path.part.is_none())?;
        term.value.as_str()
    }

    /// Tells whether a person's record is found.
    #[must_use]
    pub fn finds_user(&self, user: &User) -> bool {
        let id = user.id.to_string();
        self.0.iter().all(|term| {
            let attributes = &user.attributes;
            if term.path.attribute == "emails" {
                return attributes.emails.iter().any(|email| {
                    term.path.filter.as_ref().is_none_or(|filter| filter.finds_part(|part| email.part(part)))
                        && email
                            .part(term.path.part.as_deref().unwrap_or("value"))
                            .is_some_and(|kept| kept.equals(&term.value))
                });
            }
            let folded =
                |text: &'_ Option<String>| text.as_deref().is_some_and(|text| Kept::Folded(text).equals(&term.value));
            match (term.path.attribute.as_str(), term.path.part.as_deref()) {
                ("id", _) => Kept::Exact(&id).equals(&term.value),
                ("username", _) => Kept::Folded(&attributes.user_name).equals(&term.value),
                ("active", _) => Kept::Truth(attributes.active).equals(&term.value),
                ("externalid", _) => {
                    attributes.external_id.as_deref().is_some_and(|own| Kept::Exact(own).equals(&term.value))
                }
                ("displayname", _) => folded(&attributes.display_name),
                ("name", Some("givenname")) => folded(&attributes.given_name),
                ("name", Some("familyname")) => folded(&attributes.family_name),
                ("name", Some("formatted")) => folded(&attributes.formatted),
                _ => false,
            }
        })
    }

    /// Tells whether a group's record is found.
    #[must_use]
    pub fn finds_group(&self, group: &Group) -> bool {
        let id = group.id.to_string();
        self.0.iter().all(|term| {
            let attributes = &group.attributes;
            match term.path.attribute.as_str() {
                "id" => Kept::Exact(&id).equals(&term.value),
                "displayname" => Kept::Folded(&attributes.display_name).equals(&term.value),
                "externalid" => {
                    attributes.external_id.as_deref().is_some_and(|own| Kept::Exact(own).equals(&term.value))
                }
                "members" => {
                    let member = term.value.as_str().and_then(super::ResourceId::parse);
                    let inner = |id: &super::ResourceId| {
                        let text = id.to_string();
                        term.path.filter.as_ref().is_none_or(|filter| {
                            filter.finds_part(|part| (part == "value").then_some(Kept::Exact(&text)))
                        })
                    };
                    member.is_some_and(|id| attributes.members.contains(&id) && inner(&id))
                }
                _ => false,
            }
        })
    }

    /// Tells whether one entry of a list is found by the filter in a path.
    pub(crate) fn finds_part<'a>(&self, part: impl Fn(&str) -> Option<Kept<'a>>) -> bool {
        self.0.iter().all(|term| part(&term.path.attribute).is_some_and(|kept| kept.equals(&term.value)))
    }

    /// Returns the text an entry of a list must have at `part`.
    pub(crate) fn wanted(&self, part: &str) -> Option<&str> {
        self.exact(part)
    }
}

impl Path {
    /// Reads a path of a PATCH operation.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, ScimError> {
        let mut reader = Reader::new(text, ErrorType::InvalidPath)?;
        let path = reader.path(false)?;
        reader.end()?;
        Ok(path)
    }

    /// Reads the name of a member: an attribute, or as Entra writes them `name.givenName`, `emails[type eq "work"].value`
    /// and names of a schema. A core schema as a box around attributes is refused, for what it holds would be dropped.
    pub(crate) fn of_member(name: &str) -> Result<Self, ScimError> {
        if [ResourceType::User, ResourceType::Group].iter().any(|kind| kind.schema().eq_ignore_ascii_case(name)) {
            return Err(ScimError::bad(
                ErrorType::InvalidPath,
                "attributes of the core schema stand by their own names",
            ));
        }
        if name.contains([':', '.', '[']) {
            return Self::parse(name);
        }
        Ok(Self { foreign: false, attribute: name.to_ascii_lowercase(), filter: None, part: None })
    }
}

struct Reader<'t> {
    rest: &'t str,
    fault: ErrorType,
    terms: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, fault: ErrorType) -> Result<Self, ScimError> {
        if text.len() > MAX_FILTER {
            return Err(ScimError::bad(fault, format!("must be at most {MAX_FILTER} bytes")));
        }
        Ok(Self { rest: text.trim(), fault, terms: 0 })
    }

    fn wrong<T>(&self, detail: impl Into<String>) -> Result<T, ScimError> {
        Err(ScimError::bad(self.fault, detail))
    }

    fn end(&self) -> Result<(), ScimError> {
        if self.rest.trim().is_empty() {
            return Ok(());
        }
        let rest: String = self.rest.chars().take(40).collect();
        self.wrong(format!("`{rest}` cannot be read; only `eq` and `and` are understood"))
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.rest.strip_prefix(wanted);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn word(&mut self, more: &str) -> &'t str {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !more.contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Reads comparisons; `nested` in brackets, where no further brackets stand.
    fn filter(&mut self, nested: bool) -> Result<Filter, ScimError> {
        let mut terms = Vec::new();
        loop {
            self.terms += 1;
            if self.terms > MAX_TERMS {
                return self.wrong(format!("must hold at most {MAX_TERMS} comparisons"));
            }
            terms.push(self.term(nested)?);
            let after = self.rest.trim_start();
            match after.get(..3) {
                Some(word) if word.eq_ignore_ascii_case("and") && after[3..].starts_with(char::is_whitespace) => {
                    self.rest = after[3..].trim_start();
                }
                _ => return Ok(Filter(terms)),
            }
        }
    }

    fn term(&mut self, nested: bool) -> Result<Term, ScimError> {
        let path = self.path(nested)?;
        self.rest = self.rest.trim_start();
        let operator = self.word("");
        if !operator.eq_ignore_ascii_case("eq") {
            let operator: String = operator.chars().take(20).collect();
            return self.wrong(format!("`{operator}` is not understood; `eq` is"));
        }
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<Value>();
        let Some(Ok(value @ (Value::String(_) | Value::Bool(_) | Value::Number(_)))) = values.next() else {
            return self.wrong("`eq` is followed by a text in quotes, true, false or a number");
        };
        self.rest = &self.rest[values.byte_offset()..];
        Ok(Term { path, value })
    }

    fn path(&mut self, nested: bool) -> Result<Path, ScimError> {
        let word = self.word("-_$.:").to_ascii_lowercase();
        // A path of a schema: the URN ends at the last colon before the name.
        let (schema, name) = match word.rsplit_once(':') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, word.as_str()),
        };
        let foreign = schema.is_some_and(|schema| {
            ![ResourceType::User, ResourceType::Group].iter().any(|kind| kind.schema().eq_ignore_ascii_case(schema))
        });
        let (attribute, mut part) = match name.split_once('.') {
            Some((attribute, part)) => (attribute, Some(part.to_owned())),
            None => (name, None),
        };
        let mut filter = None;
        if !nested && part.is_none() && self.take('[') {
            filter = Some(self.filter(true)?);
            self.rest = self.rest.trim_start();
            if !self.take(']') {
                return self.wrong("a bracket is missing");
            }
            if self.take('.') {
                part = Some(self.word("-_$").to_ascii_lowercase());
            }
        }
        let sound = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$') && !name.contains('.');
        if foreign {
            return Ok(Path { foreign, attribute: attribute.to_owned(), filter, part });
        }
        if !sound(attribute) || part.as_deref().is_some_and(|part| !sound(part)) {
            return self.wrong("the name of an attribute is missing");
        }
        Ok(Path { foreign, attribute: attribute.to_owned(), filter, part })
    }
}
