//! An access policy: the v4 document (reference section 1.5), and what it means once it is known to be sound.
//!
//! Decides whether a document can be a policy at all: which selectors its decision may use, lifetimes, approvals. What
//! it decides for somebody is [`crate::evaluation`]. Invariant: a [`Policy`] includes at least one selector, and none
//! that its decision can never satisfy.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::{AccessPolicyId, Email, ListId};

use crate::application::LONGEST_SESSION;
use crate::approval::MAX_APPROVERS;
use crate::document::{self, Lifetime, Problem, Problems, words};
use crate::mfa_requirement::{MfaConfigDocument, MfaRequirement};
use crate::selector::Selector;

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// Most selectors of one list.
pub const MAX_SELECTORS: usize = 1_000;
/// Members the API returns and takes back without effect.
pub const READ_ONLY: [&str; 6] = ["id", "uid", "created_at", "updated_at", "app_count", "reusable"];
const MAX_PROMPT: usize = 1_024;

words! {
    /// What a policy does with those it covers.
    Decision {
        Allow = "allow",
        Deny = "deny",
        /// Service Auth: no sign-in, no e-mail.
        NonIdentity = "non_identity",
        /// No enforcement, no token, no log.
        Bypass = "bypass",
    }
}

/// A policy as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyDocument {
    pub name: String,
    pub decision: Option<Decision>,
    pub include: Vec<Selector>,
    pub require: Vec<Selector>,
    pub exclude: Vec<Selector>,
    /// Only where the policy hangs on an application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precedence: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_duration: Option<Lifetime>,
    pub approval_required: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approval_groups: Vec<ApprovalGroupDocument>,
    pub purpose_justification_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose_justification_prompt: Option<String>,
    pub isolation_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa_config: Option<MfaConfigDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portunus: Option<PolicyExtension>,
}

/// The group `portunus` of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyExtension {
    /// An expression of the access hook, ANDed with the selectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

/// One entry of `approval_groups` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApprovalGroupDocument {
    pub approvals_needed: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub email_addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_list_uuid: Option<ListId>,
}

impl PolicyDocument {
    /// Reads what an author sent.
    ///
    /// # Errors
    /// With every fault of shape found.
    pub fn read(value: &Value) -> Result<Self, Vec<Problem>> {
        document::read(value, &READ_ONLY)
    }
}

/// A policy, known to be sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub id: AccessPolicyId,
    pub name: String,
    pub decision: Decision,
    /// One of these must hold.
    pub include: Vec<Selector>,
    /// All of these must hold.
    pub require: Vec<Selector>,
    /// None of these may hold.
    pub exclude: Vec<Selector>,
    /// Source text; compiled with the account's lists by [`crate::evaluation`].
    pub expression: Option<String>,
    /// `None` inherits the application's.
    pub session: Option<Duration>,
    pub approval: Vec<ApprovalGroup>,
    /// The question to ask at login.
    pub justification: Option<String>,
    /// The application may only be served in a remote browser, which this product does not have: the policy admits
    /// nobody.
    pub isolated: bool,
    pub mfa: Option<MfaRequirement>,
}

/// People of whom some must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalGroup {
    /// At least one.
    pub needed: u32,
    pub people: Vec<Email>,
    pub list: Option<ListId>,
}

/// The question asked when the author wrote none.
pub const DEFAULT_PROMPT: &str = "Please enter a justification for entering this protected domain.";

