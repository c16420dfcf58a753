//! KV namespaces and the values in them.
//!
//! A value is shown and edited only as text that a form gives back unchanged. Invariants: a page lists a bounded number of
//! keys however many there are; adding never replaces a value that is there, and saving keeps what was not edited.

use axum::extract::Path;
use maud::{Markup, html};
use store::{KvValue, Permission};
use types::{Code, KvNamespaceId};

use super::control::{Control, Problems, csrf};
use super::fields::Fields;
use super::frame::{self, Place, confirm, empty, refused_form, title};
use super::visitor::{Submission, Visitor};
use super::{Page, format, go, id};
use crate::failure::Failure;
use crate::operations::kv::{self, KeyView, NamespaceView, NewNamespace, NewValue};

/// Keys on one page.
const SHOWN: usize = 100;
/// The largest text that is shown to be edited.
const LARGEST_TEXT: usize = 256 << 10;

/// Serves `GET /kv`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let body = namespaces(&visitor, "", Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Kv, "KV", &body))
}

async fn namespaces(visitor: &Visitor, typed: &str, problems: Problems<'_>) -> Result<Markup, Failure> {
    let all = kv::list(&visitor.cx).await?;
    Ok(html! {
        (title("KV", "What Workers remember: values by key, in namespaces that a Worker is bound to.", &html! {}))
        @if all.is_empty() { (empty("There are no namespaces.", &html! { "Make one below, then bind it to a Worker." })) }
        @else {
            table.cards {
                thead { tr { th scope="col" { "Namespace" } th scope="col" { "Id" } } }
                tbody { @for one in &all { tr {
                    td data-label="Namespace" { a.strong href={ "/kv/" (one.id) } { (one.title) } }
                    td data-label="Id" { code { (one.id) } }
                } } }
            }
        }
        @if visitor.may(Permission::KvWrite) {
            details.fold open[all.is_empty() || !typed.is_empty()] {
                summary { "New namespace" }
                (problems.general())
                form.sheet method="post" action="/kv" {
                    (csrf(&visitor.csrf))
                    (Control::new("title", "Title").required().problems(problems.at("/title")).input("text", typed))
                    div.actions { button.primary type="submit" { "Create" } }
                }
            }
        }
    })
}

/// Serves `POST /kv`.
pub(super) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    match kv::create(&visitor.cx, NewNamespace { title: fields.get("title").to_owned() }).await {
        Ok(made) => go(&format!("/kv/{}?note=created", made.id)),
        Err(failure) => {
            let body = namespaces(&visitor, fields.get("title"), Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Kv, "KV", &failure, &body))
        }
    }
}

/// Serves `GET /kv/{namespace}`.
pub(super) async fn keys_page(visitor: Visitor, Path(namespace): Path<String>) -> Page {
    let namespace = kv::get(&visitor.cx, id(&namespace, "namespace")?).await?;
    let body = keys(&visitor, &namespace, &Fields::default(), Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Kv, &namespace.title, &body))
}

async fn keys(
    visitor: &Visitor,
    namespace: &NamespaceView,
    typed: &Fields,
    problems: Problems<'_>,
) -> Result<Markup, Failure> {
    let prefix = visitor.query.raw("prefix");
    let cursor = Some(visitor.query.get("cursor")).filter(|cursor| !cursor.is_empty());
    let (page, next) = kv::keys(&visitor.cx, id(&namespace.id, "namespace")?, prefix, cursor, SHOWN).await?;
    let path = format!("/kv/{}", namespace.id);
    let adding = typed.find("key").is_some();
    Ok(html! {
        p.crumbs { a href="/kv" { "KV" } " / " (namespace.title) }
        (title(&namespace.title, "", &html! {}))
        form.finder method="get" action=(path) role="search" {
            label for="prefix" { "Keys that begin with" }
            input type="search" id="prefix" name="prefix" value=(prefix) autocomplete="off" autocapitalize="off" spellcheck="false";
            button type="submit" { "Search" }
        }
        @if page.is_empty() {
            @let text = if prefix.is_empty() { "There are no values." } else { "No key begins with this." };
            (empty(text, &html! { "A Worker writes one with " code { "env.NAMESPACE.put(key, value)" } "." }))
        } @else {
            table.cards {
                thead { tr { th scope="col" { "Key" } th scope="col" { "Expires" } th scope="col" { "Metadata" } } }
                tbody { @for key in &page { (row(&path, key)) } }
            }
        }
        div.actions {
            @if cursor.is_some() { a.button href={ (path) "?" (query(&[("prefix", prefix)])) } { "From the start" } }
            @if !next.is_empty() { a.button href={ (path) "?" (query(&[("prefix", prefix), ("cursor", &next)])) } { "Next " (SHOWN) " keys" } }
        }
        @if visitor.may(Permission::KvWrite) {
            details.fold open[adding] {
                summary { "New value" }
                (problems.summary())
                form.sheet method="post" action=(path) {
                    (csrf(&visitor.csrf))
                    (Control::new("key", "Key").required().mono().problems(problems.at("/key")).input("text", typed.raw("key")))
                    (value_fields(typed.raw("value"), typed.get("metadata"), typed.get("expires"), problems))
                    div.actions { button.primary type="submit" { "Add" } }
                }
            }
        }
    })
}

