//! Rules about calls: `portunus.rules` of portals and of servers.
//!
//! Decides whether a rule is sound; holding one against a call is not here. A call must pass the rules of its portal and
//! those of its server; in either list the first enabled rule that applies decides, and where none applies the call may
//! go on. Invariant: a sound rule's expression and patterns compiled, and it has the settings of its action and no other's.

use std::sync::Arc;
use std::time::Duration;

use expr::{Expression, Limits};
use identity::document::{Lifetime, Problem, Problems, name};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use types::ScriptName;

use super::{MAX_NAME, prose};

/// Most rules of one portal or server.
pub const MAX_RULES: usize = 200;
/// Most paths, or patterns, of one rule that redacts.
const MAX_REDACTED: usize = 64;
const MAX_MESSAGE: usize = 500;
/// Most bytes one compiled pattern takes.
const PATTERN_BYTES: usize = 256 * 1_024;
/// How long an approval is good for at most.
const LONGEST_APPROVAL: Duration = Duration::from_secs(24 * 3_600);
/// How old a proof of a second factor may be at most.
const LONGEST_PROOF: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How old it may be where a rule does not say.
const USUAL_PROOF: Duration = Duration::from_secs(3_600);

identity::words! {
    /// What a rule does with a call.
    RuleAction {
        Allow = "allow",
        /// Answers with an error that names the rule.
        Block = "block",
        /// Waits until the person confirms on a page.
        RequireApproval = "require_approval",
        /// Waits until the person proved a second factor.
        RequireMfa = "require_mfa",
        /// Takes parts out of arguments and results.
        Redact = "redact",
        /// Asks a Worker.
        Worker = "worker",
    }
}

identity::words! {
    /// What becomes of a call whose Worker fails.
    OnError {
        Block = "block",
        Continue = "continue",
    }
}

/// A rule as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleDocument {
    /// Named in errors and logs.
    pub name: String,
    /// Fields are those of [`policy::hook::mcp`].
    pub expression: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<RuleAction>,
    pub enabled: bool,
    /// Told to whoever is blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfa: Option<MfaDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redact: Option<RedactDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerDocument>,
}

impl Default for RuleDocument {
    fn default() -> Self {
        Self {
            name: String::new(),
            expression: String::new(),
            action: None,
            enabled: true,
            message: None,
            approval: None,
            mfa: None,
            redact: None,
            worker: None,
        }
    }
}

/// `approval` of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApprovalDocument {
    /// How long it holds for calls of the same tool; absent: for the one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Lifetime>,
}

/// `mfa` of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MfaDocument {
    /// How old the proof may be; absent: an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Lifetime>,
}

/// `redact` of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RedactDocument {
    /// RFC 6901 pointers into the arguments and into structured results.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Regular expressions; what matches is taken out of every text of arguments and results.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
}

/// `worker` of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
}

/// A rule, known to be sound.
#[derive(Debug, Clone)]
pub struct ToolRule {
    pub name: String,
    pub enabled: bool,
    pub expression: Expression,
    pub effect: Effect,
}

/// What a rule does, with its settings.
#[derive(Debug, Clone)]
pub enum Effect {
    Allow,
    Block {
        message: Option<String>,
    },
    /// Zero: for the one call.
    RequireApproval {
        lifetime: Duration,
    },
    RequireMfa {
        max_age: Duration,
    },
    Redact {
        paths: Arc<[String]>,
        patterns: Arc<[Regex]>,
    },
    Worker {
        script: ScriptName,
        on_error: OnError,
    },
}

/// Reads a list of rules that stands at `pointer`.
pub(super) fn parse(
    documents: &[RuleDocument],
    lists: &dyn expr::Lists,
    pointer: &str,
    problems: &mut Problems,
) -> Vec<ToolRule> {
    if documents.len() > MAX_RULES {
        problems.add(pointer, format!("must hold at most {MAX_RULES} rules"));
        return Vec::new();
    }
    let mut names = std::collections::BTreeSet::new();
    let mut found = Vec::with_capacity(documents.len());
    for (index, document) in documents.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        if !names.insert(document.name.trim()) {
            problems.add(format!("{pointer}/name"), "is the name of another rule of the list");
        }
        match ToolRule::parse(document, lists) {
            Ok(rule) => found.push(rule),
            Err(faults) => problems.extend(&pointer, faults),
        }
    }
    found
}

/// Returns the expressions of rules, for finding the lists they name.
pub fn expressions(documents: &[RuleDocument]) -> impl Iterator<Item = &str> {
    documents.iter().map(|document| document.expression.as_str())
}