impl Policy {
    /// Makes a policy of a document.
    ///
    /// # Errors
    /// With every fault found.
    pub fn parse(id: AccessPolicyId, document: &PolicyDocument) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let name = problems.check("/name", document::name(&document.name, 255)).unwrap_or_default();
        let Some(decision) = document.decision else {
            problems.add("/decision", "is required: allow, deny, non_identity or bypass");
            return Err(problems.into_vec());
        };
        if document.include.is_empty() {
            problems.add("/include", "must hold at least one rule");
        }
        let lists = [("include", &document.include), ("require", &document.require), ("exclude", &document.exclude)];
        for (list, selectors) in lists {
            if selectors.len() > MAX_SELECTORS {
                problems.add(format!("/{list}"), format!("must hold at most {MAX_SELECTORS} rules"));
            }
            for (index, selector) in selectors.iter().enumerate() {
                if let Err(message) = permits(decision, selector) {
                    problems.add(format!("/{list}/{index}"), message);
                }
            }
        }
        let session = document.session_duration.as_ref();
        let session = session
            .and_then(|lifetime| problems.check("/session_duration", lifetime.within(Duration::ZERO, LONGEST_SESSION)));
        let mfa = document.mfa_config.as_ref().and_then(|config| {
            MfaRequirement::parse(config).map_err(|faults| problems.extend("/mfa_config", faults)).ok()
        });
        let prompt = document.purpose_justification_prompt.clone().filter(|text| !text.trim().is_empty());
        if prompt.as_ref().is_some_and(|text| text.chars().count() > MAX_PROMPT) {
            problems.add("/purpose_justification_prompt", format!("must be at most {MAX_PROMPT} characters"));
        }
        let justification =
            document.purpose_justification_required.then(|| prompt.unwrap_or_else(|| DEFAULT_PROMPT.to_owned()));
        let approval = approval(document, decision, &mut problems);
        let expression = document.portunus.as_ref().and_then(|extension| extension.expression.clone());
        problems.finish(Self {
            id,
            name,
            decision,
            include: document.include.clone(),
            require: document.require.clone(),
            exclude: document.exclude.clone(),
            expression: expression.filter(|text| !text.trim().is_empty()),
            session,
            approval,
            justification,
            isolated: document.isolation_required,
            mfa,
        })
    }

    /// Returns what the author should know although the policy is valid.
    ///
    /// `pins` are the providers that sign in whoever reads a mailbox.
    #[must_use]
    pub fn warnings(&self, pins: &[types::ProviderId]) -> Vec<String> {
        let mut warnings = Vec::new();
        let pin = |selector: &Selector| pins.iter().any(|id| *selector == Selector::LoginMethod { id: *id });
        let open = self.include.iter().any(|selector| *selector == Selector::Everyone {} || pin(selector));
        if self.decision == Decision::Allow && open && self.require.is_empty() && self.expression.is_none() {
            warnings.push("anybody with a mailbox can pass this policy; require something else too".to_owned());
        }
        if self.decision == Decision::Bypass {
            warnings.push("a bypass admits without sign-in, token or log".to_owned());
        }
        if self.isolated {
            warnings.push("there is no remote browser, so this policy admits nobody".to_owned());
        }
        warnings
    }
}

/// Tells whether a policy with this decision can use a selector (reference section 1.5).
fn permits(decision: Decision, selector: &Selector) -> Result<(), &'static str> {
    let service = matches!(selector, Selector::ServiceToken { .. } | Selector::AnyServiceToken {});
    if service && decision != Decision::NonIdentity {
        return Err("service tokens are for policies with the decision `non_identity`");
    }
    let identity_free = matches!(decision, Decision::NonIdentity | Decision::Bypass);
    if matches!(selector, Selector::LinkedAppToken { .. }) && !identity_free {
        return Err("a linked application's token is for policies with the decision `non_identity` or `bypass`");
    }
    if identity_free && selector.needs_person() {
        return Err("nobody signs in for policies with the decision `non_identity` or `bypass`");
    }
    if let Selector::Risk { user_risk_score } = selector
        && user_risk_score.is_empty()
    {
        return Err("name at least one level of risk");
    }
    if let Selector::ExternalEvaluation(external) = selector {
        let plain = [&external.evaluate_url, &external.keys_url]
            .into_iter()
            .any(|url| url.scheme() != "https" && !matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")));
        if plain {
            return Err("an external evaluation goes to https URLs");
        }
    }
    Ok(())
}

fn approval(document: &PolicyDocument, decision: Decision, problems: &mut Problems) -> Vec<ApprovalGroup> {
    if !document.approval_required {
        return Vec::new();
    }
    if decision != Decision::Allow {
        problems.add("/approval_required", "is for policies with the decision `allow`");
    }
    if document.approval_groups.is_empty() {
        problems.add("/approval_groups", "must name who approves");
    }
    let named = document.approval_groups.iter().map(|group| group.email_addresses.len());
    if document.approval_groups.len() > MAX_APPROVERS || named.sum::<usize>() > MAX_APPROVERS {
        problems.add("/approval_groups", format!("must name at most {MAX_APPROVERS} people"));
        return Vec::new();
    }
    let mut groups = Vec::new();
    for (index, group) in document.approval_groups.iter().enumerate() {
        let pointer = format!("/approval_groups/{index}");
        let people: Vec<Email> = group
            .email_addresses
            .iter()
            .enumerate()
            .filter_map(|(at, text)| {
                problems.check(&format!("{pointer}/email_addresses/{at}"), text.trim().to_lowercase().parse())
            })
            .collect();
        if people.is_empty() && group.email_list_uuid.is_none() {
            problems.add(pointer.clone(), "must name addresses or a list");
        }
        let reachable = group.email_list_uuid.is_some()
            || usize::try_from(group.approvals_needed).unwrap_or(usize::MAX) <= people.len();
        if group.approvals_needed == 0 || !reachable {
            problems.add(format!("{pointer}/approvals_needed"), "must be at least one and at most the people named");
        }
        groups.push(ApprovalGroup { needed: group.approvals_needed.max(1), people, list: group.email_list_uuid });
    }
    groups
}
