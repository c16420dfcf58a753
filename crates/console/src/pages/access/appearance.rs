//! Tags of applications, and custom pages: what people see of Access besides the sign-in.
//!
//! Invariant: a custom page's HTML is shown as text here and never runs in the console.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Value, json};
use store::Permission;
use types::CustomPageId;

use super::head;
use super::page_choice::PLACES;
use crate::failure::Failure;
use crate::operations::access::{AccessView, pages, tags};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

const PATH: &str = "/access/appearance";
/// Serves `GET /access/appearance`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let body = draw(&visitor, &Fields::default(), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Access, "Tags and pages", &body))
}

async fn draw(visitor: &Visitor, fields: &Fields, problems: Problems<'_>) -> Result<Markup, Failure> {
    let (tags, pages) = (tags::list(&visitor.cx).await?, pages::list(&visitor.cx).await?);
    let may_write = visitor.may(Permission::AccessWrite);
    let of_page = fields.find("custom_html").is_some();
    Ok(html! {
        (head(visitor, "appearance", &html! {}))
        (problems.summary())
        h2 { "Tags" }
        p.hint { "People filter the launcher by them. An application names its tags." }
        @if tags.is_empty() { p.muted { "There are none." } } @else {
            table.cards {
                thead { tr { th scope="col" { "Tag" } th scope="col" { "Applications" } th scope="col" { span.hidden { "Delete" } } } }
                tbody { @for tag in &tags { tr {
                    td.strong data-label="Tag" { (tag.text("name")) }
                    td data-label="Applications" { (uses(tag)) }
                    td { @if may_write { (button(&format!("{PATH}/tags/delete"), &visitor.csrf, "quiet", &html! { "Delete" span.hidden { " " (tag.text("name")) } }, &[("name", tag.text("name"))])) } }
                } } }
            }
        }
        @if may_write {
            form.sheet method="post" action={ (PATH) "/tags" } {
                (csrf(&visitor.csrf))
                (Control::new("tag", "New tag").required().placeholder("engineering").input("text", fields.get("tag")))
                div.actions { button type="submit" { "Make the tag" } }
            }
        }
        h2 { "Custom pages" }
        p.hint { "Shown where an application, or the organisation for all of them, names them in its settings." }
        @if pages.is_empty() { p.muted { "There are none: people see the organisation's own pages." } } @else {
            table.cards {
                thead { tr { th scope="col" { "Page" } th scope="col" { "Shown when" } th scope="col" { "Applications" } th scope="col" { "Changed" } } }
                tbody { @for page in &pages { tr {
                    td data-label="Page" { a.strong href={ (PATH) "/pages/" (page.text("id")) } { (page.text("name")) } }
                    td data-label="Shown when" { (kind(page)) }
                    td data-label="Applications" { (uses(page)) }
                    td data-label="Changed" { (format::day(page.text("updated_at"))) }
                } } }
            }
        }
        @if may_write {
            details.fold open[of_page] {
                summary { "New custom page" }
                (form(visitor, &format!("{PATH}/pages"), &[fields.get("name"), fields.get("type"), fields.raw("custom_html")], problems))
            }
        }
    })
}

fn uses(view: &AccessView) -> String {
    format::count(view.0.get("app_count").and_then(Value::as_u64).unwrap_or_default())
}

fn kind(page: &AccessView) -> &str {
    let word = page.text("type");
    PLACES
        .iter()
        .find(|(known, ..)| *known == word)
        .map_or("Nowhere: pages of this type are not shown", |(.., text)| text)
}

