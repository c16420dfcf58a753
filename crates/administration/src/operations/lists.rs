//! Gateway lists and their items (reference section 5.3).
//!
//! The policy engine says what a valid item of each type is. Invariant: a list in the store compiles.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use store::{List, ListItem, ListType, NewListItem, ReadLists, StoreError, Stored, WriteLists};
use types::ListId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{check_name, time};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// Longest description of a list or an item, in characters.
const LONGEST_DESCRIPTION: usize = 1024;

/// A list, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ListView {
    pub id: String,
    pub name: String,
    pub description: String,
    /// `SERIAL`, `URL`, `DOMAIN`, `EMAIL`, `IP`, `CATEGORY`, `LOCATION`, `DEVICE` or `AAGUID`
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub item_type: ListType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<ItemView>>,
    pub created_at: String,
    pub updated_at: String,
}

/// An item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ItemView {
    pub value: String,
    pub description: String,
    pub created_at: String,
}

/// A list to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewList {
    pub name: String,
    /// `SERIAL`, `URL`, `DOMAIN`, `EMAIL`, `IP`, `CATEGORY`, `LOCATION`, `DEVICE` or `AAGUID`
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub item_type: ListType,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub items: Vec<NewItem>,
}

/// An item to be added.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewItem {
    pub value: String,
    #[serde(default)]
    pub description: Option<String>,
    /// Read-only; what a client read back is not an error.
    #[serde(default, rename = "created_at")]
    #[schema(read_only)]
    pub _created_at: Option<String>,
}

/// A list to be replaced. Absent or empty items keep those it has.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListReplacement {
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub items: Option<Vec<NewItem>>,
    /// The type of a list does not change; naming it is not an error.
    #[serde(default, rename = "type")]
    #[schema(value_type = Option<String>)]
    pub item_type: Option<ListType>,
}

/// Items to add and values to remove.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPatch {
    #[serde(default)]
    pub append: Vec<NewItem>,
    #[serde(default)]
    pub remove: Vec<String>,
}

fn view(list: Stored<List>, count: Option<u64>, items: Option<Vec<ItemView>>) -> ListView {
    ListView {
        id: list.id.to_string(),
        name: list.document.name,
        description: list.document.description,
        item_type: list.document.item_type,
        count,
        items,
        created_at: time(list.created_at),
        updated_at: time(list.updated_at),
    }
}

fn item_view(item: ListItem) -> ItemView {
    ItemView { value: item.value, description: item.description, created_at: time(item.created_at) }
}

/// Returns every list, optionally of one type, with item counts.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext, item_type: Option<&str>) -> Result<Vec<ListView>, Failure> {
    let grant = cx.authorize::<ReadLists>()?;
    let wanted = item_type.map(parse_type).transpose()?;
    let mut counts: HashMap<ListId, u64> = cx.store().lists().item_counts(&grant).await?;
    let lists = cx.store().lists().list(&grant).await?;
    let chosen = lists.into_iter().filter(|list| wanted.is_none_or(|wanted| wanted == list.document.item_type));
    Ok(chosen
        .map(|list| {
            let count = counts.remove(&list.id).unwrap_or(0);
            view(list, Some(count), None)
        })
        .collect())
}

fn parse_type(text: &str) -> Result<ListType, Failure> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|_| {
        Failure::new(types::Code::InvalidInput, "query parameter \"type\" must be a list type such as DOMAIN or IP")
    })
}

/// Returns one list with its items.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: ListId) -> Result<ListView, Failure> {
    let grant = cx.authorize::<ReadLists>()?;
    let list = cx.store().lists().get(&grant, &id).await?.ok_or_else(missing)?;
    let items: Vec<_> = cx.store().lists().all_items(&grant, id).await?.into_iter().map(item_view).collect();
    Ok(view(list, Some(items.len() as u64), Some(items)))
}

/// Returns the items of a list.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn items(cx: &OpContext, id: ListId) -> Result<Vec<ItemView>, Failure> {
    let grant = cx.authorize::<ReadLists>()?;
    cx.store().lists().get(&grant, &id).await?.ok_or_else(missing)?;
    Ok(cx.store().lists().all_items(&grant, id).await?.into_iter().map(item_view).collect())
}

/// Makes a list. The answer lacks `count`, as v4 clients know it.
///
/// # Errors
///
/// A [`Failure`] that points at the item at fault.
pub async fn create(cx: &OpContext, new: NewList) -> Result<ListView, Failure> {
    let grant = cx.authorize::<WriteLists>()?;
    check_name("/name", &new.name, 255)?;
    let items = check_items("/items", new.item_type, new.items)?;
    let description = check_description("/description", new.description)?;
    let list = List { name: new.name, description, item_type: new.item_type };
    let id = ListId(Uuid::new_v4());
    let stored = cx.store().lists().create_with_items(&grant, id, list, items).await.map_err(name_taken)?;
    let items: Vec<_> = cx.store().lists().all_items(&grant, id).await?.into_iter().map(item_view).collect();
    let change = Change::new(Verb::Create, "list", id).after(summary(&stored, Some(items.len())));
    cx.record(change).await?;
    Ok(view(stored, None, Some(items)))
}

