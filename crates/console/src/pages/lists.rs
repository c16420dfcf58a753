//! Lists and their items.
//!
//! Items are written one a line, so that a list can be pasted from anywhere. Invariant: the page shows a bounded number of
//! items however long the list is.

use axum::extract::Path;
use maud::{Markup, html};
use types::ListId;

use super::control::{Control, Problems, csrf};
use super::fields::Fields;
use super::frame::{self, Place, confirm, empty, refused_form, title};
use super::visitor::{Submission, Visitor};
use super::{Page, format, go, id};
use crate::failure::Failure;
use crate::operations::lists::{self, ListPatch, ListReplacement, ListView, NewItem, NewList};

/// Items shown on the page.
const SHOWN: usize = 500;

const TYPES: [(&str, &str); 9] = [
    ("DOMAIN", "Domains"),
    ("URL", "URLs"),
    ("IP", "IP addresses and ranges"),
    ("EMAIL", "E-mail addresses"),
    ("SERIAL", "Serial numbers"),
    ("CATEGORY", "Categories"),
    ("LOCATION", "Locations"),
    ("DEVICE", "Devices"),
    ("AAGUID", "Authenticator models"),
];

fn word(list: &ListView) -> String {
    serde_json::to_value(list.item_type).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn kind(list: &ListView) -> String {
    let word = word(list);
    TYPES.iter().find(|(known, _)| *known == word).map_or(word.clone(), |(_, name)| (*name).to_owned())
}

/// Serves `GET /lists`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let body = overview(&visitor, &Fields::default(), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Lists, "Lists", &body))
}

async fn overview(visitor: &Visitor, fields: &Fields, problems: Problems<'_>) -> Result<Markup, Failure> {
    let all = lists::list(&visitor.cx, None).await?;
    Ok(html! {
        (title("Lists", "Hosts, addresses and people that several rules share. A rule names a list as $ID.", &html! {}))
        @if all.is_empty() { (empty("There are no lists.", &html! { "Make one below and use it in a rule: " code { "any(http.request.domains[*] in $ID)" } })) }
        @else {
            label.finder { span { "Find" } input type="search" data-filter data-narrows="#lists" autocomplete="off"; }
            table.cards id="lists" {
                thead { tr { th scope="col" { "List" } th scope="col" { "Holds" } th scope="col" { "Items" } th scope="col" { "Id" } th scope="col" { "Changed" } } }
                tbody {
                    @for list in &all {
                        tr {
                            td data-label="List" { a.strong href={ "/lists/" (list.id) } { (list.name) } @if !list.description.is_empty() { div.muted { (list.description) } } }
                            td data-label="Holds" { (kind(list)) }
                            td data-label="Items" { (format::count(list.count.unwrap_or(0))) }
                            td data-label="Id" { code { (list.id) } }
                            td data-label="Changed" { (format::day(&list.updated_at)) }
                        }
                    }
                }
            }
        }
        @if visitor.may(store::Permission::ListsWrite) { (new_form(visitor, fields, problems, all.is_empty())) }
    })
}

fn new_form(visitor: &Visitor, fields: &Fields, problems: Problems<'_>, open: bool) -> Markup {
    let chosen = if fields.get("type").is_empty() { "DOMAIN" } else { fields.get("type") };
    html! {
        details.fold open[open || fields.find("name").is_some()] {
            summary { "New list" }
            (problems.summary())
            form.sheet method="post" action="/lists" {
                (csrf(&visitor.csrf))
                div.row {
                    (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", fields.get("name")))
                    (Control::new("type", "Holds").problems(problems.at("/type")).select(&TYPES, chosen))
                }
                (Control::new("description", "Description").problems(problems.at("/description")).input("text", fields.get("description")))
                (Control::new("items", "Items").hint(ITEMS_HINT).mono().problems(problems.at("/items")).area(6, fields.get("items")))
                div.actions { button.primary type="submit" { "Create" } }
            }
        }
    }
}

const ITEMS_HINT: &str = "One a line. A description may follow after a #.";

fn items(fields: &Fields, name: &str) -> Vec<NewItem> {
    let read = |line: String| match line.split_once(" #") {
        Some((value, description)) => NewItem {
            value: value.trim().to_owned(),
            description: Some(description.trim().to_owned()),
            _created_at: None,
        },
        None => NewItem { value: line, description: None, _created_at: None },
    };
    fields.lines(name).into_iter().map(read).collect()
}

/// Serves `POST /lists`.
pub(super) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let item_type = serde_json::from_value(fields.get("type").into());
    let made = match item_type {
        Ok(item_type) => {
            let new = NewList {
                name: fields.get("name").to_owned(),
                item_type,
                description: fields.text("description"),
                items: items(&fields, "items"),
            };
            lists::create(&visitor.cx, new).await
        }
        Err(_) => Err(Failure::invalid("/type", "choose what the list holds")),
    };
    match made {
        Ok(list) => go(&format!("/lists/{}?note=created", list.id)),
        Err(failure) => {
            let body = overview(&visitor, &fields, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Lists, "Lists", &failure, &body))
        }
    }
}

