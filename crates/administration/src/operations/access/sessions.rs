//! Sessions of people at Access: which there are, and ending them (reference section 2.10).
//!
//! Invariant: a session that was ended here counts nowhere once the change feed has told of it.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{AccessSession, AppSession, Application, ReadUsers, Stored, WriteIdentity, WriteUsers};
use types::UserId;
use utoipa::ToSchema;

use super::{AccessView, system};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::people::read_email;

const RESOURCE: &str = "access_sessions";

/// Whose sessions end.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeUser {
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default)]
    pub user_uid: Option<String>,
    /// Device sessions are not offered yet.
    #[serde(default)]
    pub devices: Option<bool>,
    #[serde(default)]
    pub warp_session_reauth: Option<bool>,
}

/// Returns a person's sessions that have not ended.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn list(cx: &OpContext, user: UserId) -> Result<Vec<AccessView>, Failure> {
    let sessions = live(cx, user).await?;
    let mut views = Vec::with_capacity(sessions.len());
    for session in &sessions {
        views.push(session_view(cx, session).await?);
    }
    Ok(views)
}

/// Returns one session by its public name.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, user: UserId, nonce: &str) -> Result<AccessView, Failure> {
    session_view(cx, &find(cx, user, nonce).await?).await
}

/// Ends one session.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn end(cx: &OpContext, user: UserId, nonce: &str) -> Result<(), Failure> {
    cx.authorize::<WriteUsers>()?;
    let session = find(cx, user, nonce).await?;
    let grant = system(cx, "end a session")?;
    cx.store().access_sessions().end(&grant, session.id).await?;
    let before = json!({"user": user.to_string(), "nonce": session.document.nonce});
    cx.record(Change::new(Verb::Delete, RESOURCE, user).before(before)).await
}

/// Ends every session of a person.
///
/// # Errors
///
/// `NotFound` when nobody has this address or id.
pub async fn revoke_user(cx: &OpContext, body: RevokeUser) -> Result<(), Failure> {
    cx.authorize::<WriteIdentity>()?;
    let grant = system(cx, "end the sessions of a person")?;
    let user = match (&body.user_uid, &body.email) {
        (Some(uid), _) => {
            let id = uid.parse().map_err(|_| Failure::invalid("/user_uid", "must be the id of a user"))?;
            cx.store().users().get(&grant, &id).await?
        }
        (None, Some(email)) => {
            let email = read_email("/email", email)?;
            cx.store().users().find(&grant, email.as_str()).await?
        }
        (None, None) => return Err(Failure::invalid("/email", "name the person by email or user_uid")),
    };
    let user = user.ok_or_else(|| Failure::not_found("user"))?;
    end_all(cx, user.id, user.document.email.as_str()).await
}

/// Ends every session of a person the caller may change.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn end_every(cx: &OpContext, user: UserId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteUsers>()?;
    let found = cx.store().users().get(&grant, &user).await?.ok_or_else(|| Failure::not_found("user"))?;
    end_all(cx, user, found.document.email.as_str()).await
}

async fn end_all(cx: &OpContext, user: UserId, email: &str) -> Result<(), Failure> {
    let grant = system(cx, "end the sessions of a person")?;
    cx.store().access_sessions().end_all(&grant, user).await?;
    cx.record(Change::new(Verb::Delete, RESOURCE, user).before(json!({"email": email}))).await
}

async fn live(cx: &OpContext, user: UserId) -> Result<Vec<Stored<AccessSession>>, Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    cx.store().users().get(&grant, &user).await?.ok_or_else(|| Failure::not_found("user"))?;
    let now = cx.now();
    let sessions = cx.store().access_sessions().list_of(&grant, user).await?;
    Ok(sessions.into_iter().filter(|session| now < session.document.expires_at).collect())
}

async fn find(cx: &OpContext, user: UserId, nonce: &str) -> Result<Stored<AccessSession>, Failure> {
    let found = live(cx, user).await?.into_iter().find(|session| session.document.nonce == nonce);
    found.ok_or_else(|| Failure::not_found("session"))
}

async fn session_view(cx: &OpContext, session: &Stored<AccessSession>) -> Result<AccessView, Failure> {
    let grant = system(cx, "name the applications of a session")?;
    let app_sessions: Vec<Stored<AppSession>> = cx.store().app_sessions().list_of(&grant, session.id).await?;
    let mut apps = Map::new();
    for app_session in app_sessions {
        let id = app_session.document.application;
        let application: Option<Stored<Application>> = cx.store().applications().get(&grant, &id).await?;
        let Some(application) = application else { continue };
        let entry = json!({
            "name": application.document.name,
            "hostname": application.document.body.get("domain").cloned().unwrap_or(Value::Null),
            "type": application.document.body["type"],
            "uid": id.to_string(),
        });
        apps.insert(application.document.aud.clone(), entry);
    }
    let document = &session.document;
    let (iat, expires) = (document.issued_at.as_second(), document.expires_at.as_second());
    let metadata = json!({
        "apps": apps, "expires": expires, "iat": iat, "nonce": document.nonce, "ttl": expires - iat,
        "ip": document.ip, "user_agent": document.user_agent,
    });
    Ok(AccessView(Map::from_iter([
        ("name".to_owned(), document.nonce.clone().into()),
        ("expiration".to_owned(), expires.into()),
        ("metadata".to_owned(), metadata),
    ])))
}
