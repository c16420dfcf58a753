//! What travels through the browser between the steps of a sign-in, sealed.
//!
//! Shapes and their purposes; no decisions. Invariant: each is bound to one browser by a secret in a cookie of the host
//! that reads it, is good for one purpose, and expires.

use identity::identity::ClientCertificate;
use identity::mfa::webauthn::{EnrolmentState, ProofState};
use identity::opaque::Digest;
use identity::relying_party::PendingLogin;
use identity::session::{Moment, SessionHash};
use serde::{Deserialize, Serialize};
use types::{AccessPolicyId, ApplicationId, Email, ProviderId, UserId};

/// The request a sign-in began with; `meta` in the address of the sign-in page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) application: ApplicationId,
    pub(crate) host: String,
    /// Path and query of the application.
    pub(crate) back: String,
    /// Hash of the cookie on the application's host.
    pub(crate) browser: String,
    /// What the client showed there, or why it does not count.
    pub(crate) certificate: Option<Result<ClientCertificate, String>>,
    /// The policy that covers the request and asks for more, where that is why the person was sent to sign in.
    #[serde(default)]
    pub(crate) policy: Option<AccessPolicyId>,
    /// A part of the application asks for a proof of a second factor that is no older than so many seconds.
    #[serde(default)]
    pub(crate) factor_within: Option<u64>,
    /// The request for approval that somebody signs in to answer; the application is its door and is not opened.
    #[serde(default)]
    pub(crate) approves: Option<Digest>,
    pub(crate) expires: i64,
}

/// The cookie of the sign-in host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SignIn {
    /// What forms of this browser carry too.
    pub(crate) key: String,
    pub(crate) start: Option<Start>,
    pub(crate) pending: Option<PendingLogin>,
    /// Finds the steps of a chain that were passed.
    pub(crate) passed: Option<String>,
    pub(crate) expires: i64,
}

/// The hidden field of a form on the sign-in host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Form {
    pub(crate) key: String,
    pub(crate) start: Start,
    pub(crate) provider: Option<ProviderId>,
    /// The code that was mailed, where one is asked for.
    #[serde(default)]
    pub(crate) mailed: Option<Mailed>,
    pub(crate) expires: i64,
}

/// A code that is on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mailed {
    /// Names the login it is for; its hash finds what was kept of it.
    pub(crate) login: String,
    pub(crate) address: Email,
}

/// Takes a person from the sign-in host to the application.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) start: Start,
    /// The organisation's session, by its hash.
    pub(crate) session: String,
    pub(crate) policy: AccessPolicyId,
    /// Milliseconds since the epoch.
    pub(crate) issued: i64,
    pub(crate) expires: i64,
}

/// The step-up that a sign-in is at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) start: Start,
    pub(crate) policy: AccessPolicyId,
}

/// The hidden field of a form about second factors.
#[derive(Serialize, Deserialize)]
pub(crate) struct FactorForm {
    pub(crate) key: String,
    /// The session it was made in, by its hash.
    pub(crate) session: String,
    pub(crate) step: Option<Step>,
    /// The secret that is being enrolled.
    pub(crate) secret: Option<[u8; 20]>,
    pub(crate) expires: i64,
}

/// The hidden field of the form that asks for an approval.
#[derive(Serialize, Deserialize)]
pub(crate) struct ApprovalForm {
    pub(crate) key: String,
    /// The session it was made in, by its hash.
    pub(crate) session: String,
    pub(crate) step: Step,
    pub(crate) expires: i64,
}

/// The hidden field of the form that answers a request for approval.
#[derive(Serialize, Deserialize)]
pub(crate) struct AnswerForm {
    pub(crate) key: String,
    /// Who was shown it.
    pub(crate) person: UserId,
    pub(crate) request: Digest,
    pub(crate) link: String,
    pub(crate) expires: i64,
}

/// The hidden field of the form that ends a person's sessions everywhere.
#[derive(Serialize, Deserialize)]
pub(crate) struct SignOutForm {
    pub(crate) key: String,
    /// The session it was made in, by its hash.
    pub(crate) session: String,
    pub(crate) expires: i64,
}

/// What a browser is at with an authenticator.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ceremony {
    pub(crate) key: String,
    /// The session it was made in, by its hash; `None` at the sign-in page.
    pub(crate) session: Option<String>,
    pub(crate) state: CeremonyState,
}

/// What the answer will be held against.
#[derive(Serialize, Deserialize)]
pub(crate) enum CeremonyState {
    Enrolment(EnrolmentState),
    Proof(ProofState),
}

/// Purposes of seals.
pub(crate) const START: &str = "start";
pub(crate) const SIGN_IN: &str = "sign-in";
pub(crate) const FORM: &str = "form";
pub(crate) const STEP: &str = "step";
pub(crate) const FACTOR: &str = "factor";
pub(crate) const CEREMONY: &str = "ceremony";
pub(crate) const TRANSFER: &str = "transfer";
pub(crate) const APPROVAL: &str = "approval";
pub(crate) const ANSWER: &str = "answer";
pub(crate) const SIGN_OUT: &str = "sign-out";

impl Transfer {
    pub(crate) fn session(&self) -> Option<SessionHash> {
        SessionHash::parse(&self.session)
    }

    pub(crate) const fn issued(&self) -> Moment {
        Moment(self.issued)
    }
}

/// Draws 32 random bytes.
pub(crate) fn random() -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}
