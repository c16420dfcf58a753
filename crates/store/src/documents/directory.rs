//! People and groups as a provider's directory keeps them up to date over SCIM.
//!
//! The identity engine owns the shapes inside `state`; here stand the owner and the name that is unique. Invariant: of one
//! provider's people, no two have the same name, whatever its case; groups may share theirs (RFC 7643 section 4.2).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::{DirectoryRecordId, ProviderId};

use super::access_state::HashId;
use super::document;

/// A person's record at a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DirectoryUser {
    /// Whose directory it stands in.
    pub provider: ProviderId,
    /// See [`DirectoryUser::name_key`].
    pub name: String,
    /// The engine's record.
    pub state: Value,
}

impl DirectoryUser {
    /// Returns what a person is found by: their provider and name, as a hash, because a name may be longer than an index
    /// takes.
    #[must_use]
    pub fn name_key(provider: ProviderId, user_name: &str) -> String {
        HashId::of(format!("{provider}\n{}", user_name.to_lowercase()).as_bytes()).to_string()
    }
}

document!(DirectoryUser, DirectoryUser, id DirectoryRecordId, ReadUsers / WriteUsers {
    const MAX_BYTES: usize = 64 * 1024;
    const MAX_COUNT: usize = 100_000;

    fn unique_name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn parent(&self) -> Option<String> {
        Some(self.provider.to_string())
    }
});

/// A group's record at a provider, with its members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DirectoryGroup {
    /// Whose directory it stands in.
    pub provider: ProviderId,
    /// The engine's record.
    pub state: Value,
}

document!(DirectoryGroup, DirectoryGroup, id DirectoryRecordId, ReadUsers / WriteUsers {
    // Fifty thousand members, each an id of 36 characters with its quotes.
    const MAX_BYTES: usize = 4 * 1024 * 1024;
    const MAX_COUNT: usize = 10_000;

    fn parent(&self) -> Option<String> {
        Some(self.provider.to_string())
    }
});
