//! When a second factor is asked and which kinds count: `mfa_config` of organisation, application and policy
//! (reference sections 7.1 and 7.2).
//!
//! Decides the requirement that holds and whether what is known satisfies it; how a factor is proved is the business of
//! the authenticators. Invariant: of several configurations the nearest one holds whole: policy, application,
//! organisation.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use types::ListId;

use crate::document::{Lifetime, Problem, Problems, words};

/// Longest time a proof may stay fresh.
pub const LONGEST_FRESHNESS: Duration = Duration::from_secs(720 * 3_600);

words! {
    /// A kind of authenticator.
    Authenticator {
        Totp = "totp",
        /// WebAuthn on the device itself.
        Biometrics = "biometrics",
        /// WebAuthn on a key that roams.
        SecurityKey = "security_key",
    }
}

/// `mfa_config` as written. `amr_matching_session_duration` and `required_aaguids` are the organisation's alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MfaConfigDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_authenticators: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa_disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_duration: Option<Lifetime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amr_matching_session_duration: Option<Lifetime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_aaguids: Option<ListId>,
}

/// What one `mfa_config` asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MfaRequirement {
    /// No second factor, whatever a wider configuration says.
    Off,
    Required(MfaRules),
}

/// What a second factor must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MfaRules {
    /// Never empty.
    pub allowed: Vec<Authenticator>,
    /// How long a proof counts; zero means at every login.
    pub freshness: Duration,
    /// How long a factor the provider reports (`amr`) counts; `None`: it does not.
    pub provider_factor: Option<Duration>,
    /// The models a key may be of, checked at enrolment.
    pub models: Option<ListId>,
}

impl MfaRules {
    /// Returns rules that ask for a proof of the person's own factor no longer ago than `freshness`: those that hold, made
    /// stricter, or any factor where none do.
    #[must_use]
    pub fn within(rules: Option<Self>, freshness: Duration) -> Self {
        let any = || Authenticator::WORDS.iter().map(|(_, kind)| *kind).collect();
        match rules {
            None => Self { allowed: any(), freshness, provider_factor: None, models: None },
            Some(rules) if rules.freshness.is_zero() => Self { freshness, provider_factor: None, ..rules },
            Some(rules) => Self { freshness: rules.freshness.min(freshness), provider_factor: None, ..rules },
        }
    }
}

impl MfaRequirement {
    /// Reads one configuration.
    ///
    /// # Errors
    /// With every fault found.
    pub fn parse(document: &MfaConfigDocument) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let mut allowed = Vec::new();
        for (index, word) in document.allowed_authenticators.iter().flatten().enumerate() {
            match Authenticator::named(word) {
                Some(kind) if !allowed.contains(&kind) => allowed.push(kind),
                Some(_) => {}
                None => problems.add(
                    format!("/allowed_authenticators/{index}"),
                    format!(
                        "`{}` is not one of totp, biometrics, security_key",
                        word.chars().take(40).collect::<String>()
                    ),
                ),
            }
        }
        if document.allowed_authenticators.is_none() {
            allowed = Authenticator::WORDS.iter().map(|(_, kind)| *kind).collect();
        }
        let mut lifetime = |member: &str, lifetime: &Option<Lifetime>| {
            let lifetime = lifetime.as_ref()?;
            problems.check(&format!("/{member}"), lifetime.within(Duration::ZERO, LONGEST_FRESHNESS))
        };
        let freshness = lifetime("session_duration", &document.session_duration);
        let provider_factor = lifetime("amr_matching_session_duration", &document.amr_matching_session_duration);
        let off = document.mfa_disabled == Some(true) || (allowed.is_empty() && problems.is_empty());
        problems.finish(if off {
            Self::Off
        } else {
            Self::Required(MfaRules {
                allowed,
                freshness: freshness.unwrap_or(Duration::from_secs(24 * 3_600)),
                provider_factor,
                models: document.required_aaguids,
            })
        })
    }
}

/// The organisation's side of the question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrganizationMfa {
    pub config: Option<MfaRules>,
    pub required_for_all: bool,
}

/// Finds what holds: the policy's configuration, else the application's, else the organisation's if it asks for all
/// applications. Matching the provider's own factor is the organisation's choice for each of them.
#[must_use]
pub fn effective(
    policy: Option<&MfaRequirement>,
    application: Option<&MfaRequirement>,
    organization: &OrganizationMfa,
) -> Option<MfaRules> {
    let provider_factor = organization.config.as_ref().and_then(|rules| rules.provider_factor);
    match policy.or(application) {
        Some(MfaRequirement::Off) => None,
        Some(MfaRequirement::Required(rules)) => {
            Some(MfaRules { provider_factor: rules.provider_factor.or(provider_factor), ..rules.clone() })
        }
        None if organization.required_for_all => organization.config.clone(),
        None => None,
    }
}

/// A second factor that was proved, beside the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    pub kind: Authenticator,
    /// Seconds since the epoch.
    pub at: i64,
}

/// Whether a person must prove a factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepUp {
    Satisfied(Proof),
    Needed,
}