fn row(path: &str, key: &KeyView) -> Markup {
    html! {
        tr {
            td data-label="Key" { a.strong href={ (path) "/value?" (query(&[("key", &key.name)])) } { code { (key.name) } } }
            td data-label="Expires" { @match key.expiration.and_then(moment) { Some(at) => (format::time(&at)), None => span.muted { "never" } } }
            td data-label="Metadata" { @if let Some(metadata) = &key.metadata { code.clip { (metadata.to_string()) } } }
        }
    }
}

fn moment(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|at| at.to_string())
}

fn query(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn value_fields(value: &str, metadata: &str, expires: &str, problems: Problems<'_>) -> Markup {
    html! {
        (Control::new("value", "Value").mono().problems(problems.at("/value")).area(8, value))
        div.row {
            (Control::new("metadata", "Metadata").hint("JSON, up to 1 KiB; empty for none.").mono().problems(problems.at("/metadata")).input("text", metadata))
            (Control::new("expires", "Expires").hint("A time such as 2027-01-31T00:00:00Z; empty for never.").mono().problems(problems.at("/expiration")).input("text", expires))
        }
    }
}

/// Reads the fields of [`value_fields`].
fn typed_value(fields: &Fields) -> Result<NewValue, Failure> {
    let metadata = fields.text("metadata").map(|text| serde_json::from_str(&text)).transpose();
    let metadata = metadata.map_err(|error| Failure::invalid("/metadata", format!("is not JSON: {error}")))?;
    let expiration = fields.text("expires").map(|text| {
        let at = text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_second()).ok());
        at.ok_or_else(|| Failure::invalid("/expiration", "is not a time such as 2027-01-31T00:00:00Z"))
    });
    let value = fields.raw("value").as_bytes().to_vec();
    Ok(NewValue { value, metadata, expiration: expiration.transpose()?, expiration_ttl: None })
}

/// Serves `POST /kv/{namespace}`.
pub(super) async fn add(Path(namespace): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let namespace = kv::get(&visitor.cx, id(&namespace, "namespace")?).await?;
    match added(&visitor, id(&namespace.id, "namespace")?, &fields).await {
        Ok(()) => go(&format!("/kv/{}/value?{}&note=stored", namespace.id, query(&[("key", fields.raw("key"))]))),
        Err(failure) => {
            let body = keys(&visitor, &namespace, &fields, Problems::of(&failure)).await?;
            Ok(refused_form(&visitor, Place::Kv, &namespace.title, &failure, &body))
        }
    }
}

async fn added(visitor: &Visitor, namespace: KvNamespaceId, fields: &Fields) -> Result<(), Failure> {
    let key = fields.raw("key");
    let new = typed_value(fields)?;
    if key.is_empty() {
        return Err(Failure::invalid("/key", "write the key"));
    }
    match kv::value(&visitor.cx, namespace, key).await {
        Ok(_) => return Err(Failure::conflict("/key", "this key has a value already; open it to change it")),
        Err(failure) if failure.code == Code::NotFound => {}
        Err(failure) => return Err(failure),
    }
    kv::put(&visitor.cx, namespace, key, new).await
}

/// A value that a form shows and gives back as it is.
fn editable(value: &KvValue) -> Option<&str> {
    // A browser ends the lines of what it sends its own way, so a text with carriage returns would not come back as it is.
    std::str::from_utf8(&value.value).ok().filter(|text| text.len() <= LARGEST_TEXT && !text.contains('\r'))
}

