//! The SCIM endpoints on the sign-in host, by which a provider's directory says who is there (RFC 7644).
//!
//! They stand on the sign-in host, not at the console, because a directory in the cloud must reach them and the console
//! need not be reachable. What a request means is `identity::scim`'s. Invariants: nothing is read or written before the
//! provider's own secret was shown, a provider sees and changes its own records alone, and an answer that says a person
//! is gone comes after their sessions have ended.

use std::sync::Arc;

use ::scim::change::{self, Change};
use ::scim::group::{Group, GroupAttributes};
use ::scim::patch::Patch;
use ::scim::user::{User, UserAttributes};
use ::scim::{self, ErrorType, MAX_BODY, MEDIA_TYPE, Query, ResourceId, ResourceType, ScimError};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use identity::provider::{Provider, UpdateBehavior};
use jiff::Timestamp;
use net::proxy::body::{Body, collect, empty_body, full_body};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::directory::{Directory, DirectoryError, Kept, Which};
use crate::exchange::Exchange;
use crate::stages::OWN;

/// Below [`OWN`], followed by the provider's id.
pub(crate) const PREFIX: &str = "scim/v2/";
/// How often a change is tried again when somebody else changed the record first.
const ATTEMPTS: usize = 4;
/// Longest request body that is kept for the log, in bytes.
const LONGEST_KEPT: usize = 8 << 10;

/// What is answered.
struct Answer {
    status: StatusCode,
    document: Option<Value>,
    /// Where the record is that was made.
    location: Option<String>,
}

impl Answer {
    const fn of(status: StatusCode, document: Value) -> Self {
        Self { status, document: Some(document), location: None }
    }
}

/// One request of a directory, and what it turned out to be about.
struct Visit<'a> {
    exchange: &'a Exchange,
    provider: &'a Provider,
    directory: &'a dyn Directory,
    /// The URL the endpoints hang off.
    base: String,
    now: Timestamp,
    /// What the log says of it.
    subject: Subject,
}

#[derive(Default)]
struct Subject {
    id: Option<ResourceId>,
    external: Option<String>,
    email: Option<String>,
    group: Option<String>,
    /// People whose sessions ended, with the reason.
    ended: Vec<String>,
}

/// Answers a request; `rest` is what follows [`PREFIX`].
pub(crate) async fn answer(exchange: &Exchange, rest: &str) -> Response<Body> {
    let snapshot = Arc::clone(&exchange.snapshot);
    let (id, path) = rest.split_once('/').unwrap_or((rest, ""));
    let Some(provider) = authenticate(exchange, id) else {
        let refusal = ScimError { status: 401, kind: None, detail: "show the secret of this provider".to_owned() };
        let mut response = write(Answer::of(StatusCode::UNAUTHORIZED, refusal.document()));
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"scim\""));
        return response;
    };
    let site = exchange.site(&snapshot.organization.auth_domain).map(String::from).unwrap_or_default();
    let mut visit = Visit {
        exchange,
        provider: &provider,
        directory: &*exchange.plane().directory,
        base: format!("{}{OWN}{PREFIX}{id}", site.trim_end_matches('/')),
        now: Timestamp::from_millisecond(exchange.now.0).unwrap_or_default(),
        subject: Subject::default(),
    };
    let within = exchange.plane().config.head_timeout;
    let Ok(Some(body)) = tokio::time::timeout(within, collect(exchange.take_body(), MAX_BODY)).await else {
        let detail = format!("a request must be at most {MAX_BODY} bytes and arrive whole");
        let refusal = ScimError { status: 413, kind: None, detail };
        return write(Answer::of(StatusCode::PAYLOAD_TOO_LARGE, refusal.document()));
    };
    let outcome = visit.route(path, &body).await;
    if !matches!(exchange.method, Method::GET | Method::HEAD) {
        visit.record(path, &body, outcome.as_ref().err());
    }
    write(outcome.unwrap_or_else(|refusal| {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Answer::of(status, refusal.document())
    }))
}

/// Finds the provider whose secret was shown. Which of id and secret was wrong is not said.
fn authenticate(exchange: &Exchange, id: &str) -> Option<Arc<Provider>> {
    let id = id.parse().ok()?;
    let provider = exchange.snapshot.provider(id).filter(|provider| provider.scim.enabled)?;
    let wanted = exchange.snapshot.directory_secrets.get(&id)?;
    let (scheme, secret) = exchange.header("authorization")?.split_once(' ')?;
    let shown = digest(&SHA256, secret.trim().as_bytes());
    let right = scheme.eq_ignore_ascii_case("bearer") && verify_slices_are_equal(shown.as_ref(), wanted).is_ok();
    right.then(|| Arc::clone(provider))
}

