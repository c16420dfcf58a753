//! Inbound SCIM 2.0 (RFC 7643, RFC 7644): people and groups as a provider sends them, in the dialects of Okta and Entra.
//!
//! Decides what a request means for the record it names ([`user`], [`group`], [`patch`]), which records a query finds
//! ([`filter`]), and what follows for sessions ([`change`]). Keeping records, finding them and checking the secret are the
//! caller's. A provider sends more than is kept: attributes without a use here are accepted and dropped (RFC 7644 section
//! 3.3 lets a service ignore them). Invariants: every text, list and query has a bound; a request either applies whole or
//! not at all; a value that decides access (`active`, addresses, members) is understood or refused, never guessed.

pub mod change;
pub mod filter;
pub mod group;
pub mod membership;
pub mod patch;
pub mod user;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use filter::Filter;
use identity::words;

/// Media type of every body.
pub const MEDIA_TYPE: &str = "application/scim+json";
/// Longest request body, in bytes.
pub const MAX_BODY: usize = 1_024 * 1_024;
/// Longest text of an attribute, in bytes.
pub const MAX_TEXT: usize = 1_024;
/// Most records of one page of a list.
pub const MAX_PAGE: usize = 200;
const USER_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// The id of a record, drawn by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceId(pub Uuid);

impl ResourceId {
    /// Reads an id out of a path or a member list; a text that is none names no record.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // Only the hyphenated form is ever given out, so that one record has one name.
        Uuid::try_parse(text).ok().filter(|_| text.len() == 36).map(Self)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

words! {
    /// A kind of record.
    ResourceType {
        User = "User",
        Group = "Group",
    }
}

impl ResourceType {
    /// Returns the part of the path below the base URL.
    #[must_use]
    pub const fn endpoint(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }

    const fn schema(self) -> &'static str {
        match self {
            Self::User => USER_SCHEMA,
            Self::Group => GROUP_SCHEMA,
        }
    }
}

words! {
    /// `scimType` of an error (RFC 7644 section 3.12).
    ErrorType {
        InvalidFilter = "invalidFilter",
        TooMany = "tooMany",
        Uniqueness = "uniqueness",
        Mutability = "mutability",
        InvalidSyntax = "invalidSyntax",
        InvalidPath = "invalidPath",
        NoTarget = "noTarget",
        InvalidValue = "invalidValue",
    }
}

/// A refusal, as the protocol writes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ScimError {
    pub status: u16,
    pub kind: Option<ErrorType>,
    pub detail: String,
}

impl ScimError {
    pub(crate) fn bad(kind: ErrorType, detail: impl Into<String>) -> Self {
        Self { status: 400, kind: Some(kind), detail: detail.into() }
    }

    /// There is no such record.
    #[must_use]
    pub fn not_found() -> Self {
        Self { status: 404, kind: None, detail: "there is no such record".to_owned() }
    }

    /// Another record has the name already.
    #[must_use]
    pub fn taken(attribute: &str) -> Self {
        let detail = format!("another record has this `{attribute}`");
        Self { status: 409, kind: Some(ErrorType::Uniqueness), detail }
    }

    /// Writes the body of the answer.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            // The RFC writes the number as text.
            "status": self.status.to_string(),
            "detail": self.detail,
        });
        if let Some(kind) = self.kind {
            document["scimType"] = json!(kind);
        }
        document
    }
}

/// A query of `GET /Users` or `GET /Groups`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub filter: Option<Filter>,
    /// Counted from one.
    pub start: usize,
    pub count: usize,
    /// Group members are asked for.
    pub members: bool,
}

impl Query {
    /// Reads the pairs of a query string. Sorting and single attributes are not offered and are ignored (RFC 7644 sections
    /// 3.4.2.3 and 3.4.2.5 allow both).
    ///
    /// # Errors
    /// If the filter cannot be answered or a number is none.
    pub fn parse<'q>(
        kind: ResourceType,
        pairs: impl IntoIterator<Item = (&'q str, &'q str)>,
    ) -> Result<Self, ScimError> {
        let mut query = Self { filter: None, start: 1, count: MAX_PAGE, members: true };
        for (name, value) in pairs {
            // RFC 7644 section 3.4.2.4: a start below one is one, a negative count is none.
            let number = || {
                let found: Result<i64, _> = value.parse();
                let wrong = |_| ScimError::bad(ErrorType::InvalidValue, format!("`{name}` must be a number"));
                found.map_err(wrong).map(|number| usize::try_from(number).unwrap_or(0))
            };
            match name.to_ascii_lowercase().as_str() {
                "startindex" => query.start = number()?.max(1),
                "count" => query.count = number()?.min(MAX_PAGE),
                "filter" => query.filter = Some(Filter::parse(kind, value)?),
                "excludedattributes" => {
                    query.members &= !value.split(',').any(|name| name.trim().eq_ignore_ascii_case("members"));
                }
                _ => {}
            }
        }
        Ok(query)
    }

    /// Returns which of the records found, counted from zero, stand on the page.
    #[must_use]
    pub const fn range(&self) -> std::ops::Range<usize> {
        self.start - 1..(self.start - 1).saturating_add(self.count)
    }

    /// Writes a page of a list of `total` records that were found.
    #[must_use]
    pub fn list(&self, total: usize, page: Vec<Value>) -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": total,
            "startIndex": self.start,
            "itemsPerPage": page.len(),
            "Resources": page,
        })
    }
}

