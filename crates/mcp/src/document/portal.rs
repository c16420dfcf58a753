//! An MCP portal: the v4 document, ours beyond it, and what both mean once they are known to be sound.
//!
//! Decides which servers a portal names and how, not whether they exist. Invariants: a portal has one exact host, names a
//! server once and at most [`MAX_SERVERS`] of them; the two members about Code Mode never contradict each other.

use std::collections::BTreeSet;

use identity::destination::Pattern;
use identity::document::{Problem, Problems, name};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use types::{McpPortalId, McpServerId};

use super::overrides::{self, Override, OverrideDocument};
use super::rule::{self, RuleDocument, ToolRule};
use super::{MAX_DESCRIPTION, MAX_NAME, members, prose, read_over};

/// Version of the stored document.
pub const VERSION: u32 = 1;
/// Most servers of one portal (reference section 5.2).
pub const MAX_SERVERS: usize = 40;
/// Members of a server in the read form of a portal that are taken back without effect.
const OF_SERVERS: [&str; 20] = [
    "id",
    "name",
    "description",
    "hostname",
    "auth_type",
    "auth_config_summary",
    "authentication_status",
    "created_at",
    "created_by",
    "modified_at",
    "modified_by",
    "error",
    "error_details",
    "is_shared_oauth_callback_enabled",
    "last_successful_sync",
    "last_synced",
    "secure_web_gateway",
    "status",
    "tools",
    "prompts",
];

identity::words! {
    /// Whether clients get the two tools of Code Mode in place of all others.
    CodeMode {
        /// Never, whatever the client asks.
        Off = "off",
        /// When the client asks.
        OptIn = "opt_in",
        /// Unless the client asks not to.
        DefaultOn = "default_on",
        /// Always, whatever the client asks.
        Enforced = "enforced",
    }
}

/// A portal as written. A member that is absent reads as its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortalDocument {
    /// Stands in the path as well, and is kept beside the document.
    #[serde(skip_serializing)]
    pub id: Option<String>,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub hostname: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_mode: Option<CodeMode>,
    /// Deprecated on the wire; read into `code_mode`.
    #[serde(skip_serializing)]
    pub allow_code_mode: Option<bool>,
    pub secure_web_gateway: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<LinkDocument>,
    /// What the vendor's documents have no word for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portunus: Option<PortalExtension>,
}

/// One entry of `servers` as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkDocument {
    pub server_id: String,
    /// A person turns it on before they see it.
    pub default_disabled: bool,
    /// Calls use the person's own sign-in at the server, not the administrator's.
    pub on_behalf: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub updated_tools: Vec<OverrideDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub updated_prompts: Vec<OverrideDocument>,
    /// What the vendor's documents have no word for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portunus: Option<LinkExtension>,
}

/// The group `portunus` of an entry of `servers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkExtension {
    /// Names and URIs carry the server's id. Only the sole server of a portal may leave it out.
    pub prefix: bool,
}

impl Default for LinkExtension {
    fn default() -> Self {
        Self { prefix: true }
    }
}

impl Default for LinkDocument {
    fn default() -> Self {
        Self {
            server_id: String::new(),
            default_disabled: false,
            on_behalf: true,
            updated_tools: Vec::new(),
            updated_prompts: Vec::new(),
            portunus: None,
        }
    }
}

/// The group `portunus` of a portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortalExtension {
    /// For calls to every server of the portal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleDocument>,
    /// Makes invisible text and control characters in results harmless.
    pub neutralize_results: bool,
    /// Records the arguments of calls, masked.
    pub log_arguments: bool,
    /// Records their results, masked.
    pub log_results: bool,
}

impl Default for PortalExtension {
    fn default() -> Self {
        Self { rules: Vec::new(), neutralize_results: true, log_arguments: true, log_results: false }
    }
}

/// A portal, known to be sound.
#[derive(Debug, Clone)]
pub struct Portal {
    pub id: McpPortalId,
    pub name: String,
    pub description: Option<String>,
    /// In lower case ASCII.
    pub hostname: String,
    pub code_mode: CodeMode,
    pub secure_web_gateway: bool,
    pub servers: Vec<Link>,
    pub rules: Vec<ToolRule>,
    pub neutralize_results: bool,
    pub log_arguments: bool,
    pub log_results: bool,
}

/// A server of a portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub server: McpServerId,
    pub default_disabled: bool,
    pub on_behalf: bool,
    pub tools: Vec<Override>,
    pub prompts: Vec<Override>,
    /// Names and URIs carry the server's id.
    pub prefixed: bool,
}