fn write(answer: Answer) -> Response<Body> {
    let body = answer.document.map_or_else(empty_body, |document| full_body(document.to_string()));
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(location) = answer.location.and_then(|location| HeaderValue::try_from(location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    response
}

fn refused(error: DirectoryError) -> ScimError {
    match error {
        DirectoryError::Taken => ScimError::taken("userName"),
        DirectoryError::Stale => {
            ScimError { status: 409, kind: None, detail: "the record changes too often; try again".to_owned() }
        }
        DirectoryError::Full(why) => ScimError { status: 403, kind: Some(ErrorType::TooMany), detail: why },
        DirectoryError::Unavailable(why) => {
            tracing::error!(why, "a directory's request could not be carried out");
            let detail = "nothing can be written down at the moment; try again".to_owned();
            ScimError { status: 503, kind: None, detail }
        }
    }
}

const fn not_offered() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

impl Visit<'_> {
    async fn route(&mut self, path: &str, body: &[u8]) -> Result<Answer, ScimError> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let method = self.exchange.method.clone();
        let reads = matches!(method, Method::GET | Method::HEAD);
        match (parts.as_slice(), reads) {
            (["ServiceProviderConfig"], true) => {
                Ok(Answer::of(StatusCode::OK, scim::service_provider_config(&self.base)))
            }
            (["ResourceTypes", rest @ ..], true) => described(scim::resource_types(&self.base), rest),
            (["Schemas", rest @ ..], true) => described(scim::schemas(&self.base), rest),
            (["Users"], true) => self.list_users().await,
            (["Groups"], true) => self.list_groups().await,
            (["Users"], false) if method == Method::POST => self.create_user(body).await,
            (["Groups"], false) if method == Method::POST => self.create_group(body).await,
            (["Users", id], true) => {
                let user = self.user(id).await?.record;
                Ok(Answer::of(StatusCode::OK, user.document(&self.base)))
            }
            (["Groups", id], true) => {
                let group = self.group(id).await?.record;
                Ok(Answer::of(StatusCode::OK, group.document(&self.base, self.query(ResourceType::Group)?.members)))
            }
            (["Users", id], false) => self.change_user(id, &method, body).await,
            (["Groups", id], false) => self.change_group(id, &method, body).await,
            (["ServiceProviderConfig"] | ["ResourceTypes" | "Schemas", ..] | ["Users" | "Groups"], false) => {
                Err(ScimError { status: not_offered().as_u16(), kind: None, detail: "not offered here".to_owned() })
            }
            _ => Err(ScimError::not_found()),
        }
    }

    fn query(&self, kind: ResourceType) -> Result<Query, ScimError> {
        let text = self.exchange.query.as_deref().unwrap_or_default();
        let pairs: Vec<_> = url::form_urlencoded::parse(text.as_bytes()).collect();
        Query::parse(kind, pairs.iter().map(|(name, value)| (&**name, &**value)))
    }

    async fn list_users(&self) -> Result<Answer, ScimError> {
        let query = self.query(ResourceType::User)?;
        let named = query.filter.as_ref().and_then(|filter| filter.exact("username"));
        let which = named.map_or(Which::All, Which::Named);
        let mut found = self.directory.users(self.provider.id, which).await.map_err(refused)?;
        if let Some(filter) = &query.filter {
            found.retain(|user| filter.finds_user(&user.record));
        }
        let page = found.get(bounded(&query, found.len())).unwrap_or_default();
        let page = page.iter().map(|user| user.record.document(&self.base)).collect();
        Ok(Answer::of(StatusCode::OK, query.list(found.len(), page)))
    }

    async fn list_groups(&self) -> Result<Answer, ScimError> {
        let query = self.query(ResourceType::Group)?;
        let mut found = self.directory.groups(self.provider.id, Which::All).await.map_err(refused)?;
        if let Some(filter) = &query.filter {
            found.retain(|group| filter.finds_group(&group.record));
        }
        let page = found.get(bounded(&query, found.len())).unwrap_or_default();
        let page = page.iter().map(|group| group.record.document(&self.base, query.members)).collect();
        Ok(Answer::of(StatusCode::OK, query.list(found.len(), page)))
    }

    async fn user(&self, id: &str) -> Result<Kept<User>, ScimError> {
        let id = ResourceId::parse(id).ok_or_else(ScimError::not_found)?;
        let found = self.directory.users(self.provider.id, Which::Id(id)).await.map_err(refused)?;
        found.into_iter().next().ok_or_else(ScimError::not_found)
    }

    async fn group(&self, id: &str) -> Result<Kept<Group>, ScimError> {
        let id = ResourceId::parse(id).ok_or_else(ScimError::not_found)?;
        let found = self.directory.groups(self.provider.id, Which::Id(id)).await.map_err(refused)?;
        found.into_iter().next().ok_or_else(ScimError::not_found)
    }

    async fn create_user(&mut self, body: &[u8]) -> Result<Answer, ScimError> {
        let attributes = UserAttributes::create(body)?;
        let user = User { id: ResourceId(Uuid::new_v4()), attributes, created: self.now, modified: self.now };
        self.about_user(&user);
        let document = user.document(&self.base);
        let changes = change::of_user(None, Some(user), self.provider.scim);
        self.carry_out(changes, None).await.map_err(refused)?;
        Ok(self.made(ResourceType::User, document))
    }

    async fn create_group(&mut self, body: &[u8]) -> Result<Answer, ScimError> {
        let attributes = GroupAttributes::create(body)?;
        let group = Group { id: ResourceId(Uuid::new_v4()), attributes, created: self.now, modified: self.now };
        self.about_group(&group);
        let document = group.document(&self.base, true);
        let changes = self.group_changes(None, Some(group)).await?;
        self.carry_out(changes, None).await.map_err(refused)?;
        Ok(self.made(ResourceType::Group, document))
    }

    fn made(&self, kind: ResourceType, document: Value) -> Answer {
        let id = document["id"].as_str().unwrap_or_default();
        let location = format!("{}/{}/{id}", self.base, kind.endpoint());
        Answer { location: Some(location), ..Answer::of(StatusCode::CREATED, document) }
    }

    async fn change_user(&mut self, id: &str, method: &Method, body: &[u8]) -> Result<Answer, ScimError> {
        for _ in 0..ATTEMPTS {
            let before = self.user(id).await?;
            self.about_user(&before.record);
            let old = &before.record.attributes;
            let after = match method.as_str() {
                "PUT" => Some(old.replace(body)?),
                "PATCH" => Some(old.patch(&Patch::read(body)?)?),
                "DELETE" => None,
                _ => return Err(method_refused()),
            };
            let after = after.map(|attributes| User { attributes, modified: self.now, ..before.record.clone() });
            let document = after.as_ref().map(|user| user.document(&self.base));
            let changes = change::of_user(Some(&before.record), after, self.provider.scim);
            match self.carry_out(changes, Some(before.revision)).await {
                Ok(()) => return Ok(changed(document)),
                Err(DirectoryError::Stale) => {}
                Err(error) => return Err(refused(error)),
            }
        }
        Err(refused(DirectoryError::Stale))
    }

    async fn change_group(&mut self, id: &str, method: &Method, body: &[u8]) -> Result<Answer, ScimError> {
        for _ in 0..ATTEMPTS {
            let before = self.group(id).await?;
            self.about_group(&before.record);
            let after = match method.as_str() {
                "PUT" => Some(GroupAttributes::create(body)?),
                "PATCH" => Some(before.record.attributes.patch(&Patch::read(body)?)?),
                "DELETE" => None,
                _ => return Err(method_refused()),
            };
            let after = after.map(|attributes| Group { attributes, modified: self.now, ..before.record.clone() });
            // A large group is not sent back with every member that joins (RFC 7644 section 3.5.2 allows either).
            let document = match method.as_str() {
                "PATCH" => None,
                _ => after.as_ref().map(|group| group.document(&self.base, true)),
            };
            let changes = self.group_changes(Some(&before.record), after).await?;
            match self.carry_out(changes, Some(before.revision)).await {
                Ok(()) => return Ok(changed(document)),
                Err(DirectoryError::Stale) => {}
                Err(error) => return Err(refused(error)),
            }
        }
        Err(refused(DirectoryError::Stale))
    }

    async fn group_changes(&self, before: Option<&Group>, after: Option<Group>) -> Result<Vec<Change>, ScimError> {
        // Whose sessions are concerned is asked only where anything follows from it.
        let people = if self.provider.scim.updates == UpdateBehavior::NoAction {
            Vec::new()
        } else {
            self.directory.users(self.provider.id, Which::All).await.map_err(refused)?
        };
        let people: std::collections::HashMap<ResourceId, &User> =
            people.iter().map(|user| (user.record.id, &user.record)).collect();
        let addresses = |id| people.get(&id).map(|user| user.attributes.addresses()).unwrap_or_default();
        Ok(change::of_group(before, after, self.provider.scim, addresses))
    }

    async fn carry_out(&mut self, changes: Vec<Change>, revision: Option<i64>) -> Result<(), DirectoryError> {
        self.subject.ended.clear();
        for change in &changes {
            if let Change::EndSessions { email, reason } = change {
                self.subject.ended.push(format!("{} ({})", email.as_str(), reason.as_str()));
            }
        }
        self.directory.carry_out(self.provider, changes, revision).await
    }

    fn about_user(&mut self, user: &User) {
        self.subject.id = Some(user.id);
        self.subject.external.clone_from(&user.attributes.external_id);
        self.subject.email = user.attributes.addresses().into_iter().next().map(|email| email.as_str().to_owned());
    }

    fn about_group(&mut self, group: &Group) {
        self.subject.id = Some(group.id);
        self.subject.external.clone_from(&group.attributes.external_id);
        self.subject.group = Some(group.attributes.display_name.clone());
    }

    /// Puts the request into the audit log (reference section 3.3, `scim/updates`).
    fn record(&self, path: &str, body: &[u8], refusal: Option<&ScimError>) {
        let method = self.exchange.method.as_str();
        let action = match method {
            "POST" => "create",
            "DELETE" => "delete",
            _ => "update",
        };
        let kind =
            if path.trim_start_matches('/').starts_with("Groups") { "directory_group" } else { "directory_user" };
        let metadata = json!({
            "idp_id": self.provider.id,
            "idp_resource_id": self.subject.external,
            "request_method": method,
            "request_body": kept(body),
            "resource_user_email": self.subject.email,
            "resource_group_name": self.subject.group,
            "ended_sessions_of": self.subject.ended.iter().take(100).collect::<Vec<_>>(),
        });
        let record = logs::Audit {
            id: Uuid::now_v7(),
            datetime: self.now,
            account_id: self.exchange.snapshot.account.to_string(),
            action_result: refusal.is_none(),
            action_type: action.to_owned(),
            actor_type: "scim".to_owned(),
            actor_id: self.provider.id.to_string(),
            actor_email: self.provider.name.clone(),
            actor_ip: self.exchange.source().to_string(),
            interface: "SCIM".to_owned(),
            resource_type: kind.to_owned(),
            resource_id: self.subject.id.map(|id| id.to_string()).unwrap_or_default(),
            error: refusal.map(|refusal| refusal.detail.clone()).unwrap_or_default(),
            metadata: Some(metadata),
            ..logs::Audit::default()
        };
        if let Err(error) = self.exchange.plane().logs.try_append(record) {
            self.exchange.plane().counters.records_lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tracing::warn!(%error, "a record of a directory's change was lost");
        }
    }
}

