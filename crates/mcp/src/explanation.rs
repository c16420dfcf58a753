//! What one person sees of a portal, and why: the answer to an administrator's question, as data.
//!
//! Decides nothing; the plane fills it in from the view and the rules that answer the person too.

use crate::pinning::KindWord;

/// A server of a portal, as it is for one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenServer {
    pub id: String,
    pub name: String,
    /// The policies of its application let the person in.
    pub open: bool,
    /// It is on before the person chooses.
    pub on: bool,
    /// Why calls to it fail, where they would.
    pub broken: Option<String>,
    /// Empty for a server that is not open.
    pub definitions: Vec<SeenDefinition>,
}

/// A definition, as it is for one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenDefinition {
    pub kind: KindWord,
    /// At the server.
    pub key: String,
    /// What clients call it.
    pub exposed: String,
    pub why: Why,
}

/// What decides whether a definition is seen, and what becomes of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is seen; the rules that decided, and what they ask for.
    Visible { rules: Vec<String>, conditions: Vec<String> },
    /// It is seen; whether a call passes hangs on its arguments, by this rule.
    Depends(String),
    /// The server is off until the person turns it on.
    Off,
    /// An administrator turned it off.
    Disabled,
    /// It waits for approval.
    Held,
    /// A rule blocks it whatever the arguments.
    Rule(String),
    /// Another definition has its name.
    Taken,
}

impl Why {
    #[must_use]
    pub const fn is_visible(&self) -> bool {
        matches!(self, Self::Visible { .. } | Self::Depends(_))
    }
}
