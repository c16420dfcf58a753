//! The first start: an account, a certificate authority, a full-rights token, the link that makes an administrator.
//!
//! It creates what is missing and touches nothing that exists. Invariant: two starts over one store leave one account
//! and one authority in use.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use net::CertificateAuthority;
use net::ca::{CaError, CaParams};
use serde_json::json;
use store::{
    Account, BindingStatus, CertificateOrigin, Denied, NewCertificate, NewToken, Only, Operate, Permissions, Principal,
    ReadGateway, ReadSettings, Store, StoreError, WriteGateway, WriteTokens,
};
use types::{AccountId, CertificateId, Secret};
use uuid::Uuid;

/// How long the link that creates the first administrator works.
const SETUP_LINK: Duration = Duration::from_secs(24 * 3600);
/// Default life of a generated authority (reference section 5.7).
const AUTHORITY_DAYS: u32 = 1825;

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("cannot make or read the certificate authority")]
    Authority(#[from] CaError),
    #[error("cannot make a credential: {0}")]
    Password(String),
    #[error("the certificate authority in use, {0}, is not in the store")]
    AuthorityMissing(String),
}

/// Returns the account of this store, creating it when the store is new.
///
/// # Errors
/// The store does not answer.
pub async fn ensure_account(store: &Store, principal: &Principal) -> Result<AccountId, AccountError> {
    if let Some(account) = store.accounts(principal).await?.first() {
        return Ok(account.id);
    }
    let id = AccountId(Uuid::new_v4());
    let grant = principal.authorize::<Operate>(id)?;
    store.create_account(&grant, Account { name: "Portunus".into() }).await?;
    Ok(id)
}

/// Makes sure an authority is in use, and returns its id.
///
/// # Errors
/// The store does not answer, or no key can be made.
pub async fn ensure_authority(
    store: &Store,
    principal: &Principal,
    account: AccountId,
    now: Timestamp,
) -> Result<CertificateId, AccountError> {
    let read = principal.authorize::<ReadGateway>(account)?;
    if let Some(id) = authority_in_use(store, &read).await? {
        return Ok(id);
    }
    let write = principal.authorize::<WriteGateway>(account)?;
    let params = CaParams { organisation: "Portunus".into(), validity_days: AUTHORITY_DAYS, now };
    let authority = CertificateAuthority::generate(&params)?;
    let facts = authority.facts();
    let id = CertificateId(Uuid::new_v4());
    let new = NewCertificate {
        origin: CertificateOrigin::GatewayManaged,
        binding_status: BindingStatus::Available,
        certificate: authority.certificate_pem().to_owned(),
        private_key: authority.key_pem().clone(),
        fingerprint: facts.fingerprint.clone(),
        issuer_org: facts.issuer_org.clone(),
        issuer_raw: facts.issuer_raw.clone(),
        expires_on: facts.not_after,
    };
    store.certificates().import(&write, id, new).await?;
    let mut configuration =
        store.configuration().get(&read, &Only).await?.map(|stored| stored.document).unwrap_or_default();
    configuration.settings.insert("certificate".into(), json!({ "id": id }));
    store.configuration().put(&write, Only, configuration).await?;
    Ok(id)
}

/// The authority that `configuration.certificate.id` names; the nil id and no id mean the oldest that is available.
///
/// # Errors
/// The store does not answer, or the chosen authority is gone.
pub async fn authority_in_use(
    store: &Store,
    grant: &store::Grant<ReadGateway>,
) -> Result<Option<CertificateId>, AccountError> {
    let configuration = store.configuration().get(grant, &Only).await?;
    let chosen = configuration.as_ref().and_then(|stored| stored.document.settings.get("certificate"));
    let chosen = chosen.and_then(|value| value["id"].as_str()).and_then(|id| id.parse::<CertificateId>().ok());
    let Some(id) = chosen.filter(|id| !id.0.is_nil()) else {
        let available = store.certificates().list(grant).await?.into_iter();
        let mut available = available.filter(|stored| stored.document.binding_status == BindingStatus::Available);
        return Ok(available.next().map(|stored| stored.id));
    };
    match store.certificates().get(grant, &id).await? {
        Some(_) => Ok(Some(id)),
        None => Err(AccountError::AuthorityMissing(id.to_string())),
    }
}

/// Reads the authority in use, private key included.
///
/// # Errors
/// The store does not answer, or the sealing key is not the one it was sealed with.
pub async fn load_authority(
    store: &Store,
    principal: &Principal,
    account: AccountId,
) -> Result<CertificateAuthority, AccountError> {
    let read = principal.authorize::<ReadGateway>(account)?;
    let operate = principal.authorize::<Operate>(account)?;
    let id = authority_in_use(store, &read).await?.ok_or_else(|| AccountError::AuthorityMissing("none".into()))?;
    let certificate =
        store.certificates().get(&read, &id).await?.ok_or_else(|| AccountError::AuthorityMissing(id.to_string()))?;
    let key = store.certificates().private_key(&operate, id).await?;
    Ok(CertificateAuthority::from_pem(&certificate.document.certificate, &key)?)
}

/// Issues a token that may do everything, in place of the one that the last start over this data directory issued.
///
/// # Errors
/// The store does not answer.
pub async fn issue_full_token(
    store: &Store,
    principal: &Principal,
    account: AccountId,
    data: &Path,
) -> Result<Secret<String>, AccountError> {
    let grant = principal.authorize::<WriteTokens>(account)?;
    // Another node of the same account has another directory and keeps its own.
    let name = format!("ready file of {}", data.display());
    for old in store.tokens().list(&grant).await?.into_iter().filter(|token| token.document.name == name) {
        store.tokens().delete(&grant, &old.id, None).await?;
    }
    let new = NewToken { name, permissions: Permissions::ADMIN, not_before: None, expires_at: None };
    Ok(store.tokens().issue(&grant, new).await?.1)
}

/// Makes the one-time link when nobody can sign in yet.
///
/// # Errors
/// The store does not answer.
pub async fn setup_secret(
    store: &Store,
    principal: &Principal,
    account: AccountId,
) -> Result<Option<Secret<String>>, AccountError> {
    let administrators = store.administrators().list(&principal.authorize::<ReadSettings>(account)?).await?;
    if !administrators.is_empty() {
        return Ok(None);
    }
    Ok(Some(store.issue_setup_link(&principal.authorize::<Operate>(account)?, SETUP_LINK).await?))
}

/// Reads how the gateway reaches origins.
///
/// # Errors
/// The store does not answer.
pub async fn network(store: &Store, principal: &Principal, account: AccountId) -> Result<store::Network, AccountError> {
    let read = principal.authorize::<ReadGateway>(account)?;
    Ok(store.network().get(&read, &Only).await?.map(|stored| stored.document).unwrap_or_default())
}
/// Makes a password nobody chose: 24 characters.
///
/// # Errors
/// The system has no randomness.
pub fn new_password() -> Result<Secret<String>, AccountError> {
    use base64::Engine as _;

    let mut bytes = [0; 18];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AccountError::Password("no randomness".to_owned()))?;
    Ok(Secret::new(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)))
}
