//! Endpoints of Workers KV.

use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use store::Permission::{KvRead, KvWrite};
use types::{Code, KvNamespaceId, ResultInfo};

use super::gate::{Cx, Input};
use super::reply::{Reply, done, ok, page};
use super::table::Access::Permission;
use super::table::{Endpoint, Paging, Shape, endpoint};
use crate::failure::Failure;
use crate::operations::kv::{self, NewValue};
use crate::paging::{PageRequest, positive};
use crate::{form, multipart, strict};

/// Most bytes of a value with its form around it.
const VALUE_BYTES: usize = (1 << 20) + (64 << 10);
/// Most bytes of a bulk write.
const BULK_BYTES: usize = 32 << 20;
/// Keys of a page where the client does not say.
const KEYS_PER_PAGE: u64 = 1000;

const NAMESPACES: &str = "/accounts/{account_id}/storage/kv/namespaces";
const NAMESPACE: &str = "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}";
const KEYS: &str = "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/keys";
const VALUE: &str = "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/values/{key_name}";
const METADATA: &str = "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/metadata/{key_name}";
const BULK: &str = "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/bulk";
const BULK_DELETE: &str = "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/bulk/delete";
const BULK_GET: &str = "/accounts/{account_id}/storage/kv/namespaces/{namespace_id}/bulk/get";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(Method::GET, NAMESPACES, Permission(KvRead), "List namespaces", list)
            .lists::<kv::NamespaceView>(Paging::Numbered),
        endpoint(Method::POST, NAMESPACES, Permission(KvWrite), "Create a namespace", create)
            .takes_json::<kv::NewNamespace>()
            .returns::<kv::NamespaceView>(),
        endpoint(Method::GET, NAMESPACE, Permission(KvRead), "Get a namespace", get).returns::<kv::NamespaceView>(),
        endpoint(Method::PUT, NAMESPACE, Permission(KvWrite), "Rename a namespace", rename)
            .takes_json::<kv::NewNamespace>()
            .returns::<kv::NamespaceView>(),
        endpoint(Method::DELETE, NAMESPACE, Permission(KvWrite), "Delete a namespace with its values", delete),
        endpoint(Method::GET, KEYS, Permission(KvRead), "List keys", keys)
            .lists::<kv::KeyView>(Paging::Cursor)
            .query(&[("prefix", "only keys that begin so")]),
        endpoint(Method::GET, VALUE, Permission(KvRead), "Read a value", value).returns_raw("application/octet-stream"),
        endpoint(Method::PUT, VALUE, Permission(KvWrite), "Write a value, raw or as a form with metadata", put)
            .takes(Shape::Raw("application/octet-stream"))
            .query(&[("expiration", "seconds since 1970"), ("expiration_ttl", "seconds from now, 60 or more")])
            .body_limit(VALUE_BYTES),
        endpoint(Method::DELETE, VALUE, Permission(KvWrite), "Delete a value", remove),
        endpoint(Method::GET, METADATA, Permission(KvRead), "Read the metadata of a value", metadata),
        endpoint(Method::PUT, BULK, Permission(KvWrite), "Write many values", put_many)
            .takes_list::<kv::NewPair>()
            .returns::<kv::BulkResult>()
            .body_limit(BULK_BYTES),
        endpoint(Method::DELETE, BULK, Permission(KvWrite), "Delete many values", remove_many)
            .takes_list::<String>()
            .returns::<kv::BulkResult>()
            .body_limit(BULK_BYTES),
        endpoint(Method::POST, BULK_DELETE, Permission(KvWrite), "Delete many values", remove_many)
            .takes_list::<String>()
            .returns::<kv::BulkResult>()
            .body_limit(BULK_BYTES),
        endpoint(Method::POST, BULK_GET, Permission(KvRead), "Read many values", read_many)
            .takes_json::<kv::BulkRead>()
            .returns::<kv::BulkValues>(),
    ]
}

fn namespace(cx: &Cx) -> Result<KvNamespaceId, Failure> {
    cx.id("namespace_id", "KV namespace").map_err(|failure| failure.numbered(10013))
}

async fn list(cx: Cx) -> Reply {
    let all = kv::list(&cx.op).await?;
    let (items, info) = PageRequest::parse(cx.query("page"), cx.query("per_page"), 100)?.cut(all);
    page(items, info)
}

async fn create(cx: Cx, input: Input) -> Reply {
    ok(kv::create(&cx.op, input.json()?).await?)
}

