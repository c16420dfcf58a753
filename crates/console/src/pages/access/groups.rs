//! Rule groups: who is meant by a name that several policies use.
//!
//! Invariant: a refused form keeps what was typed.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::{Map, Value};
use store::Permission;
use types::AccessGroupId;

use super::head;
use super::selectors::{HINT, Names};
use crate::failure::{Failure, Problem};
use crate::operations::access::{AccessView, groups};
use crate::pages::control::{Control, Problems, csrf};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, confirm, empty, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

const LISTS: [(&str, &str); 3] =
    [("include", "Anyone of"), ("require", "Who also is all of"), ("exclude", "And is none of")];

/// Serves `GET /access/groups`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let names = Names::load(&visitor).await?;
    let body = overview(&visitor, &names, &Fields::default(), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Access, "Groups", &body))
}

async fn overview(
    visitor: &Visitor,
    names: &Names,
    fields: &Fields,
    problems: Problems<'_>,
) -> Result<Markup, Failure> {
    let all = groups::list(&visitor.cx).await?;
    Ok(html! {
        (head(visitor, "groups", &html! {}))
        @if all.is_empty() { (empty("There are no groups.", &html! { "A group gives people a name that many policies can use." })) } @else {
            table.cards {
                thead { tr { th scope="col" { "Group" } th scope="col" { "Anyone of" } th scope="col" { "Changed" } } }
                tbody {
                    @for group in &all {
                        tr {
                            td data-label="Group" { a.strong href={ "/access/groups/" (group.text("id")) } { (group.text("name")) } }
                            td data-label="Anyone of" { code { (names.write(group.0.get("include").unwrap_or(&Value::Null)).replace('\n', ", ")) } }
                            td data-label="Changed" { (format::day(group.text("updated_at"))) }
                        }
                    }
                }
            }
        }
        @if visitor.may(Permission::IdentityWrite) {
            details.fold open[all.is_empty() || fields.find("name").is_some()] {
                summary { "New group" }
                (problems.summary())
                (form(visitor, "/access/groups", "Create", &|name| fields.find(name).unwrap_or_default().to_owned(), problems))
            }
        }
    })
}

fn form(
    visitor: &Visitor,
    action: &str,
    verb: &str,
    values: &dyn Fn(&str) -> String,
    problems: Problems<'_>,
) -> Markup {
    html! {
        form.sheet method="post" action=(action) {
            (csrf(&visitor.csrf))
            (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", &values("name")))
            @for (list, label) in LISTS {
                (Control::new(list, label).mono().hint(if list == "include" { HINT } else { "" }).problems(problems.at(&format!("/{list}"))).area(if list == "include" { 4 } else { 2 }, &values(list)))
            }
            div.actions { button.primary type="submit" { (verb) } }
        }
    }
}

fn document(names: &Names, fields: &Fields, stored: Option<&AccessView>) -> Result<Value, Failure> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut members: Map<String, Value> = stored.map(|stored| stored.0.clone()).unwrap_or_default();
    members.insert("name".to_owned(), fields.get("name").into());
    for (list, _) in LISTS {
        let selectors = names.read(&format!("/{list}"), &fields.lines(list), &mut problems);
        members.insert(list.to_owned(), Value::Array(selectors));
    }
    if problems.is_empty() { Ok(Value::Object(members)) } else { Err(Failure::invalid_many(problems)) }
}

/// Serves `POST /access/groups`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let names = Names::load(&visitor).await?;
    let made = match document(&names, &fields, None) {
        Ok(document) => groups::create(&visitor.cx, &document).await,
        Err(failure) => Err(failure),
    };
    match made {
        Ok(_) => go("/access/groups?note=created"),
        Err(failure) => {
            let body = overview(&visitor, &names, &fields, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Access, "Groups", &failure, &body))
        }
    }
}

fn one(visitor: &Visitor, group: &AccessView, values: &dyn Fn(&str) -> String, problems: Problems<'_>) -> Markup {
    let path = format!("/access/groups/{}", group.text("id"));
    let may_write = visitor.may(Permission::IdentityWrite);
    let actions = html! { @if may_write { a.button.quiet href={ (path) "/delete" } { "Delete" } } };
    html! {
        p.crumbs { a href="/access/groups" { "Groups" } " / " (group.text("name")) }
        (title(group.text("name"), "", &actions))
        (problems.summary())
        (form(visitor, &path, "Save", values, problems))
    }
}

/// Serves `GET /access/groups/{id}`.
pub(in crate::pages) async fn group_page(visitor: Visitor, Path(group): Path<String>) -> Page {
    let group = groups::get(&visitor.cx, id(&group, "rule group")?).await?;
    let names = Names::load(&visitor).await?;
    let values = |name: &str| match name {
        "name" => group.text("name").to_owned(),
        list => names.write(group.0.get(list).unwrap_or(&Value::Null)),
    };
    let body = one(&visitor, &group, &values, Problems::NONE);
    Ok(frame::page(&visitor, Place::Access, group.text("name"), &body))
}

/// Serves `POST /access/groups/{id}`.
pub(in crate::pages) async fn save(Path(group): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let group: AccessGroupId = id(&group, "rule group")?;
    let stored = groups::get(&visitor.cx, group).await?;
    let names = Names::load(&visitor).await?;
    let saved = match document(&names, &fields, Some(&stored)) {
        Ok(document) => groups::replace(&visitor.cx, group, &document).await,
        Err(failure) => Err(failure),
    };
    match saved {
        Ok(_) => go("/access/groups?note=saved"),
        Err(failure) => {
            let values = |name: &str| fields.find(name).unwrap_or_default().to_owned();
            let body = one(&visitor, &stored, &values, Problems::of(&failure));
            Ok(refused_form(&visitor, Place::Access, "Group", &failure, &body))
        }
    }
}

/// Serves `GET /access/groups/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(group): Path<String>) -> Page {
    let group = groups::get(&visitor.cx, id(&group, "rule group")?).await?;
    let path = format!("/access/groups/{}", group.text("id"));
    let text = html! { p { strong { (group.text("name")) } " goes. A group that a policy names cannot be deleted." } };
    let act = format!("{path}/delete");
    Ok(confirm(&visitor, Place::Access, "Delete this group?", &text, (&act, "Delete the group"), &path))
}

/// Serves `POST /access/groups/{id}/delete`.
pub(in crate::pages) async fn delete(Path(group): Path<String>, form: Submission) -> Page {
    groups::delete(&form.visitor.cx, id(&group, "rule group")?).await?;
    go("/access/groups?note=deleted")
}