fn method_refused() -> ScimError {
    ScimError {
        status: not_offered().as_u16(),
        kind: None,
        detail: "a record takes GET, PUT, PATCH and DELETE".to_owned(),
    }
}

fn changed(document: Option<Value>) -> Answer {
    match document {
        Some(document) => Answer::of(StatusCode::OK, document),
        None => Answer { status: StatusCode::NO_CONTENT, document: None, location: None },
    }
}

fn bounded(query: &Query, found: usize) -> std::ops::Range<usize> {
    let range = query.range();
    range.start.min(found)..range.end.min(found)
}

/// One entry of a list of descriptions, or all.
fn described(list: Value, rest: &[&str]) -> Result<Answer, ScimError> {
    let [id] = rest else {
        return if rest.is_empty() { Ok(Answer::of(StatusCode::OK, list)) } else { Err(ScimError::not_found()) };
    };
    let found = list["Resources"].as_array().into_iter().flatten().find(|entry| entry["id"] == *id);
    found.cloned().map(|entry| Answer::of(StatusCode::OK, entry)).ok_or_else(ScimError::not_found)
}

/// What the log keeps of a body: bounded, and without the passwords that some directories send along.
fn kept(body: &[u8]) -> Value {
    fn without_passwords(value: Value) -> Value {
        match value {
            Value::Object(members) => {
                let names_one = members.get("path").and_then(Value::as_str).is_some_and(is_password);
                let kept = members.into_iter().map(|(name, value)| {
                    let hidden = is_password(&name) || names_one && name.eq_ignore_ascii_case("value");
                    let value = if hidden { Value::from("not kept") } else { without_passwords(value) };
                    (name, value)
                });
                Value::Object(kept.collect::<Map<_, _>>())
            }
            Value::Array(entries) => entries.into_iter().map(without_passwords).collect(),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
        }
    }
    if body.len() > LONGEST_KEPT {
        return json!({"omitted_bytes": body.len()});
    }
    serde_json::from_slice(body).map_or(Value::Null, without_passwords)
}

fn is_password(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with("password")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::kept;

    #[test]
    fn passwords_do_not_come_into_the_log() {
        let body = json!({"userName": "a", "Password": "one", "Operations": [
            {"op": "replace", "path": "urn:ietf:params:scim:schemas:core:2.0:User:password", "value": "two"},
            {"op": "replace", "value": {"password": "three", "active": true}},
        ]});
        let text = kept(body.to_string().as_bytes()).to_string();
        for secret in ["one", "two", "three"] {
            assert!(!text.contains(&format!("\"{secret}\"")), "{text}");
        }
        assert!(text.contains("active"));
        assert_eq!(kept(&[b' '; 9_000])["omitted_bytes"], 9_000);
    }
}
