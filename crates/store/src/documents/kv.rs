//! A Workers KV namespace and what a value in it looks like. Values are rows of their own, outside the change feed: a
//! Worker reads them where it uses them. Invariant: an expired value is never returned.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::KvNamespaceId;

use super::document;

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvNamespace {
    /// Its name; unique in the account.
    pub title: String,
}

document!(KvNamespace, KvNamespace, id KvNamespaceId, ReadKv / WriteKv {
    fn unique_name(&self) -> Option<&str> {
        Some(&self.title)
    }
});

/// A value with what was stored beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct KvValue {
    /// The bytes.
    pub value: Vec<u8>,
    /// The JSON its writer stored beside it.
    pub metadata: Option<Value>,
    /// When it goes.
    pub expires_at: Option<Timestamp>,
}

/// A key as a listing shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct KvKey {
    /// The key.
    pub name: String,
    /// The JSON its writer stored beside the value.
    pub metadata: Option<Value>,
    /// When it goes.
    pub expires_at: Option<Timestamp>,
}

/// One page of keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KvPage {
    /// In byte order.
    pub keys: Vec<KvKey>,
    /// Pass it back for the next page; `None` at the end.
    pub cursor: Option<String>,
}