/// Serves `GET /kv/{namespace}/value?key=`.
pub(super) async fn value_page(visitor: Visitor, Path(namespace): Path<String>) -> Page {
    let namespace = kv::get(&visitor.cx, id(&namespace, "namespace")?).await?;
    let key = visitor.query.raw("key").to_owned();
    let value = kv::value(&visitor.cx, id(&namespace.id, "namespace")?, &key).await?;
    let body = draw(&visitor, &namespace, &key, &value, None);
    Ok(frame::page(&visitor, Place::Kv, &key, &body))
}

fn draw(
    visitor: &Visitor,
    namespace: &NamespaceView,
    key: &str,
    value: &KvValue,
    refused: Option<(&Fields, &Failure)>,
) -> Markup {
    let path = format!("/kv/{}", namespace.id);
    let may_write = visitor.may(Permission::KvWrite);
    let problems = refused.map_or(Problems::NONE, |(_, failure)| Problems::of(failure));
    let metadata = value.metadata.as_ref().map(ToString::to_string).unwrap_or_default();
    let expires = value.expires_at.map(|at| at.to_string()).unwrap_or_default();
    let actions =
        html! { @if may_write { a.button.quiet href={ (path) "/delete?" (query(&[("key", key)])) } { "Delete" } } };
    html! {
        p.crumbs { a href="/kv" { "KV" } " / " a href=(path) { (namespace.title) } " / " code { (key) } }
        (title(key, "", &actions))
        p.muted { (format::bytes(value.value.len() as u64)) }
        (problems.summary())
        @match editable(value) {
            Some(text) if may_write => form.sheet.wide method="post" action={ (path) "/value" } {
                (csrf(&visitor.csrf))
                input type="hidden" name="key" value=(key);
                @match refused {
                    Some((typed, _)) => (value_fields(typed.raw("value"), typed.get("metadata"), typed.get("expires"), problems)),
                    None => (value_fields(text, &metadata, &expires, problems)),
                }
                div.actions { button.primary type="submit" { "Save" } }
            },
            Some(text) => pre.code { (text) },
            None => div.notice { "This value is no text that a form would give back unchanged, or is larger than " (format::bytes(LARGEST_TEXT as u64)) ". The API reads and writes it." },
        }
    }
}

/// Serves `POST /kv/{namespace}/value`.
pub(super) async fn save(Path(namespace): Path<String>, submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let namespace = kv::get(&visitor.cx, id(&namespace, "namespace")?).await?;
    let number: KvNamespaceId = id(&namespace.id, "namespace")?;
    let key = fields.raw("key").to_owned();
    let before = kv::value(&visitor.cx, number, &key).await?;
    let saved = match typed_value(&fields) {
        Ok(_) if editable(&before).is_none() => {
            Err(Failure::invalid("/value", "what is stored cannot be edited here; the API writes it"))
        }
        Ok(new) => kv::put(&visitor.cx, number, &key, new).await,
        Err(failure) => Err(failure),
    };
    match saved {
        Ok(()) => go(&format!("/kv/{}/value?{}&note=stored", namespace.id, query(&[("key", &key)]))),
        Err(failure) => {
            let body = draw(&visitor, &namespace, &key, &before, Some((&fields, &failure)));
            Ok(refused_form(&visitor, Place::Kv, &key, &failure, &body))
        }
    }
}

/// Serves `GET /kv/{namespace}/delete?key=`.
pub(super) async fn confirm_delete(visitor: Visitor, Path(namespace): Path<String>) -> Page {
    let namespace = kv::get(&visitor.cx, id(&namespace, "namespace")?).await?;
    let key = visitor.query.raw("key");
    kv::value(&visitor.cx, id(&namespace.id, "namespace")?, key).await?;
    let text = html! { p { "Workers that read " code { (key) } " find nothing from then on." } };
    let path = format!("/kv/{}", namespace.id);
    let asked = query(&[("key", key)]);
    let action = format!("{path}/delete?{asked}");
    Ok(confirm(
        &visitor,
        Place::Kv,
        "Delete this value?",
        &text,
        (&action, "Delete the value"),
        &format!("{path}/value?{asked}"),
    ))
}

/// Serves `POST /kv/{namespace}/delete?key=`.
pub(super) async fn delete(Path(namespace): Path<String>, form: Submission) -> Page {
    let namespace: KvNamespaceId = id(&namespace, "namespace")?;
    kv::remove(&form.visitor.cx, namespace, form.visitor.query.raw("key")).await?;
    go(&format!("/kv/{namespace}?note=deleted"))
}