/// Reads the body of a request: an object whose member names are folded to lower case.
///
/// # Errors
/// If it is none, too long, or names a member twice.
pub(crate) fn body(bytes: &[u8]) -> Result<Map<String, Value>, ScimError> {
    if bytes.len() > MAX_BODY {
        let detail = format!("a request must be at most {MAX_BODY} bytes");
        return Err(ScimError { status: 413, kind: None, detail });
    }
    let members: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|_| ScimError::bad(ErrorType::InvalidSyntax, "the body is not JSON"))?;
    fold(&members)
}

/// Folds member names to lower case: attribute names are compared without case (RFC 7643 section 2.1). Two spellings of
/// one name would leave open which of them counts.
pub(crate) fn fold(members: &Map<String, Value>) -> Result<Map<String, Value>, ScimError> {
    let mut folded = Map::new();
    for (name, value) in members {
        if folded.insert(name.to_ascii_lowercase(), value.clone()).is_some() {
            let name: String = name.chars().take(80).collect();
            return Err(ScimError::bad(ErrorType::InvalidSyntax, format!("`{name}` is written twice")));
        }
    }
    Ok(folded)
}

/// Reads a text; `null` and the empty text are none.
pub(crate) fn text(name: &str, value: &Value) -> Result<Option<String>, ScimError> {
    let wrong = |what: &str| ScimError::bad(ErrorType::InvalidValue, format!("`{name}` {what}"));
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.len() > MAX_TEXT => Err(wrong("is too long")),
        Value::String(text) if text.chars().any(char::is_control) => Err(wrong("holds a control character")),
        Value::String(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(wrong("must be a text")),
    }
}

/// Reads a truth value. Entra writes it as text.
pub(crate) fn truth(name: &str, value: &Value) -> Result<bool, ScimError> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err(ScimError::bad(ErrorType::InvalidValue, format!("`{name}` must be true or false")))
        }
    }
}

/// Writes the document at `/ServiceProviderConfig` (RFC 7643 section 5).
#[must_use]
pub fn service_provider_config(base: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": true},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": MAX_PAGE},
        "changePassword": {"supported": false},
        "sort": {"supported": false},
        "etag": {"supported": false},
        "authenticationSchemes": [{
            "type": "oauthbearertoken", "name": "OAuth Bearer Token",
            "description": "The secret that was shown when SCIM was switched on, as a bearer token.", "primary": true,
        }],
        "meta": {"resourceType": "ServiceProviderConfig", "location": format!("{base}/ServiceProviderConfig")},
    })
}

fn whole<T>(kind: ResourceType, entry: impl Fn(ResourceType) -> T) -> [T; 2] {
    let other = if kind == ResourceType::User { ResourceType::Group } else { ResourceType::User };
    [entry(kind), entry(other)]
}

/// Writes the list at `/ResourceTypes` (RFC 7643 section 6).
#[must_use]
pub fn resource_types(base: &str) -> Value {
    let entries = whole(ResourceType::User, |kind| {
        let name = kind.as_str();
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name, "name": name, "endpoint": format!("/{}", kind.endpoint()), "schema": kind.schema(),
            "meta": {"resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/{name}")},
        })
    });
    everything(entries.to_vec())
}

/// Writes the list at `/Schemas` (RFC 7643 section 7): the attributes that are kept.
#[must_use]
pub fn schemas(base: &str) -> Value {
    let attribute = |name: &str, kind: &str, many: bool, required: bool| {
        json!({
            "name": name, "type": kind, "multiValued": many, "required": required, "caseExact": name == "externalId",
            "mutability": "readWrite", "returned": "default", "uniqueness": if name == "userName" { "server" } else { "none" },
        })
    };
    let complex = |name: &str, many: bool, parts: &[(&str, &str)]| {
        let mut whole = attribute(name, "complex", many, false);
        whole["subAttributes"] = parts.iter().map(|(name, kind)| attribute(name, kind, false, false)).collect();
        whole
    };
    let entries = whole(ResourceType::User, |kind| {
        let attributes = match kind {
            ResourceType::User => vec![
                attribute("userName", "string", false, true),
                attribute("externalId", "string", false, false),
                attribute("displayName", "string", false, false),
                attribute("active", "boolean", false, false),
                complex("name", false, &[("formatted", "string"), ("givenName", "string"), ("familyName", "string")]),
                complex("emails", true, &[("value", "string"), ("type", "string"), ("primary", "boolean")]),
            ],
            ResourceType::Group => vec![
                attribute("displayName", "string", false, true),
                attribute("externalId", "string", false, false),
                complex("members", true, &[("value", "string")]),
            ],
        };
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": kind.schema(), "name": kind.as_str(), "attributes": attributes,
            "meta": {"resourceType": "Schema", "location": format!("{base}/Schemas/{}", kind.schema())},
        })
    });
    everything(entries.to_vec())
}

fn everything(entries: Vec<Value>) -> Value {
    Query { filter: None, start: 1, count: MAX_PAGE, members: true }.list(entries.len(), entries)
}

pub(crate) fn meta(
    kind: ResourceType,
    id: ResourceId,
    base: &str,
    created: jiff::Timestamp,
    modified: jiff::Timestamp,
) -> Value {
    json!({
        "resourceType": kind, "created": created, "lastModified": modified,
        "location": format!("{base}/{}/{id}", kind.endpoint()),
    })
}
