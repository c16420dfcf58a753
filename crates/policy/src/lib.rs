//! The policy engine: what a rule may say, in which order rules are held against a request, and what comes of it.
//!
//! Owns each hook's fields, the v4 rule document, rule sets with their index, verdicts and traces. Deliberately reads no
//! body, clock, file or socket: facts and the current time are arguments, a plan is the answer. Invariant: nothing that
//! cannot be evaluated widens access.

pub mod action;
pub mod duration;
pub mod facts;
pub mod files;
pub mod headers;
pub mod hook;
pub mod lists;
pub mod package;
pub mod precedence;
pub mod redirect;
pub mod replay;
pub mod ruleset;
pub mod schedule;
pub mod spec;
pub mod trace;

pub use action::{Action, ActionPlan};
pub use facts::{
    BodyFacts, ConnectionFacts, FactsDocument, Host, HostFacts, HttpFacts, L4Facts, McpMessages, McpTraffic, Person,
    RequestFacts, ResponseFacts,
};
pub use hook::{Hook, Phase};
pub use ruleset::evaluation::Evaluation;
pub use ruleset::{
    CompileOptions, CompileReport, Cursor, HttpRuleset, L4Ruleset, Marks, Needs, RuleErrors, RuleRef, Step, StoredRule,
    Verdict, check, compile,
};
pub use spec::{RuleSpec, SpecError};
pub use trace::{Scratch, Trace};
