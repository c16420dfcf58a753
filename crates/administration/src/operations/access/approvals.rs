//! Temporary access (reference section 1.9): who asked, what was granted, and ending it.
//!
//! Invariant: what was ended here admits nobody once the change feed has told of it.

use identity::approval::{ApprovalRequest, State};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use store::{Approval, HashId, ReadUsers, Stored, WriteUsers};
use types::UserId;
use utoipa::ToSchema;

use super::system;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::time;

const RESOURCE: &str = "access_approval";

/// A request for temporary access, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApprovalView {
    pub id: String,
    /// `waiting`, `granted`, `refused` or `expired`
    pub status: String,
    pub user_id: String,
    /// Who asks.
    pub email: String,
    pub app_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_name: Option<String>,
    pub policy_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    pub asked_at: String,
    /// Who was asked.
    pub invited: Vec<String>,
    /// Who agreed.
    pub approvers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<String>,
    /// How many answers are missing.
    pub missing: u32,
    /// When access ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted_until: Option<String>,
    /// When the request or the grant is over.
    pub expires_at: String,
}

/// What names of applications and policies are looked up in.
struct Names {
    applications: Vec<(String, String)>,
    policies: Vec<(String, String)>,
}

impl Names {
    async fn read(cx: &OpContext) -> Result<Self, Failure> {
        let grant = system(cx, "name the applications and policies of approvals")?;
        let applications = cx.store().applications().list(&grant).await?;
        let policies = cx.store().access_policies().list(&grant).await?;
        Ok(Self {
            applications: applications.into_iter().map(|found| (found.id.to_string(), found.document.name)).collect(),
            policies: policies.into_iter().map(|found| (found.id.to_string(), found.document.name)).collect(),
        })
    }

    fn find(all: &[(String, String)], id: &str) -> Option<String> {
        all.iter().find(|(known, _)| known == id).map(|(_, name)| name.clone())
    }
}

fn view(stored: &Stored<Approval>, names: &Names, now: Timestamp) -> Result<ApprovalView, Failure> {
    let request: ApprovalRequest = serde_json::from_value(stored.document.state.clone())
        .map_err(|error| Failure::internal("a stored approval", &error))?;
    let texts = |emails: Vec<&types::Email>| emails.into_iter().map(ToString::to_string).collect();
    let moment = |seconds: i64| Timestamp::from_second(seconds).map(time).unwrap_or_default();
    let (status, missing, until, refused_by) = match request.state(now.as_second()) {
        State::Waiting(missing) => ("waiting", missing.iter().sum(), None, None),
        State::Granted { until } => ("granted", 0, Some(moment(until)), None),
        State::Refused { by } => ("refused", 0, None, Some(by.to_string())),
        State::Expired => ("expired", 0, None, None),
    };
    let (app_id, policy_id) = (stored.document.application.to_string(), stored.document.policy.to_string());
    Ok(ApprovalView {
        id: stored.id.to_string(),
        status: status.to_owned(),
        user_id: stored.document.user.to_string(),
        email: request.asked.email.to_string(),
        app_name: Names::find(&names.applications, &app_id),
        app_id,
        policy_name: Names::find(&names.policies, &policy_id),
        policy_id,
        justification: request.asked.justification.clone(),
        asked_at: moment(request.asked_at),
        invited: texts(request.invited()),
        approvers: texts(request.approvers()),
        refused_by,
        missing,
        granted_until: until,
        expires_at: time(stored.document.expires_at),
    })
}

/// Returns what was asked for and has not been swept, newest first; of one person if `user` is named.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext, user: Option<UserId>) -> Result<Vec<ApprovalView>, Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    let mut found = match user {
        Some(user) => cx.store().approvals().list_of(&grant, user).await?,
        None => cx.store().approvals().list(&grant).await?,
    };
    found.sort_by_key(|stored| std::cmp::Reverse(stored.created_at));
    let (names, now) = (Names::read(cx).await?, cx.store().now());
    found.iter().map(|stored| view(stored, &names, now)).collect()
}

/// Returns one.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: HashId) -> Result<ApprovalView, Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    let stored = cx.store().approvals().get(&grant, &id).await?.ok_or_else(|| Failure::not_found("approval"))?;
    view(&stored, &Names::read(cx).await?, cx.store().now())
}

/// Ends a request or what it granted; the person may ask again.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn revoke(cx: &OpContext, id: HashId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteUsers>()?;
    let before = get(cx, id).await?;
    cx.store().approvals().delete(&grant, &id, None).await?;
    cx.record(Change::new(Verb::Delete, RESOURCE, id).before(json!(before))).await
}
