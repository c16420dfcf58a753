//! The factors of one person as they were read, and what may be done with them.
//!
//! It decides nothing of its own. Invariant: proofs stand in the record of what was proved, so that they go with it.

use identity::mfa::attempts::{Attempts, FACTOR, TooManyAttempts};
use identity::mfa::recovery::{RecoveryCodes, RecoveryError};
use identity::mfa::step_up::{self, DeviceProof, Enrolled, Means};
use identity::mfa::totp::{TotpError, TotpSecret, TotpState};
use identity::mfa::webauthn::{Answer, Kind, ProofState, RelyingParty, WebauthnCredential, WebauthnError};
use identity::mfa_requirement::Authenticator;
use identity::opaque::{self, Digest};
use serde::{Deserialize, Serialize};
use types::{Secret, UserId};
use uuid::Uuid;

use super::ledger::{FactorLedger, FactorPlace, KeptFactor, Shown};
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

/// A WebAuthn authenticator as stored (document version 1).
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Key {
    /// What proofs name; another at every enrolment.
    pub(super) id: Uuid,
    /// What its owner calls it.
    pub(super) name: String,
    pub(super) credential: WebauthnCredential,
    attempts: Attempts,
    proofs: Vec<DeviceProof>,
}

/// A key where it stands.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) place: Uuid,
    pub(super) revision: u64,
    pub(super) key: Key,
}

/// What a person has.
#[derive(Default)]
pub(super) struct Wallet {
    pub(super) totp: Option<(u64, Totp)>,
    pub(super) recovery: Option<(u64, Recovery)>,
    pub(super) keys: Vec<Held>,
}

/// Why a code or an answer proves nothing.
pub(crate) enum Unproved {
    Wrong,
    Key(WebauthnError),
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

impl Key {
    /// Makes a factor or passkey from an authenticator that was enrolled on a device right now.
    pub(super) fn enrol(id: Uuid, name: String, credential: WebauthnCredential, device: Digest, now: i64) -> Self {
        let mut key = Self { id, name, credential, attempts: Attempts::default(), proofs: Vec::new() };
        key.prove(device, now);
        key
    }

    /// Returns it as a second factor, unless it is a passkey.
    pub(super) fn enrolled(&self) -> Option<Enrolled> {
        Some(Enrolled { id: self.id, kind: self.credential.kind.authenticator()? })
    }

    fn prove(&mut self, device: Digest, now: i64) {
        if let Some(factor) = self.enrolled() {
            step_up::record(&mut self.proofs, DeviceProof { means: Means::Factor(factor), device, at: now });
        }
    }

    fn shown(&self) -> Shown {
        let kind = match self.credential.kind {
            Kind::Biometrics => "biometrics",
            Kind::SecurityKey => "security_key",
            Kind::Passkey => "passkey",
        };
        Shown { kind: kind.to_owned(), name: self.name.clone(), last_used_at: self.credential.last_used_at }
    }
}

/// Returns where a person's authenticator stands: one that is enrolled twice at once comes to the same place.
pub(super) fn place(user: UserId, credential: &str) -> Uuid {
    let Digest([first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]) =
        Digest::of(&format!("{user} {credential}"));
    uuid::Builder::from_custom_bytes(first).into_uuid()
}

impl Wallet {
    pub(super) async fn read(ledger: &dyn FactorLedger, user: UserId) -> Result<Self, LedgerError> {
        let mut wallet = Self::default();
        for kept in ledger.of(user).await? {
            let bytes = kept.secret.expose().as_slice();
            // A record that cannot be read must not look like none: none may be replaced without a proof.
            let broken =
                |error: serde_json::Error| LedgerError::Unavailable(format!("a factor is unreadable: {error}"));
            match kept.place {
                FactorPlace::Totp => {
                    wallet.totp = Some((kept.revision, serde_json::from_slice(bytes).map_err(broken)?));
                }
                FactorPlace::RecoveryCodes => {
                    wallet.recovery = Some((kept.revision, serde_json::from_slice(bytes).map_err(broken)?));
                }
                FactorPlace::Key(place) => {
                    let key: Key = serde_json::from_slice(bytes).map_err(broken)?;
                    wallet.keys.push(Held { place, revision: kept.revision, key });
                }
            }
        }
        wallet.keys.sort_by_key(|held| (held.key.credential.enrolled_at, held.place));
        Ok(wallet)
    }

    pub(super) fn enrolled(&self) -> Vec<Enrolled> {
        let totp = self.totp.iter().map(|(_, totp)| Enrolled { id: totp.id, kind: Authenticator::Totp });
        totp.chain(self.keys.iter().filter_map(|held| held.key.enrolled())).collect()
    }

