//! The certificate authorities that intercept TLS (reference section 5.7).
//!
//! A certificate is made inactive, activated, then chosen in the configuration. Invariants: the one in use can be neither
//! deactivated nor deleted; a private key never leaves the store through here.

use net::ca::{CaParams, MAX_VALIDITY_DAYS};
use serde::{Deserialize, Serialize};
use store::{BindingStatus, Certificate, CertificateOrigin, NewCertificate, Only, ReadGateway, Stored, WriteGateway};
use types::{CertificateId, Code};
use utoipa::ToSchema;
use uuid::Uuid;

use super::configuration::certificate_id;
use super::time;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;

/// Validity of a certificate whose author does not say: five years.
const DEFAULT_VALIDITY_DAYS: u32 = 1825;

/// A certificate, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CertificateView {
    pub id: String,
    /// `custom` or `gateway_managed`
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub origin: CertificateOrigin,
    /// `pending_deployment`, `available`, `pending_deletion` or `inactive`
    #[schema(value_type = String)]
    pub binding_status: BindingStatus,
    /// Whether intercepted sites show it.
    pub in_use: bool,
    /// PEM
    pub certificate: String,
    /// SHA-256
    pub fingerprint: String,
    pub issuer_org: String,
    pub issuer_raw: String,
    pub expires_on: String,
    pub uploaded_on: String,
    pub created_at: String,
    pub updated_at: String,
}

/// A certificate to be made.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAuthority {
    /// 1 to 10950; 1825 unless it says otherwise.
    pub validity_period_days: Option<u32>,
}

fn view(stored: &Stored<Certificate>, in_use: Option<CertificateId>) -> CertificateView {
    let document = &stored.document;
    CertificateView {
        id: stored.id.to_string(),
        origin: document.origin,
        binding_status: document.binding_status,
        in_use: in_use == Some(stored.id),
        certificate: document.certificate.clone(),
        fingerprint: document.fingerprint.clone(),
        issuer_org: document.issuer_org.clone(),
        issuer_raw: document.issuer_raw.clone(),
        expires_on: time(document.expires_on),
        uploaded_on: time(stored.created_at),
        created_at: time(stored.created_at),
        updated_at: time(stored.updated_at),
    }
}

/// Returns the certificate in use: the configured one, else the oldest that is available (the built-in one).
fn in_use(certificates: &[Stored<Certificate>], configured: Option<CertificateId>) -> Option<CertificateId> {
    let available = certificates.iter().filter(|stored| stored.document.binding_status == BindingStatus::Available);
    configured.or_else(|| available.min_by_key(|stored| (stored.created_at, stored.id)).map(|stored| stored.id))
}

async fn load(cx: &OpContext) -> Result<(Vec<Stored<Certificate>>, Option<CertificateId>), Failure> {
    let grant = cx.authorize::<ReadGateway>()?;
    let certificates = cx.store().certificates().list(&grant).await?;
    let configuration = cx.store().configuration().get(&grant, &Only).await?;
    let configured = configuration.and_then(|stored| certificate_id(&stored.document.settings));
    let in_use = in_use(&certificates, configured);
    Ok((certificates, in_use))
}

/// Returns every certificate.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<CertificateView>, Failure> {
    let (certificates, in_use) = load(cx).await?;
    Ok(certificates.iter().map(|stored| view(stored, in_use)).collect())
}

/// Returns one certificate.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: CertificateId) -> Result<CertificateView, Failure> {
    let (certificates, in_use) = load(cx).await?;
    certificates.iter().find(|stored| stored.id == id).map(|stored| view(stored, in_use)).ok_or_else(missing)
}

/// Makes a certificate authority with a key of its own.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn create(cx: &OpContext, new: NewAuthority) -> Result<CertificateView, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let validity_days = new.validity_period_days.unwrap_or(DEFAULT_VALIDITY_DAYS);
    if !(1..=MAX_VALIDITY_DAYS).contains(&validity_days) {
        return Err(Failure::invalid("/validity_period_days", format!("must be 1 to {MAX_VALIDITY_DAYS}")));
    }
    let organisation = "Portunus Gateway".to_owned();
    let params = CaParams { organisation, validity_days, now: cx.now() };
    let authority = net::CertificateAuthority::generate(&params)
        .map_err(|error| Failure::internal("certificate authority", &error))?;
    let facts = authority.facts();
    let certificate = NewCertificate {
        origin: CertificateOrigin::GatewayManaged,
        binding_status: BindingStatus::Inactive,
        certificate: authority.certificate_pem().to_owned(),
        private_key: authority.key_pem().clone(),
        fingerprint: facts.fingerprint.clone(),
        issuer_org: facts.issuer_org.clone(),
        issuer_raw: facts.issuer_raw.clone(),
        expires_on: facts.not_after,
    };
    let id = CertificateId(Uuid::new_v4());
    let stored = cx.store().certificates().import(&grant, id, certificate).await?;
    cx.record(Change::new(Verb::Create, "certificate", id).after(summary(&stored))).await?;
    Ok(view(&stored, None))
}

/// Makes a certificate available to be chosen.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn activate(cx: &OpContext, id: CertificateId) -> Result<CertificateView, Failure> {
    bind(cx, id, BindingStatus::Available).await
}

/// Takes a certificate that is not in use out of service.
///
/// # Errors
///
/// `NotFound`, `Conflict` while it is in use.
pub async fn deactivate(cx: &OpContext, id: CertificateId) -> Result<CertificateView, Failure> {
    bind(cx, id, BindingStatus::Inactive).await
}

async fn bind(cx: &OpContext, id: CertificateId, status: BindingStatus) -> Result<CertificateView, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let (certificates, used) = load(cx).await?;
    let before = certificates.into_iter().find(|stored| stored.id == id).ok_or_else(missing)?;
    if status == BindingStatus::Inactive && used == Some(id) {
        return Err(still_used());
    }
    let change = Change::new(Verb::Update, "certificate", id).before(summary(&before));
    let document = Certificate { binding_status: status, ..before.document };
    cx.store().certificates().replace(&grant, id, document, Some(before.revision)).await?;
    let after = get(cx, id).await?;
    cx.record(change.after(serde_json::json!({"binding_status": after.binding_status}))).await?;
    Ok(after)
}

/// Deletes a certificate that is not active.
///
/// # Errors
///
/// `NotFound`, `Conflict` while it is active or in use.
pub async fn delete(cx: &OpContext, id: CertificateId) -> Result<CertificateView, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let (certificates, used) = load(cx).await?;
    let before = certificates.into_iter().find(|stored| stored.id == id).ok_or_else(missing)?;
    if used == Some(id) {
        return Err(still_used());
    }
    if before.document.binding_status != BindingStatus::Inactive {
        return Err(Failure::new(Code::Conflict, "the certificate is active; deactivate it first"));
    }
    cx.store().certificates().delete(&grant, &id, Some(before.revision)).await?;
    cx.record(Change::new(Verb::Delete, "certificate", id).before(summary(&before))).await?;
    Ok(view(&before, None))
}

fn still_used() -> Failure {
    Failure::new(Code::Conflict, "intercepted sites show this certificate; choose another in the configuration first")
}

fn missing() -> Failure {
    Failure::not_found("certificate")
}

fn summary(stored: &Stored<Certificate>) -> serde_json::Value {
    serde_json::json!({
        "fingerprint": stored.document.fingerprint,
        "binding_status": stored.document.binding_status,
        "expires_on": time(stored.document.expires_on),
    })
}