fn form(visitor: &Visitor, action: &str, values: &[&str; 3], problems: Problems<'_>) -> Markup {
    let [name, kind, custom_html] = values;
    let kinds = PLACES.map(|(word, _, text)| (word, text));
    html! {
        form.sheet method="post" action=(action) {
            (csrf(&visitor.csrf))
            div.row {
                (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", name))
                (Control::new("type", "Shown when").problems(problems.at("/type")).select(&kinds, kind))
            }
            (Control::new("custom_html", "HTML").required().mono().problems(problems.at("/custom_html")).area(10, custom_html))
            div.actions { button.primary type="submit" { "Save" } }
        }
    }
}

/// Serves `POST /access/appearance/tags`.
pub(in crate::pages) async fn create_tag(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    match tags::create(&visitor.cx, &json!({"name": fields.get("tag")})).await {
        Ok(_) => go("/access/appearance?note=created"),
        Err(failure) => refused(&visitor, &fields, &failure).await,
    }
}

async fn refused(visitor: &Visitor, fields: &Fields, failure: &Failure) -> Page {
    let body = draw(visitor, fields, Problems::of(failure)).await?;
    Ok(refused_form(visitor, Place::Access, "Tags and pages", failure, &body))
}

/// Serves `POST /access/appearance/tags/delete`.
pub(in crate::pages) async fn delete_tag(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    match tags::delete(&visitor.cx, &id(fields.get("name"), "tag")?).await {
        Ok(()) => go("/access/appearance?note=deleted"),
        Err(failure) => refused(&visitor, &Fields::default(), &failure).await,
    }
}

fn document(fields: &Fields) -> Value {
    json!({"name": fields.get("name"), "type": fields.get("type"), "custom_html": fields.raw("custom_html")})
}

/// Serves `POST /access/appearance/pages`.
pub(in crate::pages) async fn create_page(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    match pages::create(&visitor.cx, &document(&fields)).await {
        Ok(_) => go("/access/appearance?note=created"),
        Err(failure) => refused(&visitor, &fields, &failure).await,
    }
}

/// Serves `GET /access/appearance/pages/{id}`.
pub(in crate::pages) async fn custom_page(visitor: Visitor, Path(page): Path<String>) -> Page {
    let page = pages::get(&visitor.cx, id(&page, "custom page")?).await?;
    let values = [page.text("name"), page.text("type"), page.text("custom_html")];
    let body = draw_page(&visitor, &page, &values, Problems::NONE);
    Ok(frame::page(&visitor, Place::Access, page.text("name"), &body))
}

fn draw_page(visitor: &Visitor, page: &AccessView, values: &[&str; 3], problems: Problems<'_>) -> Markup {
    let path = format!("{PATH}/pages/{}", page.text("id"));
    let may_write = visitor.may(Permission::AccessWrite);
    let actions = html! { @if may_write { (button(&format!("{path}/delete"), &visitor.csrf, "quiet", &html! { "Delete" }, &[])) } };
    html! {
        p.crumbs { a href=(PATH) { "Tags and pages" } " / " (page.text("name")) }
        (title(page.text("name"), kind(page), &actions))
        (problems.summary())
        @if may_write { (form(visitor, &path, values, problems)) } @else { pre.code { (page.text("custom_html")) } }
    }
}

/// Serves `POST /access/appearance/pages/{id}`.
pub(in crate::pages) async fn save_page(Path(page): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let page: CustomPageId = id(&page, "custom page")?;
    match pages::replace(&visitor.cx, page, &document(&fields)).await {
        Ok(_) => go(&format!("{PATH}/pages/{page}?note=saved")),
        Err(failure) => {
            let stored = pages::get(&visitor.cx, page).await?;
            let values = [fields.get("name"), fields.get("type"), fields.raw("custom_html")];
            let body = draw_page(&visitor, &stored, &values, Problems::of(&failure));
            Ok(refused_form(&visitor, Place::Access, stored.text("name"), &failure, &body))
        }
    }
}

/// Serves `POST /access/appearance/pages/{id}/delete`.
pub(in crate::pages) async fn delete_page(Path(page): Path<String>, submission: Submission) -> Page {
    match pages::delete(&submission.visitor.cx, id(&page, "custom page")?).await {
        Ok(()) => go("/access/appearance?note=deleted"),
        Err(failure) => refused(&submission.visitor, &Fields::default(), &failure).await,
    }
}
