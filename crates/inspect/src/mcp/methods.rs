//! The methods of MCP, in every published version, and what else must be there where another protocol has the same one.

/// Longest method that is looked at, in bytes.
pub(super) const LONGEST: usize = 128;

/// A member of params that goes with a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    Name,
    Uri,
    Messages,
    Message,
    Level,
    ProgressToken,
    TaskId,
    Reference,
    ElicitationId,
    ProtocolVersion,
}

impl Proof {
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What a method says of the protocol.
enum Weight {
    /// No other protocol has it.
    Own,
    /// MCP's always has this; if the message breaks off before, the method is taken for MCP's.
    With(Proof),
    /// Other protocols have the method too, so the member must be seen.
    Only(Proof),
    /// Only the protocol's own `_meta` tells.
    Shared,
}

/// Tells whether a request with this method is MCP's, given what its params hold. `complete`: nothing of it is missing.
pub(super) fn is_proven(method: &str, proofs: u32, complete: bool) -> bool {
    match weight(method) {
        Some(Weight::Own) => true,
        Some(Weight::With(proof)) => !complete || proofs & proof.bit() != 0,
        Some(Weight::Only(proof)) => proofs & proof.bit() != 0,
        Some(Weight::Shared) | None => false,
    }
}

/// Tells whether the protocol has the method, in any version.
#[must_use]
pub fn is_known(method: &str) -> bool {
    weight(method).is_some()
}

fn weight(method: &str) -> Option<Weight> {
    Some(match method {
        "tools/list"
        | "resources/list"
        | "resources/templates/list"
        | "prompts/list"
        | "roots/list"
        | "server/discover"
        | "subscriptions/listen"
        | "notifications/initialized"
        | "notifications/cancelled"
        | "notifications/tools/list_changed"
        | "notifications/resources/list_changed"
        | "notifications/prompts/list_changed"
        | "notifications/roots/list_changed"
        | "notifications/subscriptions/acknowledged" => Weight::Own,
        "tools/call" | "prompts/get" => Weight::With(Proof::Name),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" | "notifications/resources/updated" => {
            Weight::With(Proof::Uri)
        }
        "sampling/createMessage" => Weight::With(Proof::Messages),
        "elicitation/create" => Weight::With(Proof::Message),
        "notifications/elicitation/complete" => Weight::With(Proof::ElicitationId),
        "completion/complete" => Weight::With(Proof::Reference),
        "logging/setLevel" | "notifications/message" => Weight::With(Proof::Level),
        "notifications/progress" => Weight::With(Proof::ProgressToken),
        "notifications/tasks/status" => Weight::With(Proof::TaskId),
        // A2A's tasks have an `id`; language servers and agent clients are initialized without a dated version.
        "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/update" => Weight::Only(Proof::TaskId),
        "initialize" => Weight::Only(Proof::ProtocolVersion),
        "ping" | "tasks/list" => Weight::Shared,
        _ => return None,
    })
}