async fn get(cx: Cx) -> Reply {
    ok(kv::get(&cx.op, namespace(&cx)?).await?)
}

async fn rename(cx: Cx, input: Input) -> Reply {
    ok(kv::rename(&cx.op, namespace(&cx)?, input.json()?).await?)
}

async fn delete(cx: Cx) -> Reply {
    kv::delete(&cx.op, namespace(&cx)?).await?;
    ok(json!({}))
}

async fn keys(cx: Cx) -> Reply {
    let limit = positive("limit", cx.query("limit"))?.unwrap_or(KEYS_PER_PAGE).min(KEYS_PER_PAGE);
    let prefix = cx.query("prefix").unwrap_or_default();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (keys, cursor) = kv::keys(&cx.op, namespace(&cx)?, prefix, cx.query("cursor"), limit).await?;
    let info = ResultInfo { count: Some(keys.len() as u64), cursor: Some(cursor), ..ResultInfo::default() };
    page(keys, info)
}

async fn value(cx: Cx) -> Reply {
    let found = kv::value(&cx.op, namespace(&cx)?, cx.text("key_name")).await?;
    let mut headers = HeaderMap::new();
    // Whatever stands in a value is data: a browser must neither sniff it nor run it in our origin.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    if let Some(at) = found.expires_at {
        headers.insert("expiration", HeaderValue::from(at.as_second()));
    }
    Ok((headers, found.value).into_response())
}

async fn put(cx: Cx, input: Input) -> Reply {
    let number = |name: &str| positive(name, cx.query(name));
    let mut new = NewValue {
        expiration: number("expiration")?,
        expiration_ttl: number("expiration_ttl")?,
        ..NewValue::default()
    };
    if input.is_form() {
        read_form(&input, &mut new)?;
    } else {
        new.value = input.bytes().to_vec();
    }
    kv::put(&cx.op, namespace(&cx)?, cx.text("key_name"), new).await?;
    done()
}

/// Reads `value` and `metadata`, the latter as JSON or flattened into bracketed fields.
fn read_form(input: &Input, new: &mut NewValue) -> Result<(), Failure> {
    let parts = input.form(&multipart::Limits::default())?;
    let (mut value, mut flattened) = (None, Value::Null);
    for part in &parts {
        let segments = form::split_name(&part.name).ok_or_else(|| unknown_part(&part.name))?;
        match segments {
            ("value", segments) if segments.is_empty() => {
                if value.replace(part.body.to_vec()).is_some() {
                    return Err(Failure::invalid("/value", "the form has two values"));
                }
            }
            ("metadata", segments) if segments.is_empty() => {
                if new.metadata.replace(strict::parse_value(part.body)?).is_some() {
                    return Err(Failure::invalid("/metadata", "the form has two metadata"));
                }
            }
            ("metadata", segments) => {
                let text = String::from_utf8_lossy(part.body).into_owned();
                form::insert(&mut flattened, &segments, Value::String(text))?;
            }
            _ => return Err(unknown_part(&part.name)),
        }
    }
    if !flattened.is_null() && new.metadata.replace(flattened).is_some() {
        return Err(Failure::invalid("/metadata", "the form has two metadata"));
    }
    new.metadata = new.metadata.take().filter(|metadata| !metadata.is_null());
    new.value = value.ok_or_else(|| Failure::invalid("/value", "the form has no part \"value\""))?;
    Ok(())
}

fn unknown_part(name: &str) -> Failure {
    let name: String = name.chars().take(80).collect();
    Failure::new(Code::InvalidInput, format!("the form has an unknown part {name:?}; there are value and metadata"))
}

async fn remove(cx: Cx) -> Reply {
    kv::remove(&cx.op, namespace(&cx)?, cx.text("key_name")).await?;
    done()
}

async fn metadata(cx: Cx) -> Reply {
    ok(kv::value(&cx.op, namespace(&cx)?, cx.text("key_name")).await?.metadata)
}

async fn put_many(cx: Cx, input: Input) -> Reply {
    ok(kv::put_many(&cx.op, namespace(&cx)?, input.json()?).await?)
}

async fn remove_many(cx: Cx, input: Input) -> Reply {
    ok(kv::remove_many(&cx.op, namespace(&cx)?, input.json()?).await?)
}

async fn read_many(cx: Cx, input: Input) -> Reply {
    ok(kv::read_many(&cx.op, namespace(&cx)?, input.json()?).await?)
}
