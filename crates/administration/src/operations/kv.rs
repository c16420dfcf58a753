//! Workers KV: namespaces, keys and values.
//!
//! Invariant: a value is only reached through a namespace of the account, and every bulk operation is bounded.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Expiry, KvNamespace, KvValue, ReadKv, StoreError, Stored, WriteKv};
use types::{Code, KvNamespaceId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::check_name;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;

/// Most pairs of one bulk write or delete.
pub const MOST_BULK: usize = 10_000;
/// Most keys of one bulk read.
pub const MOST_BULK_READ: usize = 100;
/// Shortest time a value may live.
const SHORTEST_LIFE: u64 = 60;

/// A namespace, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NamespaceView {
    pub id: String,
    pub title: String,
    pub supports_url_encoding: bool,
}

/// A namespace to be made or renamed.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNamespace {
    pub title: String,
}

/// A key of a listing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct KeyView {
    pub name: String,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Value>,
}

/// One pair of a bulk write.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPair {
    pub key: String,
    pub value: String,
    /// Whether `value` is base64.
    #[serde(default)]
    pub base64: bool,
    #[serde(default)]
    pub expiration: Option<u64>,
    #[serde(default)]
    pub expiration_ttl: Option<u64>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Value>,
}

/// What a bulk read asks for.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkRead {
    pub keys: Vec<String>,
    /// `text` or `json`
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    #[serde(default, rename = "withMetadata")]
    pub with_metadata: bool,
}

/// What a bulk read found; a key without a value is null.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BulkValues {
    #[schema(value_type = Object)]
    pub values: Map<String, Value>,
}

/// How a bulk operation went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BulkResult {
    pub successful_key_count: u64,
    pub unsuccessful_keys: Vec<String>,
}

fn view(stored: Stored<KvNamespace>) -> NamespaceView {
    NamespaceView { id: stored.id.to_string(), title: stored.document.title, supports_url_encoding: true }
}

/// Returns every namespace.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<NamespaceView>, Failure> {
    let grant = cx.authorize::<ReadKv>()?;
    Ok(cx.store().kv().list(&grant).await?.into_iter().map(view).collect())
}

/// Returns one namespace.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: KvNamespaceId) -> Result<NamespaceView, Failure> {
    let grant = cx.authorize::<ReadKv>()?;
    Ok(view(cx.store().kv().get(&grant, &id).await?.ok_or_else(missing)?))
}

/// Makes a namespace.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn create(cx: &OpContext, new: NewNamespace) -> Result<NamespaceView, Failure> {
    let grant = cx.authorize::<WriteKv>()?;
    check_name("/title", &new.title, 512)?;
    let id = KvNamespaceId(Uuid::new_v4());
    let stored = cx.store().kv().create(&grant, id, KvNamespace { title: new.title }).await.map_err(title_taken)?;
    let after = serde_json::json!({"title": stored.document.title});
    cx.record(Change::new(Verb::Create, "kv_namespace", id).after(after)).await?;
    Ok(view(stored))
}

/// Renames a namespace.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn rename(cx: &OpContext, id: KvNamespaceId, new: NewNamespace) -> Result<NamespaceView, Failure> {
    let grant = cx.authorize::<WriteKv>()?;
    check_name("/title", &new.title, 512)?;
    let before = cx.store().kv().get(&grant, &id).await?.ok_or_else(missing)?;
    let document = KvNamespace { title: new.title };
    let saved = cx.store().kv().replace(&grant, id, document, Some(before.revision)).await;
    let stored = saved.map_err(title_taken)?;
    let change = Change::new(Verb::Update, "kv_namespace", id)
        .before(serde_json::json!({"title": before.document.title}))
        .after(serde_json::json!({"title": stored.document.title}));
    cx.record(change).await?;
    Ok(view(stored))
}

/// Deletes a namespace with its values.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: KvNamespaceId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteKv>()?;
    let before = cx.store().kv().get(&grant, &id).await?.ok_or_else(missing)?;
    cx.store().kv().delete_with_values(&grant, id, None).await?;
    let summary = serde_json::json!({"title": before.document.title});
    cx.record(Change::new(Verb::Delete, "kv_namespace", id).before(summary)).await
}

