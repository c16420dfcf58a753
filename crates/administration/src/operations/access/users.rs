//! People as Access knows them (reference section 2.10): the same people as the gateway's, with their last login, the
//! logins that were refused, and their second factors.
//!
//! Invariants: removing a person ends their sessions; what an authenticator holds is never shown.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use store::{AccessProfile, Factor, ReadUsers, Stored, User, WriteUsers};
use types::{FactorId, UserId};
use utoipa::ToSchema;

use super::{AccessView, sessions, system};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};
use crate::operations::people::{self, PersonBody};
use crate::operations::time;

/// A person to be added or renamed.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserBody {
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
}

/// What becomes of a person's seats.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeatBody {
    pub seat_uid: String,
    pub access_seat: bool,
    pub gateway_seat: bool,
}

/// Most seats of one call.
const MAX_SEATS: usize = 1_000;

/// A second factor, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FactorView {
    pub id: String,
    /// `totp`, `biometrics`, `security_key`, `passkey` or `recovery_codes`
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
}

fn user_view(stored: &Stored<User>, profile: Option<&AccessProfile>) -> AccessView {
    let id = stored.id.to_string();
    let view = json!({
        "id": id,
        "uid": id,
        "seat_uid": id,
        "email": stored.document.email,
        "name": stored.document.name,
        "access_seat": profile.is_some_and(|profile| profile.last_login_at.is_some() && !profile.seat_freed) && !stored.document.disabled,
        "gateway_seat": !stored.document.disabled,
        "active_device_count": 0,
        "last_successful_login": profile.and_then(|profile| profile.last_login_at).map(time),
        "created_at": time(stored.created_at),
        "updated_at": time(stored.updated_at),
    });
    AccessView(super::members(&view))
}

/// Returns everybody, or those whose address or name fits.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(
    cx: &OpContext,
    email: Option<&str>,
    name: Option<&str>,
    search: Option<&str>,
) -> Result<Vec<AccessView>, Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    let profiles: HashMap<UserId, AccessProfile> = cx
        .store()
        .access_profiles()
        .list(&grant)
        .await?
        .into_iter()
        .map(|profile| (profile.id, profile.document))
        .collect();
    let same = |wanted: Option<&str>, text: &str| wanted.is_none_or(|wanted| text.eq_ignore_ascii_case(wanted));
    let holds = |text: &str| search.is_none_or(|part| text.to_lowercase().contains(&part.to_lowercase()));
    let users = cx.store().users().list(&grant).await?;
    let fitting = users.iter().filter(|user| {
        let (address, called) = (user.document.email.as_str(), user.document.name.as_str());
        same(email, address) && same(name, called) && (holds(address) || holds(called))
    });
    Ok(fitting.map(|user| user_view(user, profiles.get(&user.id))).collect())
}

/// Returns one person.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: UserId) -> Result<AccessView, Failure> {
    let (user, profile) = load(cx, id).await?;
    Ok(user_view(&user, profile.as_ref()))
}

async fn load(cx: &OpContext, id: UserId) -> Result<(Stored<User>, Option<AccessProfile>), Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    let user = cx.store().users().get(&grant, &id).await?.ok_or_else(|| Failure::not_found("user"))?;
    let profile = cx.store().access_profiles().get(&grant, &id).await?;
    Ok((user, profile.map(|profile| profile.document)))
}

/// Adds a person.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn create(cx: &OpContext, body: UserBody) -> Result<AccessView, Failure> {
    let email = body.email.ok_or_else(|| Failure::invalid("/email", "is required"))?;
    let name = body.name.unwrap_or_default();
    let made = people::create(cx, PersonBody { email, name, groups: Vec::new(), disabled: false }).await?;
    get(cx, made.id.parse().map_err(|_| Failure::not_found("user"))?).await
}

/// Changes a person's name or address.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at the member at fault.
pub async fn replace(cx: &OpContext, id: UserId, body: UserBody) -> Result<AccessView, Failure> {
    let standing = people::get(cx, id).await?;
    let body = PersonBody {
        email: body.email.unwrap_or(standing.email),
        name: body.name.unwrap_or(standing.name),
        groups: standing.groups,
        disabled: standing.disabled,
    };
    people::replace(cx, id, body).await?;
    get(cx, id).await
}

/// Removes a person with everything that is theirs; their sessions end.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: UserId) -> Result<AccessView, Failure> {
    cx.authorize::<WriteUsers>()?;
    let (user, profile) = load(cx, id).await?;
    let shown = user_view(&user, profile.as_ref());
    people::delete(cx, id).await?;
    Ok(shown)
}

