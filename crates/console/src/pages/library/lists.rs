//! Category lists: what puts hosts into categories beside the catalogue, imported by pasting a list.
//!
//! Large lists come in by the command line or the API. Invariant: a list that is refused leaves what was typed in place.

use axum::extract::Path;
use maud::{Markup, html};
use store::Permission::GatewayWrite;

use crate::operations::category_lists::{self, CategoryListView, Import};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, empty, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

const FORMATS: [(&str, &str); 4] =
    [("", "Recognise it"), ("hosts", "Hosts file"), ("domains", "A name a line (UT1)"), ("adblock", "Ad blocker")];

/// Serves `GET /library/lists`.
pub(in crate::pages) async fn lists_page(visitor: Visitor) -> Page {
    let all = category_lists::list(&visitor.cx).await?;
    let body = draw(&visitor, &all, &Fields::default(), Problems::NONE);
    Ok(frame::page(&visitor, Place::Library, "Category lists", &body))
}

fn draw(visitor: &Visitor, all: &[CategoryListView], fields: &Fields, problems: Problems<'_>) -> Markup {
    let may_write = visitor.may(GatewayWrite);
    html! {
        p.crumbs { a href="/library" { "Library" } " / Category lists" }
        (title("Category lists", "Names that belong to a content or security category. Rules read them as content_category and security_category.", &html! {}))
        @if all.is_empty() { (empty("There are no lists beside the one that ships.", &html! { "Import one below, or with " code { "portunus catalog import" } "." })) }
        @else {
            table.cards {
                thead { tr { th scope="col" { "List" } th scope="col" { "Category" } th scope="col" { "Names" } th scope="col" { "Imported" } @if may_write { th scope="col" { span.hidden { "Delete" } } } } }
                tbody {
                    @for list in all {
                        tr {
                            td data-label="List" { span.strong { (list.name) } div.muted { (list.format) @for (reason, count) in &list.skipped { ", left out: " (format::count(*count)) " " (reason) } } }
                            td data-label="Category" { (list.category_name) " (" (list.category_id) ")" }
                            td data-label="Names" { (format::count(list.names)) }
                            td data-label="Imported" { (format::day(&list.updated_at)) }
                            @if may_write { td { (button(&format!("/library/lists/{}/delete", list.id), &visitor.csrf, "quiet", &html! { "Delete" }, &[])) } }
                        }
                    }
                }
            }
        }
        @if may_write { (form(visitor, fields, problems)) }
    }
}

fn form(visitor: &Visitor, fields: &Fields, problems: Problems<'_>) -> Markup {
    let tree = catalog::taxonomy::categories();
    let chosen = fields.get("category");
    let choice = |id: u32, name: &str| html! { option value=(id) selected[chosen == id.to_string()] { (name) } };
    html! {
        details.fold open[fields.find("name").is_some()] {
            summary { "Import a list" }
            (problems.summary())
            form.sheet method="post" action="/library/lists" {
                (csrf(&visitor.csrf))
                div.row {
                    (Control::new("name", "Name").required().hint("A list of the same name is replaced.").problems(problems.at("name")).input("text", fields.get("name")))
                    div.field {
                        label for="category" { "Category" }
                        select id="category" name="category" required {
                            option value="" { "Choose" }
                            @for parent in &tree {
                                @if parent.subcategories.is_empty() { (choice(parent.id, parent.name)) } @else {
                                    optgroup label=(parent.name) {
                                        (choice(parent.id, parent.name))
                                        @for child in &parent.subcategories { (choice(child.id, child.name)) }
                                    }
                                }
                            }
                        }
                    }
                    (Control::new("format", "Written as").problems(problems.at("format")).select(&FORMATS, fields.get("format")))
                }
                (Control::new("text", "Names").mono().hint("Up to 4 MB here; the command line and the API take 16 MB.").area(8, fields.raw("text")))
                div.actions { button.primary type="submit" { "Import" } }
            }
        }
    }
}

/// Serves `POST /library/lists`.
pub(in crate::pages) async fn import(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let import = Import {
        name: fields.get("name"),
        category: fields.get("category"),
        format: Some(fields.get("format")).filter(|word| !word.is_empty()),
        text: fields.raw("text"),
    };
    match category_lists::import(&visitor.cx, import).await {
        Ok(_) => go("/library/lists?note=saved"),
        Err(failure) => {
            let all = category_lists::list(&visitor.cx).await?;
            let body = draw(&visitor, &all, &fields, Problems::of(&failure));
            Ok(refused_form(&visitor, Place::Library, "Category lists", &failure, &body))
        }
    }
}

/// Serves `POST /library/lists/{id}/delete`.
pub(in crate::pages) async fn delete_list(Path(list): Path<String>, form: Submission) -> Page {
    category_lists::delete(&form.visitor.cx, id(&list, "category list")?).await?;
    go("/library/lists?note=deleted")
}
