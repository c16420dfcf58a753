//! The record of a person as a provider keeps it up to date.
//!
//! Decides what POST, PUT and single values of a PATCH make of a record. Invariant: a record has a `userName`, and its
//! addresses are compared in the same form in which a sign-in reads them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use types::Email;

use super::filter::{Kept, Path};
use super::patch::{Mode, Patch};
use super::{ErrorType, ResourceId, ResourceType, ScimError, USER_SCHEMA, body, fold, meta, text, truth};
use identity::claims::address;

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// Most addresses of one person.
pub const MAX_EMAILS: usize = 20;

/// A person's record, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: ResourceId,
    pub attributes: UserAttributes,
    pub created: Timestamp,
    pub modified: Timestamp,
}

/// What the provider says of a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserAttributes {
    /// Unique among a provider's people, without regard to case.
    pub user_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formatted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    pub emails: Vec<UserEmail>,
    pub active: bool,
}

/// One entry of `emails`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserEmail {
    pub value: String,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default)]
    pub primary: bool,
}

impl UserEmail {
    pub(crate) fn part(&self, name: &str) -> Option<Kept<'_>> {
        match name {
            "value" => Some(Kept::Folded(&self.value)),
            "type" => self.kind.as_deref().map(Kept::Folded),
            "primary" => Some(Kept::Truth(self.primary)),
            _ => None,
        }
    }

    fn read(members: &Map<String, Value>) -> Result<Self, ScimError> {
        let members = fold(members)?;
        let part = |name: &str| members.get(name).map_or(Ok(None), |value| text(name, value));
        let primary = members.get("primary").filter(|value| !value.is_null());
        let primary = primary.map_or(Ok(false), |value| truth("primary", value))?;
        Ok(Self { value: part("value")?.unwrap_or_default(), kind: part("type")?, primary })
    }
}

impl UserAttributes {
    /// Reads the body of a POST. A person is active unless it says otherwise.
    ///
    /// # Errors
    /// If it is not the record of a person.
    pub fn create(bytes: &[u8]) -> Result<Self, ScimError> {
        Self { active: true, ..Self::default() }.put_all(bytes)
    }

    /// Reads the body of a PUT, which replaces everything. Only a body that says so makes an inactive person active.
    ///
    /// # Errors
    /// If it is not the record of a person.
    pub fn replace(&self, bytes: &[u8]) -> Result<Self, ScimError> {
        Self { active: self.active, ..Self::default() }.put_all(bytes)
    }

    /// Applies a PATCH, whole or not at all.
    ///
    /// # Errors
    /// If an operation cannot be applied.
    pub fn patch(&self, patch: &Patch) -> Result<Self, ScimError> {
        let mut changed = self.clone();
        patch.apply(
            &mut changed,
            |changed, mode, path, value| changed.put(mode, path, value),
            |changed, path, _| changed.remove(path),
        )?;
        changed.checked()
    }

    fn put_all(mut self, bytes: &[u8]) -> Result<Self, ScimError> {
        for (name, value) in body(bytes)? {
            self.put(Mode::Replace, &Path::of_member(&name)?, &value)?;
        }
        self.checked()
    }

    fn checked(self) -> Result<Self, ScimError> {
        if self.user_name.is_empty() {
            return Err(ScimError::bad(ErrorType::InvalidValue, "`userName` is required"));
        }
        if self.emails.len() > MAX_EMAILS {
            let detail = format!("`emails` must hold at most {MAX_EMAILS} addresses");
            return Err(ScimError::bad(ErrorType::InvalidValue, detail));
        }
        Ok(self)
    }

    fn put(&mut self, mode: Mode, path: &Path, value: &Value) -> Result<(), ScimError> {
        if path.foreign {
            return Ok(());
        }
        match (path.attribute.as_str(), path.part.as_deref()) {
            ("active", None) => self.active = truth("active", value)?,
            ("username", None) => self.user_name = text("userName", value)?.unwrap_or_default(),
            ("externalid", None) => self.external_id = text("externalId", value)?,
            ("displayname", None) => self.display_name = text("displayName", value)?,
            ("name", None) => {
                if mode == Mode::Replace {
                    (self.formatted, self.given_name, self.family_name) = (None, None, None);
                }
                let members = value.as_object().map(fold).transpose()?.unwrap_or_default();
                for (name, value) in &members {
                    self.put_name(name, value)?;
                }
            }
            ("name", Some(part)) => self.put_name(part, value)?,
            ("emails", part) => self.put_emails(mode, path, part, value)?,
            // What has no use here, and what only the service itself writes (`id`, `meta`).
            _ => {}
        }
        Ok(())
    }

    fn put_name(&mut self, part: &str, value: &Value) -> Result<(), ScimError> {
        match part {
            "formatted" => self.formatted = text("name.formatted", value)?,
            "givenname" => self.given_name = text("name.givenName", value)?,
            "familyname" => self.family_name = text("name.familyName", value)?,
            _ => {}
        }
        Ok(())
    }