/// Returns one page of keys and the cursor of the next, empty at the end.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn keys(
    cx: &OpContext,
    id: KvNamespaceId,
    prefix: &str,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<KeyView>, String), Failure> {
    let grant = cx.authorize::<ReadKv>()?;
    cx.store().kv().get(&grant, &id).await?.ok_or_else(missing)?;
    let after = cursor.map(decode_cursor).transpose()?;
    let page = cx.store().kv().keys(&grant, id, prefix, after.as_deref(), limit).await?;
    let keys = page.keys.into_iter().map(|key| KeyView {
        name: key.name,
        expiration: key.expires_at.map(Timestamp::as_second),
        metadata: key.metadata,
    });
    Ok((keys.collect(), page.cursor.map(|key| URL_SAFE_NO_PAD.encode(key)).unwrap_or_default()))
}

fn decode_cursor(cursor: &str) -> Result<String, Failure> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    bytes.ok_or_else(|| Failure::new(Code::InvalidInput, "query parameter \"cursor\" is not one of ours"))
}

/// Returns a value.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn value(cx: &OpContext, id: KvNamespaceId, key: &str) -> Result<KvValue, Failure> {
    let grant = cx.authorize::<ReadKv>()?;
    cx.store().kv().get(&grant, &id).await?.ok_or_else(missing)?;
    let value = cx.store().kv().value(&grant, id, key).await?;
    value.ok_or_else(|| Failure::not_found("key").numbered(10009))
}

/// A value to be written.
#[derive(Debug, Clone, Default)]
pub struct NewValue {
    pub value: Vec<u8>,
    pub metadata: Option<Value>,
    /// Seconds since 1970.
    pub expiration: Option<u64>,
    /// Seconds from now; stronger than `expiration`.
    pub expiration_ttl: Option<u64>,
}

impl NewValue {
    fn expiry(&self, now: Timestamp) -> Result<Expiry, Failure> {
        if let Some(seconds) = self.expiration_ttl {
            if seconds < SHORTEST_LIFE {
                return Err(Failure::invalid("/expiration_ttl", format!("must be {SHORTEST_LIFE} seconds or more")));
            }
            return Ok(Expiry::After(Duration::from_secs(seconds)));
        }
        let Some(seconds) = self.expiration else { return Ok(Expiry::Never) };
        let at = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        match at {
            Some(at) if at > now => Ok(Expiry::At(at)),
            Some(_) => Err(Failure::invalid("/expiration", "must lie in the future")),
            None => Err(Failure::invalid("/expiration", "must be seconds since 1970")),
        }
    }
}

/// Writes a value.
///
/// # Errors
///
/// `NotFound` without the namespace, and a [`Failure`] for the caller.
pub async fn put(cx: &OpContext, id: KvNamespaceId, key: &str, new: NewValue) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteKv>()?;
    cx.store().kv().get(&grant, &id).await?.ok_or_else(missing)?;
    let expiry = new.expiry(cx.now())?;
    let bytes = new.value.len();
    cx.store().kv().put_value(&grant, id, key, new.value, new.metadata.as_ref(), expiry).await?;
    // What stands in a value may be secret; the audit log says only how much it was.
    let summary = serde_json::json!({"namespace_id": id.to_string(), "bytes": bytes});
    cx.record(Change::new(Verb::Update, "kv_value", key).after(summary)).await
}

/// Deletes a value; one that is not there is fine.
///
/// # Errors
///
/// `NotFound` without the namespace, and a [`Failure`] for the caller.
pub async fn remove(cx: &OpContext, id: KvNamespaceId, key: &str) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteKv>()?;
    cx.store().kv().get(&grant, &id).await?.ok_or_else(missing)?;
    cx.store().kv().delete_value(&grant, id, key).await?;
    let summary = serde_json::json!({"namespace_id": id.to_string()});
    cx.record(Change::new(Verb::Delete, "kv_value", key).before(summary)).await
}

