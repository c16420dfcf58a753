//! Erasing what is recorded of a person.
//!
//! Whoever asks names the address twice. The audit log gets a record of it that does not name the address but has its
//! SHA-256, so that whoever knows the address can tell that it was done. Invariant: nothing is erased that is not in the
//! audit log.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use logs::{EraseError, Erasure, ErasureState, Person};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::EraseLogs;
use types::Code;
use utoipa::ToSchema;
use uuid::Uuid;

use super::people::read_email;
use super::time;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;

/// Most ids beside the address.
const MOST_IDS: usize = 16;

/// Whose records are to be erased.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErasureBody {
    /// The person's address.
    pub email: String,
    /// The same address again.
    pub confirm: String,
    /// Further ids the person is known by; those of the directory are found by the address.
    #[serde(default)]
    pub user_ids: Vec<String>,
}

/// An erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErasureView {
    pub id: String,
    /// `waiting`, `running`, `erased` (nobody finds the records any more), `done` (the files that held them are deleted,
    /// too).
    pub state: &'static str,
    /// Records of a later time stay.
    pub asked_at: String,
    pub erased_at: Option<String>,
    /// Files looked at so far.
    pub files_done: u64,
    pub files_total: u64,
    /// How many records went, by dataset; those that had none are absent.
    pub records: BTreeMap<String, u64>,
    /// Why it does not get on, while it does not; it is tried again.
    pub error: Option<String>,
}

fn view(erasure: Erasure) -> ErasureView {
    ErasureView {
        id: erasure.id.to_string(),
        state: match erasure.state {
            ErasureState::Waiting => "waiting",
            ErasureState::Running => "running",
            ErasureState::Erased => "erased",
            ErasureState::Done => "done",
        },
        asked_at: time(erasure.asked_at),
        erased_at: erasure.erased_at.map(time),
        files_done: erasure.files_done,
        files_total: erasure.files_total,
        records: erasure.records,
        error: erasure.failing,
    }
}

/// Erases what is recorded of a person up to now, but for the audit trail.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn create(cx: &OpContext, body: ErasureBody) -> Result<ErasureView, Failure> {
    cx.authorize::<EraseLogs>()?;
    let email = read_email("/email", &body.email)?.to_string();
    if body.confirm.trim().to_lowercase() != email {
        return Err(Failure::invalid("/confirm", "must be the same address again"));
    }
    if body.user_ids.len() > MOST_IDS || body.user_ids.iter().any(|id| id.is_empty() || id.len() > 255) {
        return Err(Failure::invalid("/user_ids", format!("must be at most {MOST_IDS} ids of 1 to 255 characters")));
    }
    let mut ids = body.user_ids;
    let operate = super::access::system(cx, "find the ids of a person whose records are erased")?;
    let known = cx.store().users().find(&operate, &email).await?;
    ids.extend(known.map(|user| user.id.to_string()));
    let hash = hashed(&email);
    let asked = json!({
        "person_sha256": hash,
        "user_ids_sha256": ids.iter().map(|id| hashed(id)).collect::<Vec<_>>(),
    });
    // Before it begins: if it cannot be recorded, it is not done.
    cx.record(Change::new(Verb::Erase, "person_records", &hash).after(asked)).await?;
    let erasure = cx.app.deps.logs.erase(cx.account, Person { email, ids }).await;
    erasure.map(view).map_err(|error| match error {
        EraseError::TooMany => Failure::new(Code::LimitExceeded, error.to_string()),
        EraseError::Journal(_) | EraseError::File(_) => {
            tracing::error!(%error, "an erasure is not accepted");
            Failure::new(Code::Unavailable, "the log takes no erasure just now; try again")
        }
    })
}

fn hashed(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the erasures that are remembered, newest first.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub fn list(cx: &OpContext) -> Result<Vec<ErasureView>, Failure> {
    cx.authorize::<EraseLogs>()?;
    Ok(cx.app.deps.logs.erasures(cx.account).into_iter().map(view).collect())
}

/// Returns one.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub fn get(cx: &OpContext, id: Uuid) -> Result<ErasureView, Failure> {
    cx.authorize::<EraseLogs>()?;
    let found = cx.app.deps.logs.erasures(cx.account).into_iter().find(|erasure| erasure.id == id);
    found.map(view).ok_or_else(|| Failure::not_found("erasure"))
}