/// Takes the seats of people for whom both are said to be `false`: their sessions end, and the seat at Access is free until
/// they sign in again. Any other combination leaves things as they are: a seat is taken by signing in. Returns how the seats
/// stand. Everybody is looked up before anything is changed.
///
/// # Errors
///
/// A [`Failure`] that points at every seat that nobody has.
pub async fn edit_seats(cx: &OpContext, seats: Vec<SeatBody>) -> Result<Vec<AccessView>, Failure> {
    let grant = cx.authorize::<WriteUsers>()?;
    if seats.len() > MAX_SEATS {
        return Err(Failure::invalid("", format!("must hold at most {MAX_SEATS} seats")));
    }
    let mut people = Vec::with_capacity(seats.len());
    let mut problems = Vec::new();
    for (index, seat) in seats.iter().enumerate() {
        let user = match seat.seat_uid.parse::<UserId>() {
            Ok(id) => cx.store().users().get(&grant, &id).await?,
            Err(_) => None,
        };
        match user {
            Some(user) => people.push((user, seat.access_seat || seat.gateway_seat)),
            None => problems.push(Problem {
                message: "nobody has this seat".to_owned(),
                pointer: Some(format!("/{index}/seat_uid")),
            }),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::invalid_many(problems));
    }
    let mut shown = Vec::with_capacity(people.len());
    for (user, stays) in people {
        let profiles = cx.store().access_profiles();
        let mut profile = profiles.get(&grant, &user.id).await?.map(|profile| profile.document);
        if !stays {
            // Before the seat is free: somebody who signs in between takes it again, and keeps that session.
            sessions::end_every(cx, user.id).await?;
            if let Some(taken) = profile.as_mut().filter(|profile| !profile.seat_freed) {
                taken.seat_freed = true;
                profiles.replace(&grant, user.id, taken.clone(), None).await?;
                let before = json!({"email": user.document.email, "access_seat": true});
                cx.record(Change::new(Verb::Delete, "access_seat", user.id).before(before)).await?;
            }
        }
        let mut view = user_view(&user, profile.as_ref());
        view.0.retain(|member, _| SEAT_MEMBERS.contains(&member.as_str()));
        shown.push(view);
    }
    Ok(shown)
}

/// Members of a person that a seat has too.
const SEAT_MEMBERS: [&str; 5] = ["seat_uid", "access_seat", "gateway_seat", "created_at", "updated_at"];

/// Returns the newest logins that were refused, newest first.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn failed_logins(cx: &OpContext, id: UserId) -> Result<Vec<AccessView>, Failure> {
    let (_, profile) = load(cx, id).await?;
    let failed = profile.map(|profile| profile.failed_logins).unwrap_or_default();
    let view = |failed: store::FailedLogin| {
        let metadata = json!({
            "time": time(failed.at),
            "reason": failed.reason,
            "app_uid": failed.application.map(|application| application.to_string()),
            "ip": failed.ip,
        });
        AccessView(Map::from_iter([
            ("expiration".to_owned(), failed.at.as_second().into()),
            ("metadata".to_owned(), metadata),
        ]))
    };
    Ok(failed.into_iter().rev().map(view).collect())
}

/// Returns who the person was at their last login.
///
/// # Errors
///
/// `NotFound` for somebody who never signed in.
pub async fn last_seen_identity(cx: &OpContext, id: UserId) -> Result<AccessView, Failure> {
    let (_, profile) = load(cx, id).await?;
    let identity = profile.and_then(|profile| profile.last_identity);
    identity.map(|identity| AccessView(super::members(&identity))).ok_or_else(|| Failure::not_found("identity"))
}

/// Returns a person's second factors.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn factors(cx: &OpContext, id: UserId) -> Result<Vec<FactorView>, Failure> {
    let (user, _) = load(cx, id).await?;
    let grant = cx.authorize::<ReadUsers>()?;
    let view = |factor: &Stored<Factor>| FactorView {
        id: factor.id.to_string(),
        kind: factor.document.kind.clone(),
        name: factor.document.name.clone(),
        created_at: time(factor.created_at),
        last_used_at: factor.document.last_used_at.map(time),
    };
    Ok(cx.store().factors().list_of(&grant, user.id).await?.iter().map(view).collect())
}

/// Takes a second factor away from a person. Their sessions end, so that nothing it proved goes on counting.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete_factor(cx: &OpContext, id: UserId, factor: FactorId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteUsers>()?;
    let found = cx.store().factors().get(&grant, &factor).await?;
    let found = found.filter(|found| found.document.user == id).ok_or_else(|| Failure::not_found("authenticator"))?;
    cx.store().factors().delete(&grant, &factor, None).await?;
    let operate = system(cx, "end the sessions of a person whose factor was reset")?;
    cx.store().access_sessions().end_all(&operate, id).await?;
    let before = json!({"user": id.to_string(), "type": found.document.kind, "name": found.document.name});
    cx.record(Change::new(Verb::Delete, "mfa_authenticator", factor).before(before)).await
}

/// Takes every second factor and passkey away from a person, with the recovery codes. Their sessions end; they enrol anew
/// at their next login.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn reset_factors(cx: &OpContext, id: UserId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteUsers>()?;
    load(cx, id).await?;
    let factors = cx.store().factors().list_of(&grant, id).await?;
    for factor in &factors {
        match cx.store().factors().delete(&grant, &factor.id, None).await {
            // Its owner was faster.
            Ok(_) | Err(store::StoreError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let operate = system(cx, "end the sessions of a person whose factors were reset")?;
    cx.store().access_sessions().end_all(&operate, id).await?;
    let gone: Vec<&str> = factors.iter().map(|factor| factor.document.kind.as_str()).collect();
    let before = json!({"user": id.to_string(), "types": gone});
    cx.record(Change::new(Verb::Delete, "mfa_authenticators", id).before(before)).await
}
