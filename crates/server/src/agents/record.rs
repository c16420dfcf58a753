//! Calls through portals, as records of `mcp_portal_logs`.
//!
//! Invariant: whatever ended a call, it has one record; one that the log cannot take is reported.

use ::agents::record::{self, Outcome, Record};
use ::agents::visit::Visitor;
use logs::{Logs, McpCall};
use types::AccountId;

/// Writes records into the log.
pub(super) struct Recorder {
    pub logs: Logs,
    pub account: AccountId,
}

impl record::Recorder for Recorder {
    fn record(&self, record: Record) {
        let call = call(self.account, record);
        if let Err(error) = self.logs.try_append(call) {
            tracing::error!(%error, "a call through an MCP portal could not be recorded");
        }
    }
}

fn call(account: AccountId, record: Record) -> McpCall {
    let (email, user) = match &record.visitor {
        Visitor::Person(person) => (person.email.as_str().to_owned(), person.user.to_string()),
        Visitor::Program { name, .. } => (String::new(), name.clone()),
        Visitor::Nobody => Default::default(),
    };
    let (action, error) = match &record.outcome {
        Outcome::Success => ("allow", String::new()),
        Outcome::Failed(why) => ("allow", why.clone()),
        Outcome::Blocked(rule) => ("block", format!("blocked by the rule \"{rule}\"")),
        Outcome::CutOff => ("allow", "the answer was cut off".to_owned()),
    };
    let json = |text: Option<String>| {
        // What was shortened is no JSON any more, and kept as text.
        text.map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)))
    };
    // Four bytes to a token, as the protocol's own tools estimate.
    let tokens = |bytes: usize| u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX);
    McpCall {
        id: record.id,
        datetime: record.at,
        account_id: account.to_string(),
        client_ip: record.source.to_string(),
        success: record.outcome == Outcome::Success,
        error,
        method: record.method,
        portal_aud: record.portal_audience,
        portal_id: record.portal,
        prompt_get_name: record.prompt.unwrap_or_default(),
        resource_read_uri: record.resource.unwrap_or_default(),
        server_aud: record.server_audience.unwrap_or_default(),
        server_id: record.server.unwrap_or_default(),
        server_response_duration_ms: u64::try_from(record.server_time.as_millis()).unwrap_or(u64::MAX),
        server_url: record.server_address.unwrap_or_default(),
        session_id: record.session,
        tool_call_name: record.tool.unwrap_or_default(),
        user_email: email,
        user_id: user,
        parent_id: record.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        action: action.to_owned(),
        rule_name: record.rules.last().cloned().unwrap_or_default(),
        arguments: json(record.arguments),
        result: json(record.result),
        tokens_in: tokens(record.bytes.0),
        tokens_out: tokens(record.bytes.1),
        client_name: record.client_name,
        client_version: record.client_version,
        protocol_version: record.version.to_owned(),
        duration_micros: u64::try_from(record.time.as_micros()).unwrap_or(u64::MAX),
        ..McpCall::default()
    }
}
