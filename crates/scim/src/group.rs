//! The record of a group as a provider keeps it up to date.
//!
//! Decides what POST, PUT and single values of a PATCH make of a record. Whether a member exists is the caller's question.
//! Invariant: a group has a name and at most [`MAX_MEMBERS`] members, each once.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::filter::Path;
use super::patch::{Mode, Patch};
use super::{ErrorType, GROUP_SCHEMA, ResourceId, ResourceType, ScimError, body, fold, meta, text};

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// Most members of one group.
pub const MAX_MEMBERS: usize = 50_000;

/// A group's record, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub id: ResourceId,
    pub attributes: GroupAttributes,
    pub created: Timestamp,
    pub modified: Timestamp,
}

/// What the provider says of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupAttributes {
    pub display_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Ids of people's records, or of groups inside this one.
    pub members: BTreeSet<ResourceId>,
}

impl GroupAttributes {
    /// Reads the body of a POST or PUT.
    ///
    /// # Errors
    /// If it is not the record of a group.
    pub fn create(bytes: &[u8]) -> Result<Self, ScimError> {
        let mut group = Self::default();
        for (name, value) in body(bytes)? {
            group.put(Mode::Replace, &Path::of_member(&name)?, &value)?;
        }
        group.checked()
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
            |changed, path, value| changed.remove(path, value),
        )?;
        changed.checked()
    }

    fn checked(self) -> Result<Self, ScimError> {
        if self.display_name.is_empty() {
            return Err(ScimError::bad(ErrorType::InvalidValue, "`displayName` is required"));
        }
        if self.members.len() > MAX_MEMBERS {
            let detail = format!("a group must hold at most {MAX_MEMBERS} members");
            return Err(ScimError::bad(ErrorType::InvalidValue, detail));
        }
        Ok(self)
    }

    fn put(&mut self, mode: Mode, path: &Path, value: &Value) -> Result<(), ScimError> {
        if path.foreign {
            return Ok(());
        }
        match (path.attribute.as_str(), path.part.as_deref()) {
            ("displayname", None) => self.display_name = text("displayName", value)?.unwrap_or_default(),
            ("externalid", None) => self.external_id = text("externalId", value)?,
            ("members", None) if path.filter.is_none() => {
                let members = members(value)?;
                if mode == Mode::Replace {
                    self.members.clear();
                }
                for member in members {
                    let unknown =
                        || ScimError::bad(ErrorType::InvalidValue, "a member is named by the id of its record");
                    self.members.insert(member.ok_or_else(unknown)?);
                }
            }
            // A member is whole or not there; half of one cannot be written.
            ("members", _) => {
                return Err(ScimError::bad(ErrorType::InvalidPath, "members are added and removed as a whole"));
            }
            _ => {}
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path, value: Option<&Value>) -> Result<(), ScimError> {
        if path.foreign {
            return Ok(());
        }
        match (path.attribute.as_str(), path.part.as_deref()) {
            ("displayname" | "id" | "schemas" | "meta", _) => {
                let detail = format!("`{}` cannot be removed", path.attribute);
                return Err(ScimError::bad(ErrorType::Mutability, detail));
            }
            ("externalid", _) => self.external_id = None,
            ("members", None) => match (&path.filter, value.filter(|value| !value.is_null())) {
                // Okta names the member in the path, Entra in the value.
                (Some(filter), _) => {
                    let wanted = filter
                        .wanted("value")
                        .ok_or_else(|| ScimError::bad(ErrorType::InvalidPath, "members are found by `value`"))?;
                    if let Some(member) = ResourceId::parse(wanted) {
                        self.members.remove(&member);
                    }
                }
                (None, Some(value)) => {
                    for member in members(value)?.into_iter().flatten() {
                        self.members.remove(&member);
                    }
                }
                (None, None) => self.members.clear(),
            },
            ("members", Some(_)) => {
                return Err(ScimError::bad(ErrorType::InvalidPath, "members are added and removed as a whole"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Reads members; `None` for an id that is none of ours.
fn members(value: &Value) -> Result<Vec<Option<ResourceId>>, ScimError> {
    let wrong = || ScimError::bad(ErrorType::InvalidValue, "a member is an object with a `value`");
    let one = |entry: &Value| {
        let members = fold(entry.as_object().ok_or_else(wrong)?)?;
        let id = members.get("value").and_then(Value::as_str).ok_or_else(wrong)?;
        Ok(ResourceId::parse(id))
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(entries) if entries.len() > MAX_MEMBERS => {
            Err(ScimError::bad(ErrorType::InvalidValue, "too many members"))
        }
        Value::Array(entries) => entries.iter().map(one).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Ok(vec![one(value)?]),
    }
}

impl Group {
    /// Writes the record as the protocol shows it, with its members if they are asked for.
    #[must_use]
    pub fn document(&self, base: &str, with_members: bool) -> Value {
        let mut document = json!({
            "schemas": [GROUP_SCHEMA],
            "id": self.id,
            "displayName": self.attributes.display_name,
            "meta": meta(ResourceType::Group, self.id, base, self.created, self.modified),
        });
        if let Some(external) = &self.attributes.external_id {
            document["externalId"] = json!(external);
        }
        if with_members {
            document["members"] = self.attributes.members.iter().map(|id| json!({"value": id})).collect();
        }
        document
    }
}
