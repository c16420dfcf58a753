//! The outbox: mail that waits, was sent or failed. For administrators alone, because it may hold PINs.

use serde::Serialize;
use store::{Administer, Mail, Stored};
use types::MailId;
use utoipa::ToSchema;

use super::system;
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::time;

/// A mail, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MailView {
    pub id: String,
    pub to: String,
    pub subject: String,
    /// `pending`, `sent` or `failed`
    #[schema(value_type = String)]
    pub status: store::MailStatus,
    pub attempts: u32,
    pub created_at: String,
    pub next_attempt_at: String,
    pub expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<String>,
    /// Only where one mail is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

fn view(stored: &Stored<Mail>, text: Option<String>) -> MailView {
    let mail = &stored.document;
    MailView {
        id: stored.id.to_string(),
        to: mail.to.clone(),
        subject: mail.subject.clone(),
        status: mail.status,
        attempts: mail.attempts,
        created_at: time(stored.created_at),
        next_attempt_at: time(mail.next_attempt_at),
        expires_at: time(mail.expires_at),
        failure: mail.failure.clone(),
        sent_at: mail.sent_at.map(time),
        text,
    }
}

/// Returns every mail, newest first, without its text.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<MailView>, Failure> {
    let grant = cx.authorize::<Administer>()?;
    let mut mails = cx.store().outbox().list(&grant).await?;
    mails.sort_by_key(|mail| std::cmp::Reverse((mail.created_at, mail.id)));
    Ok(mails.iter().map(|mail| view(mail, None)).collect())
}

/// Returns one mail with its text.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: MailId) -> Result<MailView, Failure> {
    let grant = cx.authorize::<Administer>()?;
    let mut mail = cx.store().outbox().get(&grant, &id).await?.ok_or_else(|| Failure::not_found("mail"))?;
    let operate = system(cx, "show a mail of the outbox to an administrator")?;
    let text = cx.store().outbox().open_members(&operate, &mut mail)?.remove("text");
    Ok(view(&mail, text.map(types::Secret::into_inner)))
}
