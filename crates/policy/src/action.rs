//! The actions of a rule and, for each, the typed plan that a plane carries out.
//!
//! Says what is to be done, never does it. Invariant: a plan holds only values that were checked when its rule was read,
//! so carrying it out cannot fail on its settings.

use std::sync::Arc;
use std::time::Duration;

use types::ScriptName;

use crate::headers::HeaderPlan;
use crate::redirect::Target;

macro_rules! actions {
    ($($variant:ident $word:literal,)*) => {
        /// The `action` of a rule (reference section 1.1, and ours).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action { $($variant,)* }

        impl Action {
            /// Every action with its word on the wire.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant),)*];

            /// Returns the word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

actions! {
    On "on",
    Off "off",
    Allow "allow",
    Block "block",
    Scan "scan",
    NoScan "noscan",
    SafeSearch "safesearch",
    YtRestricted "ytrestricted",
    Isolate "isolate",
    NoIsolate "noisolate",
    Override "override",
    L4Override "l4_override",
    Egress "egress",
    Resolve "resolve",
    Quarantine "quarantine",
    Redirect "redirect",
    AuditSsh "audit_ssh",
    Worker "worker",
    Managed "managed",
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a matching rule asks its plane to do. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub enum ActionPlan {
    /// Lets the request pass, with changes.
    Allow(Arc<AllowPlan>),
    /// Answers with the block page.
    Block(Arc<BlockPlan>),
    /// Sends the browser elsewhere.
    Redirect(Arc<RedirectPlan>),
    /// Serves the page from a remote browser.
    Isolate(Arc<IsolatePlan>),
    /// Holds unseen files until they were examined.
    Quarantine(Arc<QuarantinePlan>),
    /// Asks a Worker.
    Worker(Arc<WorkerPlan>),
    /// Asks a Worker that ships with the product.
    Managed(Arc<ManagedPlan>),
    /// Passes the connection through without decryption.
    Off,
    /// Exempts from body scanning; evaluation goes on.
    NoScan,
    /// Exempts from isolation; evaluation goes on.
    NoIsolate,
    /// A rule could not be evaluated. It blocks: an evaluation error never widens access.
    Unevaluable(Arc<str>),
}

impl ActionPlan {
    /// Returns the word of the action that made this plan.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Block(_) | Self::Unevaluable(_) => "block",
            Self::Redirect(_) => "redirect",
            Self::Isolate(_) => "isolate",
            Self::Quarantine(_) => "quarantine",
            Self::Worker(_) => "worker",
            Self::Managed(_) => "managed",
            Self::Off => "off",
            Self::NoScan => "noscan",
            Self::NoIsolate => "noisolate",
        }
    }

    /// Whether what the request says is to be recorded, masked.
    #[must_use]
    pub fn logs_payload(&self) -> bool {
        match self {
            Self::Allow(plan) => plan.payload_log,
            Self::Block(plan) => plan.payload_log,
            Self::Redirect(_)
            | Self::Isolate(_)
            | Self::Quarantine(_)
            | Self::Worker(_)
            | Self::Managed(_)
            | Self::Unevaluable(_)
            | Self::Off
            | Self::NoScan
            | Self::NoIsolate => false,
        }
    }
}

/// The settings of `allow`. The default is what happens when no rule matches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AllowPlan {
    pub headers: HeaderPlan,
    pub untrusted_cert: UntrustedCertificate,
    pub check_session: Option<CheckSession>,
    pub payload_log: bool,
    pub forensic_copy: bool,
    pub prompt_log: bool,
}

/// What to do about an origin whose certificate does not verify (reference section 6.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UntrustedCertificate {
    /// Connect anyway.
    PassThrough,
    /// Show the block page.
    Block,
    /// Show the error page, status 526.
    #[default]
    Error,
}

/// How old the person's session may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckSession {
    pub enforce: bool,
    pub duration: Duration,
}

/// The settings of `block`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BlockPlan {
    pub reason: Option<String>,
    /// Set: redirect (307) here. Unset: the account's block page.
    pub page: Option<BlockPage>,
    pub notification: Option<Notification>,
    pub payload_log: bool,
    pub forensic_copy: bool,
    pub prompt_log: bool,
}

/// A block page elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockPage {
    pub target: Target,
    pub include_context: bool,
}

/// A notice on the person's device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notification {
    pub message: String,
    pub support_url: String,
    pub include_context: bool,
}

/// The settings of `redirect`; [`crate::redirect::location`] computes where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectPlan {
    pub target: Target,
    pub include_context: bool,
    pub preserve_path_and_query: bool,
}

/// What a remote browser permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsolatePlan {
    pub copy: Permission,
    pub paste: Permission,
    pub download: Permission,
    pub keyboard: Permission,
    pub printing: Permission,
    pub upload: Permission,
    pub watermark: Option<String>,
}

impl Default for IsolatePlan {
    fn default() -> Self {
        let on = Permission::Enabled;
        Self { copy: on, paste: on, download: on, keyboard: on, printing: on, upload: on, watermark: None }
    }
}

/// Whether a remote browser permits one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    Enabled,
    Disabled,
    /// Only inside the remote browser.
    RemoteOnly,
}

/// The settings of `quarantine`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinePlan {
    pub file_types: Vec<String>,
}

/// The settings of `worker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerPlan {
    pub script: ScriptName,
    /// Wall clock.
    pub timeout: Duration,
    pub cpu: Duration,
    pub memory_bytes: u64,
    pub on_error: OnError,
    pub cache: Option<CachePlan>,
}

/// The settings of `managed`.
#[derive(Debug, Clone, PartialEq)]
pub struct ManagedPlan {
    pub template: ScriptName,
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

/// What follows when a Worker throws, runs out of a limit or is killed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    #[default]
    Block,
    /// As if the Worker had no opinion.
    Continue,
    /// As if an `allow` rule had matched.
    Allow,
}

/// For how long, and per which facts, a Worker's answer may be used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachePlan {
    /// The fields whose values together are the key, in the author's order.
    pub key: Vec<expr::FieldId>,
    pub ttl: Duration,
}