    fn put_emails(&mut self, mode: Mode, path: &Path, part: Option<&str>, value: &Value) -> Result<(), ScimError> {
        if path.filter.is_none() && part.is_none() {
            let read = |entry: &Value| match entry {
                Value::Object(members) => UserEmail::read(members),
                Value::String(_) => {
                    Ok(UserEmail { value: text("emails", entry)?.unwrap_or_default(), ..UserEmail::default() })
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                    Err(ScimError::bad(ErrorType::InvalidValue, "`emails` holds objects with a `value`"))
                }
            };
            let new: Vec<UserEmail> = match value {
                Value::Null => Vec::new(),
                // Before anything is read, so that a long list costs nothing.
                Value::Array(entries) if entries.len() > MAX_EMAILS => {
                    return Err(ScimError::bad(ErrorType::InvalidValue, "`emails` holds too many addresses"));
                }
                Value::Array(entries) => entries.iter().map(read).collect::<Result<_, _>>()?,
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![read(value)?],
            };
            if mode == Mode::Replace {
                self.emails.clear();
            }
            for email in new.into_iter().filter(|email| !email.value.is_empty()) {
                if email.primary {
                    self.emails.iter_mut().for_each(|other| other.primary = false);
                }
                self.emails.retain(|other| !other.value.eq_ignore_ascii_case(&email.value));
                self.emails.push(email);
            }
            return Ok(());
        }
        // Entra sets `emails[type eq "work"].value` of a person who has none yet, and means the entry to be made.
        let found =
            |email: &UserEmail| path.filter.as_ref().is_none_or(|filter| filter.finds_part(|part| email.part(part)));
        if !self.emails.iter().any(found) {
            let kind = path.filter.as_ref().and_then(|filter| filter.wanted("type")).map(str::to_owned);
            let value = path.filter.as_ref().and_then(|filter| filter.wanted("value")).unwrap_or_default().to_owned();
            self.emails.push(UserEmail { value, kind, primary: false });
        }
        for email in self.emails.iter_mut().filter(|email| found(email)) {
            match part {
                Some("value") => email.value = text("emails.value", value)?.unwrap_or_default(),
                Some("type") => email.kind = text("emails.type", value)?,
                Some("primary") => email.primary = truth("emails.primary", value)?,
                Some(_) => {}
                None => {
                    let members = value.as_object();
                    let members =
                        members.ok_or_else(|| ScimError::bad(ErrorType::InvalidValue, "an address is an object"))?;
                    *email = UserEmail::read(members)?;
                }
            }
        }
        self.emails.retain(|email| !email.value.is_empty());
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> Result<(), ScimError> {
        if path.foreign {
            return Ok(());
        }
        match (path.attribute.as_str(), path.part.as_deref()) {
            ("username" | "active" | "id" | "schemas" | "meta", _) => {
                let detail = format!("`{}` cannot be removed", path.attribute);
                return Err(ScimError::bad(ErrorType::Mutability, detail));
            }
            ("externalid", _) => self.external_id = None,
            ("displayname", _) => self.display_name = None,
            ("name", None) => (self.formatted, self.given_name, self.family_name) = (None, None, None),
            ("name", Some(part)) => self.put_name(part, &Value::Null)?,
            ("emails", None | Some("value")) => {
                let filter = path.filter.as_ref();
                self.emails.retain(|email| filter.is_some_and(|filter| !filter.finds_part(|part| email.part(part))));
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns every address the person may sign in with: those of `emails`, and `userName` where it is one.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<Email> {
        let emails = self.emails.iter().map(|email| email.value.as_str());
        emails.chain([self.user_name.as_str()]).filter_map(address).collect()
    }

    /// Returns the name to show for the person.
    #[must_use]
    pub fn name(&self) -> String {
        let parts = [self.given_name.as_deref(), self.family_name.as_deref()];
        let joined = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let joined = Some(joined).filter(|name| !name.is_empty());
        let written = self.display_name.clone().or_else(|| self.formatted.clone());
        written.or(joined).unwrap_or_else(|| self.user_name.clone())
    }
}

impl User {
    /// Writes the record as the protocol shows it. `base` is the URL the endpoints hang off.
    #[must_use]
    pub fn document(&self, base: &str) -> Value {
        let attributes = &self.attributes;
        let mut document = json!({
            "schemas": [USER_SCHEMA],
            "id": self.id,
            "userName": attributes.user_name,
            "displayName": attributes.name(),
            "active": attributes.active,
            "emails": attributes.emails,
            "meta": meta(ResourceType::User, self.id, base, self.created, self.modified),
        });
        if let Some(external) = &attributes.external_id {
            document["externalId"] = json!(external);
        }
        let name = [
            ("formatted", &attributes.formatted),
            ("givenName", &attributes.given_name),
            ("familyName", &attributes.family_name),
        ];
        let name: Map<String, Value> =
            name.into_iter().filter_map(|(part, text)| Some((part.to_owned(), json!(text.as_ref()?)))).collect();
        if !name.is_empty() {
            document["name"] = Value::Object(name);
        }
        document
    }
}