/// Serves `GET /lists/{id}`.
pub(super) async fn list_page(visitor: Visitor, Path(list): Path<String>) -> Page {
    let list = lists::get(&visitor.cx, id(&list, "list")?).await?;
    let body = draw(&visitor, &list, &Fields::default(), Problems::NONE);
    Ok(frame::page(&visitor, Place::Lists, &list.name, &body))
}

fn draw(visitor: &Visitor, list: &ListView, fields: &Fields, problems: Problems<'_>) -> Markup {
    let path = format!("/lists/{}", list.id);
    let held = list.items.as_deref().unwrap_or_default();
    let may_write = visitor.may(store::Permission::ListsWrite);
    let actions = html! { @if may_write { a.button.quiet href={ (path) "/delete" } { "Delete" } } };
    let lead = format!("{} · {}", kind(list), format::plural(held.len() as u64, "item", "items"));
    html! {
        p.crumbs { a href="/lists" { "Lists" } " / " (list.name) }
        (title(&list.name, &lead, &actions))
        (problems.summary())
        p { "In a rule: " code { "in $" (list.id) } }
        @if may_write {
            form.sheet method="post" action=(path) {
                (csrf(&visitor.csrf))
                div.row {
                    (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", fields.find("name").unwrap_or(&list.name)))
                    (Control::new("description", "Description").problems(problems.at("/description")).input("text", fields.find("description").unwrap_or(&list.description)))
                }
                div.actions { button type="submit" { "Save" } }
            }
            form.sheet method="post" action={ (path) "/items" } {
                (csrf(&visitor.csrf))
                (Control::new("append", "Add items").hint(ITEMS_HINT).mono().problems(problems.at("/append")).area(4, fields.get("append")))
                div.actions { button.primary type="submit" { "Add" } }
            }
        }
        h2 { "Items" }
        @if held.is_empty() { (empty("The list is empty: no rule that asks for it matches.", &html! {})) } @else {
            form method="post" action={ (path) "/items" } {
                (csrf(&visitor.csrf))
                div.bar {
                    label.finder { span { "Find" } input type="search" data-filter data-narrows="#items" autocomplete="off"; }
                    @if may_write { button type="submit" { "Remove the ticked" } }
                }
                table.cards id="items" {
                    thead { tr { @if may_write { th scope="col" { span.hidden { "Tick" } } } th scope="col" { "Value" } th scope="col" { "Description" } th scope="col" { "Added" } } }
                    tbody {
                        @for item in held.iter().take(SHOWN) {
                            tr {
                                @if may_write { td data-label="Remove" { input type="checkbox" name="remove" value=(item.value) aria-label={ "Remove " (item.value) }; } }
                                td data-label="Value" { code { (item.value) } }
                                td data-label="Description" { (item.description) }
                                td data-label="Added" { (format::day(&item.created_at)) }
                            }
                        }
                    }
                }
            }
            @if held.len() > SHOWN { p.muted { "The first " (SHOWN) " are shown; the API lists them all." } }
        }
    }
}

/// Serves `POST /lists/{id}`.
pub(super) async fn save(Path(list): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let list: ListId = id(&list, "list")?;
    let new = ListReplacement {
        name: fields.get("name").to_owned(),
        description: Some(fields.get("description").to_owned()),
        items: None,
        item_type: None,
    };
    match lists::replace(&visitor.cx, list, new).await {
        Ok(_) => go(&format!("/lists/{list}?note=saved")),
        Err(failure) => refuse(&visitor, list, &fields, &failure).await,
    }
}

/// Serves `POST /lists/{id}/items`.
pub(super) async fn change_items(Path(list): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let list: ListId = id(&list, "list")?;
    let patch =
        ListPatch { append: items(&fields, "append"), remove: fields.all("remove").map(str::to_owned).collect() };
    match lists::patch(&visitor.cx, list, patch).await {
        Ok(_) => go(&format!("/lists/{list}?note=saved")),
        Err(failure) => refuse(&visitor, list, &fields, &failure).await,
    }
}

async fn refuse(visitor: &Visitor, list: ListId, fields: &Fields, failure: &Failure) -> Page {
    let list = lists::get(&visitor.cx, list).await?;
    let body = draw(visitor, &list, fields, Problems::of(failure));
    Ok(refused_form(visitor, Place::Lists, &list.name, failure, &body))
}

/// Serves `GET /lists/{id}/delete`.
pub(super) async fn confirm_delete(visitor: Visitor, Path(list): Path<String>) -> Page {
    let list = lists::get(&visitor.cx, id(&list, "list")?).await?;
    let path = format!("/lists/{}", list.id);
    let text = html! { p { strong { (list.name) } " and its " (format::plural(list.count.unwrap_or(0), "item", "items")) " go. A list that a rule uses cannot be deleted." } };
    Ok(confirm(
        &visitor,
        Place::Lists,
        "Delete this list?",
        &text,
        (&format!("{path}/delete"), "Delete the list"),
        &path,
    ))
}

/// Serves `POST /lists/{id}/delete`.
pub(super) async fn delete(Path(list): Path<String>, form: Submission) -> Page {
    lists::delete(&form.visitor.cx, id(&list, "list")?).await?;
    go("/lists?note=deleted")
}
