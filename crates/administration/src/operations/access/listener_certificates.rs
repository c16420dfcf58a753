//! How the hosts of the access listener stand with the authority that is asked for their certificates.
//!
//! To be read alone: orders follow what is published and what the configuration file says. Invariant: no view holds a key.

use jiff::Timestamp;
use serde::Serialize;
use store::{ListenerCertificate, ReadAccess};
use utoipa::ToSchema;

use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::time;

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ListenerCertificateView {
    pub hostname: String,
    /// The address of the authority's directory.
    pub directory: String,
    /// `pending`: none was issued yet; `active`: one is in use; `expired`: the last one ended. Where it is not `active`, the
    /// listener shows a certificate of the account's own authority.
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// When it is ordered, renewed or tried again.
    pub next_attempt_at: String,
    /// Failures since the last success.
    pub failures: u32,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Returns every host that an authority was asked about, by name.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<ListenerCertificateView>, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let stored = cx.store().listener_certificates().list(&grant).await?;
    let mut views: Vec<_> = stored.into_iter().map(|stored| view(stored.document, cx.now())).collect();
    views.sort_by(|one, other| one.hostname.cmp(&other.hostname));
    Ok(views)
}

fn view(certificate: ListenerCertificate, now: Timestamp) -> ListenerCertificateView {
    let issued = certificate.issued.as_ref();
    let status = match issued {
        None => "pending",
        Some(issued) if now < issued.not_after => "active",
        Some(_) => "expired",
    };
    ListenerCertificateView {
        hostname: certificate.name,
        directory: certificate.directory,
        status,
        not_before: issued.map(|issued| time(issued.not_before)),
        not_after: issued.map(|issued| time(issued.not_after)),
        next_attempt_at: time(certificate.next_attempt_at),
        failures: certificate.failures,
        failure: certificate.failure,
    }
}
