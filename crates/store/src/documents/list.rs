//! A list: its head is a document, its items are rows of their own so that lists of 100,000 stay cheap to change.
//! It does not check that an address is an address; the policy engine does. Invariant: a value stands in a list once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use types::ListId;

use super::document;

/// The head of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Its name; unique in the account.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// What its items are.
    #[serde(rename = "type")]
    pub item_type: ListType,
}

/// What the items of a list are (reference section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ListType {
    /// Device serial numbers.
    Serial,
    /// URLs.
    Url,
    /// Host or domain names.
    Domain,
    /// Addresses of people.
    Email,
    /// IP addresses and ranges.
    Ip,
    /// Content categories.
    Category,
    /// Locations.
    Location,
    /// Devices.
    Device,
    /// Authenticator models.
    Aaguid,
}

document!(List, List, id ListId, ReadLists / WriteLists {
    fn unique_name(&self) -> Option<&str> {
        Some(&self.name)
    }
});

/// One entry of a list, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListItem {
    /// The entry.
    pub value: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// When it was added.
    pub created_at: Timestamp,
}

/// One entry to be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewListItem {
    /// The entry.
    pub value: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
}
