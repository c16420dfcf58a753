//! The factors of one person as they were read, and what may be done with them.
//!
//! It decides nothing of its own. Invariant: proofs stand in the record of what was proved, so that they go with it.

use identity::mfa::attempts::TooManyAttempts;
use identity::mfa::recovery::{RecoveryCodes, RecoveryError};
use identity::mfa::step_up::{self, DeviceProof, Enrolled, Means};
use identity::mfa::totp::{TotpError, TotpSecret, TotpState};
use identity::mfa_requirement::Authenticator;
use identity::opaque::{self, Digest};
use serde::{Deserialize, Serialize};
use types::{Secret, UserId};
use uuid::Uuid;

use super::ledger::{FactorKind, FactorLedger, KeptFactor};
use crate::ledger::LedgerError;

/// How often a write is tried again after another came first.
const TRIES: usize = 8;

/// A TOTP factor as stored (document version 1).
#[derive(Serialize, Deserialize)]
pub(super) struct Totp {
    pub(super) id: Uuid,
    /// base64url.
    secret: String,
    state: TotpState,
    proofs: Vec<DeviceProof>,
}

/// Recovery codes as stored (document version 1).
#[derive(Serialize, Deserialize)]
pub(super) struct Recovery {
    pub(super) codes: RecoveryCodes,
    proofs: Vec<DeviceProof>,
}

/// What a person has.
#[derive(Default)]
pub(super) struct Wallet {
    pub(super) totp: Option<(u64, Totp)>,
    pub(super) recovery: Option<(u64, Recovery)>,
}

/// Why a code proves nothing.
pub(super) enum Unproved {
    Wrong,
    TooMany(TooManyAttempts),
    Ledger(LedgerError),
}

impl From<LedgerError> for Unproved {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<TotpError> for Unproved {
    fn from(error: TotpError) -> Self {
        match error {
            TotpError::Wrong => Self::Wrong,
            TotpError::TooMany(wait) => Self::TooMany(wait),
        }
    }
}

impl From<RecoveryError> for Unproved {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Wrong => Self::Wrong,
            RecoveryError::TooMany(wait) => Self::TooMany(wait),
        }
    }
}

impl Totp {
    /// Makes a factor from a secret whose code was shown right now, which is thereby used.
    pub(super) fn enrol(id: Uuid, secret: &[u8; 20], typed: &str, device: Digest, now: i64) -> Result<Self, TotpError> {
        let mut state = TotpState::default();
        state.verify(&TotpSecret::new(*secret), typed, now)?;
        let means = Means::Factor(Enrolled { id, kind: Authenticator::Totp });
        Ok(Self { id, secret: opaque::text(secret), state, proofs: vec![DeviceProof { means, device, at: now }] })
    }
}

impl Wallet {
    pub(super) async fn read(ledger: &dyn FactorLedger, user: UserId) -> Result<Self, LedgerError> {
        let mut wallet = Self::default();
        for kept in ledger.of(user).await? {
            let bytes = kept.secret.expose().as_slice();
            // A record that cannot be read must not look like none: none may be replaced without a proof.
            let broken =
                |error: serde_json::Error| LedgerError::Unavailable(format!("a factor is unreadable: {error}"));
            match kept.kind {
                FactorKind::Totp => {
                    wallet.totp = Some((kept.revision, serde_json::from_slice(bytes).map_err(broken)?));
                }
                FactorKind::RecoveryCodes => {
                    wallet.recovery = Some((kept.revision, serde_json::from_slice(bytes).map_err(broken)?));
                }
            }
        }
        Ok(wallet)
    }

    pub(super) fn enrolled(&self) -> Vec<Enrolled> {
        self.totp.iter().map(|(_, totp)| Enrolled { id: totp.id, kind: Authenticator::Totp }).collect()
    }

    pub(super) fn proofs(&self) -> Vec<DeviceProof> {
        let totp = self.totp.iter().flat_map(|(_, totp)| totp.proofs.iter());
        let recovery = self.recovery.iter().flat_map(|(_, recovery)| recovery.proofs.iter());
        totp.chain(recovery).copied().collect()
    }
}

/// Uses a code of the app on a device. The outcome, either way, is written before this returns.
pub(super) async fn prove_totp(
    ledger: &dyn FactorLedger,
    user: UserId,
    typed: &str,
    device: Digest,
    now: i64,
) -> Result<(), Unproved> {
    for _ in 0..TRIES {
        let Some((revision, mut totp)) = Wallet::read(ledger, user).await?.totp else { return Err(Unproved::Wrong) };
        let secret = opaque::bytes::<20>(&totp.secret).map(TotpSecret::new).ok_or_else(unreadable)?;
        let outcome = totp.state.verify(&secret, typed, now);
        if let Err(TotpError::TooMany(wait)) = outcome {
            return Err(Unproved::TooMany(wait));
        }
        if outcome.is_ok() {
            let means = Means::Factor(Enrolled { id: totp.id, kind: Authenticator::Totp });
            step_up::record(&mut totp.proofs, DeviceProof { means, device, at: now });
        }
        if write(ledger, user, FactorKind::Totp, revision, &totp).await? {
            return Ok(outcome?);
        }
    }
    Err(contended().into())
}

/// Uses a recovery code on a device, as [`prove_totp`].
pub(super) async fn prove_recovery(
    ledger: &dyn FactorLedger,
    user: UserId,
    typed: &str,
    device: Digest,
    now: i64,
) -> Result<(), Unproved> {
    for _ in 0..TRIES {
        let read = Wallet::read(ledger, user).await?.recovery;
        let Some((revision, mut recovery)) = read else { return Err(Unproved::Wrong) };
        let outcome = recovery.codes.redeem(typed, now);
        if let Err(RecoveryError::TooMany(wait)) = outcome {
            return Err(Unproved::TooMany(wait));
        }
        if outcome.is_ok() {
            step_up::record(&mut recovery.proofs, DeviceProof { means: Means::RecoveryCode, device, at: now });
        }
        if write(ledger, user, FactorKind::RecoveryCodes, revision, &recovery).await? {
            return Ok(outcome?);
        }
    }
    Err(contended().into())
}

/// Makes a new set of codes in the place of an older one, whose proofs stay.
pub(super) async fn renew_codes(
    ledger: &dyn FactorLedger,
    user: UserId,
    old: Option<(u64, Recovery)>,
    seed: &opaque::Seed,
    now: i64,
) -> Result<Secret<Vec<String>>, LedgerError> {
    let (revision, proofs) = old.map_or((0, Vec::new()), |(revision, old)| (revision, old.proofs));
    let (codes, shown) = RecoveryCodes::new(seed, now);
    let written = write(ledger, user, FactorKind::RecoveryCodes, revision, &Recovery { codes, proofs }).await?;
    if written { Ok(shown) } else { Err(contended()) }
}

pub(super) async fn write(
    ledger: &dyn FactorLedger,
    user: UserId,
    kind: FactorKind,
    revision: u64,
    record: &impl Serialize,
) -> Result<bool, LedgerError> {
    let secret = serde_json::to_vec(record).map_err(|error| LedgerError::Unavailable(error.to_string()))?;
    ledger.write(user, KeptFactor { kind, revision, secret: Secret::new(secret) }).await
}

fn unreadable() -> LedgerError {
    LedgerError::Unavailable("a secret of a factor is unreadable".to_owned())
}

pub(super) fn contended() -> LedgerError {
    LedgerError::Unavailable("a factor is changed from several places at once".to_owned())
}