    /// Returns every authenticator, passkeys too.
    pub(super) fn credentials(&self) -> Vec<WebauthnCredential> {
        self.keys.iter().map(|held| held.key.credential.clone()).collect()
    }

    pub(super) fn proofs(&self) -> Vec<DeviceProof> {
        let totp = self.totp.iter().flat_map(|(_, totp)| totp.proofs.iter());
        let recovery = self.recovery.iter().flat_map(|(_, recovery)| recovery.proofs.iter());
        let keys = self.keys.iter().flat_map(|held| held.key.proofs.iter());
        totp.chain(recovery).chain(keys).copied().collect()
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
        if write_totp(ledger, user, revision, &totp).await? {
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
        if write_recovery(ledger, user, revision, &recovery).await? {
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
    let written = write_recovery(ledger, user, revision, &Recovery { codes, proofs }).await?;
    if written { Ok(shown) } else { Err(contended()) }
}

/// Uses an authenticator, as [`prove_totp`]; without a device nothing is remembered. Returns what it is used as.
pub(super) async fn prove_key(
    ledger: &dyn FactorLedger,
    user: UserId,
    ceremony: (&RelyingParty, &ProofState, &Answer),
    device: Option<Digest>,
    now: i64,
) -> Result<Kind, Unproved> {
    let (party, state, answer) = ceremony;
    let place = place(user, &answer.credential_id());
    for _ in 0..TRIES {
        let found = Wallet::read(ledger, user).await?.keys.into_iter().find(|held| held.place == place);
        let Some(Held { revision, mut key, .. }) = found else {
            return Err(Unproved::Key(WebauthnError::UnknownCredential));
        };
        key.attempts.check(&FACTOR, now).map_err(Unproved::TooMany)?;
        let outcome = party.finish_proof(state.clone(), answer, &key.credential, now);
        match &outcome {
            Ok(used) => {
                key.credential = used.clone();
                key.attempts.succeed();
                if let Some(device) = device {
                    key.prove(device, now);
                }
            }
            // Slowness and a second click are no guesses.
            Err(error @ (WebauthnError::Expired | WebauthnError::Used | WebauthnError::TooOften)) => {
                return Err(Unproved::Key(error.clone()));
            }
            Err(_) => key.attempts.fail(&FACTOR, now),
        }
        if write_key(ledger, user, place, revision, &key).await? {
            return outcome.map(|used| used.kind).map_err(Unproved::Key);
        }
    }
    Err(contended().into())
}

/// Proves a passkey of the person it names.
pub(crate) async fn prove_passkey(
    ledger: &dyn FactorLedger,
    user: UserId,
    ceremony: (&RelyingParty, &ProofState, &Answer),
    now: i64,
) -> Result<(), Unproved> {
    prove_key(ledger, user, ceremony, None, now).await.map(|_| ())
}

pub(super) async fn write_totp(
    ledger: &dyn FactorLedger,
    user: UserId,
    revision: u64,
    totp: &Totp,
) -> Result<bool, LedgerError> {
    // Nothing but a proof moves the newest proof; a wrong code is no use.
    let last_used_at = totp.proofs.iter().map(|proof| proof.at).max();
    let shown = Shown { kind: "totp".to_owned(), name: String::new(), last_used_at };
    write(ledger, user, FactorPlace::Totp, revision, shown, totp).await
}

async fn write_recovery(
    ledger: &dyn FactorLedger,
    user: UserId,
    revision: u64,
    recovery: &Recovery,
) -> Result<bool, LedgerError> {
    let shown = Shown { kind: "recovery_codes".to_owned(), ..Shown::default() };
    write(ledger, user, FactorPlace::RecoveryCodes, revision, shown, recovery).await
}

pub(super) async fn write_key(
    ledger: &dyn FactorLedger,
    user: UserId,
    place: Uuid,
    revision: u64,
    key: &Key,
) -> Result<bool, LedgerError> {
    write(ledger, user, FactorPlace::Key(place), revision, key.shown(), key).await
}

async fn write(
    ledger: &dyn FactorLedger,
    user: UserId,
    place: FactorPlace,
    revision: u64,
    shown: Shown,
    record: &impl Serialize,
) -> Result<bool, LedgerError> {
    let secret = serde_json::to_vec(record).map_err(|error| LedgerError::Unavailable(error.to_string()))?;
    ledger.write(user, KeptFactor { place, revision, shown, secret: Secret::new(secret) }).await
}

fn unreadable() -> LedgerError {
    LedgerError::Unavailable("a secret of a factor is unreadable".to_owned())
}

pub(super) fn contended() -> LedgerError {
    LedgerError::Unavailable("a factor is changed from several places at once".to_owned())
}