/// Writes many values. Those that cannot be written are named and the others stand.
///
/// # Errors
///
/// `NotFound` without the namespace, and a [`Failure`] for the caller.
pub async fn put_many(cx: &OpContext, id: KvNamespaceId, pairs: Vec<NewPair>) -> Result<BulkResult, Failure> {
    let grant = cx.authorize::<WriteKv>()?;
    cx.store().kv().get(&grant, &id).await?.ok_or_else(missing)?;
    check_count(pairs.len(), MOST_BULK)?;
    let now = cx.now();
    let mut result = BulkResult { successful_key_count: 0, unsuccessful_keys: Vec::new() };
    for pair in pairs {
        let NewPair { key, value, base64, expiration, expiration_ttl, metadata } = pair;
        let value = if base64 { STANDARD.decode(&value).ok() } else { Some(value.into_bytes()) };
        let Some(value) = value else {
            result.unsuccessful_keys.push(key);
            continue;
        };
        let new = NewValue { value, metadata, expiration, expiration_ttl };
        let Ok(expiry) = new.expiry(now) else {
            result.unsuccessful_keys.push(key);
            continue;
        };
        match cx.store().kv().put_value(&grant, id, &key, new.value, new.metadata.as_ref(), expiry).await {
            Ok(()) => result.successful_key_count += 1,
            Err(StoreError::Invalid(_) | StoreError::LimitExceeded { .. }) => result.unsuccessful_keys.push(key),
            Err(error) => return Err(error.into()),
        }
    }
    let summary = serde_json::json!({"written": result.successful_key_count});
    cx.record(Change::new(Verb::Update, "kv_namespace", id).after(summary)).await?;
    Ok(result)
}

/// Deletes many values.
///
/// # Errors
///
/// `NotFound` without the namespace, and a [`Failure`] for the caller.
pub async fn remove_many(cx: &OpContext, id: KvNamespaceId, keys: Vec<String>) -> Result<BulkResult, Failure> {
    let grant = cx.authorize::<WriteKv>()?;
    cx.store().kv().get(&grant, &id).await?.ok_or_else(missing)?;
    check_count(keys.len(), MOST_BULK)?;
    let mut result = BulkResult { successful_key_count: 0, unsuccessful_keys: Vec::new() };
    for key in keys {
        match cx.store().kv().delete_value(&grant, id, &key).await {
            Ok(()) => result.successful_key_count += 1,
            Err(StoreError::Invalid(_)) => result.unsuccessful_keys.push(key),
            Err(error) => return Err(error.into()),
        }
    }
    let summary = serde_json::json!({"deleted": result.successful_key_count});
    cx.record(Change::new(Verb::Update, "kv_namespace", id).after(summary)).await?;
    Ok(result)
}

/// Reads many values.
///
/// # Errors
///
/// `NotFound` without the namespace, and a [`Failure`] for the caller.
pub async fn read_many(cx: &OpContext, id: KvNamespaceId, read: BulkRead) -> Result<BulkValues, Failure> {
    let grant = cx.authorize::<ReadKv>()?;
    cx.store().kv().get(&grant, &id).await?.ok_or_else(missing)?;
    check_count(read.keys.len(), MOST_BULK_READ)?;
    let json = match read.kind.as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(_) => return Err(Failure::invalid("/type", "must be text or json")),
    };
    let mut values = Map::new();
    for key in read.keys {
        let found = cx.store().kv().value(&grant, id, &key).await?;
        let shown = match found {
            None => Value::Null,
            Some(found) => {
                let value = if json {
                    serde_json::from_slice(&found.value)
                        .map_err(|_| Failure::invalid("/type", format!("the value of \"{key}\" is not JSON")))?
                } else {
                    Value::String(String::from_utf8_lossy(&found.value).into_owned())
                };
                if read.with_metadata {
                    let mut entry = Map::new();
                    entry.insert("value".to_owned(), value);
                    entry.insert("metadata".to_owned(), found.metadata.unwrap_or(Value::Null));
                    if let Some(at) = found.expires_at {
                        entry.insert("expiration".to_owned(), at.as_second().into());
                    }
                    Value::Object(entry)
                } else {
                    value
                }
            }
        };
        values.insert(key, shown);
    }
    Ok(BulkValues { values })
}

fn check_count(count: usize, most: usize) -> Result<(), Failure> {
    if count > most { Err(Failure::invalid("", format!("one call is limited to {most} keys"))) } else { Ok(()) }
}

fn missing() -> Failure {
    Failure::not_found("KV namespace").numbered(10013)
}

fn title_taken(error: StoreError) -> Failure {
    crate::failure::taken(error, || Failure::conflict("/title", "another namespace has this title").numbered(10014))
}
