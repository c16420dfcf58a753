//! What a record of a web request tells of the Model Context Protocol in it.
//!
//! A record is written when the exchange has ended and may say more than a rule was told, from the answer, or less, of a
//! long message. Invariant: only what a rule would have been told is known here.

use expr::{ArrayRef, Fact, FieldId, ValueRef};

use super::record::{Row, known_bool, known_text, number, text, texts};
use crate::hook::http::id as http;

/// What settles by itself that a request is MCP: headers, a known endpoint, its body.
const DECISIVE: [&str; 5] = ["version_header", "session_header", "method_header", "known_endpoint", "request_body"];
/// First bytes of a body that are looked at for a record: a message that is no longer was read whole.
const LOOKED_AT: i64 = 16 << 10;
/// Texts of a record of this length may have been cut.
const LONGEST: usize = 256;

/// What is known of MCP in one request.
pub(super) struct McpRecord<'r> {
    /// `None`: lost.
    is_mcp: Option<bool>,
    messages: Option<Messages<'r>>,
    /// The host is that of a portal; of a server behind one.
    place: Option<(bool, bool)>,
}

struct Messages<'r> {
    methods: Vec<&'r str>,
    tools: Vec<&'r str>,
    client: Option<&'r str>,
}

impl<'r> McpRecord<'r> {
    pub(super) fn read(row: &'r Row) -> Self {
        // Records of versions that did not look for it do not carry the word either.
        let body = text(row, "RequestBody");
        let found = row.get("IsMCP").is_some_and(|found| found == true);
        let is_mcp = if found {
            texts(row, "MCPEvidence").iter().any(|word| DECISIVE.contains(word)).then_some(true)
        } else {
            match body {
                Some("none") => Some(false),
                Some(_) => text(row, "RequestContentType").filter(|kind| !may_be_json(kind)).map(|_| false),
                None => None,
            }
        };
        let place = found.then(|| {
            let place = text(row, "MCPPortal");
            (place == Some("portal"), place == Some("behind_portal"))
        });
        Self { is_mcp, messages: Messages::read(row, body, is_mcp), place }
    }

    pub(super) fn fact(&self, field: FieldId) -> Fact<'_> {
        match (field, self.is_mcp) {
            (http::IS_MCP, known) => known.map_or(Fact::Unknown, known_bool),
            (http::MCP_IS_PORTAL, _) => self.place.map_or(Fact::Unknown, |(portal, _)| known_bool(portal)),
            (http::MCP_BEHIND_PORTAL, _) => self.place.map_or(Fact::Unknown, |(_, behind)| known_bool(behind)),
            // The name that is recorded may be the one that the server gave itself later.
            (http::MCP_SERVER_NAME, _) => Fact::Unknown,
            (_, Some(false)) => Fact::Absent,
            // The version may be the one that was agreed on in the answer.
            (http::MCP_VERSION, _) => Fact::Unknown,
            _ => self.messages.as_ref().map_or(Fact::Unknown, |messages| messages.fact(field)),
        }
    }
}

impl<'r> Messages<'r> {
    fn read(row: &'r Row, body: Option<&str>, is_mcp: Option<bool>) -> Option<Self> {
        if is_mcp != Some(true) {
            return None;
        }
        if body == Some("none") {
            return Some(Self { methods: Vec::new(), tools: Vec::new(), client: None });
        }
        let whole = number(row, "RequestBytes").is_some_and(|bytes| bytes < LOOKED_AT);
        // Of a batch, names that come again are recorded once, with commas between.
        let one =
            |name: &str| text(row, name).map_or(Some(Vec::new()), |name| (!name.contains(',')).then(|| vec![name]));
        let methods = one("MCPMethod").filter(|methods| whole && !methods.is_empty())?;
        let client = text(row, "MCPClientName");
        let certain = client.is_none_or(|client| client.chars().count() < LONGEST);
        Some(Self { methods, tools: one("MCPTool")?, client }).filter(|_| certain)
    }

    fn fact(&self, field: FieldId) -> Fact<'_> {
        match field {
            http::MCP_METHODS => Fact::Known(ValueRef::Array(ArrayRef::Strs(&self.methods))),
            http::MCP_TOOLS => Fact::Known(ValueRef::Array(ArrayRef::Strs(&self.tools))),
            http::MCP_CLIENT_NAME => self.client.map_or(Fact::Absent, known_text),
            _ => Fact::Unknown,
        }
    }
}

/// Tells whether a body of this type is looked into.
fn may_be_json(media_type: &str) -> bool {
    media_type.contains("json")
}
