//! What a person must do about second factors before an application opens, and when they may change their own.
//!
//! Which configuration holds and how long a proof counts is decided in [`crate::mfa_requirement`]; here the device and the
//! factors the person has come in. Invariants: a proof counts only on the device it was made on, and who already has a
//! factor cannot add or remove one without proving one.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::mfa_requirement::{self, Authenticator, MfaRules, Proof, StepUp};
use crate::opaque::Digest;

/// Seconds for which a proof allows to change factors (reference section 7.3).
pub const CHANGE_WINDOW: i64 = 10 * 60;
/// Most proofs kept for one person.
const MAX_PROOFS: usize = 32;

/// A factor a person has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    pub id: Uuid,
    pub kind: Authenticator,
}

/// With what a person proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    Factor(Enrolled),
    /// Allows to change factors, and satisfies no policy.
    RecoveryCode,
}

/// A proof, beside the sessions: it outlives a login and ends by its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceProof {
    pub means: Means,
    /// Hash of the secret in the device's cookie.
    pub device: Digest,
    /// Seconds since the epoch.
    pub at: i64,
}

/// A person at a device.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    pub enrolled: &'a [Enrolled],
    pub proofs: &'a [DeviceProof],
    /// Hash of the secret in the device's cookie; `None` if it brought none, so that no proof counts.
    pub device: Option<Digest>,
    /// `amr` of the provider's answer.
    pub amr: &'a [String],
    /// When the person signed in, in seconds since the epoch.
    pub login: i64,
    /// Seconds since the epoch.
    pub now: i64,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Go on; the factor that counts, if one was needed.
    Proceed(Option<Proof>),
    /// Prove one of these, all of which the person has.
    Prove(Vec<Enrolled>),
    /// Enrol one of these kinds. `guard` is empty, or holds factors of which one must be proved first.
    Enrol { kinds: Vec<Authenticator>, guard: Vec<Enrolled> },
}

/// Decides what a person must do before the application opens. `rules` is what
/// [`crate::mfa_requirement::effective`] found; `None` means that no factor is needed.
#[must_use]
pub fn next_step(rules: Option<&MfaRules>, situation: &Situation<'_>) -> NextStep {
    let Some(rules) = rules else { return NextStep::Proceed(None) };
    let own: Vec<Proof> = situation
        .proofs
        .iter()
        .filter(|proof| situation.device == Some(proof.device))
        .filter_map(|proof| match proof.means {
            // A factor that was removed, or reset by an administrator, proves nothing any more.
            Means::Factor(factor) if situation.enrolled.contains(&factor) => {
                Some(Proof { kind: factor.kind, at: proof.at })
            }
            Means::Factor(_) | Means::RecoveryCode => None,
        })
        .collect();
    match mfa_requirement::step_up(rules, &own, situation.amr, situation.login, situation.now) {
        StepUp::Satisfied(proof) => NextStep::Proceed(Some(proof)),
        StepUp::Needed => {
            let usable: Vec<Enrolled> =
                situation.enrolled.iter().filter(|factor| rules.allowed.contains(&factor.kind)).copied().collect();
            if !usable.is_empty() {
                return NextStep::Prove(usable);
            }
            let guard = match may_change(situation) {
                Ok(()) => Vec::new(),
                Err(ProofNeeded) => situation.enrolled.to_vec(),
            };
            NextStep::Enrol { kinds: rules.allowed.clone(), guard }
        }
    }
}

/// A factor must be proved on this device first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("prove one of your factors or a recovery code on this device first")]
pub struct ProofNeeded;

/// Decides whether the person may add or remove a factor now: the first needs nothing but the login, any other change a
/// proof on this device within 10 minutes.
///
/// # Errors
/// If a proof is needed.
pub fn may_change(situation: &Situation<'_>) -> Result<(), ProofNeeded> {
    let recent = |proof: &DeviceProof| {
        let age = situation.now.saturating_sub(proof.at);
        let counts = match proof.means {
            Means::Factor(factor) => situation.enrolled.contains(&factor),
            Means::RecoveryCode => true,
        };
        counts && situation.device == Some(proof.device) && (0..CHANGE_WINDOW).contains(&age)
    };
    if situation.enrolled.is_empty() || situation.proofs.iter().any(recent) { Ok(()) } else { Err(ProofNeeded) }
}