/// Replaces a list's head and, when a non-empty array is given, its items.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn replace(cx: &OpContext, id: ListId, new: ListReplacement) -> Result<ListView, Failure> {
    let grant = cx.authorize::<WriteLists>()?;
    let before = cx.store().lists().get(&grant, &id).await?.ok_or_else(missing)?;
    let item_type = before.document.item_type;
    if new.item_type.is_some_and(|wanted| wanted != item_type) {
        return Err(Failure::invalid("/type", "the type of a list cannot change; make another list"));
    }
    check_name("/name", &new.name, 255)?;
    let description = match new.description {
        Some(description) => check_description("/description", Some(description))?,
        None => before.document.description.clone(),
    };
    let items = match new.items.filter(|items| !items.is_empty()) {
        Some(items) => Some(check_items("/items", item_type, items)?),
        None => None,
    };
    let count = items.as_ref().map(Vec::len);
    let list = List { name: new.name, description, item_type };
    let saved = cx.store().lists().replace_with_items(&grant, id, list, items, Some(before.revision)).await;
    let stored = saved.map_err(name_taken)?;
    let change = Change::new(Verb::Update, "list", id).before(summary(&before, None)).after(summary(&stored, count));
    cx.record(change).await?;
    get(cx, id).await
}

/// Adds and removes items.
///
/// # Errors
///
/// A [`Failure`] that points at the item at fault.
pub async fn patch(cx: &OpContext, id: ListId, patch: ListPatch) -> Result<ListView, Failure> {
    let grant = cx.authorize::<WriteLists>()?;
    let before = cx.store().lists().get(&grant, &id).await?.ok_or_else(missing)?;
    let added = check_items("/append", before.document.item_type, patch.append)?;
    let details = serde_json::json!({"appended": added.len(), "removed": patch.remove.len()});
    cx.store().lists().patch_items(&grant, id, added, patch.remove).await?;
    cx.record(Change::new(Verb::Update, "list", id).after(details)).await?;
    get(cx, id).await
}

/// Deletes a list that no rule uses.
///
/// # Errors
///
/// `NotFound`, and `Conflict` while a rule names it.
pub async fn delete(cx: &OpContext, id: ListId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteLists>()?;
    let before = cx.store().lists().get(&grant, &id).await?.ok_or_else(missing)?;
    // Looked up for the system: the caller may delete lists without the right to read rules, and learns only that one
    // stands in the way.
    let rules = store::Principal::system("find rules that use a list").authorize::<store::ReadRules>(cx.account)?;
    let needle = format!("${id}");
    let users = cx.store().rules().list(&rules).await?;
    if users.iter().any(|rule| rule.document.body.get().contains(&needle)) {
        let message = "a rule still uses this list; change or delete that rule first";
        return Err(Failure::new(types::Code::Conflict, message));
    }
    cx.store().lists().delete_with_items(&grant, id, None).await?;
    cx.record(Change::new(Verb::Delete, "list", id).before(summary(&before, None))).await
}

fn summary(list: &Stored<List>, items: Option<usize>) -> serde_json::Value {
    let mut value = serde_json::json!({
        "name": list.document.name,
        "description": list.document.description,
        "type": list.document.item_type,
    });
    if let Some(items) = items {
        value["items"] = items.into();
    }
    value
}

fn missing() -> Failure {
    Failure::not_found("list")
}

fn name_taken(error: StoreError) -> Failure {
    let message = "another list has this name; choose a different one";
    crate::failure::taken(error, || Failure::conflict("/name", message))
}

fn check_description(pointer: &str, description: Option<String>) -> Result<String, Failure> {
    let description = description.unwrap_or_default();
    if description.chars().count() > LONGEST_DESCRIPTION {
        return Err(Failure::invalid(pointer, format!("is limited to {LONGEST_DESCRIPTION} characters")));
    }
    Ok(description)
}

fn check_items(pointer: &str, item_type: ListType, items: Vec<NewItem>) -> Result<Vec<NewListItem>, Failure> {
    let mut checked = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let description = check_description(&format!("{pointer}/{index}/description"), item.description)?;
        checked.push(NewListItem { value: item.value.trim().to_owned(), description });
    }
    let values: Vec<&str> = checked.iter().map(|item| item.value.as_str()).collect();
    match policy::lists::compile(engine_type(item_type), &values) {
        Ok(_) => Ok(checked),
        Err(faults) => Err(Failure::invalid_many(
            faults
                .into_iter()
                .map(|fault| Problem {
                    message: format!("\"{}\" {}", fault.value, fault.message),
                    pointer: Some(format!("{pointer}/{}/value", fault.index)),
                })
                .collect(),
        )),
    }
}

/// The engine's word for a type of list.
pub const fn engine_type(item_type: ListType) -> policy::lists::ListType {
    use policy::lists::ListType as Engine;
    match item_type {
        ListType::Serial => Engine::Serial,
        ListType::Url => Engine::Url,
        ListType::Domain => Engine::Domain,
        ListType::Email => Engine::Email,
        ListType::Ip => Engine::Ip,
        ListType::Category => Engine::Category,
        ListType::Location => Engine::Location,
        ListType::Device => Engine::Device,
        ListType::Aaguid => Engine::Aaguid,
    }
}
