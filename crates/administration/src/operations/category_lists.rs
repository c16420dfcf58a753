//! Lists of domains that put hosts into categories, imported from the formats people publish.
//!
//! The catalogue engine reads them. Invariants: a list in the store has only names the index takes, the lists of an account
//! fit into memory together, and a list that is refused changes nothing.

use catalog::categories::MOST_NAMES_OF_ALL;
use catalog::import::{self, ImportError, ListFormat};
use catalog::taxonomy::{category_name, category_named};
use serde::Serialize;
use store::{CategoryList, CategoryNames, ReadGateway, Stored, WriteGateway};
use types::CategoryListId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{check_name, time};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// A category list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CategoryListView {
    pub id: String,
    pub name: String,
    pub category_id: u32,
    pub category_name: &'static str,
    /// How many names it has; what stands below another of its names is not counted.
    pub names: u64,
    /// `hosts`, `domains` or `adblock`
    pub format: String,
    /// Lines left out when it was imported, by reason.
    #[schema(value_type = Object)]
    pub skipped: std::collections::BTreeMap<String, u64>,
    pub created_at: String,
    pub updated_at: String,
}

fn view(stored: Stored<CategoryList>) -> CategoryListView {
    let list = stored.document;
    CategoryListView {
        id: stored.id.to_string(),
        name: list.name,
        category_id: list.category,
        category_name: category_name(list.category).unwrap_or_default(),
        names: list.names,
        format: list.format,
        skipped: list.skipped,
        created_at: time(stored.created_at),
        updated_at: time(stored.updated_at),
    }
}

/// A list to import.
#[derive(Debug, Clone, Default)]
pub struct Import<'a> {
    pub name: &'a str,
    /// A category's number or name.
    pub category: &'a str,
    /// `hosts`, `domains`, `ut1` or `adblock`; guessed when absent.
    pub format: Option<&'a str>,
    pub text: &'a str,
}

/// Lists the lists.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<CategoryListView>, Failure> {
    let grant = cx.authorize::<ReadGateway>()?;
    Ok(cx.store().category_lists().list(&grant).await?.into_iter().map(view).collect())
}

/// Imports a list; one with the same name is replaced.
///
/// # Errors
///
/// A [`Failure`] that names each line at fault, up to a bound.
pub async fn import(cx: &OpContext, import: Import<'_>) -> Result<CategoryListView, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let (list, names) = read(&import)?;
    let all = cx.store().category_lists().list(&grant).await?;
    let before = all.iter().find(|stored| stored.document.name == list.name);
    fits(&all, &list)?;
    let id = before.map_or_else(|| CategoryListId(Uuid::new_v4()), |stored| stored.id);
    let verb = if before.is_some() { Verb::Update } else { Verb::Create };
    let mut change = Change::new(verb, "category list", id).after(summary(&list));
    if let Some(before) = before {
        change = change.before(summary(&before.document));
    }
    let saved = cx.store().category_lists().put_with_names(&grant, id, list, CategoryNames(names)).await;
    let taken = || Failure::conflict("name", "somebody else imported a list of this name at the same time; try again");
    let stored = saved.map_err(|error| crate::failure::taken(error, taken))?;
    cx.record(change).await?;
    Ok(view(stored))
}

/// Checks that there is room for a list beside the others.
///
/// # Errors
///
/// `LimitExceeded` when there is not.
pub fn fits(all: &[Stored<CategoryList>], list: &CategoryList) -> Result<(), Failure> {
    let others: u64 = all.iter().filter(|it| it.document.name != list.name).map(|it| it.document.names).sum();
    if others + list.names > MOST_NAMES_OF_ALL as u64 {
        let message = format!("the lists may have {MOST_NAMES_OF_ALL} names together, and the others have {others}");
        return Err(Failure::new(types::Code::LimitExceeded, message));
    }
    Ok(())
}

/// Reads a list without storing it: the document and its names.
///
/// # Errors
///
/// As [`import`].
pub fn read(import: &Import<'_>) -> Result<(CategoryList, String), Failure> {
    check_name("name", import.name, 120)?;
    let Some(category) = category_named(import.category) else {
        let message = "must be the number or name of a category; `GET …/gateway/categories` lists them";
        return Err(Failure::invalid("category", message));
    };
    let format = import.format.map(|word| {
        ListFormat::named(word).ok_or_else(|| Failure::invalid("format", "must be hosts, domains, ut1 or adblock"))
    });
    let imported = import::read(import.text, format.transpose()?).map_err(|error| match error {
        ImportError::Lines(lines) => Failure::invalid_many(
            lines.into_iter().map(|line| Problem { message: line.to_string(), pointer: None }).collect(),
        ),
        ImportError::TooLarge | ImportError::TooMany => Failure::new(types::Code::LimitExceeded, error.to_string()),
        ImportError::Empty => Failure::new(types::Code::InvalidInput, error.to_string()),
    })?;
    let list = CategoryList {
        name: import.name.to_owned(),
        category,
        names: imported.names.len() as u64,
        format: imported.format.as_str().to_owned(),
        skipped: imported.skipped.into_iter().map(|(reason, count)| (reason.to_owned(), count as u64)).collect(),
    };
    Ok((list, imported.names.join("\n")))
}

/// Deletes a list; its names lose the category.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: CategoryListId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let before = cx.store().category_lists().get(&grant, &id).await?;
    let before = before.ok_or_else(|| Failure::not_found("category list"))?;
    cx.store().category_lists().delete_with_names(&grant, id).await?;
    cx.record(Change::new(Verb::Delete, "category list", id).before(summary(&before.document))).await
}

fn summary(list: &CategoryList) -> serde_json::Value {
    serde_json::json!({"name": list.name, "category": list.category, "names": list.names, "format": list.format})
}
