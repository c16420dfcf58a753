//! Access: applications, policies, groups, providers, the organisation, service tokens, people and what they leave.
//!
//! The shapes are those of reference sections 1 to 3 and 7; the identity engine says whether a document is sound. What
//! most kinds share (listing, reading, saving, deleting, audit) stands here once. Invariants: every stored document was
//! sound when it was stored; no view holds a secret, except the answer that made it.

pub mod applications;
pub mod approvals;
pub mod bookmarks;
pub mod client_certificates;
pub mod directory;
pub mod groups;
pub mod keys;
pub mod listener_certificates;
pub mod logins;
pub mod mail_server;
pub mod mcp_applications;
pub mod organization;
pub mod outbox;
pub mod pages;
pub mod policies;
pub mod policy_tests;
pub mod providers;
pub mod service_tokens;
pub mod sessions;
pub mod tags;
pub mod trials;
pub mod users;

use serde::Serialize;
use serde_json::{Map, Value};
use store::{Collection, Document, Operate, Principal, Store, Stored};
use utoipa::ToSchema;

use super::time;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// A v4 document: what its author wrote, with the read-only members beside it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct AccessView(pub Map<String, Value>);

impl AccessView {
    /// A member as text; empty when it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

/// A v4 document to be made or replaced.
#[derive(Debug, Clone, ToSchema)]
#[schema(value_type = Object)]
pub struct AccessBody(pub Value);

/// A kind of document that is listed, read, saved and deleted as every other.
pub trait Kept: Document {
    /// What the audit log calls it.
    const RESOURCE: &'static str;
    /// What failures call it.
    const THING: &'static str;

    fn collection(store: &Store) -> Collection<'_, Self>;

    /// The members between `id` and the times.
    fn show(stored: &Stored<Self>) -> Map<String, Value>;
}

/// Adds what every view has.
pub fn view<D: Kept>(stored: &Stored<D>) -> AccessView {
    let mut members = D::show(stored);
    members.entry("id").or_insert_with(|| stored.id.to_string().into());
    members.insert("created_at".to_owned(), time(stored.created_at).into());
    members.insert("updated_at".to_owned(), time(stored.updated_at).into());
    AccessView(members)
}

/// What the audit log shows of a document: the view, without texts that may be long.
fn summary<D: Kept>(stored: &Stored<D>) -> Value {
    let mut members = D::show(stored);
    members.remove("custom_html");
    Value::Object(members)
}

pub async fn list<D: Kept>(cx: &OpContext) -> Result<Vec<AccessView>, Failure> {
    let grant = cx.authorize::<D::Read>()?;
    Ok(D::collection(cx.store()).list(&grant).await?.iter().map(view).collect())
}

pub async fn load<D: Kept>(cx: &OpContext, id: &D::Id) -> Result<Stored<D>, Failure> {
    let grant = cx.authorize::<D::Read>()?;
    D::collection(cx.store()).get(&grant, id).await?.ok_or_else(|| Failure::not_found(D::THING))
}

pub async fn create<D: Kept>(cx: &OpContext, id: D::Id, document: D) -> Result<Stored<D>, Failure> {
    let grant = cx.authorize::<D::Write>()?;
    let stored = D::collection(cx.store()).create(&grant, id, document).await?;
    cx.record(Change::new(Verb::Create, D::RESOURCE, &stored.id).after(summary(&stored))).await?;
    Ok(stored)
}

pub async fn replace<D: Kept>(cx: &OpContext, before: &Stored<D>, document: D) -> Result<Stored<D>, Failure> {
    let grant = cx.authorize::<D::Write>()?;
    let collection = D::collection(cx.store());
    let stored = collection.replace(&grant, before.id.clone(), document, Some(before.revision)).await?;
    let change = Change::new(Verb::Update, D::RESOURCE, &stored.id).before(summary(before)).after(summary(&stored));
    cx.record(change).await?;
    Ok(stored)
}

pub async fn delete<D: Kept>(cx: &OpContext, before: &Stored<D>) -> Result<(), Failure> {
    let collection = D::collection(cx.store());
    remove(cx, before, async |grant| collection.delete(grant, &before.id, Some(before.revision)).await).await
}

/// Deletes a document in the way that is its own.
pub async fn remove<D: Kept>(
    cx: &OpContext,
    before: &Stored<D>,
    deletes: impl AsyncFnOnce(&store::Grant<D::Write>) -> Result<(), store::StoreError>,
) -> Result<(), Failure> {
    let grant = cx.authorize::<D::Write>()?;
    deletes(&grant).await?;
    cx.record(Change::new(Verb::Delete, D::RESOURCE, &before.id).before(summary(before))).await
}

/// Turns the engine's faults into a failure with a pointer for each.
pub fn refused(faults: Vec<identity::document::Problem>) -> Failure {
    let problem = |fault: identity::document::Problem| Problem { message: fault.message, pointer: Some(fault.pointer) };
    Failure::invalid_many(faults.into_iter().map(problem).collect())
}

/// A typed document as the JSON that is stored.
pub fn body<T: Serialize>(document: &T) -> Result<Value, Failure> {
    serde_json::to_value(document).map_err(|error| Failure::internal("access document", &error))
}

/// The members of a stored body.
pub fn members(body: &Value) -> Map<String, Value> {
    body.as_object().cloned().unwrap_or_default()
}

/// The installation's own right, for what a caller's permission implies: ending sessions, or checking that what a
/// document names exists. Every use follows a check of the caller's permission.
pub fn system(cx: &OpContext, reason: &'static str) -> Result<store::Grant<Operate>, Failure> {
    Ok(Principal::system(reason).authorize::<Operate>(cx.account)?)
}

/// Fresh random bytes.
pub fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|error| Failure::internal("randomness", &error))?;
    Ok(bytes)
}