impl ToolRule {
    /// Makes a rule of a document.
    ///
    /// # Errors
    /// With every fault, relative to the rule.
    pub fn parse(document: &RuleDocument, lists: &dyn expr::Lists) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let name = problems.check("/name", name(&document.name, MAX_NAME)).unwrap_or_default();
        let compiled =
            Expression::compile(policy::hook::mcp::scheme(), &document.expression, lists, &Limits::default());
        let expression = problems.check("/expression", compiled);
        let Some(action) = document.action else {
            let words: Vec<&str> = RuleAction::WORDS.iter().map(|(word, _)| *word).collect();
            problems.add("/action", format!("is required: {}", words.join(", ")));
            return Err(problems.into_vec());
        };
        only_its_own(document, action, &mut problems);
        let effect = match action {
            RuleAction::Allow => Some(Effect::Allow),
            RuleAction::Block => Some(Effect::Block {
                message: document
                    .message
                    .as_deref()
                    .and_then(|text| problems.check("/message", prose(text, MAX_MESSAGE))),
            }),
            RuleAction::RequireApproval => {
                let lifetime = document.approval.as_ref().and_then(|approval| approval.lifetime.as_ref());
                let lifetime =
                    lifetime.map_or(Ok(Duration::ZERO), |text| text.within(Duration::ZERO, LONGEST_APPROVAL));
                problems.check("/approval/lifetime", lifetime).map(|lifetime| Effect::RequireApproval { lifetime })
            }
            RuleAction::RequireMfa => {
                let max_age = document.mfa.as_ref().and_then(|mfa| mfa.max_age.as_ref());
                let max_age =
                    max_age.map_or(Ok(USUAL_PROOF), |text| text.within(Duration::from_secs(60), LONGEST_PROOF));
                problems.check("/mfa/max_age", max_age).map(|max_age| Effect::RequireMfa { max_age })
            }
            RuleAction::Redact => redact(&document.redact.clone().unwrap_or_default(), &mut problems),
            RuleAction::Worker => {
                let worker = document.worker.clone().unwrap_or_default();
                let script = worker.script.ok_or("names the Worker that is asked");
                let on_error = worker.on_error.unwrap_or(OnError::Block);
                problems.check("/worker/script", script).map(|script| Effect::Worker { script, on_error })
            }
        };
        match (expression, effect) {
            (Some(expression), Some(effect)) => {
                problems.finish(Self { name, enabled: document.enabled, expression, effect })
            }
            _ => Err(problems.into_vec()),
        }
    }
}

/// Settings of another action would look as if they did something.
fn only_its_own(document: &RuleDocument, action: RuleAction, problems: &mut Problems) {
    for (member, written, owner) in [
        ("message", document.message.is_some(), RuleAction::Block),
        ("approval", document.approval.is_some(), RuleAction::RequireApproval),
        ("mfa", document.mfa.is_some(), RuleAction::RequireMfa),
        ("redact", document.redact.is_some(), RuleAction::Redact),
        ("worker", document.worker.is_some(), RuleAction::Worker),
    ] {
        if written && owner != action {
            problems.add(format!("/{member}"), format!("belongs to rules whose action is `{}`", owner.as_str()));
        }
    }
}

fn redact(document: &RedactDocument, problems: &mut Problems) -> Option<Effect> {
    for (member, count) in [("paths", document.paths.len()), ("patterns", document.patterns.len())] {
        if count > MAX_REDACTED {
            problems.add(format!("/redact/{member}"), format!("must hold at most {MAX_REDACTED} entries"));
        }
    }
    if document.paths.is_empty() && document.patterns.is_empty() {
        problems.add("/redact", "names at least one path or pattern to take out");
        return None;
    }
    for (index, path) in document.paths.iter().enumerate().take(MAX_REDACTED) {
        if !path.starts_with('/') || path.len() > 512 {
            let message = "must be a JSON pointer such as `/customer/iban`";
            problems.add(format!("/redact/paths/{index}"), message);
        }
    }
    let patterns = document.patterns.iter().take(MAX_REDACTED).enumerate().filter_map(|(index, text)| {
        let compiled = RegexBuilder::new(text).size_limit(PATTERN_BYTES).build();
        let compiled = compiled.map_err(|error| {
            let too_large = matches!(error, regex::Error::CompiledTooBig(_));
            let told = || format!("not a regular expression: {}", last_line(&error.to_string()));
            if too_large { "is too large".to_owned() } else { told() }
        });
        problems.check(&format!("/redact/patterns/{index}"), compiled)
    });
    let patterns: Vec<Regex> = patterns.collect();
    Some(Effect::Redact { paths: document.paths.as_slice().into(), patterns: patterns.into() })
}

/// The library draws the place of a fault over several lines and says what it is in the last.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}