/// Keeps a proof: the newest for each means and device, and no more than a bound.
pub fn record(proofs: &mut Vec<DeviceProof>, proof: DeviceProof) {
    proofs.retain(|old| old.means != proof.means || old.device != proof.device);
    if proofs.len() >= MAX_PROOFS
        && let Some(oldest) = proofs.iter().enumerate().min_by_key(|(_, old)| old.at).map(|(at, _)| at)
    {
        proofs.remove(oldest);
    }
    proofs.push(proof);
}

/// Forgets proofs when a factor is removed by its owner or reset by an administrator. With `None`, all factors are reset
/// and nothing that was proved before counts.
pub fn forget(proofs: &mut Vec<DeviceProof>, factor: Option<Uuid>) {
    match factor {
        None => proofs.clear(),
        Some(id) => proofs.retain(|proof| !matches!(proof.means, Means::Factor(factor) if factor.id == id)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{
        CHANGE_WINDOW, DeviceProof, Enrolled, Means, NextStep, Situation, forget, may_change, next_step, record,
    };
    use crate::mfa_requirement::{Authenticator, MfaRequirement, MfaRules, OrganizationMfa, effective};
    use crate::opaque::Digest;

    const TOTP: Enrolled = Enrolled { id: Uuid::from_u128(1), kind: Authenticator::Totp };
    const KEY: Enrolled = Enrolled { id: Uuid::from_u128(2), kind: Authenticator::SecurityKey };
    const HERE: Digest = Digest([1; 32]);
    const THERE: Digest = Digest([2; 32]);

    fn rules(allowed: &[Authenticator], freshness: u64) -> MfaRules {
        MfaRules {
            allowed: allowed.to_vec(),
            freshness: Duration::from_secs(freshness),
            provider_factor: None,
            models: None,
        }
    }

    fn proof(factor: Enrolled, device: Digest, at: i64) -> DeviceProof {
        DeviceProof { means: Means::Factor(factor), device, at }
    }

    fn situation<'a>(enrolled: &'a [Enrolled], proofs: &'a [DeviceProof], now: i64) -> Situation<'a> {
        Situation { enrolled, proofs, device: Some(HERE), amr: &[], login: 1_000, now }
    }

    #[test]
    fn what_must_be_done_depends_on_what_the_person_has_and_has_proved_here() {
        let key_only = rules(&[Authenticator::SecurityKey], 100);
        let recovered = DeviceProof { means: Means::RecoveryCode, device: HERE, at: 1_040 };
        for (name, enrolled, proofs, expected) in [
            ("nothing enrolled", vec![], vec![], NextStep::Enrol { kinds: key_only.allowed.clone(), guard: vec![] }),
            (
                "another kind enrolled",
                vec![TOTP],
                vec![],
                NextStep::Enrol { kinds: key_only.allowed.clone(), guard: vec![TOTP] },
            ),
            (
                "another kind proved",
                vec![TOTP],
                vec![proof(TOTP, HERE, 1_040)],
                NextStep::Enrol { kinds: key_only.allowed.clone(), guard: vec![] },
            ),
            ("key enrolled", vec![TOTP, KEY], vec![proof(TOTP, HERE, 1_040)], NextStep::Prove(vec![KEY])),
            ("proved elsewhere", vec![KEY], vec![proof(KEY, THERE, 1_040)], NextStep::Prove(vec![KEY])),
            ("proved long ago", vec![KEY], vec![proof(KEY, HERE, 900)], NextStep::Prove(vec![KEY])),
            ("recovery code", vec![KEY], vec![recovered], NextStep::Prove(vec![KEY])),
            (
                "proved with a key that was reset",
                vec![TOTP],
                vec![proof(KEY, HERE, 1_040)],
                NextStep::Enrol { kinds: key_only.allowed.clone(), guard: vec![TOTP] },
            ),
        ] {
            assert_eq!(next_step(Some(&key_only), &situation(&enrolled, &proofs, 1_050)), expected, "{name}");
        }
        let proofs = [proof(KEY, HERE, 1_040)];
        assert!(matches!(next_step(Some(&key_only), &situation(&[KEY], &proofs, 1_050)), NextStep::Proceed(Some(_))));
        let unknown = Situation { device: None, ..situation(&[KEY], &proofs, 1_050) };
        assert_eq!(next_step(Some(&key_only), &unknown), NextStep::Prove(vec![KEY]));
        assert_eq!(next_step(None, &situation(&[], &[], 1_050)), NextStep::Proceed(None));
    }

    #[test]
    fn factors_change_only_after_a_recent_proof_on_the_same_device() {
        let at = |device, age| [proof(TOTP, device, 5_000 - age)];
        assert!(may_change(&situation(&[], &[], 5_000)).is_ok());
        assert!(may_change(&situation(&[TOTP], &[], 5_000)).is_err());
        assert!(may_change(&situation(&[TOTP], &at(HERE, CHANGE_WINDOW - 1), 5_000)).is_ok());
        assert!(may_change(&situation(&[TOTP], &at(HERE, CHANGE_WINDOW), 5_000)).is_err());
        assert!(may_change(&situation(&[TOTP], &at(HERE, -5), 5_000)).is_err());
        assert!(may_change(&situation(&[TOTP], &at(THERE, 1), 5_000)).is_err());
        assert!(may_change(&situation(&[KEY], &at(HERE, 1), 5_000)).is_err(), "the factor is gone");
        let recovery = [DeviceProof { means: Means::RecoveryCode, device: HERE, at: 4_990 }];
        assert!(may_change(&situation(&[TOTP], &recovery, 5_000)).is_ok());
    }

    #[test]
    fn proofs_are_bounded_and_a_reset_forgets_them() {
        let mut proofs = Vec::new();
        for n in 0..100_u8 {
            record(&mut proofs, proof(KEY, Digest([n; 32]), i64::from(n)));
            record(&mut proofs, proof(KEY, Digest([n; 32]), i64::from(n) + 1));
        }
        assert_eq!(proofs.len(), 32);
        assert!(proofs.iter().any(|proof| proof.at == 100));
        record(&mut proofs, proof(TOTP, HERE, 200));
        forget(&mut proofs, Some(KEY.id));
        assert_eq!(proofs, [proof(TOTP, HERE, 200)]);
        forget(&mut proofs, None);
        assert!(proofs.is_empty());
    }

    fn any_kinds() -> impl Strategy<Value = Vec<Authenticator>> {
        prop::sample::subsequence(
            vec![Authenticator::Totp, Authenticator::Biometrics, Authenticator::SecurityKey],
            1..=3,
        )
    }

    fn any_requirement() -> impl Strategy<Value = Option<MfaRequirement>> {
        prop_oneof![
            Just(None),
            Just(Some(MfaRequirement::Off)),
            (any_kinds(), 0_u64..5_000)
                .prop_map(|(kinds, freshness)| Some(MfaRequirement::Required(rules(&kinds, freshness)))),
        ]
    }

    proptest! {
        #[test]
        fn the_nearest_configuration_decides_alone(
            policy in any_requirement(), application in any_requirement(), other in any_requirement(),
            kinds in any_kinds(), required_for_all: bool,
        ) {
            let organization = OrganizationMfa { config: Some(rules(&kinds, 60)), required_for_all };
            let held = effective(policy.as_ref(), application.as_ref(), &organization);
            if policy.is_some() {
                prop_assert_eq!(&held, &effective(policy.as_ref(), other.as_ref(), &organization));
                prop_assert_eq!(&held, &effective(policy.as_ref(), None, &OrganizationMfa::default()));
            } else if application.is_some() {
                prop_assert_eq!(&held, &effective(None, application.as_ref(), &OrganizationMfa::default()));
            } else {
                prop_assert_eq!(held.is_some(), required_for_all);
            }
        }

        #[test]
        fn nobody_is_asked_within_freshness_and_everybody_after(
            kinds in any_kinds(), freshness in 1_u64..100_000, age in 0_i64..200_000,
        ) {
            let factor = Enrolled { id: Uuid::from_u128(7), kind: kinds[0] };
            let proofs = [proof(factor, HERE, 1_000_000)];
            let step = next_step(
                Some(&rules(&kinds, freshness)),
                &situation(&[factor], &proofs, 1_000_000 + age),
            );
            let fresh = age < i64::try_from(freshness).unwrap();
            prop_assert_eq!(matches!(step, NextStep::Proceed(_)), fresh);
        }

        #[test]
        fn zero_freshness_asks_at_every_login_and_once_in_each(login in 0_i64..1_000, at in 0_i64..1_000, later in 0_i64..9_999) {
            let proofs = [proof(KEY, HERE, at)];
            let now = at.max(login) + later;
            let here = Situation { login, ..situation(&[KEY], &proofs, now) };
            let step = next_step(Some(&rules(&[Authenticator::SecurityKey], 0)), &here);
            prop_assert_eq!(matches!(step, NextStep::Proceed(_)), at >= login);
        }
    }
}