impl PortalDocument {
    /// Reads what an author sent, over the document that stands: a member that is not sent stays.
    ///
    /// # Errors
    /// With every fault of shape found, and when `code_mode` and `allow_code_mode` contradict each other.
    pub fn read(sent: &Value, standing: Option<&Self>) -> Result<Self, Vec<Problem>> {
        let mut sent = sent.clone();
        for link in sent.get_mut("servers").and_then(Value::as_array_mut).into_iter().flatten() {
            writable(link);
        }
        let mut document: Self = read_over(&sent, standing.map(members), &[])?;
        let says = sent.get("code_mode").is_some_and(|mode| !mode.is_null());
        document.code_mode = code_mode(document.code_mode, document.allow_code_mode.take(), says)?;
        Ok(document)
    }

    /// Returns the mode in force.
    #[must_use]
    pub fn code_mode(&self) -> CodeMode {
        self.code_mode.unwrap_or(CodeMode::OptIn)
    }

    /// Shows the members an author may write, without the servers.
    #[must_use]
    pub fn show(&self) -> Map<String, Value> {
        let mut shown = members(self);
        shown.remove("servers");
        shown.insert("code_mode".to_owned(), self.code_mode().as_str().into());
        shown.insert("allow_code_mode".to_owned(), (self.code_mode() != CodeMode::Off).into());
        shown
    }
}

/// Settles the two members: `says` tells whether `code_mode` was sent now, or is what stood before.
fn code_mode(mode: Option<CodeMode>, allow: Option<bool>, says: bool) -> Result<Option<CodeMode>, Vec<Problem>> {
    let on = mode.unwrap_or(CodeMode::OptIn) != CodeMode::Off;
    match allow {
        None => Ok(mode),
        Some(allow) if allow == on => Ok(mode),
        Some(_) if says => {
            let message = "contradicts `code_mode`; send one of them, best `code_mode`";
            Err(vec![Problem::new("/allow_code_mode", message)])
        }
        Some(true) => Ok(Some(CodeMode::OptIn)),
        Some(false) => Ok(Some(CodeMode::Off)),
    }
}

/// Turns a server in the form of a portal back into the form an author writes.
fn writable(link: &mut Value) {
    let Value::Object(link) = link else { return };
    if !link.contains_key("server_id") {
        return;
    }
    link.retain(|name, _| !OF_SERVERS.contains(&name.as_str()));
    for list in ["updated_tools", "updated_prompts"] {
        let entries = link.get_mut(list).and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
            overrides::writable(entry);
        }
    }
}

impl Portal {
    /// Makes a portal of a document.
    ///
    /// # Errors
    /// With every fault found.
    pub fn parse(id: McpPortalId, document: &PortalDocument, lists: &dyn expr::Lists) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let extension = document.portunus.clone().unwrap_or_default();
        let name = problems.check("/name", name(&document.name, MAX_NAME)).unwrap_or_default();
        let description = document.description.as_deref().filter(|text| !text.is_empty());
        let description = description.and_then(|text| problems.check("/description", prose(text, MAX_DESCRIPTION)));
        let hostname = problems.check("/hostname", hostname(&document.hostname)).unwrap_or_default();
        let servers = links(&document.servers, &mut problems);
        let rules = rule::parse(&extension.rules, lists, "/portunus/rules", &mut problems);
        problems.finish(Self {
            id,
            name,
            description,
            hostname,
            code_mode: document.code_mode(),
            secure_web_gateway: document.secure_web_gateway,
            servers,
            rules,
            neutralize_results: extension.neutralize_results,
            log_arguments: extension.log_arguments,
            log_results: extension.log_results,
        })
    }
}

fn hostname(text: &str) -> Result<String, String> {
    let pattern: Pattern = text.parse().map_err(|error: identity::destination::PatternError| match text {
        "" => "is required: the host name of the portal, such as `mcp.example.com`".to_owned(),
        _ => error.to_string(),
    })?;
    if !pattern.has_exact_host() || !pattern.path().is_empty() {
        return Err("must be one host name, without wildcard and path".to_owned());
    }
    Ok(pattern.host().to_owned())
}

fn links(documents: &[LinkDocument], problems: &mut Problems) -> Vec<Link> {
    if documents.len() > MAX_SERVERS {
        problems.add("/servers", format!("must hold at most {MAX_SERVERS} servers"));
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::with_capacity(documents.len());
    for (index, document) in documents.iter().enumerate() {
        let at = |member: &str| format!("/servers/{index}/{member}");
        let server = problems.check(&at("server_id"), document.server_id.parse::<McpServerId>());
        let tools = overrides::parse(&document.updated_tools, &at("updated_tools"), problems);
        let prompts = overrides::parse(&document.updated_prompts, &at("updated_prompts"), problems);
        let Some(server) = server else { continue };
        if !seen.insert(server.clone()) {
            problems.add(at("server_id"), "is named twice");
        }
        let prefixed = document.portunus.as_ref().is_none_or(|extension| extension.prefix);
        if !prefixed && documents.len() > 1 {
            problems
                .add(at("portunus/prefix"), "must be true where a portal has several servers: names tell them apart");
        }
        let LinkDocument { default_disabled, on_behalf, .. } = *document;
        found.push(Link { server, default_disabled, on_behalf, tools, prompts, prefixed });
    }
    found
}