/// Decides whether a factor must be proved. `login` is when the person signed in: with a freshness of zero, only a
/// proof of this login counts. `now` and `login` are seconds since the epoch.
#[must_use]
pub fn step_up(rules: &MfaRules, proofs: &[Proof], amr: &[String], login: i64, now: i64) -> StepUp {
    let fresh = |at: i64, freshness: Duration| {
        let age = now.saturating_sub(at);
        let limit = i64::try_from(freshness.as_secs()).unwrap_or(i64::MAX);
        // A proof from the future was written by a clock that is wrong; it proves nothing.
        age >= 0 && if limit == 0 { at >= login } else { age < limit }
    };
    let own = proofs.iter().find(|proof| rules.allowed.contains(&proof.kind) && fresh(proof.at, rules.freshness));
    if let Some(proof) = own {
        return StepUp::Satisfied(*proof);
    }
    if !rules.provider_factor.is_some_and(|freshness| fresh(login, freshness)) {
        return StepUp::Needed;
    }
    amr.iter()
        .filter_map(|value| authenticator_of(value))
        .find(|kind| rules.allowed.contains(kind))
        .map_or(StepUp::Needed, |kind| StepUp::Satisfied(Proof { kind, at: login }))
}

/// Maps an RFC 8176 value to the authenticator it stands for (reference section 7.2); most stand for none.
#[must_use]
pub fn authenticator_of(amr: &str) -> Option<Authenticator> {
    match amr {
        "hwk" | "swk" => Some(Authenticator::SecurityKey),
        "otp" => Some(Authenticator::Totp),
        "face" | "fpt" | "iris" | "retina" | "vbm" => Some(Authenticator::Biometrics),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        Authenticator, MfaConfigDocument, MfaRequirement, MfaRules, OrganizationMfa, Proof, StepUp, effective, step_up,
    };

    fn rules(allowed: &[Authenticator], freshness: u64, provider: Option<u64>) -> MfaRules {
        MfaRules {
            allowed: allowed.to_vec(),
            freshness: Duration::from_secs(freshness),
            provider_factor: provider.map(Duration::from_secs),
            models: None,
        }
    }

    #[test]
    fn the_nearest_configuration_holds_whole() {
        let organization =
            OrganizationMfa { config: Some(rules(&[Authenticator::Totp], 60, None)), required_for_all: true };
        let off = MfaRequirement::Off;
        let key = MfaRequirement::Required(rules(&[Authenticator::SecurityKey], 10, None));
        assert_eq!(effective(None, None, &organization), organization.config);
        assert_eq!(effective(None, Some(&off), &organization), None);
        assert_eq!(effective(Some(&key), Some(&off), &organization).unwrap().allowed, [Authenticator::SecurityKey]);
        assert_eq!(effective(None, None, &OrganizationMfa { required_for_all: false, ..organization }), None);
    }

    #[test]
    fn a_proof_counts_while_it_is_fresh_and_of_an_allowed_kind() {
        let rules = rules(&[Authenticator::SecurityKey], 100, None);
        let proof = |kind, at| [Proof { kind, at }];
        for (proofs, now, satisfied) in [
            (proof(Authenticator::SecurityKey, 1_000), 1_099, true),
            (proof(Authenticator::SecurityKey, 1_000), 1_100, false),
            (proof(Authenticator::SecurityKey, 2_000), 1_050, false),
            (proof(Authenticator::Totp, 1_000), 1_001, false),
        ] {
            let found = step_up(&rules, &proofs, &["hwk".to_owned()], 900, now);
            assert_eq!(matches!(found, StepUp::Satisfied(_)), satisfied, "{proofs:?} at {now}");
        }
    }

    #[test]
    fn zero_freshness_asks_once_for_each_login() {
        let rules = rules(&[Authenticator::Totp], 0, None);
        let proofs = [Proof { kind: Authenticator::Totp, at: 1_000 }];
        assert!(matches!(step_up(&rules, &proofs, &[], 990, 5_000), StepUp::Satisfied(_)));
        assert_eq!(step_up(&rules, &proofs, &[], 1_500, 5_000), StepUp::Needed);
    }

    #[test]
    fn the_providers_factor_counts_only_where_the_organisation_says_so() {
        for (amr, provider, satisfied) in [
            ("hwk", Some(500), true),
            ("hwk", None, false),
            ("sms", Some(500), false),
            ("otp", Some(500), false),
            ("hwk", Some(50), false),
        ] {
            let rules = rules(&[Authenticator::SecurityKey], 100, provider);
            let found = step_up(&rules, &[], &[amr.to_owned()], 1_000, 1_100);
            assert_eq!(matches!(found, StepUp::Satisfied(_)), satisfied, "{amr} {provider:?}");
        }
    }

    #[test]
    fn an_unknown_authenticator_is_refused_and_an_empty_list_switches_off() {
        let document = |words: &[&str]| MfaConfigDocument {
            allowed_authenticators: Some(words.iter().map(ToString::to_string).collect()),
            ..MfaConfigDocument::default()
        };
        assert!(MfaRequirement::parse(&document(&["piv_key"])).is_err());
        assert_eq!(MfaRequirement::parse(&document(&[])), Ok(MfaRequirement::Off));
    }
}
